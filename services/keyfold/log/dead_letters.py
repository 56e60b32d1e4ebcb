"""Dead letters: where a record stood that could not be read, its hash and the reason. Never its content.

They are best effort and rate limited, and they never block: strangers must not be able to fill a disk or stop a
partition with what is not even a command.
"""

import asyncio
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from keyfold.bus import Inbound, Outbound, Sender
from keyfold.events import strictjson, topics
from keyfold.events.errors import KeyfoldError
from keyfold.logging import get_logger

PER_SECOND: Final = 50
SEND_SECONDS: Final = 0.1
SILENCE_SECONDS: Final = 5
_log = get_logger()


class DeadLetters:
    """A token bucket in front of the dead-letter topic; what exceeds it is only counted."""

    def __init__(self, sender: Sender, service: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._sender, self._service, self._clock = sender, service, clock
        self._tokens, self._last = float(PER_SECOND), clock()
        self.reported = 0
        self.suppressed = 0

    async def report(self, record: Inbound, reason: str, code: str | None = None, principal: str | None = None) -> None:
        """Report one record. Failures to do so are logged: the record itself stays where it is.

        `code` is that of the refusal. `principal` is whose record it was: only where its signature was verified.
        """
        now = self._clock()
        self._tokens = min(float(PER_SECOND), self._tokens + (now - self._last) * PER_SECOND)
        self._last = now
        if self._tokens < 1:
            self.suppressed += 1
            return
        self._tokens -= 1
        self.reported += 1
        place = f"{record.topic}-{record.partition}@{record.offset}"
        _log.warning("dead-letter", place=place, reason=reason)
        document = {
            "service": self._service,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "reason": reason,
            "sha256": sha256(record.value or b"").hexdigest(),
            "suppressed_before": self.suppressed,
        }
        document |= {name: value for name, value in (("code", code), ("principal", principal)) if value is not None}
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._sender.send(Outbound(topics.DEAD_LETTERS, 0, None, strictjson.canonical(document)))
        except (KeyfoldError, TimeoutError) as error:
            # The topic takes nothing now: say nothing for a while, so that no partition waits for it again and again.
            self._tokens = 1.0 - SILENCE_SECONDS * PER_SECOND
            _log.warning("dead-letter-not-sent", place=place, reason=type(error).__name__)
