"""The Faust application: its stages, its tables, and how they follow the partitions that are assigned.

Topics are made by the ceremony from the topic table, never by Faust. When partitions are to move, what is under way is
finished first, within a deadline, and nothing is begun; when they are assigned and their rows restored, each stage
begins from those.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import faust

from keyfold.analytics.alerting import Actor, Alerting, AlertWriter
from keyfold.analytics.alerts import AlertAuthor
from keyfold.analytics.detecting import Detecting, report
from keyfold.analytics.detectors.detector import Detector
from keyfold.analytics.engine import Engine
from keyfold.analytics.observing import Observing, Parts
from keyfold.analytics.sealing import Seal
from keyfold.analytics.sending import Sending
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.analytics.tables import SealedTable
from keyfold.analytics.transport import FETCH_BYTES, MAX_REQUEST_BYTES, Application
from keyfold.bus import BusSettings
from keyfold.events import topics
from keyfold.log import TrustKeeper

GROUP: Final = "keyfold-analytics"


def application(settings: AnalyticsSettings, bus: BusSettings, instance: str, directory: Path) -> Application:
    """Make the application, without stages. `instance` is a stable name that keeps partitions over a restart."""
    return Application(
        GROUP,
        watched=frozenset({topics.EVENTS, topics.DEAD_LETTERS}),
        broker=_brokers(bus),
        broker_credentials=_credentials(bus),
        broker_client_id=bus.client_id,
        broker_commit_interval=settings.commit_s,
        broker_session_timeout=settings.session_s,
        broker_heartbeat_interval=settings.session_s / 6,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        consumer_group_instance_id=f"analytics-{instance}",
        producer_max_request_size=MAX_REQUEST_BYTES,
        producer_max_batch_size=topics.MIB // 2,
        datadir=directory,
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )


class Stages:
    """All stages of one worker, on one application."""

    def __init__(
        self,
        parts: Parts,
        keeper: TrustKeeper,
        detectors: Sequence[Detector[Any]],
        author: AlertAuthor,
        *,
        writer: AlertWriter | None = None,
        actor: Actor | None = None,
    ) -> None:
        app, seal, partitions = parts.app, parts.seal, parts.partitions
        self._parts = parts
        self.began = asyncio.Event()
        sources = SealedTable(app, topics.ANALYTICS_SOURCES, partitions, seal)
        entities = SealedTable(app, topics.ANALYTICS_ENTITIES, partitions, seal)
        incidents = SealedTable(app, topics.ANALYTICS_INCIDENTS, 1, seal)
        self.detecting = Detecting(parts, entities, Engine(detectors, report))
        self.observing = Observing(parts, keeper, sources, self.detecting.marks)
        self.alerting = Alerting(parts, incidents, author, writer, actor)
        self._stages = (self.observing, self.detecting, self.alerting)
        app.begin = self._begin
        app.on_rebalance_complete.connect(self._restored)
        app.on_partitions_revoked.connect(self._release)
        for stage in self._stages:
            app.task(stage.run)

    async def _restored(self, _app: Any, /, *_: Any, **__: Any) -> None:
        self._parts.app.turn(restored=True)

    def _begin(self, assigned: frozenset[tuple[str, int]]) -> dict[tuple[str, int], int]:
        self.detecting.begin(assigned)
        self.alerting.begin(assigned)
        starts = self.observing.begin(assigned)
        self.began.set()
        return starts

    async def _release(self, _app: Any, /, *_revoked: Any, **_: Any) -> None:
        """Give up. Later than the session allows, others have begun: then the process ends."""
        self._parts.app.turn(restored=False)
        await self.rest(self._parts.settings.session_s * 0.8)

    async def rest(self, most_s: float) -> None:
        """Wait until nothing is under way, and begin nothing more. Raises `TimeoutError`."""
        async with asyncio.timeout(most_s):
            for stage in self._stages:
                async with stage.lock:
                    stage.release()


def parts(
    settings: AnalyticsSettings, bus: BusSettings, instance: str, directory: Path, *, partitions: int, seal: Seal
) -> Parts:
    """Make what the stages of a worker share."""
    app = application(settings, bus, instance, directory)
    return Parts(app, Sending(app, settings.send_s), seal, settings, partitions)


def _brokers(bus: BusSettings) -> str:
    """Return the brokers as Faust wants them; the list in the settings may have spaces."""
    servers = (server.strip() for server in bus.bootstrap_servers.split(","))
    return ";".join(f"kafka://{server}" for server in servers if server)


def _credentials(bus: BusSettings) -> Any:
    """Return how Faust is to prove who it is, as the bus does."""
    known = bus.connection()
    context = known.get("ssl_context")
    if "sasl_mechanism" in known:
        return faust.SASLCredentials(
            username=known["sasl_plain_username"],
            password=known["sasl_plain_password"],
            mechanism=known["sasl_mechanism"],
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
