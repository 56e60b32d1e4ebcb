"""A history that its authors told wrongly is found out, although every signature, chain and place is good.

Each case changes one thing in an honest history and signs it anew, as who holds the services' keys can; the first
finding is at the record that breaks the rule, with that rule's code.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.audited_log import AuditedLog, honest, leaves_in, sign_all
from tests.support.people import DEPLOYMENT, signer, uuid
from tests.unit.deciding.gate import Gate
from tests.unit.deciding.issuers import PRINCIPAL

from keyfold.auditing.findings import Finding, Illegal
from keyfold.auditing.rules import check_decision
from keyfold.auditing.seen import SeenCommands
from keyfold.auditing.verifying import Wanted, verify
from keyfold.deciding.cedar import Authorizer
from keyfold.deciding.replaying import Leaf, Moment, Recorded
from keyfold.deciding.world import World
from keyfold.events import facts, strictjson

SEEDS = ((14, 90), (2, 120))
Change = Callable[[list[Leaf]], tuple[list[Leaf], int] | None]


def first_finding(log: AuditedLog) -> Finding | None:
    return asyncio.run(verify(log, Wanted(DEPLOYMENT))).first


def told(change: Change) -> tuple[Finding | None, int, int]:
    """Apply a change where an honest log allows it; return the first finding, and where it was made."""
    for log, partition in ((honest(*seed), p) for seed in SEEDS for p in (1, 3, 2, 0)):
        changed = change(leaves_in(log.kept[partition]))
        if changed is not None:
            leaves, at = changed
            other = replace(log.copy(), notes=[])
            other.kept[partition] = sign_all(partition, leaves)
            return first_finding(other), partition, at
    raise AssertionError("no honest log has what is to be changed")


def with_event(leaf: Leaf, event: facts.Event) -> Leaf:
    return replace(leaf, event=event, value=event.to_value())


def with_data(leaf: Leaf, **update: Any) -> Leaf:
    return with_event(leaf, leaf.event.model_copy(update={"data": leaf.event.data.model_copy(update=update)}))


def with_decision(leaf: Leaf, **update: Any) -> Leaf:
    return with_data(leaf, decision=leaf.event.data.decision.model_copy(update=update))


def find(leaves: list[Leaf], kind: type[facts.Event], match: Callable[[Any], bool] = lambda _: True) -> int | None:
    return next((at for at, leaf in enumerate(leaves) if isinstance(leaf.event, kind) and match(leaf.event)), None)


def changing(kind: type[facts.Event], update: Callable[[Leaf], Leaf], match: Any = lambda _: True) -> Change:
    """Change the first event of a kind."""

    def change(leaves: list[Leaf]) -> tuple[list[Leaf], int] | None:
        at = find(leaves, kind, match)
        return None if at is None else ([*leaves[:at], update(leaves[at]), *leaves[at + 1 :]], at)

    return change


def used_by_another_key(leaf: Leaf) -> Leaf:
    return with_decision(leaf, signature=signer("mallory").sign(b"x").hex())


def another_command(leaf: Leaf) -> Leaf:
    """Keep the principal's signature, change what was asked."""
    decision = leaf.event.data.decision
    command = decision.command.replace('"items": 1', '"items": 2', 1)
    return with_decision(leaf, command=command)


def again(leaves: list[Leaf]) -> tuple[list[Leaf], int] | None:
    """An outcome stands twice."""
    at = find(leaves, facts.KeyUsed)
    if at is None:
        return None
    copy = replace(leaves[at], statement_n=leaves[-1].statement_n + 1000)
    return [*leaves, copy], len(leaves)


def without_outcome_kind(leaf: Leaf) -> Leaf:
    data = leaf.event.data
    known = {n: getattr(data, n) for n in ("offset", "command_id", "command_digest", "principal", "verb")}
    made = facts.CommandCompleted.new(leaf.event.id, leaf.event.subject, leaf.event.time, **known)
    return with_event(leaf, made)


