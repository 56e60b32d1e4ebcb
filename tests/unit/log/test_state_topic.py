"""A role's private state in a compacted topic: what was promoted restores, and nothing else does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.people import DEPLOYMENT, certificate, signer

from keyfold.bus import Fault, InDoubt, MemoryBus, MemoryCluster
from keyfold.events import lthash, topics
from keyfold.events.trust import Trust
from keyfold.log import Author, Staged, StateCorrupt, StateTopic

TRUST = Trust.pin(DEPLOYMENT, signer("root").public_key).with_event(certificate("policy"))


def topic(partition: int = 1) -> StateTopic:
    key = signer("policy")
    return StateTopic(Author(DEPLOYMENT, "policy", key.fingerprint, key.sign), topics.POLICY_STATE, partition)


class Kept:
    """A state topic with its bus."""

    def __init__(self) -> None:
        self.bus = MemoryBus(MemoryCluster())
        self.topic = topic()

    async def write(self, staged: Staged) -> None:
        writer = self.bus.writer("w")
        await writer.start()
        await writer.commit(staged.records)
        await writer.stop()

    async def restored(self, trust: Trust = TRUST) -> object:
        made = topic()
        found = await made.restore(self.bus.reader(topics.POLICY_STATE, 1, committed=True), trust)
        assert np.array_equal(made.stage({}, {}).total, total(found.records))
        return found.head, found.records


def total(records: dict[str, bytes]) -> lthash.Sum:
    found = lthash.empty()
    for name, value in records.items():
        found = found + lthash.element(name.encode(), value)
    return found


@pytest.fixture
async def kept() -> Kept:
    return Kept()


async def test_nothing_yet(kept: Kept) -> None:
    """A partition that never wrote a head has none, and no records."""
    assert await kept.restored() == (None, {})


async def test_written_and_restored(kept: Kept) -> None:
    """Records that were put, replaced and removed restore as they stand, with the last head."""
    first = kept.topic.stage({"a": (None, b"1"), "b": (None, b"2")}, {"n": 1})
    await kept.write(first)
    kept.topic.promote(first)
    second = kept.topic.stage({"a": (b"1", b"3"), "b": (b"2", None), "c": (None, b"4")}, {"n": 2})
    await kept.write(second)
    assert await kept.restored() == ({"n": 2}, {"a": b"3", "c": b"4"})


async def test_the_head_is_last(kept: Kept) -> None:
    """A transaction ends with its head: a reader that has the head has everything that it covers."""
    staged = kept.topic.stage({"a": (None, b"1")}, {"n": 1})
    assert [record.key for record in staged.records] == [b"a", b"head"]
    assert {(record.topic, record.partition) for record in staged.records} == {(topics.POLICY_STATE, 1)}


async def test_what_was_not_promoted_does_not_count(kept: Kept) -> None:
    """A transaction that failed leaves the sum as it was."""
    kept.topic.stage({"a": (None, b"lost")}, {"n": 1})
    staged = kept.topic.stage({"b": (None, b"1")}, {"n": 1})
    await kept.write(staged)
    assert await kept.restored() == ({"n": 1}, {"b": b"1"})


async def test_a_sum_that_was_not_promoted_is_found(kept: Kept) -> None:
    """Forgetting to promote would sign a sum that does not restore: it cannot go unnoticed."""
    await kept.write(kept.topic.stage({"a": (None, b"1")}, {"n": 1}))
    await kept.write(kept.topic.stage({"b": (None, b"2")}, {"n": 2}))
    with pytest.raises(StateCorrupt):
        await kept.restored()


async def test_a_wrong_old_value_is_found(kept: Kept) -> None:
    """The sum follows the old values that it is told: one that is not what the topic holds does not restore."""
    staged = kept.topic.stage({"a": (None, b"1")}, {"n": 1})
    await kept.write(staged)
    kept.topic.promote(staged)
    await kept.write(kept.topic.stage({"a": (b"other", b"2")}, {"n": 2}))
    with pytest.raises(StateCorrupt):
        await kept.restored()


async def test_aborted_records_do_not_count(kept: Kept) -> None:
    """Only what was committed restores."""
    staged = kept.topic.stage({"a": (None, b"1")}, {"n": 1})
    await kept.write(staged)
    kept.topic.promote(staged)
    kept.bus.cluster.fail_next_commit(Fault.LOST)
    with pytest.raises(InDoubt):
        await kept.write(kept.topic.stage({"a": (b"1", b"2")}, {"n": 2}))
    assert await kept.restored() == ({"n": 1}, {"a": b"1"})


async def test_a_revoked_or_unknown_key(kept: Kept) -> None:
    """A head by a key that is not certified, or no longer trusted, is refused."""
    await kept.write(kept.topic.stage({}, {"n": 1}))
    with pytest.raises(StateCorrupt):
        await kept.restored(Trust.pin(DEPLOYMENT, signer("root").public_key))


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcde"), st.none() | st.binary(max_size=3), min_size=1, max_size=4), max_size=8
    )
)
@settings(deadline=None, max_examples=60)
def test_the_staged_sum_is_that_of_all_live_records(batches: list[dict[str, bytes | None]]) -> None:
    """Whatever is put, replaced and removed, the sum equals a full recomputation."""
    made, live = topic(), dict[str, bytes]()
    for batch in batches:
        changes = {name: (live.get(name), value) for name, value in batch.items()}
        staged = made.stage(changes, {})
        made.promote(staged)
        for name, value in batch.items():
            live.pop(name, None)
            if value is not None:
                live[name] = value
        assert np.array_equal(staged.total, total(live))
