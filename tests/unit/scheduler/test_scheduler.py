"""Rounds of the scheduler, with a client and projections in memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keyfold.client import Completed, DeadlineExceeded, SealingKeyPeriod
from keyfold.events.errors import InvalidState, KeyfoldError, Unavailable
from keyfold.events.times import to_text
from keyfold.scheduler.__main__ import main
from keyfold.scheduler.scheduler import Scheduler
from keyfold.scheduler.settings import SchedulerSettings

HOUR = 3_600_000


@dataclass
class World:
    """Keys and sealing keys; what is sent takes effect unless told otherwise."""

    now: int = 100 * HOUR
    due: dict[str, int] = field(default_factory=dict)
    sealing: list[SealingKeyPeriod] = field(default_factory=list)
    sent: list[tuple[str, str]] = field(default_factory=list)
    error: KeyfoldError | None = None
    down: bool = False
    lagging: bool = False

    async def due_deletions(self, now: str, limit: int = 100) -> Sequence["Due"]:
        if self.down:
            raise Unavailable("Postgres is away")
        return [Due(key) for key, at in sorted(self.due.items()) if to_text(at) <= now][:limit]

    async def destroy_key(self, key_id: str, *, timeout_s: float | None = None) -> Completed:
        done = await self._note("DestroyKey", key_id)
        if not self.lagging:
            self.due.pop(key_id, None)
        return done

    async def rotate_sealing_key(self, *, timeout_s: float | None = None) -> Completed:
        return await self._note("RotateSealingKey", "")

    async def erase_sealing_key(self, sealing_key: str, *, timeout_s: float | None = None) -> Completed:
        return await self._note("EraseSealingKey", sealing_key)

    def sealing_keys(self) -> list[SealingKeyPeriod]:
        return self.sealing

    async def _note(self, verb: str, target: str) -> Completed:
        self.sent.append((verb, target))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return Completed("c")

    def scheduler(self) -> Scheduler:
        return Scheduler(self, self, SchedulerSettings(interval_s=0.01), lambda: self.now)


@dataclass
class Due:
    key_id: str


async def test_keys_are_destroyed_when_their_date_has_come() -> None:
    """Not before."""
    world = World(due={"a": 100 * HOUR, "b": 101 * HOUR})
    scheduler = world.scheduler()
    assert await scheduler.round() == 1
    assert world.sent == [("DestroyKey", "a")]
    world.now += HOUR
    await scheduler.round()
    assert world.sent == [("DestroyKey", "a"), ("DestroyKey", "b")]


async def test_sealing_keys_are_rotated_after_a_day_and_erased_after_sixteen_minutes() -> None:
    """By default."""
    world = World(sealing=[SealingKeyPeriod("s", 76 * HOUR + 1, None)])
    scheduler = world.scheduler()
    assert await scheduler.round() == 0
    world.now += 1
    await scheduler.round()
    world.sealing = [SealingKeyPeriod("s", 0, world.now), SealingKeyPeriod("t", world.now, None)]
    world.now += 16 * 60_000 - 1
    await scheduler.round()
    world.now += 1
    await scheduler.round()
    assert world.sent == [("RotateSealingKey", ""), ("EraseSealingKey", "s")]


async def test_nothing_is_sent_again_while_the_projections_lag() -> None:
    """And after a restart a repeated command does no harm."""
    world = World(due={"a": 0}, lagging=True)
    scheduler = world.scheduler()
    for _ in range(3):
        await scheduler.round()
        world.now += 1000
    assert world.sent == [("DestroyKey", "a")]
    world.error = InvalidState("destroyed already")
    assert await world.scheduler().round() == 0
    assert len(world.sent) == 2


async def test_failures_are_tried_again_later() -> None:
    """One duty's failure does not hold up the others."""
    world = World(due={"a": 0}, error=DeadlineExceeded("no answer"))
    scheduler = world.scheduler()
    assert await scheduler.round() == 0
    await scheduler.round()
    assert len(world.sent) == 1
    world.error, world.now = None, world.now + 1000
    assert await scheduler.round() == 1


async def test_sealing_keys_are_looked_after_while_postgres_is_away() -> None:
    """They are read from the directory."""
    world = World(down=True, due={"a": 0}, sealing=[SealingKeyPeriod("s", 0, None)])
    assert await world.scheduler().round() == 1
    assert world.sent == [("RotateSealingKey", "")]


async def test_it_runs_until_it_is_stopped() -> None:
    """Without waiting for the interval."""
    world = World()
    stop = asyncio.Event()
    running = asyncio.ensure_future(world.scheduler().run(stop))
    await asyncio.sleep(0.03)
    world.due["a"] = 0
    await asyncio.sleep(0.03)
    stop.set()
    async with asyncio.timeout(1):
        await running
    assert world.sent == [("DestroyKey", "a")]


def test_it_says_in_one_line_why_it_cannot_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing settings file, for example."""
    assert main(["--config", str(tmp_path / "none.json")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
