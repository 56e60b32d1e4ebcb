"""Measure HSM Encrypt on a token that takes 1, 2 and 5 ms for each call, with session pools of 1 to 32 sessions.

    scripts/bench slow-hsm [--quick] [--json FILE]

The worker's dispatcher executes real tickets (the sealed body, the engine, custody, the outcome, the sealed reply) on
SoftHSM2 with a latency that is slept before each call; there is no log. *Commands* are tickets of one item, executed
beside each other, 200 in a batch. *Items* are those of one command of 500, which custody spreads over the pool.

The limits beside them are of the same run. Of the token: its sessions, by the calls that were counted and the time
that a call takes at least. Of this machine: the same case without latency, with the best pool.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.slow_worker import Site, SlowWorker, site, slow_worker
from keyfold.hsm.tickets import Ticket

LATENCIES_MS: Final = (0.0, 1.0, 2.0, 5.0)
POOLS: Final = (1, 2, 4, 8, 16, 32)
KEYS: Final = 8
BATCH: Final = 200
ITEMS: Final = 500
ITEM: Final = b"x" * 32


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. `token_limit` is what the sessions could do at most; None without latency."""

    case: str
    latency_ms: float
    sessions: int
    per_second: float
    calls_each: float
    token_limit: float | None


class Slow:
    """All pools and latencies. A measurement takes about so many seconds."""

    def __init__(self, where: Site, seconds: float) -> None:
        self._where, self._seconds = where, seconds
        self.rows: list[Row] = []

    async def pool(self, sessions: int) -> None:
        """Measure one pool, at every latency."""
        with slow_worker(self._where, sessions) as worker:
            keys = await worker.create(KEYS)
            commands = [worker.encrypt(keys[number % KEYS], [ITEM]) for number in range(BATCH)]
            items = [worker.encrypt(keys[0], [ITEM] * ITEMS)]
            await worker.run([*commands, *items])
            for latency_ms in LATENCIES_MS:
                self._where.faults.slow(latency_ms / 1e3)
                self.rows.append(await self._measure("commands", worker, commands, (latency_ms, sessions)))
                self.rows.append(await self._measure("items", worker, items, (latency_ms, sessions)))
            self._where.faults.slow(0)

    async def _measure(self, case: str, worker: SlowWorker, tickets: Sequence[Ticket], how: tuple[float, int]) -> Row:
        latency_ms, sessions = how
        calls = self._where.faults.calls
        calls.clear()
        each, done, begin = BATCH if case == "commands" else ITEMS, 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < self._seconds or not done:
            await worker.run(tickets)
            done += each
        elapsed = time.perf_counter() - begin
        calls_each = sum(calls.values()) / done
        limit = sessions / (calls_each * latency_ms / 1e3) if latency_ms else None
        row = Row(case, latency_ms, sessions, round(done / elapsed, 1), round(calls_each, 2), limit)
        print(f"{case:9} {latency_ms:.0f} ms, {sessions:>2} sessions: {row.per_second:>9,.0f}/s", flush=True)
        return row


def show(rows: Sequence[Row]) -> None:
    """Print the table, with each measurement as a part of its limits, and of one session."""
    for case in ("commands", "items"):
        of_case = [row for row in rows if row.case == case]
        machine = max(row.per_second for row in of_case if not row.latency_ms)
        print(f"\n{case:9} {'sessions':>8} {'per second':>11} {'of one':>8} {'token could':>12} {'reached':>8} "
              f"{'of machine':>11}")  # fmt: skip
        for row in sorted(of_case, key=lambda each: (each.latency_ms, each.sessions)):
            one = next(e.per_second for e in of_case if (e.latency_ms, e.sessions) == (row.latency_ms, 1))
            could = "" if row.token_limit is None else f"{row.token_limit:,.0f}"
            reached = "" if row.token_limit is None else f"{row.per_second / row.token_limit:.1%}"
            print(f"{row.latency_ms:>6.0f} ms {row.sessions:>8} {row.per_second:>11,.0f} {row.per_second / one:>7.1f}x "
                  f"{could:>12} {reached:>8} {row.per_second / machine:>11.1%}".rstrip())  # fmt: skip


def main(arguments_given: Sequence[str]) -> int:
    """Parse arguments, measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(prog="scripts/bench slow-hsm", description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="pools of 1, 4 and 16 sessions, for half a second each")
    parser.add_argument("--json", type=Path, help="write the rows as a JSON list to this file")
    arguments = parser.parse_args(arguments_given)
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as where:
        slow = Slow(where, 0.5 if arguments.quick else 3.0)
        for sessions in (1, 4, 16) if arguments.quick else POOLS:
            uvloop.run(slow.pool(sessions))
    show(slow.rows)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in slow.rows], indent=2) + "\n")
    return 0
