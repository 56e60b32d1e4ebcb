"""Replaying decisions: who is asked for the next leaf, what a decision sees, and what cannot be made again."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.archive import Archive
from tests.support.people import START_MS, certificate
from tests.unit.deciding import issuers
from tests.unit.deciding.replays import ONE, T, asked, last, put, quiet, read, recorded

from keyfold.bus import Inbound
from keyfold.deciding.remaking import Remade, check_signature, redecide, remake
from keyfold.deciding.replaying import Leaf, LogContradicts, Recorded, Replay
from keyfold.events import facts
from keyfold.events.errors import SignatureInvalid, UnsupportedVersion
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.policy.batch import Batch
from keyfold.policy.state import Draft


def small() -> Archive:
    """A key on partition 1 whose material fails after it was used; the registry changes between uses."""
    made = quiet()
    asked(made, ("CreateKey", ONE, {}), ("Encrypt", ONE, {}))
    made.answer(10)
    made.catch_up(1, 0)
    asked(made, ("Encrypt", ONE, {}), put("one", "permit (principal, action, resource);"), ("Encrypt", ONE, {}))
    made.follow(1, 10**6)
    asked(made, ("Encrypt", ONE, {}))
    made.catch_up(1, 10**6)
    asked(made, ("Encrypt", ONE, {}))
    return made


def test_each_decision_sees_what_it_names_and_nothing_else() -> None:
    """Statements and leaves that were written before a decision, but not known then, are not there."""
    made = small()
    seen = []
    for each in recorded(made):
        assert remake(each) == Remade("reproduced", each.event, "")
        assert redecide(each) == each.event
        if each.leaf.partition == 1:
            seen.append((each.decision.facts_n, "policy/one" in each.world.registry))
    assert seen == [(0, False)] * 4 + [(0, True), (1, True)]
    sent = [leaf.role for leaf in made.log[1]]
    assert sent == ["policy", "policy", "hsm", "hsm", "policy", "policy", "policy", "policy"]


def test_partitions_are_asked_for_as_they_are_needed() -> None:
    """One that waits for the registry is not asked again until the registry is there; no more is kept than that."""
    made = small()
    sources = made.sources()
    replaying = Replay([1])
    order = []
    while (partition := replaying.wanted) is not None:
        order.append(partition)
        leaf = next(sources[partition], None)
        list(replaying.end(partition) if leaf is None else replaying.take(leaf))
    known = [leaf.event.data.decision.registry_n for leaf in made.log[1] if isinstance(leaf.event, facts.PolicyEvent)]
    assert order == [1] + [0] * known[0] + [1] * 6 + [0] * (known[4] - known[0]) + [1, 1, 0]


def test_a_decision_may_know_more_than_there_is() -> None:
    """The projections of the registry may lag: what cannot be replayed yet waits, and is told apart."""
    made = small()
    sources = made.sources() | {0: iter(made.log[0][:5])}
    replaying = Replay([1])
    found = []
    while (partition := replaying.wanted) is not None:
        leaf = next(sources[partition], None)
        found += list(replaying.end(partition, 5) if leaf is None else replaying.take(leaf))
    assert found == []
    assert replaying.waiting == (made.log[1][0],)


@pytest.mark.parametrize("more", [False, True])
def test_leaves_that_are_no_events_count(more: bool) -> None:
    """A strange leaf in partition 0 has a position and is not given; who knew it, and not the next, is replayed."""
    made = quiet()
    silent = certificate("policy")
    made.log[0].append(Leaf(0, len(made.log[0]), "root", 2, silent, silent.to_value()))
    made.follow(1, 1)
    asked(made, ("CreateKey", ONE, {}))
    if more:
        asked(made, put("one", "forbid (principal, action, resource);"))
    sources = {1: iter(made.log[1]), 0: iter([leaf for leaf in made.log[0] if leaf.event is not silent])}
    replaying = Replay([1])
    found = []
    while (partition := replaying.wanted) is not None:
        leaf = next(sources[partition], None)
        for each in replaying.end(partition, len(made.log[0])) if leaf is None else replaying.take(leaf):
            found.append((remake(each).verdict, "policy/one" in each.world.registry))
    assert found == [("reproduced", False)]


def changed(change: Callable[[facts.Decision], facts.Decision]) -> Callable[[Leaf], Leaf]:
    def changing(leaf: Leaf) -> Leaf:
        if not isinstance(leaf.event, facts.PolicyEvent):
            return leaf
        data = leaf.event.data.model_copy(update={"decision": change(leaf.event.data.decision)})
        event = leaf.event.model_copy(update={"data": data})
        return replace(leaf, event=event, value=event.to_value())

    return changing


def last_changed(look: Callable[[Recorded], T], **update: object) -> T:
    """Look at the last decision of the small archive after it was changed."""
    made = small()
    made.log[1][-1] = changed(lambda decision: decision.model_copy(update=update))(made.log[1][-1])
    return last(made, look)


@pytest.mark.parametrize("update", [{"policies": []}, {"registry_revision": 99}, {"grant": "0" * 8}], ids=str)
def test_a_decision_that_was_changed_differs(update: dict[str, object]) -> None:
    """Whatever an author writes beside what `decide` gives is noticed."""
    assert last_changed(remake, **update).verdict == "differs"


def test_other_bytes_differ() -> None:
    """The exact bytes are compared, not what they mean."""
    made = small()
    made.log[1][-1] = replace(made.log[1][-1], value=made.log[1][-1].value + b" ")
    assert last(made, remake).verdict == "differs"


def test_a_command_that_is_none_cannot_be_made_again() -> None:
    """What policy could never have admitted is an answer about the log, not an exception."""
    made = last_changed(remake, command="{}")
    assert (made.verdict, "cannot be made again" in made.why) == ("differs", True)
    with pytest.raises(UnsupportedVersion):
        last_changed(check_signature, command="{}")


def test_knowing_less_of_the_registry_than_before_is_a_flaw() -> None:
    """What a partition knows of the registry only grows."""
    flaw, made = last_changed(lambda each: (each.flaw, remake(each)), registry_n=2)
    assert flaw is not None
    assert made == Remade("differs", None, flaw)


def test_a_statement_behind_who_knew_it_contradicts() -> None:
    """A log in which a decision stands before what it knew is no log of policy's."""
    made = small()
    made.log[1] = [*(leaf for leaf in made.log[1] if leaf.role == "policy"), *made.log[1][2:4]]
    with pytest.raises(LogContradicts, match="statement 1 of hsm stands at position 2 of events partition 1"):
        list(recorded(made))


