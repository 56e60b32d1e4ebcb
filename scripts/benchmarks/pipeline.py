"""Measure Keyfold end to end, through the SDK, on the embedded stack: latency, throughput, and the limits beside them.

Everything is on: encryption, signatures, authorization, the audit trail, the projector. Items have 32 bytes and one
encryption context. The limits are measured in the same run on the same machine: raw Kafka produce, raw C_Encrypt
through python-pkcs11, raw AES-256-GCM in memory. A stack that already runs under --data is used and left running;
otherwise one is started there and stopped afterwards. Figures of two cores are figures of all processes together.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import uvloop
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks import bare_token
from keyfold.bus import BusSettings, KafkaBus, Outbound
from keyfold.client import Keyfold
from keyfold.client.errors import DeadlineExceeded
from keyfold.config import Config, export_softhsm2_conf, load_config
from keyfold.events import topics
from keyfold.events.errors import AlreadyExists, KeyfoldError
from keyfold.events.signatures import Signer
from keyfold.events.streams import partition_of
from keyfold.identity import IdentityUnusable, create_identity

ITEM: Final = b"x" * 32
CONTEXT: Final = {"tenant": "bench"}
SINGLE: Final = (1, 16, 64, 256, 1024)
BATCHES: Final = ((16, 100), (64, 100), (16, 500), (32, 500))
PRINCIPAL: Final = "bench"
POLICY: Final = """
permit(principal == Principal::"bench",
       action in [Action::"Encrypt", Action::"Decrypt", Action::"GenerateDataKey"], resource);
"""
ROOT: Final = Path(__file__).resolve().parents[2]
KEYFOLD: Final = ROOT / ".venv" / "bin" / "keyfold"
LEVELS: Final[tuple[Literal["SOFTWARE", "HSM"], ...]] = ("SOFTWARE", "HSM")


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. Latencies are of one call: a single operation, or a whole batch."""

    case: str
    protection: str
    callers: int
    batch: int
    coalescing: bool
    ops_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int = 0


def row(case: str, protection: str, load: tuple[int, int], latencies: list[float], seconds: float, **more: Any) -> Row:
    """Summarise call latencies (seconds) of one case; `load` is (callers, batch)."""
    callers, batch = load
    latencies.sort()
    p50 = statistics.median(latencies) if latencies else float("nan")
    p99 = latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))] if latencies else float("nan")
    operations = len(latencies) * batch / seconds
    coalescing = more.pop("coalescing", False)
    return Row(case, protection, callers, batch, coalescing, round(operations), p50 * 1e3, p99 * 1e3, **more)


async def drive(callers: int, seconds: float, call: Callable[[int], Awaitable[Any]]) -> tuple[list[float], float, int]:
    """Let `callers` call again and again for some seconds; return latencies, time taken and failed calls."""
    latencies: list[float] = []
    failed = 0
    begin = time.perf_counter()
    end = begin + seconds

    async def caller(number: int) -> None:
        nonlocal failed
        while (start := time.perf_counter()) < end:
            try:
                await call(number)
            except KeyfoldError:
                failed += 1
            else:
                latencies.append(time.perf_counter() - start)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return latencies, time.perf_counter() - begin, failed


