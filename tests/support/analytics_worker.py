"""A worker of analytics in the test's own process, on a log of `usage_log`; and what it has told."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.usage_log import DEPLOYMENT, signer

from keyfold.analytics.acts import Act
from keyfold.analytics.alerts import AlertAuthor
from keyfold.analytics.app import Stages, parts
from keyfold.analytics.detectors import all_detectors
from keyfold.analytics.detectors.detector import Detector
from keyfold.analytics.incidents import Changed
from keyfold.analytics.observing import Parts
from keyfold.analytics.sealing import Seal
from keyfold.analytics.service import Service
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.bus import BusSettings, KafkaBus
from keyfold.log import TrustKeeper

SEAL = Seal.of(DEPLOYMENT, signer("analytics").sign)


class Told:
    """What the third stage wrote: an `AlertWriter` for tests."""

    def __init__(self) -> None:
        self.changes: list[Changed] = []
        self.acts: list[Act] = []

    async def write(self, changes: Sequence[Changed], acts: Sequence[Act]) -> None:
        """Remember all of it, in its order."""
        self.changes += changes
        self.acts += acts

    def findings(self) -> list[str]:
        """The ids of the findings, as often as they were told."""
        return [each.finding.id for each in self.changes if each.change == "detected" and each.finding is not None]


@dataclass(frozen=True)
class Worker:
    """A running worker."""

    service: Service
    stages: Stages
    parts: Parts
    told: Told
    task: asyncio.Task[None]

    async def low_ms(self) -> int:
        """Up to when all sources were read."""
        return self.stages.detecting.low_ms()


@asynccontextmanager
async def worker(
    bootstrap_servers: str,
    directory: Path,
    *,
    partitions: int,
    instance: str = "0",
    detectors: Sequence[Detector[Any]] | None = None,
    told: Told | None = None,
    **options: Any,
) -> AsyncIterator[Worker]:
    """Run a worker until the end of the block."""
    settings = AnalyticsSettings(**{"heartbeat_s": 0.5, "take_s": 0.2, **options})
    bus = BusSettings(bootstrap_servers=bootstrap_servers, client_id=f"analytics-{instance}")
    keeper = TrustKeeper(KafkaBus(bus), DEPLOYMENT, partitions)
    shared = parts(settings, bus, instance, directory, partitions=partitions, seal=SEAL)
    key = signer("analytics")
    author = AlertAuthor(DEPLOYMENT, key.fingerprint, key.sign)
    told = told or Told()
    stages = Stages(shared, keeper, all_detectors() if detectors is None else detectors, author, writer=told)
    ready = asyncio.Event()
    await keeper.catch_up()
    service = Service(shared.app, stages, keeper, settings.trust_interval_s, ready.set)
    task = asyncio.create_task(service.run())
    try:
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        if task.done():
            task.result()
        yield Worker(service, stages, shared, told, task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await keeper.stop()
