"""A campaign over a topic of ciphertexts: each record goes, in its partition's order, to an output topic.

Keys and headers are copied; the encryption context is a JSON object in the header `keyfold-context`, or a fixed one. A
batch is one transaction; each record says in the header `keyfold-rewrap` which campaign it is of, from which place it
came and what became of it. The journal notes positions after that. If we crash in between, the output topic itself says
what the lost note would have: it is read from the noted ends on, so no record is written twice. The journal stays: the
same campaign goes on later with what has come since.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from keyfold.bus import Bus, Inbound, Outbound, Writer
from keyfold.cli.exits import UsageError
from keyfold.cli.rewrap.items import Item, Result, Tally, is_context
from keyfold.cli.rewrap.journal import Journal, flush, open_at

CONTEXT_HEADER: Final = "keyfold-context"
REWRAP_HEADER: Final = "keyfold-rewrap"
_READ: Final = 500
_POLL_S: Final = 0.05

Positions = dict[int, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records of one partition, and the items that they hold. A record without a value is no item."""

    records: list[Inbound]
    items: list[Item]


@dataclass(frozen=True, slots=True)
class Places:
    """The topics of a campaign: how many partitions the output has, and where each input partition ends for it."""

    source: str
    output: str
    outputs: int
    ends: Positions

    @classmethod
    async def find(cls, bus: Bus, source: str, output: str) -> "Places":
        """Ask the brokers. The campaign ends where the input ends now."""
        admin = bus.admin()
        await admin.start()
        try:
            ends, outputs = await admin.end_offsets(source), await admin.end_offsets(output)
        finally:
            await admin.stop()
        if len(outputs) < len(ends):
            raise UsageError(f"{output} needs at least {len(ends)} partitions, as {source} has: order is kept in each")
        return cls(source, output, len(outputs), dict(ends))


def item_of_record(record: Inbound, context: Mapping[str, str]) -> Item:
    """Read a record; a context that is none makes it no ciphertext."""
    place = f"{record.topic}/{record.partition}/{record.offset}"
    if record.value is None:
        return Item(place, b"", {}, None, empty=True)
    header = record.header(CONTEXT_HEADER)
    if header is None:
        return Item.of(place, record.value, context)
    try:
        own: Any = json.loads(header)
    except ValueError:
        own = None
    return Item.of(place, record.value, own) if is_context(own) else Item(place, record.value, {}, None)


@dataclass(frozen=True, slots=True)
class Records:
    """The records of a topic, batch by batch. `context` holds where a record names none."""

    bus: Bus
    topic: str
    context: Mapping[str, str]
    batch_items: int

    async def read(self, partition: int, start: int | None, end: int) -> AsyncIterator[Batch]:
        """Yield a partition's records from a position (None: the start of the log) up to an end."""
        reader = self.bus.reader(self.topic, partition, committed=True)
        await reader.start(start)
        try:
            while reader.position() < end:
                records = [record for record in await reader.poll(_POLL_S, self.batch_items) if record.offset < end]
                if records:
                    yield Batch(records, [item_of_record(record, self.context) for record in records])
        finally:
            await reader.stop()


