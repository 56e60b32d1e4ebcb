"""Rounds of the scheduler, with a client and projections in memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.log_lines import log_lines
from tests.unit.scheduler.issuers import LIFETIME_S, issuer

from keyfold.client import Completed, DeadlineExceeded, SealingKeyPeriod
from keyfold.config import Config, save_config
from keyfold.events.arguments import DeletionCause, EpochEvidence, RotationCause
from keyfold.events.entities import Deployment, Issuer
from keyfold.events.errors import InvalidIssuer, InvalidState, KeyfoldError, Unavailable
from keyfold.events.times import to_text
from keyfold.projections.rows import DueDeletion, DueExpiry, DueRotation, EpochTurn, StorageEpoch
from keyfold.scheduler import __main__ as program
from keyfold.scheduler import scheduler as scheduler_module
from keyfold.scheduler.__main__ import main
from keyfold.scheduler.key_sets import KeySetUnreadable
from keyfold.scheduler.scheduler import Scheduler
from keyfold.scheduler.settings import SchedulerSettings

HOUR = 3_600_000


@dataclass
class World:
    """Keys, sealing keys and issuers; what is sent takes effect unless told otherwise."""

    now: int = 100 * HOUR
    due: dict[str, int] = field(default_factory=dict)
    worn: dict[str, RotationCause] = field(default_factory=dict)
    over: list[tuple[str, int]] = field(default_factory=list)
    epoch: StorageEpoch | None = None
    development: bool = False
    trusted: list[Issuer] = field(default_factory=list)
    published: dict[str, str] = field(default_factory=dict)
    sealing: list[SealingKeyPeriod] = field(default_factory=list)
    sent: list[tuple[str, str]] = field(default_factory=list)
    error: KeyfoldError | None = None
    down: bool = False
    lagging: bool = False

    async def due_deletions(self, now: str, limit: int = 100) -> Sequence[DueDeletion]:
        if self.down:
            raise Unavailable("Postgres is away")
        return [DueDeletion(key, to_text(at)) for key, at in sorted(self.due.items()) if to_text(at) <= now][:limit]

    async def due_rotations(self, now: str, limit: int = 100) -> Sequence[DueRotation]:
        assert now == to_text(self.now)
        return [DueRotation(key, 1, cause) for key, cause in self.worn.items()][:limit]

    async def due_material_expiries(self, now: str, limit: int = 100) -> Sequence[DueExpiry]:
        assert now == to_text(self.now)
        return [DueExpiry(key, version, now) for key, version in self.over][:limit]

    async def storage_epoch(self) -> StorageEpoch | None:
        return self.epoch

    async def deployment(self) -> Deployment | None:
        return Deployment(root_public_key="0" * 64, partitions=4, development=self.development)

    async def issuers(self) -> Sequence[Issuer]:
        return self.trusted

    async def read(self, source: str) -> str:
        if source not in self.published:
            raise KeySetUnreadable("it answers with status 404")
        return self.published[source]

    async def destroy_key(self, key_id: str, *, timeout_s: float | None = None) -> Completed:
        done = await self._note("DestroyKey", key_id)
        if not self.lagging:
            self.due.pop(key_id, None)
        return done

    async def rotate_key(
        self, key: str, *, cause: RotationCause = "requested", timeout_s: float | None = None
    ) -> Completed:
        done = await self._note(f"RotateKey {cause}", key)
        if not self.lagging:
            del self.worn[key]
        return done

    async def delete_imported_key_material(
        self,
        key: str,
        *,
        version: int | None = None,
        cause: DeletionCause = "requested",
        timeout_s: float | None = None,
    ) -> Completed:
        return await self._note(f"DeleteImportedKeyMaterial {cause}", f"{key}/{version}")

    async def end_storage_epoch(
        self, epoch: int, evidence: Sequence[EpochEvidence], *, timeout_s: float | None = None
    ) -> Completed:
        places = [(place.partition, place.offset) for place in evidence]
        return await self._note("EndStorageEpoch", f"{epoch} {places}")

    async def put_issuer_keys(self, issuer: str, jwks: str, *, timeout_s: float | None = None) -> Completed:
        return await self._note("PutIssuerKeys", f"{issuer} {jwks}")

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
        return Scheduler(self, self, self, SchedulerSettings(interval_s=0.01), lambda: self.now)


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


@pytest.mark.parametrize("cause", ["usage-budget", "period", "compromise"])
async def test_keys_are_rotated_for_a_cause(cause: RotationCause) -> None:
    """The one that policy holds the scheduler to; once, and again when it holds of the new version."""
    world = World(worn={"a": cause})
    scheduler = world.scheduler()
    assert await scheduler.round() == 1
    assert await scheduler.round() == 0
    world.worn, world.now = {"a": cause}, world.now + 30_000
    assert await scheduler.round() == 1
    assert world.sent == [(f"RotateKey {cause}", "a")] * 2


async def test_imported_material_is_deleted_when_it_is_over() -> None:
    """Of each version, once while the projections lag."""
    world = World(over=[("a", 1), ("a", 3)])
    scheduler = world.scheduler()
    assert await scheduler.round() == 2
    assert await scheduler.round() == 0
    assert sorted(world.sent) == [("DeleteImportedKeyMaterial expired", f"a/{version}") for version in (1, 3)]


def epoch(world: World, partitions: int) -> StorageEpoch:
    """The second epoch, begun a moment ago; so many of four partitions have turned."""
    turned = tuple(EpochTurn(partition, 7 + partition, to_text(world.now), 1) for partition in range(partitions))
    return StorageEpoch(2, 0, 4, to_text(world.now), "alice", None, None, turned)


async def test_a_storage_epoch_is_ended_by_the_evidence_of_every_partition() -> None:
    """Not while one is missing."""
    world = World()
    world.epoch = epoch(world, 3)
    scheduler = world.scheduler()
    assert await scheduler.round() == 0
    world.epoch = epoch(world, 4)
    assert await scheduler.round() == 1
    assert world.sent == [("EndStorageEpoch", "1 [(0, 7), (1, 8), (2, 9), (3, 10)]")]


@pytest.mark.parametrize(("development", "pause_ms"), [(False, 16 * 60_000), (True, 5_000)])
async def test_a_storage_epoch_ends_the_life_of_older_sealing_keys(development: bool, pause_ms: int) -> None:
    """The current one is rotated once, and erased when nothing valid is sealed to it; in development sooner."""
    world = World(development=development)
    world.sealing = [SealingKeyPeriod("s", world.now - 1, None)]
    world.epoch = epoch(world, 0)
    scheduler = world.scheduler()
    assert await scheduler.round() == 1
    world.sealing = [SealingKeyPeriod("s", world.now - 1, world.now), SealingKeyPeriod("t", world.now, None)]
    world.now += pause_ms - 1
    assert await scheduler.round() == 0
    world.now += 1
    assert await scheduler.round() == 1
    assert world.sent == [("RotateSealingKey", ""), ("EraseSealingKey", "s")]


async def test_the_keys_of_issuers_are_read_and_put() -> None:
    """Each from its own source, when they are due."""
    world = World(published={"corp.json": "{1}", "lab.json": "{2}"})
    fresh = issuer("new", put_ms=world.now)
    world.trusted = [issuer("corp", put_ms=None), issuer("lab", put_ms=world.now - LIFETIME_S * 250), fresh]
    assert await world.scheduler().round() == 2
    assert sorted(world.sent) == [("PutIssuerKeys", "corp {1}"), ("PutIssuerKeys", "lab {2}")]


async def test_an_issuer_that_cannot_be_read_is_tried_again_later_and_later() -> None:
    """The others are not held up. When it answers again, its keys are put."""
    world = World(trusted=[issuer("gone"), issuer("corp")], published={"corp.json": "{1}"})
    scheduler, tried = world.scheduler(), 0
    assert await scheduler.round() == 1
    for pause in (1000, 2000, 4000):
        world.now += pause - 1
        assert await scheduler.round() == 0
        world.now, tried = world.now + 1, tried + 1
        await scheduler.round()
    world.published["gone.json"] = "{3}"
    world.now += 8000
    assert await scheduler.round() == 1
    assert world.sent == [("PutIssuerKeys", "corp {1}"), ("PutIssuerKeys", "gone {3}")]


@pytest.mark.parametrize("error", [None, InvalidIssuer()], ids=["unreadable", "refused"])
async def test_what_is_logged_of_an_issuer_is_its_name(error: KeyfoldError | None) -> None:
    """Neither its address, which may hold a secret, nor what was read there."""
    address = "https://user:pass@corp.example/keys"
    world = World(trusted=[issuer(jwks_source=address)], published={address: "{read}"} if error else {}, error=error)
    with log_lines(scheduler_module) as lines:
        await world.scheduler().round()
    assert [(line["event"], line["target"]) for line in lines] == [("duty-failed", "corp")]
    assert not any(word in str(lines) for word in ("example", "pass", "read}"))


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


def test_its_models_are_built_before_it_connects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in every other process: the first duties do not pay for them."""
    built: list[bool] = []
    monkeypatch.setattr(program, "configure_logging", lambda *_: None)
    monkeypatch.setattr(program, "build_models", lambda: built.append(True))
    places = dict.fromkeys(("data_directory", "pkcs11_module", "pins_directory", "identities_directory"), tmp_path)
    config = Config(bootstrap_servers="127.0.0.1:1", postgres_dsn="none", postgres_reader_dsn="none", **places)
    assert main(["--config", str(save_config(config))]) == 1
    assert built == [True]
