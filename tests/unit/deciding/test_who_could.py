"""Who could have done what: the same answers as `decide` gave, and the approvals that were missing."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tests.property.lasting import LastingArchive
from tests.support.archive import Archive
from tests.support.people import PARTITIONS
from tests.unit.deciding.replays import KEY_ID, ONE, asked, last, put, quiet, read, recorded

from keyfold.deciding.as_of import AsOf, Prefix
from keyfold.deciding.replaying import Recorded, fold
from keyfold.deciding.who_could import Approvals, Could, state_answer, who_could
from keyfold.deciding.wishing import VERBS, Wish, command_of
from keyfold.deciding.world import World
from keyfold.events import facts
from keyfold.events.entities import Entity, Key
from keyfold.events.errors import InvalidCommand, NotFound
from keyfold.events.streams import REGISTRY, key_id_of, partition_of
from keyfold.events.times import to_milliseconds

NEEDED = {
    "ApproveProposal": "proposal", "CancelProposal": "proposal", "DenyProposal": "proposal", "CreateGrant": "grantee",
    "ProposeCommand": "verb", "ReEncryptFrom": "destination_key_id", "ReEncryptTo": "source_key_id",
    "RetireGrant": "grant", "RevokeGrant": "grant",
}  # fmt: skip
APPROVED = 'forbid (principal, action == Action::"DestroyKeyNow", resource) unless { context.approvals.count >= 2 };'


def past(made: Archive, until: str | None = None, stream: str = ONE) -> AsOf:
    """Fold an archive up to a time."""
    prefix, registry = Prefix(until), dict[str, Entity]()
    for leaf in made.log[0]:
        if prefix.over(leaf):
            break
        if prefix.holds(leaf):
            fold(registry, leaf.event)
    found = AsOf(key_id_of(stream) or "", registry)
    for leaf in made.log[partition_of(stream, PARTITIONS)]:
        if prefix.over(leaf):
            break
        if prefix.holds(leaf):
            found.add(leaf.event)
    return found


def world_of(made: Archive) -> tuple[Key, World]:
    found = past(made)
    return found.key(), found.world(made.now_ms, PARTITIONS)


def answers(made: Archive, verb: str, **about: Any) -> dict[str, Could]:
    key, world = world_of(made)
    command, _ = command_of(Wish(verb, **about), key, world)
    return {could.principal: could for could in who_could(command, world)}


def created(rules: str | None = None) -> Archive:
    made = quiet() if rules is None else quiet(rules)
    asked(made, ("CreateKey", ONE, {}))
    read(made)
    return made


def agrees(each: Recorded, seen: Counter[str]) -> None:
    """Ask about the very command that was decided, in its world, for its principal."""
    command, event, world = each.command, each.event, each.world
    if (
        not command.subject.startswith("key/")
        or command.data.dry_run
        or command.verb in {"CreateKey", "ApproveProposal"}
    ):
        return
    if getattr(command.data, "proposal", None) is not None or world.principal(command.data.principal) is None:
        return
    (could,) = who_could(command, world, command.data.principal)
    if isinstance(event, facts.CommandDenied):
        code = event.data.code
        seen[code] += 1
        if code in {"AccessDenied", "ApprovalRequired", "GrantExhausted"}:
            assert (could.permitted, could.code, could.policies) == (False, code, tuple(event.data.decision.policies))
        asked_for = could.permitted and could.standing is None and bool(event.data.decision.policies)
        if asked_for and command.data_plane and could.afterwards is not None:
            assert code in {could.afterwards, "RateLimited", "QuotaExceeded"}
        assert code not in {"PrincipalSuspended", "PrincipalRevoked"} or could.standing == code
        return
    seen[command.verb] += 1
    assert could.could
    assert set(could.policies) <= set(event.data.decision.policies)
    assert (could.policies == (f"grant/{event.data.decision.grant}",)) == (event.data.decision.grant is not None)


@pytest.mark.parametrize(("seed", "kind"), [(14, Archive), (46, LastingArchive)])
def test_it_answers_what_was_answered(seed: int, kind: type[Archive]) -> None:
    """Asked about each command of a long history in its own world, it says what policy said, by the same policies."""
    seen: Counter[str] = Counter()
    for each in recorded(kind(random.Random(seed)).live(70)):  # noqa: S311 - choices of a test
        agrees(each, seen)
    assert seen["AccessDenied"]
    assert seen["Encrypt"]
    assert seen.total() > 50


def test_as_of_is_a_prefix() -> None:
    """At each decision's time the key is as the events up to there make it, in a long history, and grants too."""
    made = Archive(random.Random(14)).live(60)  # noqa: S311 - choices of a test
    for stream in made.streams:
        log = made.log[partition_of(stream, PARTITIONS)]
        whole: dict[str, Entity] = {}
        for at, leaf in enumerate(log):
            fold(whole, leaf.event)
            later = next((each for each in log[at + 1 :] if isinstance(each.event, facts.PolicyEvent)), None)
            if later is not None and later.event.time > leaf.event.time and at % 7 == 0:
                found = past(made, max(each.event.time for each in log[: at + 1]), stream)
                kept = {name: entity for name, entity in found.entities.items() if not name.startswith("bucket/")}
                behind = log[at + 1 : log.index(later)]
                if not behind:
                    assert {name: whole[name] for name in kept} == kept


