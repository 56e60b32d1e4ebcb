"""Policy under random command streams: what must hold of decisions and of state after every step."""

import json
import random
from collections import Counter

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.property.lasting import Lasting
from tests.support.desk import Desk, fold
from tests.support.histories import STORY_RULES, Sent
from tests.support.people import PARTITIONS, first_events

from keyfold.bus import Inbound
from keyfold.deciding.cedar import Authorizer
from keyfold.events import facts, lthash
from keyfold.events.entities import Bucket, Entity, Key
from keyfold.events.evolve import PROTECTING, evolve
from keyfold.events.streams import partition_of
from keyfold.policy.batch import Batch, Decider, summary_of
from keyfold.policy.memory import Memory
from keyfold.policy.state import Draft, Head, State

NO_USE = {"GetPublicKey", "ImportKeyMaterial"}
"""What is authorized on keys that are not in use, too."""


def fresh_decider(desk: Desk) -> Decider:
    """A decider that has learnt nothing yet."""
    kept, desk.authorizer = desk.authorizer, Authorizer()
    made = desk.decider()
    desk.authorizer = kept
    return made


def said(batch: Batch) -> tuple[list[object], ...]:
    return list(batch.events), list(batch.tickets), list(batch.replies), list(batch.dead_letters)


class Records:
    """The state topic's live records of one partition, and their sum as it was staged."""

    def __init__(self, state: State) -> None:
        self.live: dict[str, bytes] = {}
        self.total = lthash.empty()
        for name, entity in state.entities.items():
            self._put(name, None, entity.model_dump_json().encode())

    def write(self, state: State, draft: Draft) -> None:
        for name, (old, new) in state.changes(draft).items():
            self._put(name, old, new)

    def _put(self, name: str, old: bytes | None, new: bytes | None) -> None:
        assert self.live.get(name) == old, f"the old value of {name} is not what the topic holds"
        self.total = lthash.replace(self.total, name.encode(), old, new)
        if new is None:
            self.live.pop(name, None)
        else:
            self.live[name] = new


