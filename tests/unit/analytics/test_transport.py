"""How Faust's consumer hands messages on: at once where there is room, and else as Faust waits."""

import asyncio

import pytest
from mode.services import Service

from keyfold.analytics.transport import CommittedConsumer


class Waiting(CommittedConsumer):
    """Only what waits of the consumer: it has no transport."""

    def __init__(self) -> None:
        Service.__init__(self)


@pytest.fixture
async def consumer() -> Waiting:
    """A consumer that runs in the test's loop."""
    return Waiting()


class Buffer:
    """A stream's buffer with room for some, and what became of who waited for room."""

    def __init__(self, room: int) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue(room)
        self.given_up = 0

    async def put(self, message: str) -> str:
        """Hand a message on."""
        try:
            await asyncio.sleep(0) if message == "slow" else None
            await self.queue.put(message)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return message


async def test_what_is_handed_on_at_once_makes_no_task(consumer: Waiting) -> None:
    """One message that finds room costs nothing but itself."""
    buffer, flow = Buffer(1), asyncio.Event()
    before = asyncio.all_tasks()
    waiting = consumer.wait_first(buffer.put("a"), flow.wait())
    with pytest.raises(StopIteration) as ended:
        waiting.send(None)  # it ends in its first step: it waits for nothing
    assert ended.value.value.results == ["a"]
    assert not ended.value.value.stopped
    assert buffer.queue.get_nowait() == "a"
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("message", ["b", "slow"])
async def test_a_full_buffer_is_waited_for(consumer: Waiting, message: str) -> None:
    """The message is there when there is room, once, whatever else it waits for on the way."""
    buffer, flow = Buffer(1), asyncio.Event()
    await buffer.put("a")
    waiting = asyncio.create_task(consumer.wait_first(buffer.put(message), flow.wait()))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert await buffer.queue.get() == "a"
    async with asyncio.timeout(5):
        told = await waiting
    assert told.results == [message]
    assert not told.stopped
    assert buffer.queue.get_nowait() == message
    assert buffer.queue.empty()


async def test_a_flow_that_stops_ends_the_waiting(consumer: Waiting) -> None:
    """When partitions are to move, nobody waits for room any more, and the message is not handed on later."""
    buffer, flow = Buffer(1), asyncio.Event()
    await buffer.put("a")
    waiting = asyncio.create_task(consumer.wait_first(buffer.put("b"), flow.wait()))
    await asyncio.sleep(0.01)
    flow.set()
    async with asyncio.timeout(5):
        await waiting
        while not buffer.given_up:
            await asyncio.sleep(0)
    assert buffer.queue.get_nowait() == "a"
    assert buffer.queue.empty()


async def test_a_service_that_stops_ends_the_waiting(consumer: Waiting) -> None:
    """Faust's own reasons to stop are still heard."""
    buffer, flow = Buffer(1), asyncio.Event()
    await buffer.put("a")
    waiting = asyncio.create_task(consumer.wait_first(buffer.put("b"), flow.wait()))
    await asyncio.sleep(0.01)
    consumer._stopped.set()
    async with asyncio.timeout(5):
        assert (await waiting).stopped


@pytest.mark.parametrize("message", ["at once", "later"])
async def test_what_goes_wrong_is_told(consumer: Waiting, message: str) -> None:
    """An error of the receiver is the consumer's, whether it comes at once or after a wait."""

    async def refuse() -> None:
        if message == "later":
            await asyncio.sleep(0)
        raise ValueError(message)

    with pytest.raises(ValueError, match=message):
        await consumer.wait_first(refuse(), asyncio.Event().wait())
