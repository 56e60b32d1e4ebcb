"""Every decision of a deployment is made again from its events alone, bit for bit, however late everybody reads."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.incidents import WatchedArchive
from tests.property.lasting import LastingArchive
from tests.support.archive import Archive
from tests.support.people import PARTITIONS

from keyfold.deciding import keys, limits, remaking, replaying, using
from keyfold.deciding.remaking import Remade, check_signature, remake
from keyfold.deciding.replaying import Leaf, Recorded, Replay, replay
from keyfold.events import evolve, facts
from keyfold.events.specs import KeySpec

EVERYTHING = {
    facts.KeyRotated, facts.KeyCompromised, facts.KeyVersionDisabled, facts.KeyVersionEnabled,
    facts.KeyVersionDestroyed, facts.KeyValidityUpdated, facts.KeyRotationEnabled, facts.KeyRotationDisabled,
    facts.ImportParametersIssued, facts.KeyMaterialImported, facts.ImportedKeyMaterialDeleted, facts.StorageEpochBegun,
    facts.StorageEpochKeyDestroyed,
}  # fmt: skip


def archive(seed: int, steps: int, kind: type[Archive] = Archive) -> Archive:
    return kind(random.Random(seed)).live(steps)  # noqa: S311 - choices of a test


@cache
def long_archive() -> Archive:
    """One long history for the tests that only read it."""
    return archive(14, 250)


@cache
def long_lives() -> tuple[Archive, ...]:
    """Others, in which keys are of every kind and live whole lives."""
    return archive(43, 300, LastingArchive), archive(46, 300, LastingArchive)


def differs(sources: dict[int, Iterator[Leaf]]) -> bool:
    """Whether some decision is not reproduced."""
    return any(remake(recorded).verdict == "differs" for recorded in replay(sources))


@given(seed=st.integers(0, 2**32), kind=st.sampled_from((Archive, LastingArchive, WatchedArchive)))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_decision_is_reproduced(seed: int, kind: type[Archive]) -> None:
    """Random deployments: each decision once, in its partition's order, signed by its principal, the same bytes."""
    made = archive(seed, 40, kind)
    seen: dict[int, list[bytes]] = {partition: [] for partition in range(PARTITIONS)}
    for recorded in replay(made.sources()):
        check_signature(recorded)
        assert remake(recorded) == Remade("reproduced", recorded.event, "")
        seen[recorded.leaf.partition].append(recorded.leaf.value)
    logged = {
        p: [leaf.value for leaf in log if isinstance(leaf.event, facts.PolicyEvent)] for p, log in made.log.items()
    }
    assert seen == logged


def test_a_long_history_has_everything_in_it() -> None:
    """Numbers of statements and leaves differ from what stands before a decision, and many kinds of events occur."""
    late = {"facts": 0, "registry": 0}
    kinds, codes, grants, proposals = set(), set(), 0, 0
    for recorded in replay(long_archive().sources()):
        assert remake(recorded).verdict == "reproduced"
        kinds.add(type(recorded.event))
        codes.add(getattr(recorded.event.data, "code", None))
        before = long_archive().log[recorded.leaf.partition][: recorded.leaf.position]
        latest = max((leaf.statement_n for leaf in before if leaf.role == "hsm"), default=0)
        late["facts"] += recorded.decision.facts_n < latest
        late["registry"] += 0 < recorded.decision.registry_n < len(long_archive().log[0])
        grants += recorded.decision.grant is not None
        proposals += recorded.decision.proposal is not None
    assert min(late.values()) > 100
    assert min(grants, proposals) > 4
    assert len(kinds) > 25
    assert {"AccessDenied", "ApprovalRequired", "GrantExhausted", "RateLimited", "QuotaExceeded"} <= codes


def test_long_lives_have_everything_in_them() -> None:
    """Keys of many kinds, each refusal that is about states and versions, each outcome that changes a version."""
    codes, kinds = set(), set()
    for made in long_lives():
        for recorded in replay(made.sources()):
            assert remake(recorded).verdict == "reproduced"
            codes.add(getattr(recorded.event.data, "code", None))
        for leaf in (leaf for log in made.log.values() for leaf in log):
            kinds |= {type(leaf.event), getattr(leaf.event.data, "key_spec", None)}
    assert kinds >= EVERYTHING
    assert len(kinds & {*get_args(KeySpec)}) > 3
    assert {"KeyDisabled", "KeyPendingImport", "KeyCompromised", "KeyVersionUnusable", "InvalidKeyUsage"} <= codes


def test_acts_on_incidents_are_decided_again() -> None:
    """Each kind of fact about them occurs and is reproduced; who forgets one decides otherwise."""
    made = archive(3, 300, WatchedArchive)
    kinds = {type(recorded.event) for recorded in replay(made.sources())}
    about = {facts.IncidentAcknowledged, facts.IncidentClosed, facts.SuppressionPut, facts.SuppressionDeleted}
    assert about <= kinds
    assert not differs(made.sources())
    for kind in (facts.IncidentClosed, facts.SuppressionPut):
        with pytest.MonkeyPatch.context() as patch:
            broken_evolve(kind)(patch)
            assert differs(made.sources())


