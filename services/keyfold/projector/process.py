"""The projector process: what it is made of, which partitions it works on, and how it ends.

One task per wanted partition and active schema. The set follows the group's assignment and the state of a rebuild;
that a partition is written by one owner only is guarded by its stored offsets, not here.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from keyfold.bus import Bus, Membership, Sender
from keyfold.events import topics
from keyfold.events.errors import KeyfoldError
from keyfold.log import TrustKeeper, require_partitions
from keyfold.logging import get_logger
from keyfold.projections.errors import SchemaNewer
from keyfold.projections.ports import Colour, Schemas, SchemaStatus
from keyfold.projector.pace import Retry
from keyfold.projector.publisher import Publisher
from keyfold.projector.rebuilding import Rebuilding
from keyfold.projector.settings import ProjectorSettings
from keyfold.projector.worker import PartitionWorker

GROUP = "keyfold-projector"

_log = get_logger()
Place = tuple[Colour, int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the projector meets, handed in by whoever composes it."""

    bus: Bus
    schemas: Schemas
    deployment: str
    partitions: int
    instance_id: str
    settings: ProjectorSettings = ProjectorSettings()  # noqa: RUF009 - frozen


class Projector:
    """Runs until cancelled. `on_ready` is called once, when every partition that is wanted here is restored.

    `waiting` says what must be there before anything else can begin, None as soon as all of it is; `trouble` is the
    code of what kept it from looking at the store last, also while there is nothing to write.
    """

    def __init__(self, parts: Parts, on_ready: Callable[[], None]) -> None:
        self._parts = parts
        self._on_ready = on_ready
        self._workers: dict[Place, tuple[PartitionWorker, asyncio.Task[None]]] = {}
        self._ready = False
        self.waiting: str | None = "its first attempt"
        self.trouble = ""

    @property
    def workers(self) -> list[PartitionWorker]:
        """Who works now, in every schema that is active."""
        return [worker for worker, _ in self._workers.values()]

    async def run(self) -> None:
        """Prepare the store, read trust, then work. Raises for what no retry can cure."""
        parts = self._parts
        keeper = TrustKeeper(parts.bus, parts.deployment, parts.partitions)
        sender = parts.bus.sender()
        membership = parts.bus.membership(GROUP, topics.EVENTS, parts.instance_id)
        try:
            status = await self._retried("store", lambda: parts.schemas.prepare(parts.partitions))
            await self._retried("trust", keeper.catch_up)
            await self._retried("topics", lambda: require_partitions(parts.bus, parts.partitions))
            await self._retried("sender", sender.start)
            await membership.start()
            self.waiting = None
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(keeper.follow(parts.settings.trust_interval_s))
                tasks.create_task(self._supervise(keeper, sender, membership, status))
        finally:
            await self._stop(list(self._workers))
            await membership.stop()
            await sender.stop()
            await keeper.stop()
            await parts.schemas.close()

    async def _supervise(
        self, keeper: TrustKeeper, sender: Sender, membership: Membership, status: SchemaStatus
    ) -> None:
        settings = self._parts.settings
        publisher = Publisher(
            sender,
            self._parts.partitions,
            deadline_s=settings.publish_deadline_s,
            dead_letters_per_s=settings.dead_letters_per_s,
        )
        rebuilding = Rebuilding(self._parts.schemas, status, settings, asyncio.get_running_loop().time)
        try:
            while True:
                await self._reconcile(keeper, publisher, rebuilding, membership.wanted)
                self._note_ready(membership.wanted)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_pause_s(rebuilding.status, settings, ready=self._ready)):
                        await membership.wait_change(membership.wanted)
                try:
                    await rebuilding.look()
                    self.trouble = ""
                except SchemaNewer:
                    raise
                except KeyfoldError as error:
                    self.trouble = error.code
                    _log.warning("status-unknown", code=error.code, reason=str(error))
        finally:
            await rebuilding.stop()

    async def _reconcile(
        self, keeper: TrustKeeper, publisher: Publisher, rebuilding: Rebuilding, wanted: frozenset[int]
    ) -> None:
        places = {(colour, partition) for colour in rebuilding.status.active for partition in wanted}
        await self._stop([place for place in self._workers if place not in places])
        for place in sorted(places - self._workers.keys()):
            self._workers[place] = self._start(place, keeper, publisher, rebuilding)

    def _start(
        self, place: Place, keeper: TrustKeeper, publisher: Publisher, rebuilding: Rebuilding
    ) -> tuple[PartitionWorker, asyncio.Task[None]]:
        colour, partition = place
        store = self._parts.schemas.partition_store(colour)
        worker = PartitionWorker(
            self._parts.bus,
            keeper,
            store,
            publisher,
            partition=partition,
            partitions=self._parts.partitions,
            name=colour,
            is_live=lambda: rebuilding.status.live == colour,
            settings=self._parts.settings,
        )

        async def work() -> None:
            try:
                await worker.run()
            finally:
                await store.close()

        return worker, asyncio.create_task(work(), name=f"projector-{colour}-{partition}")

    async def _stop(self, places: list[Place]) -> None:
        tasks = [self._workers.pop(place)[1] for place in places]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _note_ready(self, wanted: frozenset[int]) -> None:
        if not self._ready and wanted and all(worker.serving.is_set() for worker, _ in self._workers.values()):
            self._ready = True
            self._on_ready()
            _log.info("projector-ready", partitions=sorted(wanted))

    async def _retried(self, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Do what must succeed before anything else can; what is unavailable is waited for."""
        retry = Retry(self._parts.settings.first_retry_s, self._parts.settings.longest_retry_s)
        while True:
            try:
                return await attempt()
            except KeyfoldError as error:
                if not error.retriable:
                    raise
                self.waiting = f"{what}: {error.code}"
                _log.warning("waiting", part=what, code=error.code, reason=str(error))
            await asyncio.sleep(retry.pause_s())


def _pause_s(status: SchemaStatus, settings: ProjectorSettings, *, ready: bool) -> float:
    """While a swap is under way nothing is written to the live schema: look again soon; also while starting."""
    return 0.05 if status.phase == "swapping" or not ready else settings.status_interval_s