class Bench:
    """All cases of one run against one deployment."""

    def __init__(self, config: Config, arguments: argparse.Namespace) -> None:
        self._config = config
        self._quick: bool = arguments.quick
        self._only: str = arguments.case
        self._seconds: float = arguments.seconds or (1.0 if arguments.quick else 4.0)
        self._warm_up = 6.0 if arguments.quick else 40.0
        self.rows: list[Row] = []

    def _add(self, result: Row) -> None:
        self.rows.append(result)
        print(render(result), flush=True)

    async def prepare(self) -> dict[str, list[str]]:
        """Register the principal, put its policy, create one key per partition and protection level."""
        identities = self._config.identities_directory
        async with self._connect("admin-1") as admin:
            with contextlib.suppress(IdentityUnusable):
                create_identity(identities / f"{PRINCIPAL}.json", PRINCIPAL, self._config.deployment or "")
            async with asyncio.timeout(60):
                await self._register(admin)
                return {level: await self._keys(admin, level) for level in LEVELS}

    async def _register(self, admin: Keyfold) -> None:
        document = json.loads((self._config.identities_directory / f"{PRINCIPAL}.json").read_text())
        public = Signer(bytes.fromhex(document["ed25519"])).public_key
        with contextlib.suppress(AlreadyExists):
            await admin.register_principal(PRINCIPAL, public)
        await admin.put_policy("bench", POLICY)

    async def _keys(self, admin: Keyfold, protection: Literal["SOFTWARE", "HSM"]) -> list[str]:
        """One key on each partition, so that every partition works."""
        partitions = self._config.partitions
        found: dict[int, str] = {}
        while len(found) < partitions - 1:
            key_id = admin.new_key_id()
            found.setdefault(partition_of(f"key/{key_id}", partitions), key_id)
        for key_id in found.values():
            await admin.create_key(key_id=key_id, protection=protection, description="benchmark")
        return list(found.values())

    @contextlib.asynccontextmanager
    async def _connect(self, name: str, **settings: Any) -> AsyncIterator[Keyfold]:
        identity = self._config.identities_directory / f"{name}.json"
        async with Keyfold.connect(
            bootstrap_servers=self._config.bootstrap_servers, identity=identity, **settings
        ) as kms:
            yield kms

    def _wanted(self, case: str) -> bool:
        return self._only in case

    async def run(self) -> None:
        """Measure the limits, then every case."""
        self.limits()
        await self.kafka_limit()
        keys = await self.prepare()
        await self.warm_up(keys["SOFTWARE"])
        await self.idle(keys)
        for protection in ("SOFTWARE", "HSM"):
            await self.singles(protection, keys[protection], coalesce=True)
            await self.batches(protection, keys[protection])
        await self.singles("SOFTWARE", keys["SOFTWARE"], coalesce=False)
        if not self._quick:
            await self.singles("HSM", keys["HSM"], coalesce=False)

    async def warm_up(self, keys: list[str]) -> None:
        """Load before anything counts: a fresh broker compiles its code for most of a minute, on the same two cores."""
        print(f"warming up for {self._warm_up:.0f} s ...", flush=True)
        async with self._connect(PRINCIPAL) as kms:
            for callers, size in ((16, 100), (1, 1)):

                async def call(number: int, items: list[bytes] = [ITEM] * size) -> None:
                    await kms.encrypt_batch(keys[number % len(keys)], items, context=CONTEXT)

                await drive(callers, self._warm_up / 2, call)

    async def idle(self, keys: dict[str, list[str]]) -> None:
        """One caller with pauses: what a lone request waits."""
        for protection, ids in keys.items():
            async with self._connect(PRINCIPAL) as kms:
                await kms.encrypt(ids[0], ITEM, context=CONTEXT)
                latencies = []
                for number in range(60 if self._quick else 300):
                    await asyncio.sleep(0.02)
                    start = time.perf_counter()
                    await kms.encrypt(ids[number % len(ids)], ITEM, context=CONTEXT)
                    latencies.append(time.perf_counter() - start)
                self._add(row("idle", protection, (1, 1), latencies, sum(latencies)))

    async def singles(self, protection: str, keys: list[str], *, coalesce: bool) -> None:
        """Independent callers, one operation a call."""
        case = "single-coalesced" if coalesce else "single-alone"
        if not self._wanted(case):
            return
        async with self._connect(PRINCIPAL, coalesce=coalesce) as kms:
            for callers in SINGLE if not self._quick else SINGLE[1:]:

                async def call(number: int) -> None:
                    await kms.encrypt(keys[number % len(keys)], ITEM, context=CONTEXT)

                await drive(min(callers, 64), 0.3, call)
                latencies, seconds, failed = await drive(callers, self._seconds, call)
                extra = {"coalescing": coalesce, "errors": failed}
                self._add(row(case, protection, (callers, 1), latencies, seconds, **extra))

    async def batches(self, protection: str, keys: list[str]) -> None:
        """Callers with explicit batches; encrypt, and decrypt of what was encrypted."""
        if not self._wanted("batch"):
            return
        async with self._connect(PRINCIPAL) as kms:
            for callers, size in BATCHES if not self._quick else BATCHES[:3]:
                items = [ITEM] * size

                async def call(number: int, items: list[bytes] = items) -> None:
                    await kms.encrypt_batch(keys[number % len(keys)], items, context=CONTEXT)

                await drive(callers, 0.3, call)
                latencies, seconds, failed = await drive(callers, self._seconds, call)
                self._add(row("batch-encrypt", protection, (callers, size), latencies, seconds, errors=failed))
            await self._decrypts(kms, protection, keys)

    async def _decrypts(self, kms: Keyfold, protection: str, keys: list[str]) -> None:
        sealed = {key: await kms.encrypt_batch(key, [ITEM] * 100, context=CONTEXT) for key in keys}

        async def call(number: int) -> None:
            key = keys[number % len(keys)]
            await kms.decrypt_batch(key, sealed[key], context=CONTEXT)  # type: ignore[arg-type]

        latencies, seconds, failed = await drive(16, self._seconds, call)
        self._add(row("batch-decrypt", protection, (16, 100), latencies, seconds, errors=failed))

    def limits(self) -> None:
        """Raw AES-256-GCM in memory, and raw C_Encrypt in a token of its own that is made and removed here."""
        gcm = AESGCM(os.urandom(32))
        nonce = os.urandom(12)
        count = 50_000
        start = time.perf_counter()
        for _ in range(count):
            gcm.encrypt(nonce, ITEM, b"context")
        elapsed = time.perf_counter() - start
        self._add(Row("limit-aes-gcm", "SOFTWARE", 1, 1, False, round(count / elapsed), elapsed / count * 1e3, 0.0))
        self._token_limit()

    def _token_limit(self) -> None:
        per_second = bare_token.rate(self._config.pkcs11_module, C_ENCRYPT_LOOP)
        self._add(Row("limit-c-encrypt", "HSM", 1, 1, False, round(per_second), 1e3 / per_second, 0.0))

    async def kafka_limit(self) -> None:
        """Raw produce of 4 KiB records to the replies topic, idempotent, acks=all: records per second."""
        bus = KafkaBus(BusSettings(bootstrap_servers=self._config.bootstrap_servers, client_id="bench"))
        sender = bus.sender()
        await sender.start()
        try:
            count, value = (2_000 if self._quick else 10_000), os.urandom(4096)
            start = time.perf_counter()
            pending = [
                await sender.send(Outbound(topics.REPLIES, number % self._config.partitions, b"bench", value))
                for number in range(count)
            ]
            await asyncio.gather(*pending)
            elapsed = time.perf_counter() - start
        finally:
            await sender.stop()
        self._add(Row("limit-kafka-produce", "-", 1, 1, False, round(count / elapsed), elapsed / count * 1e3, 0.0))