class TopicOutput:
    """The output topic and the journal of a campaign. Use `topic_output`."""

    def __init__(self, bus: Bus, places: Places, journal: Journal, campaign: str, writer: Writer) -> None:
        self._bus, self._places, self._journal, self._campaign = bus, places, journal, campaign
        self._writer = writer
        state = journal.state or {}
        self.failures = journal.path.with_name(f"{journal.path.name}.failed")
        self._failed = open_at(self.failures, int(state.get("failures", 0)))
        self.tally = Tally.from_data(state["tally"]) if "tally" in state else Tally()
        self.positions: Positions = {int(name): at for name, at in state.get("positions", {}).items()}
        self._written: Positions = {int(name): at for name, at in state.get("written", {}).items()}

    async def begin(self) -> None:
        """Fence whoever ran this campaign before, and learn what it wrote beyond the journal."""
        await self._writer.start()
        if not self._journal.state:
            self._written = await _ends(self._bus, self._places.output)
            self._note()
            return
        for partition in range(self._places.outputs):
            await self._recover(partition)
        self._note()

    async def keep(self, batch: Batch, results: Sequence[Result]) -> None:
        """Write a batch as one transaction; afterwards it is never done again."""
        written = [self._outbound(record, result) for record, result in zip(batch.records, results, strict=True)]
        offsets = await self._writer.commit(written)
        for record, item, result, offset in zip(batch.records, batch.items, results, offsets, strict=True):
            self._count(record.partition, record.offset, item, result)
            self._written[record.partition] = offset + 1
        self._note()

    def _outbound(self, record: Inbound, result: Result) -> Outbound:
        said = f"{self._campaign}/{record.partition}/{record.offset}/{result.code or result.outcome}"
        headers = tuple(pair for pair in record.headers if pair[0] != REWRAP_HEADER)
        value = None if record.value is None else result.ciphertext
        marked = (*headers, (REWRAP_HEADER, said.encode()))
        return Outbound(self._places.output, record.partition, record.key, value, marked)

    async def _recover(self, partition: int) -> None:
        end = (await _ends(self._bus, self._places.output)).get(partition, 0)
        start = self._written.get(partition, 0)
        if start >= end:
            return
        found: dict[int, Result] = {}
        async for batch in Records(self._bus, self._places.output, {}, _READ).read(partition, start, end):
            for record in batch.records:
                place = self._of_campaign(record)
                if place is not None:
                    found[place[0]] = Result(record.value or b"", *place[1:])
        if found:
            await self._count_again(partition, found)
        self._written[partition] = end

    async def _count_again(self, partition: int, found: Mapping[int, Result]) -> None:
        """Count what was written and not noted, by the records that it came from."""
        start, end = min(found), max(found) + 1
        async for batch in Records(self._bus, self._places.source, {}, _READ).read(partition, start, end):
            for record, item in zip(batch.records, batch.items, strict=True):
                if record.offset in found:
                    self._count(partition, record.offset, item, found[record.offset])

    def _of_campaign(self, record: Inbound) -> tuple[int, Any, str | None] | None:
        """Return the place that a record came from and what became of it, if this campaign wrote it."""
        said = (record.header(REWRAP_HEADER) or b"").decode("utf-8", "replace").split("/")
        if len(said) != 4 or said[:2] != [self._campaign, str(record.partition)] or not said[2].isdecimal():
            return None
        outcome = said[3] if said[3] in {"moved", "kept"} else "failed"
        return int(said[2]), outcome, None if outcome != "failed" else said[3]

    def _count(self, partition: int, offset: int, item: Item, result: Result) -> None:
        self.tally.count(item, result)
        if result.outcome == "failed":
            self._failed.write(json.dumps({"place": item.place, "code": result.code}).encode() + b"\n")
        self.positions[partition] = offset + 1

    def close(self) -> None:
        """Leave everything for another time."""
        self._failed.close()
        self._journal.close()

    def _note(self) -> None:
        flush(self._failed)
        places = {"positions": self.positions, "written": self._written, "failures": self._failed.tell()}
        self._journal.note({**places, "tally": self.tally.as_data()})


@asynccontextmanager
async def topic_output(bus: Bus, places: Places, journal: Journal, campaign: str) -> AsyncIterator[TopicOutput]:
    """Open the output of a campaign, as its only writer."""
    writer = bus.writer(f"keyfold-rewrap-{campaign}")
    output = TopicOutput(bus, places, journal, campaign, writer)
    try:
        await output.begin()
        yield output
    finally:
        await writer.stop()
        output.close()


async def _ends(bus: Bus, topic: str) -> Positions:
    admin = bus.admin()
    await admin.start()
    try:
        return dict(await admin.end_offsets(topic))
    finally:
        await admin.stop()