def test_a_key_that_did_not_exist_yet_is_not_found() -> None:
    """The answer says so, rather than that nobody could."""
    made = created()
    before = next(leaf.event.time for leaf in made.log[1])
    with pytest.raises(NotFound, match="did not exist"):
        past(made, "2026-01-01T00:00:00.000Z").key()
    assert past(made, before).key().key_id == KEY_ID


def test_what_states_a_later_time_of_its_own_does_not_end_a_prefix() -> None:
    """A worker's clock may be ahead: its statement does not count yet, the decisions behind it do."""
    made = created()
    first, time = made.log[1][0], made.log[1][0].event.time
    later = facts.SealingKeyErased.new("x", REGISTRY, "2099-01-01T00:00:00.000Z", sealing_key=KEY_ID)
    prefix = Prefix(time)
    ahead = replace(first, event=later)
    assert (prefix.over(ahead), prefix.holds(ahead)) == (False, False)
    assert (prefix.over(first), prefix.holds(first)) == (False, True)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_about_keys_can_be_asked(verb: str) -> None:
    """Whom or what a command is about is never supposed; all else is, and administrators are let through."""
    made = created()
    if verb in NEEDED:
        with pytest.raises(InvalidCommand, match=f"depends on its argument {NEEDED[verb]}"):
            answers(made, verb)
        return
    found = answers(made, verb)
    assert list(found) == sorted(found)
    assert found["alice"].permitted
    assert found["carol"].permitted == (found["carol"].policies == ("registry/rules#1",))


@pytest.mark.parametrize("verb", ["CreateKey", "CreateAlias", "GenerateRandom", "Frobnicate"])
def test_verbs_that_are_not_about_an_existing_key_are_refused(verb: str) -> None:
    """There is nothing to ask."""
    with pytest.raises(InvalidCommand, match="no verb about a key"):
        answers(created(), verb)


def test_arguments_that_do_not_fit_are_refused() -> None:
    """By the command's own model."""
    with pytest.raises(InvalidCommand, match="pending_window_seconds"):
        answers(created(), "ScheduleKeyDeletion", arguments={"pending_window_seconds": "soon"})


def test_contexts_reasons_and_hosts_count_as_given() -> None:
    """A policy that asks for them is met by what is said, and only by that."""
    made = created()
    for name, condition in (
        ("tenants", 'context.encryption_context.hasTag("t") && context.encryption_context.getTag("t") == "7"'),
        ("reasons", 'context.reason == "audit"'),
        ("hosts", 'context.source == "build-7"'),
    ):
        text = f'forbid (principal == Principal::"carol", action, resource) unless {{ {condition} }};'
        asked(made, put(name, text, ONE))
    read(made)
    said: dict[str, Any] = {"contexts": ({"t": "7"},), "reason": "audit", "host": "build-7"}
    assert answers(made, "Decrypt", **said)["carol"].could
    for missing in said:
        found = answers(made, "Decrypt", **{name: value for name, value in said.items() if name != missing})
        assert (found["carol"].could, found["alice"].could) == (False, True)


