"""A partition's state: records and back, what changes, drafts, and the memory's segments."""

import json
from typing import Any

import numpy as np
import pytest
from tests.support.desk import Desk, fresh_registry, outcome_of
from tests.support.people import DEPLOYMENT, LIFETIME_MS, command, key_on, signer, uuid

from keyfold.events import facts, lthash, topics
from keyfold.events.chains import Place
from keyfold.events.evolve import evolve
from keyfold.events.statements import ChainHead
from keyfold.log import Author, StateCorrupt, StateTopic
from keyfold.policy.batch import summary_of
from keyfold.policy.memory import Memory, Remembered, Segment, Summary
from keyfold.policy.state import EXPIRE_AT_ONCE, Draft, Head, State

KEY = key_on(2)


class Kept(Desk):
    """A desk that keeps the state topic's live records as the processor would, with the staged sum."""

    def __post_init__(self) -> None:
        super().__post_init__()
        key = signer("policy")
        self.topic = StateTopic(Author(DEPLOYMENT, "policy", key.fingerprint, key.sign), topics.POLICY_STATE, 2)
        self.live: dict[str, bytes] = {}
        self.number = 0

    def step(self, *verbs: str, stream: str = KEY, **options: Any) -> None:
        """Decide commands in one transaction and write what changed."""
        draft, records = Draft(self.state), []
        for verb in verbs:
            self.number += 1
            records.append(self.record(command(verb, stream, self.number, issued_ms=self.now_ms, **options)))
        self.decider().decide_all(records, draft)
        self.write(draft)

    def write(self, draft: Draft) -> None:
        staged = self.topic.stage(self.state.changes(draft), draft.head.to_json())
        for record in staged.records[:-1]:
            name = (record.key or b"").decode()
            if record.value is None:
                assert name in self.live, "a record is removed that was never written"
                del self.live[name]
            else:
                self.live[name] = record.value
        self.head = json.loads(staged.records[-1].value or b"")["head"]
        self.topic.promote(staged)
        self.state.promote(draft)
        total = lthash.empty()
        for name, value in self.live.items():
            total = total + lthash.element(name.encode(), value)
        assert np.array_equal(staged.total, total), "the staged sum is not that of the live records"

    def fold(self, event: facts.Outcome) -> None:
        self.state.apply(evolve(self.state.entities, event))
        self.state.finish({event.data.offset: summary_of(event)})

    def decided(self) -> facts.PolicyEvent:
        """The last decided command as an event, for the worker to answer."""
        desk_event = self.last()
        assert isinstance(desk_event, facts.PolicyEvent)
        return desk_event


def kept() -> Kept:
    return Kept(2, fresh_registry())


def assert_restores(desk: Kept) -> None:
    """What was written gives the same state again, which then writes the same bytes."""
    found = State.from_records(desk.head, dict(reversed(desk.live.items())))
    assert found.head == desk.state.head
    assert found.entities == desk.state.entities
    assert found.memory.segments == desk.state.memory.segments
    assert list(found.memory.segments) == list(desk.state.memory.segments)
    assert found.memory.in_flight == desk.state.memory.in_flight
    assert found.memory.next_number == desk.state.memory.next_number


def test_records_and_back() -> None:
    """After every transaction, the records restore to the state and their sum is the staged one."""
    desk = kept()
    desk.step("CreateKey", "Encrypt", "RotateKey", "Encrypt")
    assert_restores(desk)
    desk.step("CreateKey", stream=key_on(2, 500), arguments={"tags": {"b": "2", "a": "ü\n"}, "description": "注文"})
    desk.step("DisableKey", arguments={"reason": 'a "quoted" reason'})
    assert_restores(desk)
    assert set(desk.live) == {*desk.state.entities, "segment/1", "segment/2", "segment/3"}


def test_only_what_changed_is_written() -> None:
    """A transaction writes what it changed: one entity and one segment here, whatever else there is."""
    desk = kept()
    for number in range(10):
        desk.step("CreateKey", stream=key_on(2, 100 * number))
    draft = Draft(desk.state)
    desk.decider().decide_all([desk.record(command("Encrypt", key_on(2, 100), 99))], draft)
    assert set(desk.state.changes(draft)) == {key_on(2, 100), f"segment/{desk.state.memory.next_number}"}


def test_a_draft_is_not_the_state() -> None:
    """Until it is promoted, a draft changes nothing that a new draft would see."""
    desk = kept()
    desk.step("CreateKey")
    before = (dict(desk.state.entities), dict(desk.state.memory.segments), desk.state.head)
    draft = Draft(desk.state)
    records = [desk.record(command(verb, KEY, 50 + n)) for n, verb in enumerate(("DisableKey", "Encrypt"))]
    made = desk.decider().decide_all(records, draft)
    desk.state.changes(draft)
    assert (dict(desk.state.entities), desk.state.memory.segments, desk.state.head) == before
    again = desk.decider().decide_all(records, Draft(desk.state))
    assert again.events == made.events
    assert draft[KEY] != desk.state.entities[KEY]


