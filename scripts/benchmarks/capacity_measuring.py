"""One measurement of capacity: a load against a deployment, what each part used for it, and what stood in the way.

Processor time is counted from before the load until projector and notary have caught up, so a part that falls behind is
charged in full; less what the same processes use without load, in that time or for partitions that have none.
Throughput is that of a window of the load.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import uvloop

from benchmarks.capacity_load import Clients, Seen
from benchmarks.capacity_points import WORKERS, Point, Shape
from benchmarks.capacity_site import Site
from benchmarks.capacity_usage import SmallCores, Throttling, loopback_bytes, processor_s, since
from benchmarks.keys_client import PRINCIPAL, Protection, connect, register
from keyfold.bus import BusSettings, KafkaBus
from keyfold.cli import health
from keyfold.config import Config
from keyfold.events import topics
from keyfold.events.streams import key_stream, partition_of
from keyfold.projections.store import PostgresQueries

_CAUGHT_UP_S: Final = 120.0
_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: of load before the window, of the window, and of looking at what is used without load."""

    settle: float
    window: float
    idle: float


class Bench:
    """Measurements against one deployment. `idle` is looked at again whenever its processes have changed."""

    def __init__(self, site: Site, times: Times) -> None:
        self._site, self._times = site, times
        self._keys: dict[Protection, list[str]] = {}
        self._idle: dict[str, float] = {}
        self._idle_bytes_s = 0.0

    def prepare(self, protections: Sequence[Protection]) -> None:
        """Register the principal, and create a key in each partition that has keys."""
        config = self._site.config
        uvloop.run(register(config))
        for protection in protections:
            self._keys[protection] = uvloop.run(_create_keys(config, protection))

    def look_idle(self) -> None:
        """Measure what is used without load."""
        caught_up(self._site.config)
        before, bytes_before = processor_s(self._site.parts), loopback_bytes()
        time.sleep(self._times.idle)
        used = since(processor_s(self._site.parts), before)
        self._idle = {part: seconds / self._times.idle for part, seconds in used.items()}
        self._idle_bytes_s = (loopback_bytes() - bytes_before) / self._times.idle

    def warm(self, shape: Shape, seconds: float) -> None:
        """Load before anything counts."""
        clients = self._clients(shape)
        try:
            clients.begin(0.0, seconds)
            clients.go()
            clients.result()
        finally:
            clients.end()

    def measure(self, shape: Shape, cores: SmallCores | None = None, *, one_key: bool = False, crowd: int = 1) -> Point:
        """Measure one load, with `crowd` times the callers of the shape for each worker that works."""
        clients = self._clients(shape, one_key=one_key, crowd=crowd)
        try:
            clients.begin(self._times.settle, self._times.window)
            return self._measure(shape, clients, cores, one_key)
        finally:
            clients.end()

    def _clients(self, shape: Shape, *, one_key: bool = False, crowd: int = 1) -> Clients:
        keys = self._keys[shape.protection]
        working = 1 if one_key else min(self._site.workers, len(keys))
        callers = shape.callers * working * crowd
        return Clients(self._site.config, PRINCIPAL, keys[:1] if one_key else keys, callers, shape.items)

    def _measure(self, shape: Shape, clients: Clients, cores: SmallCores | None, one_key: bool) -> Point:
        site, window = self._site, self._times.window
        offsets = uvloop.run(_offsets(site.config))
        before, bytes_before, began = processor_s(site.parts), loopback_bytes(), time.monotonic()
        clients.go()
        time.sleep(self._times.settle)
        at_first, periods = processor_s(site.parts), cores.throttling() if cores else {}
        time.sleep(window)
        used, met = since(processor_s(site.parts), at_first), cores.throttling() if cores else {}
        seen = clients.result()
        asked = time.monotonic()
        caught_up(site.config)
        ended = time.monotonic()
        spent = since(processor_s(site.parts), before)
        loaded = (1 if one_key else site.partitions - 1) / site.partitions
        idle_s = ended - asked + (asked - began) * (1 - loaded)
        wire = loopback_bytes() - bytes_before - self._idle_bytes_s * idle_s
        grown = since(uvloop.run(_offsets(site.config)), offsets)
        return Point(
            shape.name,
            shape.items,
            site.brokers,
            site.partitions,
            site.workers,
            cores.cores if cores else None,
            one_key,
            clients.callers,
            seen.rate,
            seen.percentile_ms(0.5),
            seen.percentile_ms(0.99),
            seen.failed,
            late_s=ended - asked,
            used=sum(used.values()) / window + seen.processor_s / (self._times.settle + window),
            wire_bytes=wire / max(1, seen.commands),
            batch=_batch(grown, seen.commands),
            busiest={service: site.busiest(service) for service in WORKERS},
            throttled=_throttled(met, periods),
            cost_us=_costs(spent, self._idle, idle_s, seen),
            idle=self._idle,
        )


def caught_up(config: Config) -> None:
    """Wait until projector and notary have read everything. Raises TimeoutError where that takes too long."""
    uvloop.run(_caught_up(config))


async def _caught_up(config: Config) -> None:
    bus, queries = KafkaBus(BusSettings.of(config, "bench")), PostgresQueries(config.postgres_reader_dsn)
    deadline = time.monotonic() + _CAUGHT_UP_S
    try:
        while any(late := ((await health.projected(queries, bus))["lag"], (await health.notary(bus))["lag"])):
            if time.monotonic() > deadline:
                raise TimeoutError(f"projector and notary do not catch up: {late}")
            await asyncio.sleep(_LOOK_S)
    finally:
        await queries.close()


async def _offsets(config: Config) -> dict[str, int]:
    """Return how many offsets of tickets and of events are taken, by records and by markers of transactions."""
    admin = KafkaBus(BusSettings.of(config, "bench")).admin()
    await admin.start()
    try:
        return {topic: sum((await admin.end_offsets(topic)).values()) for topic in (topics.AUTHORIZED, topics.EVENTS)}
    finally:
        await admin.stop()


async def _create_keys(config: Config, protection: Protection) -> list[str]:
    found: dict[int, str] = {}
    async with connect(config, "admin-1") as admin:
        while len(found) < config.partitions - 1:
            key_id = admin.new_key_id()
            found.setdefault(partition_of(key_stream(key_id), config.partitions), key_id)
        for key_id in found.values():
            await admin.create_key(key_id=key_id, protection=protection, description="benchmark")
    return list(found.values())


def _throttled(now: Mapping[str, Throttling], before: Mapping[str, Throttling]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, each in now.items():
        service = name.partition("-")[0]
        found[service] = max(found.get(service, 0.0), each.since(before[name]))
    return found


def _batch(grown: Mapping[str, float], commands: int) -> dict[str, float]:
    """Return how many commands each transaction held: a ticket, a decision, an outcome each, and markers besides."""
    policy = grown[topics.AUTHORIZED] - commands
    hsm = grown[topics.EVENTS] - 2 * commands - policy
    return {"policy": commands / max(1, policy), "hsm": commands / max(1, hsm)}


def _costs(spent: Mapping[str, float], idle: Mapping[str, float], idle_s: float, seen: Seen) -> dict[str, float]:
    """Return microseconds of each part for one command, without what it would have used anyway."""
    commands = max(1, seen.commands)
    costs = {part: max(0.0, seconds - idle[part] * idle_s) * 1e6 / commands for part, seconds in spent.items()}
    return costs | {"client": seen.processor_s * 1e6 / commands}
