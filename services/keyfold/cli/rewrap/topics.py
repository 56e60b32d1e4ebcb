"""A campaign over a topic of ciphertexts: each record goes, in its partition's order, to an output topic.

Keys and headers are copied; the encryption context is a JSON object in the header `keyfold-context`, or a fixed one. A
batch is one transaction; each record says in the header `keyfold-rewrap` which campaign it is of, from which place it
came and what became of it. The journal notes positions after that. If we crash in between, or the journal is lost, the
output topic itself says what the notes would have: it is read from the noted ends on (from its start where none is
noted), so no record is written twice. The journal stays: the same campaign goes on later with what has come since.
What the input's retention has deleted is gone before it could be moved; that is no error.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from keyfold.bus import Bus, BusUnavailable, Inbound, Outbound, Writer
from keyfold.cli.exits import UsageError
from keyfold.cli.rewrap.items import Item, Result, Tally, is_context, reference_of
from keyfold.cli.rewrap.journal import Journal, flush, open_at

CONTEXT_HEADER: Final = "keyfold-context"
REWRAP_HEADER: Final = "keyfold-rewrap"
_READ: Final = 500
_OPEN_S: Final = 60.0
_PAUSE_S: Final = 0.5

Positions = dict[int, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records of one partition, and the items that they hold. A record without a value is no item."""

    records: list[Inbound]
    items: list[Item]


@dataclass(frozen=True, slots=True)
class Places:
    """The topics of a campaign, and where each partition of the input ends for it."""

    source: str
    output: str
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
        return cls(source, output, dict(ends))


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

    async def read(self, partition: int, start: int | None, end: int) -> AsyncGenerator[Batch, None]:
        """Yield a partition's records from a position (None: the start of the log) up to an end.

        Where the log starts behind the position, from there. Raises `PositionLost` where it ends before the position,
        `BusUnavailable` when there is no progress.
        """
        reader = self.bus.reader(self.topic, partition, committed=True)
        await reader.start(None)
        try:
            if start is not None and start > reader.position():
                await reader.seek(start)
            if reader.position() >= end:
                return
            async for read in reader.read_to_end():
                records = [record for record in read if record.offset < end]
                for at in range(0, len(records), self.batch_items):
                    batch = records[at : at + self.batch_items]
                    yield Batch(batch, [item_of_record(record, self.context) for record in batch])
                if reader.position() >= end:
                    break
        finally:
            await reader.stop()


class Origins:
    """The items that an output came from, in their order; those that the input does not hold any more are left out."""

    def __init__(self, batches: AsyncIterator[Batch]) -> None:
        self._batches = batches
        self._ahead: dict[int, Item] = {}
        self._last = -1

    async def upto(self, offset: int) -> dict[int, Item]:
        """Return by offset what was not returned before, up to and with this one."""
        while self._last < offset and (batch := await anext(self._batches, None)) is not None:
            self._ahead |= {record.offset: item for record, item in zip(batch.records, batch.items, strict=True)}
            self._last = batch.records[-1].offset
        found = {at: item for at, item in self._ahead.items() if at <= offset}
        self._ahead = {at: item for at, item in self._ahead.items() if at > offset}
        return found


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
        for partition, end in (await _ends(self._bus, self._places)).items():
            await self._recover(partition, end)
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

    async def _recover(self, partition: int, end: int) -> None:
        """Count what was written and not noted, by the records that it came from: both are in the same order."""
        output, source = (Records(self._bus, topic, {}, _READ) for topic in (self._places.output, self._places.source))
        written = output.read(partition, self._written.get(partition), end)
        came_from = source.read(partition, self.positions.get(partition), self._places.ends[partition])
        async with aclosing(written), aclosing(came_from):
            origins = Origins(came_from)
            async for batch in written:
                found = self._unnoted(partition, batch.records)
                items = await origins.upto(max(found)) if found else {}
                for offset, result in found.items():
                    self._count(partition, offset, items.get(offset) or self._lost(partition, offset, result), result)
        self._written[partition] = end

    def _unnoted(self, partition: int, records: Sequence[Inbound]) -> dict[int, Result]:
        """Return what became of the records behind the noted place, by their offset."""
        noted = self.positions.get(partition, 0)
        said = [(record.value or b"", self._of_campaign(record)) for record in records]
        return {place[0]: Result(value, *place[1:]) for value, place in said if place is not None and place[0] >= noted}

    def _lost(self, partition: int, offset: int, result: Result) -> Item:
        """Return what is known of an item that the input does not hold any more: what was kept is as it was."""
        reference = None if result.outcome == "moved" else reference_of(result.ciphertext)
        return Item(f"{self._places.source}/{partition}/{offset}", b"", {}, reference)

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


async def _ends(bus: Bus, places: Places) -> Positions:
    """Return where the output's partitions end now, as soon as no open transaction hides what stands before that.

    Raises `BusUnavailable` when one stays open: what we wrote may stand behind it, and would be written again.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _OPEN_S
    admin = bus.admin()
    await admin.start()
    try:
        whole = await admin.end_offsets(places.output, committed=False)
        ends = {partition: whole[partition] for partition in sorted(places.ends)}
        while True:
            seen = await admin.end_offsets(places.output)
            hidden = [partition for partition, end in ends.items() if seen[partition] < end]
            if not hidden:
                return ends
            if loop.time() >= deadline:
                raise BusUnavailable(f"an open transaction hides the end of {places.output}, partitions {hidden}")
            await asyncio.sleep(_PAUSE_S)
    finally:
        await admin.stop()
