"""Measure how fast projectors fold a log: the first filling, blue/green rebuilds, and what of it is whose.

The log is made here: keys, and then uses of them, two events each, signed in statements of many records as policy and
the worker write them under load. Each projector is a process of its own with the whole log on a bus in memory, so Kafka
costs nothing; several share the partitions as a consumer group does, and one Postgres, which is the embedded one.
`--profile FILE` writes what the first projector's Python spent, for pstats.
"""

import argparse
import asyncio
import contextlib
import cProfile
import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import psycopg
from tests.unit.projections.deployment import Deployment, until
from tests.unit.projections.histories import PARTITIONS, Log, Maker, Signed, seeded

from keyfold.bus import Outbound
from keyfold.embedded import Stack
from keyfold.events import facts, topics
from keyfold.events.entities import Key
from keyfold.events.streams import partition_of
from keyfold.projections.store import PostgresQueries, PostgresSchemas
from keyfold.projector.process import GROUP
from keyfold.projector.settings import ProjectorSettings

_KEYS: Final = 200
_STATEMENT: Final = 250
_VERBS: Final = ("Encrypt", "GenerateDataKey")
_CONTEXTS: Final = [{"tenant": "blue", "table": "orders"}]


class Load(Maker):
    """A history of uses, as a busy deployment has it."""

    def uses(self, count: int) -> list[facts.Event]:
        """Make keys, then uses of them until there are so many events."""
        for _ in range(_KEYS):
            self.create_key()
        keys = [key for key in self.all_of(Key) if any(version.status == "Active" for version in key.versions)]
        while len(self.events) < count:
            self.use(self.random.choice(keys))
        return self.events

    def use(self, key: Key) -> None:
        """One command and its outcome."""
        stream, verb = f"key/{key.key_id}", self.random.choice(_VERBS)
        more = {"verb": verb, "principal": "alice", "protection": key.protection, "items": 1, "bytes": 32}
        command = self.signed_command(stream, verb, host="host-7", contexts=_CONTEXTS)
        self.decided(facts.CommandAuthorized, stream, verb, command=command, **more, key_id=key.key_id, key_version=1)
        counts: dict[str, Any] = {"items": 1, "bytes": 32, "versions": {"1": 1}, "failures": {}, "mac": "0" * 64}
        self.outcome(facts.KeyUsed, stream, verb, key_id=key.key_id, **counts)


def transactions(log: Log, events: Sequence[facts.Event]) -> list[list[Signed]]:
    """Sign them in statements of many records, decisions before their outcomes."""
    waiting: dict[tuple[int, str], list[facts.Event]] = {}
    made: list[list[Signed]] = []
    for event in events:
        partition = partition_of(event.subject, PARTITIONS)
        of_role = waiting.setdefault((partition, event.role), [])
        of_role.append(event)
        if event.role == "root" or len(of_role) >= _STATEMENT:
            made += [
                log.sign(of_role)
                for role in ("root", "policy", "hsm")
                if (of_role := waiting.pop((partition, role), []))
            ]
    return made + [log.sign(left) for _, left in sorted(waiting.items(), key=lambda item: item[0][1] == "hsm")]


async def filled(events: int) -> tuple[list[Outbound], int]:
    """Return the log of a deployment and how many events it has."""
    history = Load(seeded(1), 100).uses(events)
    signed = transactions(Log(), history)
    return [Outbound(topics.EVENTS, p, k, v, h) for group in signed for p, k, v, h in group], len(history)