def test_grants_are_named() -> None:
    """By the grant's id, and only for its grantee, while it lasts."""
    made = created('permit (principal in Group::"administrators", action, resource);')
    grant = {"grantee": "dave", "verbs": ["Decrypt"], "expires_at": "2026-12-31T00:00:00.000Z"}
    asked(made, ("CreateGrant", ONE, {"arguments": grant}))
    read(made)
    found = answers(made, "Decrypt")
    (name,) = found["dave"].policies
    assert name.startswith("grant/")
    assert {principal for principal, could in found.items() if could.could} == {"alice", "bob", "dave", "scheduler"}
    made.now_ms = to_milliseconds(str(grant["expires_at"]))
    assert not answers(made, "Decrypt")["dave"].could


def test_missing_approvals_are_counted() -> None:
    """How many of those who may approve, and whether the principal could have proposed it at all."""
    made = created()
    asked(made, put("approved", APPROVED))
    read(made)
    found = answers(made, "DestroyKeyNow")
    assert found["alice"].code == "ApprovalRequired"
    assert found["alice"].approvals == Approvals(True, ("bob", "scheduler"), 2)
    assert found["carol"].approvals == Approvals(False, ("alice", "bob", "scheduler"), None)
    asked(made, ("SuspendPrincipal", REGISTRY, {"arguments": {"principal": "bob"}}))
    read(made)
    after = answers(made, "DestroyKeyNow")
    assert after["alice"].approvals == Approvals(True, ("scheduler",), None)
    assert (after["bob"].standing, after["bob"].approvals) == ("PrincipalSuspended", None)


def test_standing_comes_first() -> None:
    """Who was suspended could do nothing, whatever policies say."""
    made = created()
    asked(made, ("SuspendPrincipal", REGISTRY, {"arguments": {"principal": "bob"}}))
    read(made)
    found = answers(made, "Decrypt")["bob"]
    assert (found.permitted, found.standing, found.could) == (True, "PrincipalSuspended", False)


def test_the_state_answers_after_authorization() -> None:
    """A disabled key refuses those who are permitted; the others never learn of it."""
    made = created()
    asked(made, ("DisableKey", ONE, {}))
    read(made)
    key, world = world_of(made)
    command, supposed = command_of(Wish("Decrypt"), key, world)
    assert supposed == {"encryption_algorithm": "SYMMETRIC_DEFAULT"}
    assert state_answer(command, key, world) == "KeyDisabled"
    found = answers(made, "Decrypt")
    assert (found["alice"].permitted, found["alice"].afterwards, found["alice"].could) == (True, "KeyDisabled", False)
    assert answers(made, "Sign")["alice"].afterwards == "InvalidKeyUsage"
    assert answers(made, "EnableKey")["alice"].could
    assert answers(made, "EnableKey")["carol"].afterwards is None


def test_compromised_versions_need_a_policy_of_their_own() -> None:
    """Some may use them, others not, by the same question that `decide` asks."""
    made = created('permit (principal in Group::"administrators", action, resource) unless { false };')
    asked(
        made,
        put("spared", 'forbid (principal == Principal::"bob", action == Action::"UseCompromisedVersion", resource);'),
    )
    asked(made, ("MarkKeyCompromised", ONE, {"arguments": {"occurred_at": "2026-01-01T00:00:00.000Z"}}))
    read(made)
    found = answers(made, "Decrypt")
    assert found["alice"].could
    assert (found["bob"].permitted, found["bob"].afterwards) == (True, "KeyCompromised")


def test_the_last_decision_and_the_present_agree() -> None:
    """Without a time, the answer is about the state behind the last event."""
    made = created()
    asked(made, ("Encrypt", ONE, {}))
    assert last(made, lambda each: each.decision.policies) == list(answers(made, "Encrypt")["alice"].policies)
