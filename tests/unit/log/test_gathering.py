"""Gathering: a batch that comes in pieces becomes one; a lone record never waits."""

import asyncio

from keyfold.bus import Inbound
from keyfold.log.gathering import Gatherer


def record(offset: int) -> Inbound:
    return Inbound("keyfold.commands", 1, offset, 0, b"k", b"v")


class Pieces:
    """A reader that answers polls from a list, and notes their timeouts."""

    def __init__(self, *pieces: int) -> None:
        self._pieces = list(pieces)
        self.timeouts: list[float] = []

    async def poll(self, timeout_s: float, max_records: int = 500) -> list[Inbound]:
        self.timeouts.append(timeout_s)
        await asyncio.sleep(0)
        return [record(number) for number in range(self._pieces.pop(0))]


async def test_a_lone_record_does_not_wait() -> None:
    """One record after another: each is returned by the poll that finds it."""
    reader = Pieces(1, 1, 1)
    gatherer = Gatherer(reader, 60.0)  # type: ignore[arg-type]
    assert [len(await gatherer.poll(0.5, 200)) for _ in range(3)] == [1, 1, 1]
    assert reader.timeouts == [0.5, 0.5, 0.5]


async def test_what_is_smaller_than_the_last_batch_waits_for_companions() -> None:
    """After a batch of five, two records wait once for the other three."""
    reader = Pieces(5, 2, 3)
    gatherer = Gatherer(reader, 0.001)  # type: ignore[arg-type]
    assert [len(await gatherer.poll(0.5, 200)) for _ in range(2)] == [5, 5]
    assert reader.timeouts == [0.5, 0.5, 0.0]


async def test_nobody_is_waited_for_twice() -> None:
    """Where nothing else comes, the smaller batch is the new measure."""
    reader = Pieces(5, 2, 0, 2)
    gatherer = Gatherer(reader, 0.001)  # type: ignore[arg-type]
    assert [len(await gatherer.poll(0.5, 200)) for _ in range(3)] == [5, 2, 2]
    assert reader.timeouts == [0.5, 0.5, 0.0, 0.5]


async def test_a_full_batch_does_not_wait() -> None:
    """What fills a transaction is taken at once."""
    reader = Pieces(10, 4)
    gatherer = Gatherer(reader, 60.0)  # type: ignore[arg-type]
    assert [len(await gatherer.poll(0.5, most)) for most in (10, 4)] == [10, 4]
