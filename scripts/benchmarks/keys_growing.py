"""One deployment that grows through numbers of keys, and what is measured at each. Nothing is printed here."""

import asyncio
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import keys_client as client
from benchmarks import keys_limits as limits
from benchmarks.keys_client import Protection
from benchmarks.keys_deployment import Deployment
from keyfold.events import topics
from keyfold.hsm.settings import HsmSettings

SCRIPTS: Final = Path(__file__).resolve().parents[1]
IN_FLIGHT: Final = 500
SAMPLES: Final = 300
BASE_RESTARTS: Final = 3  # the first ones find everything cold


@dataclass(frozen=True, slots=True)
class Restart:
    """One restart of a service: seconds to the first answer and to that of the last partition, then bytes of memory."""

    service: str
    first_s: float
    all_s: float
    resident: int


@dataclass(frozen=True, slots=True)
class Size:
    """Everything that was measured with so many keys. Latencies are in milliseconds: median and 99th percentile.

    `flooded` is the worker's memory when its cache of handles was full, and after twice as many other keys were used.
    """

    protection: str
    keys: int
    created: int
    created_per_s: float
    policy: Restart
    hsm: Restart
    cold_ms: tuple[float, float]
    warm_ms: tuple[float, float]
    flooded: tuple[int, int] | None
    keystore_per_s: float
    keystore_records: int
    state_per_s: float
    state_records: int
    parse_per_s: float


class Growing:
    """One deployment that grows; `base` are the fastest restarts with hardly any keys."""

    def __init__(self, where: Deployment, protection: Protection, created: int) -> None:
        self._where, self._protection, self._created = where, protection, created
        self._keys: list[str] = []
        self._random = random.Random(1)  # noqa: S311 - which keys are looked at is no secret
        self.base: dict[str, Restart] = {}

    async def begin(self) -> None:
        """Register who creates the keys, and measure what a deployment without keys takes."""
        await client.register(self._where.config)
        while len(client.one_of_each(self._keys, self._partitions)) < self._partitions - 1:
            self._keys += (await client.create(self._where.config, self._protection, 2, 2))[0]
        for service in ("policy", "hsm"):
            restarts = [await self._restart(service) for _ in range(BASE_RESTARTS)]
            self.base[service] = min(restarts, key=lambda restart: restart.all_s)

    async def grow(self, size: int) -> Size:
        """Come to a size, and measure."""
        missing = size - len(self._keys)
        asked = min(missing, self._created)
        if missing > asked:
            self._keys += await asyncio.to_thread(self._load, missing - asked)
        made, seconds = await client.create(self._where.config, self._protection, asked, IN_FLIGHT)
        self._keys += made
        policy, hsm = await self._restart("policy"), await self._restart("hsm")
        cold, warm = await self._latencies()
        config = self._where.config
        keystore_per_s, keystore_records = await limits.read_rate(config, topics.KEYSTORE)
        state_per_s, state_records = await limits.read_rate(config, topics.POLICY_STATE)
        return Size(
            protection=self._protection,
            keys=len(self._keys),
            created=asked,
            created_per_s=round(asked / seconds, 1),
            policy=policy,
            hsm=hsm,
            cold_ms=cold,
            warm_ms=warm,
            flooded=await self._flood(),
            keystore_per_s=round(keystore_per_s),
            keystore_records=keystore_records,
            state_per_s=round(state_per_s),
            state_records=state_records,
            parse_per_s=round(await limits.parse_rate(config, topics.POLICY_STATE)),
        )

    @property
    def _partitions(self) -> int:
        return self._where.config.partitions

    def _load(self, number: int) -> list[str]:
        config_file = self._where.stack.config_file
        with self._where.without("hsm", "policy"):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.keys_loading", config_file, self._protection, str(number)],
                cwd=SCRIPTS,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        return done.stdout.split()

    async def _restart(self, service: str) -> Restart:
        """Stop a service, send one command to each partition, start it, and wait for the answers."""
        probes = client.one_of_each(self._random.sample(self._keys, len(self._keys)), self._partitions)
        async with client.connect(self._where.config, **client.PATIENCE) as kms:
            await client.encrypt_all(kms, probes)
            await asyncio.to_thread(self._where.stop, service)
            begin = time.perf_counter()
            answered: list[float] = []

            async def ask(key: str) -> None:
                await client.encrypt_each(kms, [key])
                answered.append(time.perf_counter() - begin)

            await asyncio.gather(asyncio.to_thread(self._where.start, service), *(ask(key) for key in probes))
        resident = await asyncio.to_thread(self._where.resident, service)
        return Restart(service, round(min(answered), 2), round(max(answered), 2), resident)

    async def _latencies(self) -> tuple[tuple[float, float], tuple[float, float]]:
        keys = self._random.sample(self._keys, min(SAMPLES, len(self._keys)))
        async with client.connect(self._where.config) as kms:
            await client.encrypt_each(kms, client.one_of_each(self._keys, self._partitions) * 10)
            cold = await client.encrypt_each(kms, keys)
            warm = await client.encrypt_each(kms, keys)
        return client.milliseconds(cold), client.milliseconds(warm)

    async def _flood(self) -> tuple[int, int] | None:
        """Use more keys than the worker's cache holds; return its memory when it was full once, and twice more."""
        capacity = HsmSettings().open_handles
        if len(self._keys) < 3 * capacity:
            return None
        keys = self._random.sample(self._keys, 3 * capacity)
        found = []
        async with client.connect(self._where.config) as kms:
            for some in (keys[:capacity], keys[capacity:]):
                await client.encrypt_all(kms, some)
                found.append(await asyncio.to_thread(self._where.resident, "hsm"))
        return found[0], found[1]
