"""Sending and receiving through Faust: many records awaited together, many messages taken at once.

What a batch sends is awaited with one deadline. What fails ends the process (`NotSent`): it begins again from what is
written, which is what it would have to do anyway.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from keyfold.analytics.clock import BrokerClock
from keyfold.analytics.transport import Application
from keyfold.bus import Headers, Inbound
from keyfold.events.errors import Unavailable

_SLICE: Final = 500
_PAUSE_S: Final = 0.01
_APPEND_TIME: Final = 1

Record = tuple[str, int, bytes | None, bytes | None]


class NotSent(Unavailable):
    """Records of analytics did not reach the brokers in time."""

    code = "NotSent"


class Message(NamedTuple):
    """A record, and the event of Faust by which it is acknowledged."""

    record: Inbound
    event: Any


class Sending:
    """Sends through the application's producer; learns the broker's time from what is acknowledged."""

    def __init__(self, app: Application, timeout_s: float) -> None:
        self._app, self._timeout_s = app, timeout_s
        self.clock = BrokerClock()

    async def send(self, records: Iterable[Record], headers: Sequence[Headers] = ()) -> None:
        """Send in order, and return when all are durable. Raises `NotSent`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                pending: list[Awaitable[Any]] = []
                for number, (topic, partition, key, value) in enumerate(records):
                    given: Any = list(headers[number]) if headers else None
                    pending.append(await self._app.producer.send(topic, key, value, partition, None, given))
                    if len(pending) % _SLICE == 0:
                        await asyncio.sleep(0)
                done = await asyncio.gather(*pending)
        except Exception as error:
            raise NotSent(f"analytics could not write: {error!r}; check the brokers") from error
        for sent in done[-1:]:
            if sent.timestamp_type == _APPEND_TIME and sent.timestamp:
                self.clock.saw(sent.timestamp, time.monotonic())


class Inbox:
    """The messages of one topic, as Faust hands them out. To be made before the application starts."""

    def __init__(self, app: Application, topic: str, *, acks: bool) -> None:
        self._app = app
        self.turns = 0
        raw: dict[str, Any] = {"key_serializer": "raw", "value_serializer": "raw", "allow_empty": True}
        self._channel = aiter(app.topic(topic, key_type=bytes, value_type=bytes, acks=acks, **raw))

    def turn(self) -> None:
        """Partitions move, or are read anew: what came before is left out, by `gather` too if it waits just now."""
        self.turns += 1

    async def gather(self, most: int, within_s: float) -> list[Message]:
        """Return what comes within a time, at most so many; all of it since the last turn.

        Whoever waits before working on it compares `turns` then: after another turn it counts no more.
        """
        queue = self._channel.queue
        end_s = time.monotonic() + within_s
        found: list[Message] = []
        turns = self.turns
        while True:
            if turns != self.turns:
                turns = self.turns
                found.clear()
            while len(found) < most and not queue.empty():
                event = queue.get_nowait()
                if event.message.generation_id == self._app.consumer_generation_id:
                    found.append(Message(_inbound(event.message), event))
            left_s = end_s - time.monotonic()
            if len(found) >= most or left_s <= 0:
                return found
            await asyncio.sleep(min(left_s, _PAUSE_S))

    async def done(self, messages: Iterable[Message]) -> None:
        """Acknowledge messages: a restart begins behind them."""
        for message in messages:
            message.event.ack()


def _inbound(message: Any) -> Inbound:
    return Inbound(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=round((message.timestamp or 0.0) * 1000),
        key=message.key,
        value=message.value,
        headers=tuple(message.headers or ()),
    )