def used_after_disabling(leaves: list[Leaf]) -> tuple[list[Leaf], int] | None:
    """A denial because the key is disabled is told as an authorization."""

    def denied(event: facts.CommandDenied) -> bool:
        return event.data.code == "KeyDisabled" and event.data.verb in {"Encrypt", "Decrypt", "GenerateDataKey"}

    at = find(leaves, facts.CommandDenied, denied)
    if at is None:
        return None
    decision = leaves[at].event.data.decision
    key_id = leaves[at].event.subject.removeprefix("key/")
    created = next(leaf for leaf in leaves if isinstance(leaf.event, facts.KeyCreated)
                   and leaf.event.subject == leaves[at].event.subject)  # fmt: skip
    asked: Any = strictjson.loads(decision.command.encode())["data"]
    known = {
        "verb": leaves[at].event.data.verb,
        "principal": asked["principal"],
        "key_id": key_id,
        "key_version": None if leaves[at].event.data.verb == "Decrypt" else 1,
        "protection": created.event.data.protection,
        "items": asked["items"],
        "bytes": asked["bytes"],
        "refused_versions": [],
    }
    event = leaves[at].event
    made = facts.CommandAuthorized.new(event.id, event.subject, event.time, decision=decision, **known)
    return [*leaves[:at], with_event(leaves[at], made), *leaves[at + 1 :]], at


def created_twice(leaves: list[Leaf]) -> tuple[list[Leaf], int] | None:
    """A refusal of a second creation is told as a creation."""
    at = find(leaves, facts.CommandDenied, lambda e: e.data.code == "AlreadyExists" and e.data.verb == "CreateKey")
    created = find(leaves, facts.KeyCreated, lambda e: at is not None and e.subject == leaves[at].event.subject)
    if at is None or created is None or created > at:
        return None
    decision = leaves[at].event.data.decision
    data = leaves[created].event.data.model_copy(update={"decision": decision})
    event = leaves[created].event.model_copy(
        update={"data": data, "id": leaves[at].event.id, "time": leaves[at].event.time}
    )
    return [*leaves[:at], with_event(leaves[at], event), *leaves[at + 1 :]], at


def unknown_key(leaves: list[Leaf]) -> tuple[list[Leaf], int] | None:
    """The creation of a key is left out: what was done with it cannot follow."""
    created = find(leaves, facts.KeyCreated)
    if created is None:
        return None
    subject = leaves[created].event.subject
    rest = [leaf for at, leaf in enumerate(leaves) if at != created]
    at = next((p for p in range(created, len(rest)) if rest[p].event.subject == subject), None)
    return None if at is None else (rest, at)


def in_disorder(leaves: list[Leaf]) -> tuple[list[Leaf], int] | None:
    """Two decisions are told in the wrong order."""
    for at in range(1, len(leaves) - 1):
        one, other = leaves[at].event, leaves[at + 1].event
        if isinstance(one, facts.CommandDenied) and isinstance(other, facts.CommandDenied):
            first, second = (replace(leaf, statement_n=leaves[at].statement_n) for leaf in (leaves[at + 1], leaves[at]))
            return [*leaves[:at], first, second, *leaves[at + 2 :]], at + 1
    return None


def fixed(name: str, value: Any) -> Callable[[Leaf], Leaf]:
    return lambda leaf: with_data(leaf, **{name: value})


def later(leaf: Leaf) -> Leaf:
    return with_event(leaf, leaf.event.model_copy(update={"time": "2026-11-30T00:00:00.000Z"}))