def postgres_s(postmaster: int) -> float:
    """Return the processor time that a server and its backends have had, in seconds."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(stat.parent.name) == postmaster:
                ticks += sum(map(int, fields[11:15]))  # its own, and of the backends that ended
            elif int(fields[1]) == postmaster:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def python_s(processes: Sequence[BaseProcess]) -> float:
    """Return the processor time that projectors have had, in seconds."""
    stats = [Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split() for process in processes]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


def largest_mb(processes: Sequence[BaseProcess]) -> int:
    """Return the most memory that one of the projectors has had, in MB."""
    status = [Path(f"/proc/{process.pid}/status").read_text() for process in processes]
    return max(int(text.partition("VmHWM:")[2].split()[0]) for text in status) // 1024


class Projectors:
    """Some projectors that share the partitions, each in a process of its own, while this is entered."""

    def __init__(self, dsn: str, records: Sequence[Outbound], number: int, profile: Path | None = None) -> None:
        forked = multiprocessing.get_context("fork")  # the log is not copied
        self._stop, self._ready = forked.Event(), forked.Barrier(number + 1)
        names = [f"projector-{each}" for each in range(number)]
        self.processes: list[BaseProcess] = [
            forked.Process(target=self._project, args=(dsn, records, name, names, profile if not at else None))
            for at, name in enumerate(names)
        ]

    def __enter__(self) -> "Projectors":
        for process in self.processes:
            process.start()
        self._ready.wait(600)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for process in self.processes:
            process.join(30)

    def _project(
        self, dsn: str, records: Sequence[Outbound], name: str, names: Sequence[str], profile: Path | None
    ) -> None:
        asyncio.run(self._follow(dsn, records, name, names, profile))

    async def _follow(
        self, dsn: str, records: Sequence[Outbound], name: str, names: Sequence[str], profile: Path | None
    ) -> None:
        deployment = Deployment(lambda: PostgresSchemas(dsn), PostgresQueries(dsn))
        writer = deployment.bus.writer("load")
        await writer.start()
        for start in range(0, len(records), 10_000):
            await writer.commit(records[start : start + 10_000])
        for each in names:  # in the same order everywhere, so that all agree on who has which partitions
            deployment.cluster.join(GROUP, topics.EVENTS, each, lambda _partitions: None)
        gc.freeze()  # the log lies in this process: without a broker, the collector would look through it again
        await asyncio.to_thread(self._ready.wait, 600)
        profiler = cProfile.Profile() if profile else None
        async with deployment.projector(name, settings=ProjectorSettings(), patience_s=3600):
            if profiler:
                profiler.enable()
            await asyncio.to_thread(self._stop.wait)
        if profiler and profile:
            profiler.disable()
            profiler.dump_stats(profile)


async def timed(
    what: str, events: int, postmaster: int, projectors: Projectors, work: Callable[[], Awaitable[Any]]
) -> None:
    """Say how long something took, and how long the projectors and Postgres had a processor for it."""
    begun, used, of_postgres = time.perf_counter(), python_s(projectors.processes), postgres_s(postmaster)
    await work()
    took = time.perf_counter() - begun
    cpu, of_postgres = python_s(projectors.processes) - used, postgres_s(postmaster) - of_postgres
    each = f"Python {cpu / events * 1e6:.0f} us, Postgres {of_postgres / events * 1e6:.0f} us of a processor an event"
    memory = f"{largest_mb(projectors.processes)} MB with the log"
    print(f"{what:26} {events / took:8,.0f} events/s in {took:6.1f} s; {each}; {memory}", flush=True)


async def measured(dsn: str, postmaster: int, events: int, numbers: Sequence[int], profile: Path | None) -> None:
    """Fill the projections, then rebuild them with each number of projectors."""
    records, count = await filled(events)
    gc.freeze()
    size = sum(len(record.value or b"") for record in records) // len(records)
    print(f"{count:,} events of {size} bytes on {PARTITIONS} partitions, of which one is the registry's", flush=True)
    queries, schemas = PostgresQueries(dsn), PostgresSchemas(dsn)
    await schemas.prepare(PARTITIONS)

    async def folded() -> bool:
        return sum(row.position for row in await queries.progress()) >= len(records)

    async def all_folded() -> None:
        await until(folded, 3600)

    for generation, number in enumerate(numbers, 1):

        async def swapped(generation: int = generation) -> bool:
            return (await queries.status()).generation >= generation

        async def rebuilt() -> None:
            await schemas.request_rebuild()
            await until(swapped, 3600)

        with Projectors(dsn, records, number, profile if generation == len(numbers) else None) as projectors:
            if generation == 1:
                await timed(
                    f"filling, {number} projector(s)", count, postmaster, projectors, lambda: until(folded, 3600)
                )
            await timed(f"rebuild, {number} projector(s)", count, postmaster, projectors, rebuilt)
    await schemas.close()
    await queries.close()


def main(arguments: Sequence[str]) -> int:
    """Run it on a Postgres of its own, which is removed afterwards."""
    parser = argparse.ArgumentParser(prog="scripts/bench rebuild", description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument(
        "--processes", type=int, nargs="*", default=[1, 2], help="numbers of projectors to rebuild with"
    )
    parser.add_argument("--profile", type=Path)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        stack = Stack(Path(place) / "data", development=True)
        try:
            dsn = stack.start_infrastructure(["postgres"]).postgres_dsn
            with psycopg.connect(stack.postgres_admin_dsn) as admin:
                place_of = (admin.execute("SHOW data_directory").fetchone() or ("",))[0]
            postmaster = int((Path(place_of) / "postmaster.pid").read_text().split()[0])
            asyncio.run(measured(dsn, postmaster, chosen.events, chosen.processes, chosen.profile))
        finally:
            stack.reset()
    return 0
