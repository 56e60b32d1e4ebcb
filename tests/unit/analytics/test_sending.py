"""The inbox of a stage: what was gathered before partitions moved is left out, and nothing of what came after."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from keyfold.analytics.sending import Inbox


@dataclass
class Channel:
    """What Faust gives for a topic."""

    queue: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)

    def __aiter__(self) -> "Channel":
        return self

    async def __anext__(self) -> Any:
        raise StopAsyncIteration


class App:
    """An application with one topic."""

    consumer_generation_id = 1

    def __init__(self) -> None:
        self.channel = Channel()

    def topic(self, *_: Any, **__: Any) -> Channel:
        return self.channel

    def put(self, offset: int, generation: int = 1) -> None:
        message = SimpleNamespace(
            topic="t", partition=0, offset=offset, timestamp=1.5, key=b"k", value=b"v", headers=None,
            generation_id=generation,
        )  # fmt: skip
        self.channel.queue.put_nowait(SimpleNamespace(message=message))


def inbox() -> tuple[App, Inbox]:
    """An empty one."""
    app = App()
    return app, Inbox(app, "t", acks=True)  # type: ignore[arg-type]


async def offsets(box: Inbox, most: int = 10, within_s: float = 0.0) -> list[int]:
    """What is gathered."""
    return [message.record.offset for message in await box.gather(most, within_s)]


async def test_it_takes_what_is_there_in_order_and_at_most_so_many() -> None:
    """The rest stays for the next time; times are in ms."""
    app, box = inbox()
    for offset in range(5):
        app.put(offset)
    (first, *_) = await box.gather(2, 0.0)
    assert (first.record.timestamp_ms, first.record.headers) == (1500, ())
    assert await offsets(box) == [2, 3, 4]
    assert await offsets(box) == []


async def test_messages_of_another_generation_are_left_out() -> None:
    """They are read again by whoever has the partition now."""
    app, box = inbox()
    app.put(0, generation=0)
    app.put(1)
    assert await offsets(box) == [1]


async def test_a_turn_while_it_waits_drops_what_was_before_and_keeps_what_comes_after() -> None:
    """What comes after was sought anew: dropping it too would lose it."""
    app, box = inbox()
    app.put(7)
    waiting = asyncio.create_task(offsets(box, within_s=0.2))
    await asyncio.sleep(0.05)
    box.turn()
    app.put(3)
    assert await waiting == [3]
    assert box.turns == 1