USE = facts.CommandAuthorized
EVERYTHING = "permit (principal, action, resource);"
CASES: dict[str, tuple[Change, str]] = {
    "a principal's signature is wrong": (changing(USE, used_by_another_key), "SignatureInvalid"),
    "a denial's too": (changing(facts.CommandDenied, used_by_another_key), "SignatureInvalid"),
    "the command was changed": (changing(USE, another_command, lambda e: '"items": 1' in e.data.decision.command),
                                "CommandMismatch"),
    "the digest is of another command": (changing(USE, lambda leaf: with_decision(leaf, command_digest="0" * 64)),
                                         "CommandMismatch"),
    "the decision has another id": (changing(USE, lambda leaf: with_event(leaf, leaf.event.model_copy(
        update={"id": "1.999.decision"}))), "CommandMismatch"),
    "more was authorized than was asked": (changing(USE, fixed("items", 77), lambda e: e.data.verb == "Encrypt"),
                                           "CommandMismatch"),
    "another version was authorized": (changing(USE, fixed("key_version", 9), lambda e: e.data.verb == "Encrypt"),
                                       "NotAllowed"),
    "a disabled key was used": (used_after_disabling, "NotAllowed"),
    "a key was created twice": (created_twice, "NotAllowed"),
    "a key was never created": (unknown_key, "OutcomeMismatch"),
    "a key was created otherwise than was asked": (changing(facts.KeyCreated, fixed("description", "x")), "NotAllowed"),
    "a policy has another text than was put": (changing(facts.PolicyPut, fixed("text", EVERYTHING)), "NotAllowed"),
    "a grant is another's than was asked": (changing(facts.GrantCreated, fixed("grantee", "mallory")), "NotAllowed"),
    "a principal has another key than was registered": (
        changing(facts.PrincipalRegistered, fixed("public_key", signer("mallory").public_key.hex())), "NotAllowed"),
    "decisions stand in disorder": (in_disorder, "OrderBroken"),
    "a decision knew what came later": (changing(USE, lambda leaf: with_decision(leaf, facts_n=10_000)), "OrderBroken"),
    "a decision knew more of the registry than there is": (
        changing(USE, lambda leaf: with_decision(leaf, registry_n=10_000)), "OrderBroken"),
    "an outcome stands twice": (again, "OutcomeMismatch"),
    "an outcome is of no command": (changing(facts.KeyUsed, fixed("offset", 100_000)), "OutcomeMismatch"),
    "an outcome is of another command": (changing(facts.KeyUsed, fixed("command_digest", "0" * 64)), "OutcomeMismatch"),
    "an outcome is of another kind": (changing(facts.KeyUsed, without_outcome_kind), "OutcomeMismatch"),
    "an outcome has a time of its own": (changing(facts.KeyUsed, later), "OutcomeMismatch"),
    "more items were used": (changing(facts.KeyUsed, fixed("items", 999)), "OutcomeMismatch"),
    "a version was used that is not there": (changing(facts.KeyUsed, fixed("versions", {"7": 1})), "OutcomeMismatch"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_have_happened_is_found(case: str) -> None:
    """By the rule that it breaks, at the record that breaks it."""
    change, code = CASES[case]
    finding, partition, at = told(change)
    assert finding is not None
    assert (finding.code, finding.partition, finding.leaf) == (code, partition, at)
    assert finding.expected
    assert finding.found


def test_a_command_that_was_decided_before_is_found() -> None:
    """The same command at another offset: an id counts once while its command could be accepted."""

    def twice(leaves: list[Leaf]) -> tuple[list[Leaf], int] | None:
        for at in range(1, len(leaves)):
            leaf, before = leaves[at], leaves[at - 1]
            if isinstance(leaf.event, facts.CommandDenied) and isinstance(before.event, facts.CommandDenied):
                offset = leaf.event.data.decision.offset
                copy = before.event.model_copy(update={"id": leaf.event.id, "time": leaf.event.time})
                made = with_decision(with_event(leaf, copy), offset=offset)
                same = made.event.data.decision.registry_n, leaf.event.data.decision.registry_n
                if same[0] == same[1] and before.event.time == leaf.event.time:
                    return [*leaves[:at], made, *leaves[at + 1 :]], at
        return None

    finding, _, at = told(twice)
    assert finding is not None
    assert (finding.code, finding.leaf) == ("DecidedTwice", at)


def judged(gate: Gate, event: Any, entities: dict[str, Any]) -> str | None:
    """Look at a decision in a state; return the rule that it breaks, if it breaks one."""
    world = World(0, gate.now_ms, entities, entities, Authorizer(), facts_n=0, registry_n=0, root_n=0)
    try:
        check_decision(Recorded(Leaf(0, 0, "policy", 1, event, event.to_value()), event, Moment(world)))
    except Illegal as illegal:
        return illegal.rule
    return None


def test_what_a_token_says_is_not_told_otherwise() -> None:
    """An issuer's principal has the groups of its token, and a key that was revoked is not let in by a token."""
    gate = Gate(base_groups=["callers"])
    before = dict(gate.state.entities)
    assert gate.assume() is None
    event: Any = gate.last()
    other = event.model_copy(update={"data": event.data.model_copy(update={"groups": ["administrators"]})})
    assert (judged(gate, event, before), judged(gate, other, before)) == (None, "NotAllowed")
    denial = {"decision": event.data.decision, "verb": "AssumePrincipalWithWebIdentity", "principal": PRINCIPAL}
    denied = facts.CommandDenied.new(event.id, event.subject, event.time, **denial, code="AccessDenied")
    assert judged(gate, denied, dict(gate.state.entities)) is None
    gate.code("RevokeSigningKey", principal=PRINCIPAL, signing_key=signer("api").fingerprint)
    assert judged(gate, denied, dict(gate.state.entities)) == "SignatureInvalid"


def test_seen_commands_forget_what_is_over() -> None:
    """Per principal, until the minute in which the command expires; memory does not grow beyond that."""
    seen = SeenCommands()
    assert not seen.add("alice", uuid(1), 600_000, 0)
    assert seen.add("alice", uuid(1), 600_000, 599_999 - 60_000)
    assert not seen.add("bob", uuid(1), 600_000, 0)
    assert not seen.add("alice", uuid(1), 1_300_000, 700_000)
    assert len(seen._by_minute) == 1