class PolicyMachine(RuleBasedStateMachine):
    """A `Lasting` whose every batch is also decided again, and one record at a time by a shadow of each partition."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Lasting(random.Random(0))  # noqa: S311 - choices of a test; the seed is drawn below
        self.records = [Records(desk.state) for desk in self.story.desks]
        self.shadows = [State(Head(), dict(desk.state.entities), Memory()) for desk in self.story.desks]
        self.accepted: Counter[tuple[str, str]] = Counter()
        self.replayed = 0
        self.made: Counter[str] = Counter()
        self.view: dict[str, Entity] = {}

    @rule(seed=st.integers(0, 2**32), size=st.integers(1, 15))
    def commands(self, seed: int, size: int) -> None:
        """Some commands, one batch for each partition."""
        self.story.random.seed(seed)
        self.story.send(self._noted(size), self._decide)

    @rule(most=st.integers(1, 30), seed=st.integers(0, 2**32))
    def answers(self, most: int, seed: int) -> None:
        """The worker answers; the shadows fold the same."""
        self.story.random.seed(seed)
        for event in self.story.answer(most):
            shadow = self.shadows[partition_of(event.subject, PARTITIONS)]
            shadow.apply(evolve(shadow.entities, event))
            if isinstance(event, facts.Outcome):
                shadow.finish({event.data.offset: summary_of(event)})

    @rule(seed=st.integers(0, 2**32))
    def time(self, seed: int) -> None:
        """Time passes."""
        self.story.random.seed(seed)
        self.story.pass_time()

    @rule(partition=st.integers(0, PARTITIONS - 1))
    def restore(self, partition: int) -> None:
        """The partition is taken over: what is written restores to the state, and work goes on with that."""
        desk, records = self.story.desks[partition], self.records[partition]
        records.write(desk.state, draft := Draft(desk.state))
        desk.state.promote(draft)
        head = json.loads(json.dumps(desk.state.head.to_json()))
        found = State.from_records(head, dict(reversed(records.live.items())))
        assert found.head == desk.state.head
        assert found.entities == desk.state.entities
        assert found.memory.segments == desk.state.memory.segments
        assert found.memory.in_flight == desk.state.memory.in_flight
        total = lthash.empty()
        for name, value in records.live.items():
            total = total + lthash.element(name.encode(), value)
        assert np.array_equal(total, records.total)
        desk.state = found

    def _noted(self, size: int) -> list[Sent]:
        return [self.story.ask() for _ in range(size)]

    def _decide(self, partition: int, records: list[Inbound]) -> Batch:
        desk = self.story.desks[partition]
        first = said(desk.decider().decide_all(records, Draft(desk.state)))
        again = said(fresh_decider(desk).decide_all(records, Draft(desk.state)))
        assert first == again, "deciding again gives other bytes"
        shadow = self.shadows[partition]
        singles = [self._alone(desk, shadow, record) for record in records]
        draft = Draft(desk.state)
        batch = desk.decider().decide_all(records, draft)
        assert [event for each in singles for event in each.events] == batch.events, "batches change decisions"
        assert [reply for each in singles for reply in each.replies] == batch.replies
        self.records[partition].write(desk.state, draft)
        desk.state.promote(draft)
        desk.events += [facts.parse_event(entry.value) for entry in batch.events]
        self._once(batch)
        if partition == 0:
            self.story.registry.clear()
            self.story.registry.update(desk.state.entities)
        return batch

    def _alone(self, desk: Desk, shadow: State, record: Inbound) -> Batch:
        draft = Draft(shadow)
        batch = desk.decider().decide_all([record], draft)
        shadow.changes(draft)
        shadow.promote(draft)
        return batch

    def _once(self, batch: Batch) -> None:
        tickets = {entry.value for entry in batch.tickets}
        for entry in batch.events:
            event = facts.parse_event(entry.value)
            if isinstance(event, facts.UsageBudgetWarning):
                continue
            assert isinstance(event, facts.PolicyEvent)
            command = json.loads(event.data.decision.command)
            self.accepted[command["data"]["principal"], event.data.decision.command_digest] += 1
            untold = isinstance(event, facts.CommandDenied | facts.DryRunSucceeded)
            assert (entry.value in tickets) != untold
        assert len(tickets) == len(batch.tickets)

    @invariant()
    def one_decision_for_each_command(self) -> None:
        """No command is decided twice; what is no command is never decided."""
        assert set(self.accepted.values()) <= {1}
        bad = {sent.signed.digest for sent in self.story.sent if not sent.good}
        assert not bad & {digest for _, digest in self.accepted}

    @invariant()
    def events_replay_to_the_state(self) -> None:
        """Folding all events from nothing gives exactly the entities of all partitions.

        But for proposals and grants that were made under one id on several partitions: each partition knows its own,
        and a view of all shows one of them (docs/threat-model.md).
        """
        for event in self.story.events[self.replayed :]:
            fold(self.view, event)
            if isinstance(event, facts.ProposalCreated):
                self.made[f"proposal/{event.data.proposal}"] += 1
            if isinstance(event, facts.GrantCreated):
                self.made[f"grant/{event.data.grant}"] += 1
        self.replayed = len(self.story.events)
        together: dict[str, Entity] = {}
        for desk in self.story.desks:
            together |= desk.state.entities
        assert together.keys() == self.view.keys()
        again = {name for name, times in self.made.items() if times > 1}
        assert _shared(together, again) == _shared(self.view, again)

    @invariant()
    def shadows_know_the_same(self) -> None:
        """How commands were grouped leaves no trace in entities."""
        for desk, shadow in zip(self.story.desks, self.shadows, strict=True):
            assert desk.state.entities == shadow.entities

    def teardown(self) -> None:
        """Look at the whole history at the end."""
        check_lifecycle(self.story.events)
        check_old_versions(self.story.events)
        check_versions_and_counts(self.story.events, self.view)


def _shared(view: dict[str, Entity], again: set[str]) -> dict[str, Entity]:
    """Leave out the levels of limits, of which every partition has its own under the same name, and what was made on
    several partitions."""
    return {name: entity for name, entity in view.items() if not isinstance(entity, Bucket) and name not in again}


def check_lifecycle(events: list[facts.Event]) -> None:
    """A key is used only while the last lifecycle fact about it says that it is enabled."""
    enabled: dict[str, bool] = {}
    for event in events:
        match event:
            case facts.KeyCreated() | facts.KeyEnabled():
                enabled[event.subject] = True
            case facts.KeyDisabled() | facts.KeyDeletionScheduled() | facts.KeyDestroyed():
                enabled[event.subject] = False
            case facts.CommandAuthorized() if event.data.verb in NO_USE:
                pass
            case facts.CommandAuthorized() | facts.KeyRotated() if event.subject.startswith("key/"):
                assert enabled[event.subject], f"{event.subject} was used while it was not enabled"


def check_old_versions(events: list[facts.Event]) -> None:
    """What protects is never a version that is disabled, destroyed or compromised; nor is one opened that is disabled.

    Compromised ones are opened by those only whom a policy permits it, which is not looked at here.
    """
    disabled: set[tuple[str, int]] = set()
    compromised: set[tuple[str, int]] = set()
    for event in events:
        match event:
            case facts.KeyVersionDisabled(data=data):
                disabled.add((event.subject, data.version))
            case facts.KeyVersionEnabled(data=data):
                disabled.remove((event.subject, data.version))
            case facts.KeyVersionDestroyed(data=data):
                disabled.discard((event.subject, data.version))
            case facts.KeyCompromised(data=data):
                compromised |= {(event.subject, version) for version in data.versions}
            case facts.CommandAuthorized(data=data) if data.key_version and data.verb in PROTECTING:
                assert (event.subject, data.key_version) not in disabled | compromised
            case facts.CommandAuthorized(data=data) if data.verb in {"Decrypt", "ReEncryptFrom"}:
                assert data.key_version or {n for stream, n in disabled if stream == event.subject} <= {
                    *data.refused_versions
                }


def check_versions_and_counts(events: list[facts.Event], view: dict[str, Entity]) -> None:
    """Versions are numbered without holes, and each has counted exactly what was authorized on it."""
    versions: Counter[str] = Counter()
    items: Counter[tuple[str, int]] = Counter()
    for event in events:
        if isinstance(event, facts.KeyCreated | facts.KeyRotated):
            versions[event.subject] += 1
            assert getattr(event.data, "version", 1) == versions[event.subject]
        if isinstance(event, facts.CommandAuthorized) and event.data.verb in PROTECTING:
            items[event.subject, event.data.key_version or 0] += event.data.items
    keys = [(name, entity) for name, entity in view.items() if isinstance(entity, Key)]
    assert {name: len(key.versions) for name, key in keys} == dict(versions)
    counted = {(name, version.version): version.protected_items for name, key in keys for version in key.versions}
    assert counted == {place: items[place] for place in counted}
    assert set(items) <= set(counted)


TestPolicy = PolicyMachine.TestCase
TestPolicy.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_long_history() -> None:
    """A thousand commands in one go: the same rules hold, and every kind of decision occurs."""
    story = Lasting(random.Random(20))  # noqa: S311 - choices of a test
    for _ in range(170):
        story.send([story.ask() for _ in range(6)])
        story.answer(6)
        story.pass_time()
    story.answer(len(story.waiting))
    events = story.events
    view: dict[str, Entity] = {}
    for event in events:
        fold(view, event)
    check_lifecycle(events)
    check_old_versions(events)
    check_versions_and_counts(events, view)
    kinds = {type(event) for event in events}
    assert {facts.KeyCreated, facts.KeyRotated, facts.CommandAuthorized, facts.CommandDenied, facts.KeyUsed} <= kinds
    assert {facts.KeyCompromised, facts.KeyVersionDisabled, facts.KeyMaterialImported, facts.StorageEpochBegun} <= kinds
    assert events[0] == first_events(development=True, rules=STORY_RULES)[0]
