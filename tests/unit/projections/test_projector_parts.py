"""Small parts of the projector: pacing, retries, dead letters, the order of a rebuild."""

import json
from typing import Any

import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, seeded, simulated

from keyfold.events import topics
from keyfold.projections.memory import MemorySchemas
from keyfold.projections.rows import Report
from keyfold.projector.pace import Retry, TokenBucket
from keyfold.projector.publisher import dead_letter
from keyfold.projector.rebuilding import Rebuilding
from keyfold.projector.settings import ProjectorSettings


def test_a_burst_is_free_and_a_stream_is_paced() -> None:
    """The first commits come at once, then as many per second as agreed; rest gives the burst back."""
    bucket = TokenBucket(per_s=10, burst=2)
    assert [round(bucket.delay(100.0), 3) for _ in range(4)] == [0.0, 0.0, 0.1, 0.2]
    assert round(bucket.delay(101.0), 3) == 0.0
    assert [round(bucket.delay(200.0), 3) for _ in range(3)] == [0.0, 0.0, 0.1]


def test_what_exceeds_the_limit_is_refused() -> None:
    """Dead letters beyond the limit are not sent, and later ones are again."""
    bucket = TokenBucket(per_s=1, burst=1)
    assert [bucket.try_take(5.0), bucket.try_take(5.5), bucket.try_take(6.1)] == [True, False, True]


def test_retries_double_up_to_a_limit_and_start_over() -> None:
    """Bounded, growing pauses."""
    retry = Retry(0.1, 0.5)
    assert [retry.pause_s() for _ in range(4)] == [0.1, 0.2, 0.4, 0.5]
    retry.reset()
    assert retry.pause_s() == 0.1


def test_a_dead_letter_holds_place_hash_and_reason() -> None:
    """Never the content."""
    report = Report(3, 17, "ChainRepeat", "read before", "ab" * 32, "cd" * 32, "2026-01-31T12:00:00.000Z")
    letter = dead_letter(report)
    assert (letter.topic, letter.partition) == (topics.DEAD_LETTERS, 0)
    assert json.loads(letter.value or b"") == {
        "service": "projector",
        "topic": topics.EVENTS,
        "partition": 3,
        "offset": 17,
        "reason": "ChainRepeat: read before",
        "sha256": "ab" * 32,
    }


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def memory() -> MemorySchemas:
    schemas = MemorySchemas()
    await schemas.prepare(PARTITIONS)
    await folding.feed_all(schemas.partition_store("blue"), simulated(seeded(1), 30), seeded(1))
    return schemas


async def rebuilding(schemas: MemorySchemas, clock: Clock, **more: Any) -> Rebuilding:
    return Rebuilding(schemas, await schemas.status(), ProjectorSettings(**more), clock)


async def test_nothing_happens_unasked(memory: MemorySchemas) -> None:
    """Looking at a steady store changes nothing."""
    steps = await rebuilding(memory, Clock())
    assert (await steps.look()).phase == "steady"


async def test_a_request_goes_its_way_to_the_swap(memory: MemorySchemas) -> None:
    """Begin; wait until near; close the live schema; swap when the building one has all; drop the old one."""
    steps = await rebuilding(memory, Clock(), swap_below_records=0)
    await memory.request_rebuild()
    assert (await steps.look()).phase == "building"
    assert (await steps.look()).phase == "building"
    await folding.feed_all(memory.partition_store("green"), simulated(seeded(1), 30), seeded(2))
    assert (await steps.look()).phase == "swapping"
    status = await steps.look()
    assert (status.live, status.phase, status.generation) == ("green", "steady", 1)
    assert set(memory.schemas) == {"green"}


async def test_a_swap_that_takes_long_lets_the_live_schema_go_on(memory: MemorySchemas) -> None:
    """Closed for too long: writing goes on, and the swap is tried again much later."""
    clock = Clock()
    steps = await rebuilding(memory, clock, swap_patience_s=5.0)
    await memory.request_rebuild()
    for _ in range(3):
        await steps.look()
    assert steps.status.phase == "swapping"
    clock.now = 6.0
    assert (await steps.look()).phase == "building"
    assert memory.schemas["blue"].open
    assert (await steps.look()).phase == "building"
    clock.now = 67.0
    assert (await steps.look()).phase == "swapping"
