"""Faults of the memory cluster: every commit lost, landed but reported failed, left open, or refused."""

import pytest

from keyfold.bus import (
    BusUnavailable,
    Fault,
    InDoubt,
    MemoryBus,
    MemoryCluster,
    Outbound,
    RecordRefused,
    WriterUnusable,
)
from keyfold.bus.memory.bus import MemoryReader
from keyfold.events.topics import EVENTS, HSM_STATE


def out(value: bytes, topic: str = EVENTS) -> Outbound:
    return Outbound(topic, 0, b"k", value)


async def read(bus: MemoryBus, *, committed: bool = True, topic: str = EVENTS) -> list[bytes | None]:
    reader = bus.reader(topic, 0, committed=committed)
    await reader.start(None)
    return [record.value async for batch in reader.read_to_end() for record in batch]


@pytest.mark.parametrize(
    ("fault", "kind", "seen"),
    [
        (Fault.LOST, InDoubt, []),
        (Fault.LANDED, InDoubt, [b"1", b"2"]),
        (Fault.HANGING, InDoubt, []),
        (Fault.REFUSED, RecordRefused, []),
    ],
)
async def test_a_faulty_commit_is_in_doubt_and_all_or_nothing(
    fault: Fault, kind: type[InDoubt], seen: list[bytes]
) -> None:
    """The caller cannot tell lost from landed; both topics agree after the next writer has started."""
    bus = MemoryBus()
    writer = bus.writer("w")
    await writer.start()
    bus.cluster.fail_next_commit(fault, "w")
    with pytest.raises(kind):
        await writer.commit([out(b"1"), out(b"2"), out(b"state", HSM_STATE)])
    with pytest.raises(WriterUnusable):
        await writer.commit([out(b"3")])
    await bus.writer("w").start()
    assert await read(bus) == seen
    assert await read(bus, topic=HSM_STATE) == [b"state"] * bool(seen)
    assert await read(bus, committed=False) == [b"1", b"2"]


async def test_a_hanging_transaction_blocks_committed_readers_until_fenced() -> None:
    """As at a broker: the last stable offset stands before it."""
    bus = MemoryBus()
    writer, other = bus.writer("w"), bus.writer("other")
    await writer.start()
    await other.start()
    bus.cluster.fail_next_commit(Fault.HANGING, "w")
    with pytest.raises(InDoubt):
        await writer.commit([out(b"open")])
    await other.commit([out(b"behind")])
    assert await read(bus) == []
    await bus.writer("w").start()
    assert await read(bus) == [b"behind"]


async def test_faults_meet_whom_they_are_meant_for_once() -> None:
    """A fault for one id leaves others alone, and is used up."""
    bus = MemoryBus()
    bus.cluster.fail_next_commit(Fault.LOST, "b")
    a, b = bus.writer("a"), bus.writer("b")
    await a.start()
    await b.start()
    await a.commit([out(b"a")])
    with pytest.raises(InDoubt):
        await b.commit([out(b"b")])
    again = bus.writer("b")
    await again.start()
    await again.commit([out(b"b2")])
    assert await read(bus) == [b"a", b"b2"]


async def test_a_cluster_that_is_down_is_unavailable() -> None:
    """Every port says so, and goes on when it is up again."""
    bus = MemoryBus()
    writer, reader = bus.writer("w"), bus.reader(EVENTS, 0, committed=True)
    await writer.start()
    await reader.start(None)
    bus.cluster.down = True
    with pytest.raises(InDoubt):
        await writer.commit([out(b"x")])
    with pytest.raises(BusUnavailable):
        await reader.poll(0)
    with pytest.raises(BusUnavailable):
        await bus.writer("w").start()
    bus.cluster.down = False
    assert await reader.poll(0) == []


async def test_append_time_is_the_injected_clocks() -> None:
    """Tests decide what time it is."""
    now = [1_000]
    bus = MemoryBus(MemoryCluster(clock_ms=lambda: now[0]))
    writer = bus.writer("w")
    await writer.start()
    await writer.commit([out(b"1")])
    now[0] = 2_000
    await writer.commit([out(b"2")])
    reader: MemoryReader = bus.reader(EVENTS, 0, committed=True)
    await reader.start(None)
    assert [(r.offset, r.timestamp_ms) for r in await reader.poll(0)] == [(0, 1_000), (2, 2_000)]
