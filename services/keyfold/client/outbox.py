"""The outbox: sends orders one after the other, so that what was called first is written first, per stream.

It does not wait for delivery and does not try again: an order that was not delivered is resent with all others that
stay unanswered.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from keyfold.bus import Outbound, Sender
from keyfold.events.errors import KeyfoldError, Unavailable

logger = logging.getLogger(__name__)

Failed = Callable[[KeyfoldError], None]


class Outbox:
    """A queue before a `Sender`, emptied by one task."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._waiting: deque[tuple[Outbound, Failed]] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.unsent = 0

    def start(self) -> None:
        """Begin to send; the sender is started."""
        self._task = asyncio.create_task(self._run(), name="outbox")

    def put(self, record: Outbound, failed: Failed) -> None:
        """Send after everything that was put before. `failed` is told of what trying again does not cure."""
        self._waiting.append((record, failed))
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def stop(self) -> None:
        """Stop sending; what waits is forgotten."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            while self._waiting:
                record, failed = self._waiting.popleft()
                try:
                    await self._sender.send(record)
                except KeyfoldError as error:
                    self._note(error, failed)
                except Exception as error:
                    # What nobody foresaw costs this order; all others still have to leave.
                    logger.exception("client.not-sent")
                    failed(Unavailable(f"the command could not be sent: {type(error).__name__}; see the log"))
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    def _note(self, error: KeyfoldError, failed: Failed) -> None:
        self.unsent += 1
        if not error.retriable:
            failed(error)
            return
        logger.warning("client.not-sent reason=%s", error)
