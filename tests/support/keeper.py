"""A stand-in for a role that writes one event and its state's head in each transaction, for tests of settling."""

from dataclasses import dataclass, field
from typing import Any

from tests.support.people import DEPLOYMENT, first_events, key_on, signer

from keyfold.bus import Bus, Inbound, Outbound, Writer
from keyfold.events import topics
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.trust import Trust
from keyfold.log import Author, Settling, StateTopic

ROLE = "hsm"


def trust() -> Trust:
    """The trust of the test deployment."""
    found = Trust.pin(DEPLOYMENT, signer("root").public_key)
    for event in first_events():
        found = found.with_event(event)
    return found


def ends(document: dict[str, Any]) -> dict[str, ChainHead]:
    """What a keeper's head names."""
    return {topics.EVENTS: ChainHead(*document["events"])}


@dataclass
class Keeper:
    """One partition's role. `told` counts the transactions that it was told were committed."""

    bus: Bus
    partition: int
    count: int = 0
    told: int = 0
    head: ChainHead = field(default_factory=ChainHead)

    def __post_init__(self) -> None:
        key = signer(ROLE)
        self.author = Author(DEPLOYMENT, ROLE, key.fingerprint, key.sign)
        self.state = StateTopic(self.author, topics.HSM_STATE, self.partition)
        self.settling = Settling(
            self.bus, trust(), ROLE, self.partition, topics.HSM_STATE, (topics.EVENTS, topics.KEYSTORE), ends
        )

    def writer(self) -> Writer:
        return self.bus.writer(f"keeper-{self.partition}")

    async def take_over(self) -> Writer:
        """Fence, settle, restore: afterwards the keeper knows the last transaction."""
        writer = self.writer()
        try:
            await writer.start()
            await self.settling.settle(writer)
            reader = self.bus.reader(topics.HSM_STATE, self.partition, committed=True)
            try:
                restored = await self.state.restore(reader, trust())
            finally:
                await reader.stop()
        except BaseException:
            await writer.stop()
            raise
        document = restored.head or {"count": 0, "events": [0, ChainHead().digest]}
        self.count, self.head = document["count"], ChainHead(*document["events"])
        return writer

    def prepare(self, leaves: int = 1) -> tuple[list[Outbound], list[Outbound], ChainHead]:
        """The events and the state's records of the next transaction, and the head behind it."""
        entries = [Entry(key_on(self.partition).encode(), b"%d.%d" % (self.count, leaf)) for leaf in range(leaves)]
        after, events = self.author.records(topics.EVENTS, self.partition, self.head, entries)
        document = {"count": self.count + 1, "events": [after.n, after.digest]}
        return events, self.state.stage({}, document).records, after

    async def write(self, writer: Writer, leaves: int = 1) -> None:
        """One transaction, whole."""
        events, state, after = self.prepare(leaves)
        await writer.commit([*events, *state])
        self.told = self.count = self.count + 1
        self.head = after

    async def committed(self) -> list[Inbound]:
        """The events that committed readers see."""
        reader = self.bus.reader(topics.EVENTS, self.partition, committed=True)
        found: list[Inbound] = []
        try:
            await reader.start(None)
            async for batch in reader.read_to_end():
                found += batch
        finally:
            await reader.stop()
        return found
