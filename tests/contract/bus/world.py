"""What the tests of the contract of the bus share: a bus with topics of its own, and waiting."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from keyfold.bus import Bus, Inbound, Outbound, Reader, RecordRefused, Writer
from keyfold.events.topics import Topic

SMALL = 4096


class World:
    """A bus, topics of this test alone, and ports that are stopped at its end."""

    def __init__(self, bus: Bus, name: str) -> None:
        self.bus = bus
        self.name = name
        self.a, self.b, self.small = f"{name}.a", f"{name}.b", f"{name}.small"
        self._stops: list[Callable[[], Awaitable[None]]] = []

    @property
    def topics(self) -> list[Topic]:
        """What is on the bus for this test."""
        return [
            Topic(self.a, 2, "none", -1, 2 << 20, append_time=True),
            Topic(self.b, 1, "none", -1, 2 << 20),
            Topic(self.small, 1, "none", -1, SMALL),
        ]

    async def writer(self, who: str = "w") -> Writer:
        writer = self.bus.writer(f"{self.name}-{who}")
        self._stops.append(writer.stop)
        await writer.start()
        return writer

    async def reader(
        self, topic: str | None = None, partition: int = 0, *, position: int | None = None, committed: bool = True
    ) -> Reader:
        reader = self.bus.reader(topic or self.a, partition, committed=committed)
        self._stops.append(reader.stop)
        await reader.start(position)
        return reader

    async def values(
        self, until: bytes | None = None, *, topic: str | None = None, committed: bool = True
    ) -> list[bytes | None]:
        """Read to the end, and again until a value has arrived: a commit becomes visible a moment after it returns."""
        reader = await self.reader(topic, committed=committed)
        found: list[bytes | None] = []
        async with asyncio.timeout(8):
            while True:
                end = await reader.end_offset()
                found += [record.value async for batch in reader.read_to_end() for record in batch]
                assert reader.position() >= end
                if until in {None, *found}:
                    return found

    async def leave_in_doubt(self, who: str = "w") -> Writer:
        """Return a writer whose transaction holds b"doubtful" in `a`, and failed."""
        writer = await self.writer(who)
        with pytest.raises(RecordRefused):
            await writer.commit([self.out(b"doubtful"), self.too_large()])
        return writer

    def out(self, value: bytes, topic: str | None = None, partition: int = 0) -> Outbound:
        return Outbound(topic or self.a, partition, b"key", value, (("h", b"v"),))

    def too_large(self) -> Outbound:
        return self.out(bytes(2 * SMALL), self.small)

    async def close(self) -> None:
        for stop in reversed(self._stops):
            await stop()


async def gather(reader: Reader, count: int) -> list[Inbound]:
    """Poll until so many records have come."""
    found: list[Inbound] = []
    while len(found) < count:
        batch = await reader.poll(5.0)
        assert batch, "nothing arrived"
        found += batch
    return found


async def eventually(condition: Callable[[], bool], within_s: float) -> None:
    """Wait until something is so."""
    for _ in range(int(within_s / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"not so within {within_s} s")
