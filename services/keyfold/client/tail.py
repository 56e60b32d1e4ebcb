"""A tail: one partition, read on and on in a task that survives the broker's absence. It keeps no records.

Positions are never lost silently: where the log no longer has the next record, the tail stands at the end (replies) or
at the start (directory) again and counts it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from keyfold.bus import Bus, BusUnavailable, Inbound, PositionLost
from keyfold.events.errors import KeyfoldError

logger = logging.getLogger(__name__)
_POLL_S = 1.0
_LONGEST_PAUSE_S = 2.0

Deliver = Callable[[Sequence[Inbound]], None]


class Tail:
    """Reads one partition and gives everything to `deliver`, which must not wait."""

    def __init__(self, bus: Bus, topic: str, partition: int, *, committed: bool, deliver: Deliver) -> None:
        self._reader = bus.reader(topic, partition, committed=committed)
        self._name = f"{topic}-{partition}"
        self._deliver = deliver
        self._from_end = False
        self._task: asyncio.Task[None] | None = None
        self._moved: list[asyncio.Future[None]] = []
        self._position = 0
        self.restarts = 0

    @property
    def position(self) -> int:
        """The offset that is read next."""
        return self._position

    async def start_at_end(self) -> None:
        """Stand behind the last record; what is written after this returns will be delivered."""
        self._from_end = True
        await self._stand()
        self._task = asyncio.create_task(self._run(), name=f"tail {self._name}")

    async def start_reading_all(self) -> None:
        """Deliver everything there is, then go on in the background."""
        await self._stand()
        async for records in self._reader.read_to_end():
            self._deliver(records)
        self._position = self._reader.position()
        self._task = asyncio.create_task(self._run(), name=f"tail {self._name}")

    async def catch_up(self, timeout_s: float) -> None:
        """Return when everything written before this call was delivered. Raises `BusUnavailable` at the deadline."""
        try:
            async with asyncio.timeout(timeout_s):
                end = await self._reader.end_offset()
                while self._position < end:
                    await self.next_batch()
        except TimeoutError:
            raise BusUnavailable(f"{self._name} was not read to its end within {timeout_s} s") from None

    async def next_batch(self) -> None:
        """Return after the next delivery. The caller has the deadline."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._moved.append(waiter)
        await waiter

    async def stop(self) -> None:
        """End the task and release the reader."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        for waiter in self._moved:
            waiter.cancel()
        await self._reader.stop()

    async def _stand(self, position: int | None = None) -> None:
        await self._reader.start(position)
        if position is None and self._from_end:
            await self._reader.seek(await self._reader.end_offset())
        self._position = self._reader.position()

    async def _run(self) -> None:
        pause_s = 0.0
        while True:
            try:
                records = await self._reader.poll(_POLL_S)
                pause_s = 0.0
            except Exception as error:
                # Also what the bus did not foresee: a tail that ended would leave every caller without answers.
                pause_s = min(2 * pause_s + 0.05, _LONGEST_PAUSE_S)
                logger.exception("client.tail-restart place=%s", self._name)
                await asyncio.sleep(pause_s)
                await self._restart(lost=isinstance(error, PositionLost))
                continue
            if records:
                self._hand_over(records)

    def _hand_over(self, records: Sequence[Inbound]) -> None:
        try:
            self._deliver(records)
        except Exception:
            # One record that nobody foresaw must not end the tail: every caller of this client depends on it.
            logger.exception("client.deliver-failed place=%s", self._name)
        self._position = self._reader.position()
        waiting, self._moved = self._moved, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def _restart(self, *, lost: bool) -> None:
        self.restarts += 1
        try:
            await self._reader.stop()
            await self._stand(None if lost else self._position)
        except KeyfoldError as error:
            logger.warning("client.tail-restart-failed place=%s reason=%s", self._name, error)