C_ENCRYPT_LOOP: Final = """
key = session.generate_key(KeyType.AES, 256, store=False)
count = 20000
start = time.perf_counter()
for _ in range(count):
    parameters = GCMParams(os.urandom(12), b"context", 128)
    key.encrypt(b"x" * 32, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
print(count / (time.perf_counter() - start))
"""


def render(result: Row) -> str:
    """Return one line of the table."""
    flags = "coalesced" if result.coalescing else ""
    return (
        f"{result.case:20} {result.protection:9} {result.callers:>5} x {result.batch:<4} {result.ops_per_s:>9,.0f} op/s"
        f"  p50 {result.p50_ms:8.2f} ms  p99 {result.p99_ms:8.2f} ms  {flags:9}"
        + (f"  ERRORS {result.errors}" if result.errors else "")
    )


@contextlib.contextmanager
def running(data: Path) -> Iterator[Config]:
    """Use the stack under a data directory, or start one and stop it afterwards."""
    started = not (data / "keyfold.json").exists() or not (data / "run" / "policy.ready").exists()
    if started:
        subprocess.run([KEYFOLD, "--data", data, "up"], check=True, timeout=300)
    try:
        config = load_config(data / "keyfold.json")
        export_softhsm2_conf(config)
        yield config
    finally:
        if started:
            subprocess.run([KEYFOLD, "--data", data, "down"], check=True, timeout=120)


def main(arguments_given: Sequence[str]) -> int:
    """Parse arguments, run, print the table and the ratios, write JSON."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=str(__doc__).splitlines()[0],
        epilog="Deciding alone is measured by: scripts/bench decisions",
    )
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "bench")
    parser.add_argument("--quick", action="store_true", help="under a minute on a running stack")
    parser.add_argument("--json", type=Path, help="write the rows as a JSON list to this file")
    parser.add_argument("--seconds", type=float, help="seconds per case")
    parser.add_argument("--case", default="", help="only cases whose name contains this text")
    arguments = parser.parse_args(arguments_given)
    with running(arguments.data) as config:
        bench = Bench(config, arguments)
        try:
            uvloop.run(bench.run())
        except DeadlineExceeded as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        finally:
            if arguments.json:
                arguments.json.write_text(json.dumps([asdict(result) for result in bench.rows], indent=2) + "\n")
    print_ratios(bench.rows)
    return 0


def print_ratios(rows: list[Row]) -> None:
    """Print end-to-end throughput against the raw cryptographic limit of the same run."""
    limits = {result.protection: result.ops_per_s for result in rows if result.case.startswith("limit-")}
    for protection in ("SOFTWARE", "HSM"):
        cases = [result for result in rows if result.protection == protection and result.case.startswith("batch-")]
        if cases and limits.get(protection):
            best = max(cases, key=lambda result: result.ops_per_s)
            print(f"{protection}: best end to end {best.ops_per_s:,.0f} op/s = "
                  f"{best.ops_per_s / limits[protection]:.1%} of the raw limit")  # fmt: skip