def test_draft_as_a_view() -> None:
    """A draft reads as the state with its changes: replaced, added and removed entities."""
    desk = kept()
    desk.step("CreateKey")
    desk.step("CreateKey", stream=key_on(2, 500))
    draft = Draft(desk.state)
    key = desk.state.entities[KEY]
    draft.apply({KEY: None, "alias/a": key})
    assert set(draft) == {key_on(2, 500), "alias/a"}
    assert len(draft) == 2
    assert KEY not in draft
    assert draft.get(KEY) is None
    with pytest.raises(KeyError):
        draft[KEY]
    assert draft["alias/a"] is key


def test_what_changes_again_is_written_as_it_is_last() -> None:
    """Asking what would be written does not fix it."""
    desk = kept()
    desk.step("CreateKey")
    draft = Draft(desk.state)
    desk.decider().decide_all([desk.record(command("DisableKey", KEY, 50))], draft)
    first = desk.state.changes(draft)[KEY]
    desk.decider().decide_all([desk.record(command("EnableKey", KEY, 51))], draft)
    assert desk.state.changes(draft)[KEY] not in (first, (first[0], first[0]))
    desk.write(draft)
    assert_restores(desk)


def outcome(desk: Kept, number: int, kind: type[facts.Event] | None = None, **data: Any) -> facts.Outcome:
    """The worker's answer to the command of a number, from what the state remembers."""
    known = desk.state.memory.recall(("alice", uuid(number)))
    assert known is not None
    names = {"offset": known.offset, "command_id": known.id, "command_digest": known.digest, "principal": "alice"}
    made = (kind or facts.CommandCompleted).new(
        f"o.{number}", KEY, "2026-01-01T00:00:00.000Z", verb="CreateKey", **names, **data
    )
    assert isinstance(made, facts.Outcome)
    return made


def test_folded_facts_are_written_with_the_next_transaction() -> None:
    """Outcomes folded between transactions change entities and segments; the next transaction writes both."""
    desk = kept()
    desk.step("CreateKey", "Encrypt")
    desk.step("Encrypt")
    desk.fold(outcome(desk, 2))
    desk.fold(outcome(desk, 1, facts.OperationFailed, key_id=KEY.removeprefix("key/"), code="TokenUnavailable"))
    assert desk.state.unsaved
    desk.step("Encrypt")
    assert not desk.state.unsaved
    assert_restores(desk)
    assert desk.state.entities[KEY].status == "Failed"
    desk.fold(outcome(desk, 3))
    desk.write(Draft(desk.state))
    assert_restores(desk)


def test_folded_and_decided_in_one_transaction() -> None:
    """An entity that a fact and then a decision changed is written once, from what the topic holds."""
    desk = kept()
    desk.step("CreateKey", "RotateKey")
    desk.fold(outcome(desk, 2, facts.OperationFailed, key_id=KEY.removeprefix("key/"), code="TokenUnavailable"))
    desk.step("RotateKey", "DisableKey")
    assert_restores(desk)


def test_expired_segments_are_forgotten_exactly() -> None:
    """A transaction drops finished segments whose commands cannot be accepted any more; never others, in order."""
    desk = kept()
    desk.step("CreateKey")
    for _ in range(4):
        desk.now_ms += 1000
        desk.step("Encrypt")
    for number in (1, 2, 4, 5):
        desk.fold(outcome(desk, number))
    desk.now_ms += LIFETIME_MS - 3001
    desk.step("Encrypt")
    assert sorted(desk.state.memory.segments) == [2, 3, 4, 5, 6]
    desk.now_ms += 1
    desk.step("Encrypt")
    assert sorted(desk.state.memory.segments) == [3, 4, 5, 6, 7]
    desk.now_ms += LIFETIME_MS
    desk.step("Encrypt")
    assert sorted(desk.state.memory.segments) == [3, 4, 5, 6, 7, 8], "the third has no outcome: it blocks those behind"
    for number in (3, 6, 7):
        desk.fold(outcome(desk, number))
    desk.step("Encrypt")
    assert sorted(desk.state.memory.segments) == [8, 9]
    assert_restores(desk)
    assert "segment/3" not in desk.live


def test_finished_and_expired_before_it_was_written() -> None:
    """A segment that is finished and forgotten in one transaction is removed as the topic holds it."""
    desk = kept()
    desk.step("CreateKey")
    desk.now_ms += LIFETIME_MS
    desk.fold(outcome(desk, 1))
    desk.step("Encrypt")
    assert sorted(desk.state.memory.segments) == [2]
    assert_restores(desk)


def test_forgetting_is_spread() -> None:
    """One transaction forgets a few segments, so that a long pause does not make one huge transaction."""
    desk = kept()
    for number in range(20):
        desk.step("CreateKey", stream=key_on(2, 50 * number))
    for number in range(1, 21):
        desk.fold(outcome(desk, number))
    desk.now_ms += LIFETIME_MS
    desk.step("Encrypt")
    assert len(desk.state.memory.segments) == 21 - EXPIRE_AT_ONCE