def test_the_state_at_the_end_is_policys() -> None:
    """Replay holds exactly what a follower of the registry has, which is policy's own state when all is read."""
    made = archive(5, 40)
    replaying_ = Replay(range(PARTITIONS))
    sources = made.sources()
    while (partition := replaying_.wanted) is not None:
        leaf = next(sources[partition], None)
        for _ in replaying_.end(partition, len(made.log[0])) if leaf is None else replaying_.take(leaf):
            pass
    made.catch_up(0, 10**6)
    assert replaying_.registry == made.registry == made.desks[0].state.entities
    assert replaying_.waiting == ()


def broken_evolve(kind: type[facts.Event]) -> Callable[[pytest.MonkeyPatch], None]:
    def breaking(patch: pytest.MonkeyPatch) -> None:
        handlers = {name: handler for name, handler in evolve._HANDLERS.items() if name is not kind}
        patch.setattr(evolve, "_HANDLERS", handlers)

    return breaking


def nothing_charged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits, "charges", lambda *_: {})


def any_state(patch: pytest.MonkeyPatch) -> None:
    for module in (keys, using):
        patch.setattr(module, "check_state", lambda *_: None)


def compromised_for_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(using, "may_use_compromised", lambda *_: ())


def later_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replaying, "to_milliseconds", lambda text: remaking.to_milliseconds(text) + 1)


BROKEN = {
    **{kind.__name__: broken_evolve(kind) for kind in (
        facts.KeyRotated, facts.KeyDisabled, facts.OperationFailed, facts.SealingKeyPublished, facts.CommandAuthorized,
        facts.GrantCreated, facts.ProposalCreated, facts.PolicyPut, facts.PolicyReset, facts.LimitPut,
        facts.PrincipalSuspended,
    )},
    "nothing is charged": nothing_charged,
    "any state will do": any_state,
    "time is a millisecond late": later_time,
}  # fmt: skip


BROKEN_LIVES = {
    **{kind.__name__: broken_evolve(kind) for kind in (
        facts.KeyCompromised, facts.KeyVersionDisabled, facts.KeyVersionEnabled, facts.KeyVersionDestroyed,
        facts.KeyValidityUpdated, facts.ImportParametersIssued, facts.KeyMaterialImported,
        facts.ImportedKeyMaterialDeleted, facts.StorageEpochBegun,
    )},
    "compromised versions are for everybody": compromised_for_all,
}  # fmt: skip


@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN.keys())
def test_broken_rules_are_noticed(
    breaking: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One handler of `evolve` missing, one rule of `decide` gone: some decision is not reproduced."""
    made = long_archive()
    breaking(monkeypatch)
    assert differs(made.sources())


@pytest.mark.parametrize("breaking", BROKEN_LIVES.values(), ids=BROKEN_LIVES.keys())
def test_broken_rules_about_versions_are_noticed(
    breaking: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is with what becomes of versions and their material."""
    lives = long_lives()
    breaking(monkeypatch)
    assert any(differs(made.sources()) for made in lives)


def leaves(made: Archive, change: Callable[[Leaf], Leaf | None]) -> dict[int, Iterator[Leaf]]:
    found = {partition: [change(leaf) for leaf in log] for partition, log in made.log.items()}
    return {partition: iter([leaf for leaf in log if leaf is not None]) for partition, log in found.items()}


def renumbered(**numbers: int) -> Callable[[Leaf], Leaf]:
    """Let every decision claim to have known so much more, or less."""

    def change(leaf: Leaf) -> Leaf:
        if not isinstance(leaf.event, facts.PolicyEvent):
            return leaf
        decision = leaf.event.data.decision
        claimed = {name: max(0, getattr(decision, name) + more) for name, more in numbers.items()}
        data = leaf.event.data.model_copy(update={"decision": decision.model_copy(update=claimed)})
        event = leaf.event.model_copy(update={"data": data})
        return replace(leaf, event=event, value=event.to_value())

    return change


@pytest.mark.parametrize("numbers", [{"facts_n": -1}, {"registry_n": -2}], ids=str)
def test_another_account_of_what_was_known_is_noticed(numbers: dict[str, int]) -> None:
    """The numbers in a decision are not decoration: with other ones some decisions come out differently."""
    assert differs(leaves(long_archive(), renumbered(**numbers)))


def test_what_was_not_known_in_the_beginning_is_not_folded() -> None:
    """Each decision sees the HSM worker's statements that it names and no other, whatever stands before it."""
    made = archive(3, 40)
    for recorded in replay(made.sources()):
        _check_seen(made, recorded)


def _check_seen(made: Archive, recorded: Recorded) -> None:
    before = made.log[recorded.leaf.partition][: recorded.leaf.position]
    known = {
        leaf.event.subject
        for leaf in before
        if isinstance(leaf.event, facts.OperationFailed)
        and leaf.event.data.verb == "CreateKey"
        and leaf.statement_n <= recorded.decision.facts_n
    }
    failed = {name for name, each in recorded.world.entities.items() if getattr(each, "status", "") == "Failed"}
    assert {name for name in failed if name.startswith("key/")} <= known