def test_an_internal_error_is_not_expected_again() -> None:
    """It is no rule; whether it happens again says nothing about the log."""
    made = quiet()
    desk = made.desks[1]
    refused = made.asked("alice", ("CreateKey", ONE, {}))

    def refuse(_partition: int, records: list[Inbound]) -> Batch:
        batch = made._decider(desk).decide_all(records, Draft(desk.state), refuse_all=True)
        made._write("policy", [facts.parse_event(entry.value) for entry in batch.events])
        return batch

    made.send([refused], refuse)
    code, verdict = last(made, lambda each: (each.event.data.code, remake(each).verdict))
    assert (code, verdict) == ("InternalError", "not expected")


def test_signatures_are_checked_against_the_registry_of_the_time() -> None:
    """The digest of the body is enough; another command, key or stream is not what was signed."""
    for each in recorded(small()):
        check_signature(each)
    with pytest.raises(SignatureInvalid):
        last_changed(check_signature, signature="00" * 64)
    with pytest.raises(SignatureInvalid):
        last_changed(check_signature, body_digest="0" * 64)


def test_the_proposers_signature_is_checked_too() -> None:
    """What an approval carries out was signed by its proposer: a proposal of somebody else's making is noticed."""
    made = quiet()
    rule = 'forbid (principal, action == Action::"RotateKey", resource) unless { context.approvals.count >= 1 };'
    wish = {"verb": "RotateKey", "expires_at": to_text(made.now_ms + 60_000)}
    asked(made, put("quorum", rule), ("CreateKey", ONE, {}))
    read(made)
    asked(made, ("ProposeCommand", ONE, {"arguments": wish}))
    created = made.log[1][-1].event
    assert isinstance(created, facts.ProposalCreated)
    known = {"proposal": created.data.proposal, "digest": created.data.digest}
    asked(made, ("ApproveProposal", ONE, {"arguments": known}), by="bob")
    assert isinstance(made.log[1][-1].event, facts.KeyRotated)
    last(made, check_signature)
    use = made.log[1][-1].event.data.decision.proposal
    assert use is not None
    forged = use.model_copy(update={"signature": "00" * 64})
    made.log[1][-1] = changed(lambda each: each.model_copy(update={"proposal": forged}))(made.log[1][-1])
    with pytest.raises(SignatureInvalid):
        last(made, check_signature)


def test_who_came_with_a_token_is_known_by_it_again() -> None:
    """The principal of an `AssumePrincipalWithWebIdentity` is whom its token was about at that time."""
    made = quiet()
    asked(made, ("PutIssuer", REGISTRY, {"arguments": issuers.settings()}))
    asked(made, ("PutIssuerKeys", REGISTRY, {"arguments": {"issuer": issuers.NAME, "jwks": issuers.jwks()}}))
    asked(made, put("who", f'permit (principal == Principal::"{issuers.PRINCIPAL}", action, resource);'))
    desk, command = made.desks[0], issuers.assumption()
    desk.now_ms = START_MS
    made._decide(0, [desk.record(command)])
    for each in recorded(made):
        check_signature(each)
        assert remake(each).verdict == "reproduced"
    assert isinstance(each.event, facts.PrincipalAuthenticated)


def test_partition_0_sees_its_own_state() -> None:
    """Its decisions ask its own entities; the registry of others is what stands in the log."""
    made = quiet()
    asked(made, put("one", "permit (principal, action, resource);"), ("RotateSealingKey", REGISTRY, {}))
    made.answer(10)
    asked(made, put("two", "permit (principal, action, resource);"))
    known = []
    for each in recorded(made):
        assert remake(each).verdict == "reproduced"
        assert each.world.registry is each.world.entities
        known.append(each.decision.facts_n)
    assert known == [1] * len(known)
    made.catch_up(0, 1)
    asked(made, put("three", "permit (principal, action, resource);"))
    assert last(made, lambda each: (each.decision.facts_n, remake(each).verdict), 0) == (2, "reproduced")


def test_a_world_that_has_moved_on_is_refused() -> None:
    """Looking at a decision too late would give wrong answers, so it gives none."""
    *_, over = recorded(small())
    with pytest.raises(RuntimeError, match="moved on"):
        over.world.deployment  # noqa: B018 - asking is what is tested
    with pytest.raises(RuntimeError, match="moved on"):
        remake(over)
