"""The wire: what a stranger with a plain producer and a plain consumer can do to a running deployment, and see of it.

It sends records as they are, and collects what comes on every partition of replies, events and dead letters from the
moment it was opened. It is no client: it believes everything and resends nothing.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, TypeVar

from tests.support.forge import Forged

from keyfold.bus import Bus, BusSettings, Inbound, KafkaBus, Outbound, Reader, Sender
from keyfold.client.view import SealingKey, View
from keyfold.config import Config
from keyfold.events import facts, replies, strictjson, topics
from keyfold.events.errors import KeyfoldError
from keyfold.events.replies import CORRELATION_HEADER, ItemResult, ReplyData, parse_reply
from keyfold.events.statements import SEALED_HEADER

PATIENCE_S: Final = 15.0
SETTLE_S: Final = 0.3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Told:
    """One reply. `items` are there where it was sealed, and opened with the command's reply key."""

    data: ReplyData
    sealed: bool
    items: tuple[ItemResult, ...]


@dataclass(slots=True)
class Wire:
    """One connection to a deployment."""

    bus: Bus
    config: Config
    sender: Sender
    view: View
    reply: tuple[str, int]
    replies: list[Inbound] = field(default_factory=list)
    events: list[tuple[Inbound, facts.Event]] = field(default_factory=list)
    letters: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sealing_key(self) -> SealingKey:
        """The deployment's current sealing key."""
        key = self.view.sealing_key
        assert key is not None
        return key

    async def send(self, record: Outbound) -> int:
        """Produce one record and return its offset."""
        return await (await self.sender.send(record))

    async def until(self, find: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S) -> T:
        """Wait until something is there."""
        deadline = asyncio.get_running_loop().time() + patience_s
        while (found := find()) is None:
            assert asyncio.get_running_loop().time() < deadline, f"{what} did not come within {patience_s:.0f} s"
            await asyncio.sleep(0.01)
        return found

    async def until_async(self, find: Callable[[], Awaitable[T | None]], what: str) -> T:
        """Wait until something that has to be asked for is there."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while (found := await find()) is None:
            assert asyncio.get_running_loop().time() < deadline, f"{what} did not come within {PATIENCE_S:.0f} s"
            await asyncio.sleep(0.05)
        return found

    async def told(self, command: Forged) -> Told:
        """Wait for the first reply to a command."""
        return (await self.until(lambda: self.replies_to(command) or None, f"the reply to {command.id}"))[0]

    def replies_to(self, command: Forged) -> list[Told]:
        """All replies so far. A sealed one must open."""
        correlation = str(command.document["data"]["reply"]["correlation_id"]).encode()
        return [_opened(r, command) for r in self.replies if r.header(CORRELATION_HEADER) == correlation]

    async def event(self, command: Forged, kind: type[facts.Event]) -> Any:
        """Wait for the first event of a kind that a command caused, and return its data."""

        def find() -> Any:
            return next((event.data for event in self.events_of(command) if isinstance(event, kind)), None)

        return await self.until(find, f"{kind.__name__} of {command.id}")

    def events_of(self, command: Forged) -> list[facts.Event]:
        """All events so far that name the command by its digest."""
        return [event for _, event in self.events if _digest(event) == command.digest]

    async def letter(self, place: tuple[str, int, int], service: str) -> dict[str, Any]:
        """Wait for a service's dead letter about one record."""

        def find() -> dict[str, Any] | None:
            return next((letter for letter in self.letters if _place(letter) == (*place, service)), None)

        return await self.until(find, f"{service}'s dead letter about {place}")

    def letters_about(self, topic: str, partition: int, offset: int) -> list[dict[str, Any]]:
        """All dead letters so far about one record."""
        return [letter for letter in self.letters if _place(letter)[:3] == (topic, partition, offset)]


def digest_of(record: Outbound) -> str:
    """What a dead letter may say of a record's value."""
    return sha256(record.value or b"").hexdigest()


def bus_of(config: Config) -> KafkaBus:
    """A bus of a stranger."""
    return KafkaBus(BusSettings(bootstrap_servers=config.bootstrap_servers, client_id="stranger"))


@asynccontextmanager
async def wire(config: Config, topic: str = topics.REPLIES) -> AsyncIterator[Wire]:
    """Open a wire; everything that is written afterwards is seen. Replies to another partition are not."""
    bus = bus_of(config)
    view = View(config.deployment or "")
    sender = bus.sender()
    await sender.start()
    tasks: list[asyncio.Task[None]] = []
    readers: list[Reader] = []
    try:
        partition = int.from_bytes(os.urandom(2), "big") % (sender.partitions_of(topic) or 1)
        made = Wire(bus, config, sender, view, (topic, partition))
        places = [(topic, partition, False), (topics.DEAD_LETTERS, 0, False)]
        places += [(topics.EVENTS, number, True) for number in range(config.partitions)]
        takers = [made.replies.extend, lambda found: _take_letters(made, found)]
        takers += [lambda found: _take_events(made, found)] * config.partitions
        directory = bus.reader(topics.DIRECTORY, 0, committed=False)
        readers = [bus.reader(name, number, committed=committed) for name, number, committed in places]
        ends = await _ends(bus, places)
        await asyncio.gather(
            directory.start(None), *(reader.start(end) for reader, end in zip(readers, ends, strict=True))
        )
        readers.append(directory)
        while view.sealing_key is None:
            async for records in directory.read_to_end():
                view.offer(records)
            await asyncio.sleep(0.02)
        takers.append(view.offer)
        tasks = [asyncio.create_task(_follow(r, take)) for r, take in zip(readers, takers, strict=True)]
        yield made
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(reader.stop() for reader in readers))
        await sender.stop()


async def _ends(bus: Bus, places: list[tuple[str, int, bool]]) -> list[int]:
    admin = bus.admin()
    await admin.start()
    try:
        known = {name: await admin.end_offsets(name, committed=False) for name in {place[0] for place in places}}
    finally:
        await admin.stop()
    return [known[name][number] for name, number, _ in places]


async def _follow(reader: Reader, take: Callable[[list[Inbound]], Any]) -> None:
    while True:
        take(await reader.poll(1.0))


def _take_letters(made: Wire, found: list[Inbound]) -> None:
    for record in found:
        try:
            made.letters.append(strictjson.loads(record.value or b""))
        except KeyfoldError:  # somebody else's garbage
            continue


def _take_events(made: Wire, found: list[Inbound]) -> None:
    for record in found:
        try:
            made.events.append((record, facts.parse_event(record.value or b"")))
        except KeyfoldError:  # a stranger's record
            continue


def _opened(record: Inbound, command: Forged) -> Told:
    data = parse_reply(record.value or b"").data
    sealed = record.header(SEALED_HEADER)
    if sealed is None:
        return Told(data, False, ())
    return Told(data, True, tuple(replies.decode_items(replies.unseal(command.reply_key, data, sealed))))


def _digest(event: facts.Event) -> str | None:
    if isinstance(event, facts.PolicyEvent):
        return event.data.decision.command_digest
    return event.data.command_digest if isinstance(event, facts.Outcome) else None


def _place(letter: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    return letter.get("topic"), letter.get("partition"), letter.get("offset"), letter.get("service")


def text_of(letter: dict[str, Any]) -> str:
    """A dead letter as text, to look for what must not be in it."""
    return json.dumps(letter)