def entry(number: int, offset: int, expires_ms: int, summary: Summary | None = None) -> Remembered:
    return Remembered(
        principal="alice",
        id=uuid(number),
        digest="0" * 64,
        body_digest="1" * 64,
        offset=offset,
        expires_ms=expires_ms,
        registry_revision=0,
        summary=summary,
    )


def test_forgetting_an_old_use_of_an_id_keeps_the_new_one() -> None:
    """An id that was used again is remembered after the segment of its first use is forgotten."""
    done = Summary(outcome="x")
    old = Segment(number=1, entries=(entry(1, 10, 100, done),))
    new = Segment(number=2, entries=(entry(1, 20, 200, done),))
    memory = Memory([new, old])
    memory.forget(old)
    known = memory.recall(("alice", uuid(1)))
    assert known is not None
    assert known.offset == 20


def test_an_outcome_in_an_old_segment_leaves_the_new_use_of_an_id() -> None:
    """A segment that changes for another command does not bring back its own old use of an id."""
    done = Summary(outcome="x")
    old = Segment(number=1, entries=(entry(1, 10, 100, done), entry(2, 11, 100)))
    new = Segment(number=2, entries=(entry(1, 20, 200, done),))
    memory = Memory([old, new])
    assert len(memory.finish({11: done})) == 1
    known = memory.recall(("alice", uuid(1)))
    assert known is not None
    assert known.offset == 20


def test_numbers_are_not_used_twice_while_they_live() -> None:
    """A new segment's number is above all live ones, also after the newest was forgotten."""
    memory = Memory([Segment(number=7, entries=()), Segment(number=3, entries=())])
    assert memory.next_number == 8
    memory.forget(memory.segments[7])
    assert memory.next_number >= 4


def test_head_and_back() -> None:
    """A head survives its JSON form; no head at all is the head of a partition that never wrote one."""
    place = Place(ChainHead(4, "ab" * 32), 2, 5)
    head = Head(17, 3, 9, {"hsm": place, "root": Place()}, ChainHead(5, "cd" * 32), ChainHead(2, "ef" * 32))
    assert Head.from_json(json.loads(json.dumps(head.to_json()))) == head
    assert Head.from_json(None) == Head()


@pytest.mark.parametrize(
    ("head", "records"),
    [
        ({}, {}),
        ({"now_ms": 1, "commands": 1, "events": 1, "places": {"hsm": [1]}, "events_head": [0, ""]}, {}),
        (None, {"segment/1": b"not json"}),
        (None, {"key/x": b"{}", "segment/1": b'{"kind":"segment"}'}),
    ],
)
def test_records_that_do_not_parse(head: Any, records: dict[str, bytes]) -> None:
    """Records that are signed for and yet do not parse are of another version: the state is refused, not guessed."""
    with pytest.raises(StateCorrupt):
        State.from_records(head, records)


@pytest.mark.parametrize("stored", [b"{}", b'{"kind":"key"}', b"not json"])
def test_an_entity_that_does_not_parse_stops_its_partition_when_it_is_asked_for(stored: bytes) -> None:
    """What was decided about it is not committed, also where deciding went on without it; others are not held up."""
    desk = kept()
    desk.step("CreateKey")
    other = key_on(2, 500)
    state = State.from_records(desk.head, {**desk.live, other: stored})
    draft = Draft(state)
    desk.decider().decide_all([desk.record(command("Encrypt", KEY, 50))], draft)
    assert set(state.changes(draft)) == {KEY, "segment/2"}
    draft = Draft(state)
    desk.decider().decide_all([desk.record(command("Encrypt", other, 51))], draft)
    with pytest.raises(StateCorrupt, match=other):
        state.changes(draft)


def test_what_the_topic_holds_is_taken_from_it_and_not_made_again() -> None:
    """Bytes that an earlier version wrote otherwise leave the sum exactly as they stand there."""
    desk = kept()
    desk.step("CreateKey")
    earlier = json.dumps(json.loads(desk.live[KEY])).encode()
    assert earlier != desk.live[KEY]
    state = State.from_records(desk.head, {**desk.live, KEY: earlier})
    draft = Draft(state)
    desk.decider().decide_all([desk.record(command("Encrypt", KEY, 50))], draft)
    old, new = state.changes(draft)[KEY]
    assert old == earlier
    assert new is not None
    state.promote(draft)
    assert state.entities.stored(KEY) == new


def test_outcomes_name_commands_of_their_partition_only() -> None:
    """`outcome_of` in these tests is what the worker writes: the memory finds it by the command's offset."""
    desk = kept()
    desk.decide(command("CreateKey", KEY, 1))
    desk.finish(outcome_of(desk.decided()))
    assert desk.state.memory.in_flight == 0
