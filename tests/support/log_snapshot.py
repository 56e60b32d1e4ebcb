"""A snapshot of the log: every partition read both ways, as committed readers see it and with what was aborted.

It only reads. `TicketRecorder` follows the authorized topic while a system runs, because the HSM worker deletes tickets
that it has passed. What the records must be is `log_checker`'s business.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from keyfold.bus import Bus, Inbound, Reader
from keyfold.events import topics
from keyfold.events.errors import KeyfoldError

SIGNED: Final = (topics.EVENTS, topics.AUTHORIZED, topics.KEYSTORE)
READ: Final = (topics.COMMANDS, *SIGNED, topics.REPLIES, topics.DIRECTORY, topics.DEAD_LETTERS)

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class PartitionLog:
    """One partition. `raw` holds everything, `committed` what committed readers see; the ends are offsets."""

    start: int
    raw: tuple[Inbound, ...]
    committed: tuple[Inbound, ...]
    end: int
    stable_end: int

    @property
    def aborted(self) -> tuple[Inbound, ...]:
        """Records that no committed reader sees."""
        seen = {record.offset for record in self.committed}
        return tuple(record for record in self.raw if record.offset not in seen)


Logs = Mapping[Place, PartitionLog]


async def read_logs(bus: Bus, partitions: int, recorder: "TicketRecorder | None" = None) -> dict[Place, PartitionLog]:
    """Read every topic in `READ`, both ways. To be called when nothing is written any more."""
    admin = bus.admin()
    await admin.start()
    found: dict[Place, PartitionLog] = {}
    try:
        for topic in READ:
            starts = await admin.start_offsets(topic)
            ends = await admin.end_offsets(topic, committed=False)
            stable = await admin.end_offsets(topic, committed=True)
            for partition in sorted(starts):
                raw, committed = await asyncio.gather(
                    *(read_all(bus.reader(topic, partition, committed=way)) for way in (False, True))
                )
                found[topic, partition] = PartitionLog(
                    starts[partition], raw, committed, ends[partition], stable[partition]
                )
    finally:
        await admin.stop()
    if recorder is not None:
        for partition in range(partitions):
            place = (topics.AUTHORIZED, partition)
            found[place] = recorder.completed(partition, found[place])
    return found


async def read_all(reader: Reader) -> tuple[Inbound, ...]:
    """Return all that one reader sees, from the start of the log."""
    found: list[Inbound] = []
    try:
        await reader.start(None)
        async for batch in reader.read_to_end():
            found += batch
    finally:
        await reader.stop()
    return tuple(found)


class TicketRecorder:
    """Keeps every committed ticket from now on. It survives the broker's absence; a lost position is an error."""

    def __init__(self, bus: Bus, partitions: int) -> None:
        self._bus, self._partitions = bus, partitions
        self._found: list[dict[int, Inbound]] = [{} for _ in range(partitions)]
        self._start = [0] * partitions
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "TicketRecorder":
        admin = self._bus.admin()
        await admin.start()
        for partition, start in (await admin.start_offsets(topics.AUTHORIZED)).items():
            self._start[partition] = start
        await admin.stop()
        self._tasks = [asyncio.create_task(self._follow(partition)) for partition in range(self._partitions)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def completed(self, partition: int, log: PartitionLog) -> PartitionLog:
        """Return the partition with what was deleted since the recording began."""
        recorded = {**self._found[partition], **{record.offset: record for record in log.committed}}
        committed = tuple(recorded[offset] for offset in sorted(recorded))
        raw = {**recorded, **{record.offset: record for record in log.raw}}
        return replace(
            log,
            start=min(self._start[partition], log.start),
            committed=committed,
            raw=tuple(raw[offset] for offset in sorted(raw)),
        )

    async def _follow(self, partition: int) -> None:
        position = self._start[partition]
        while True:
            reader = self._bus.reader(topics.AUTHORIZED, partition, committed=True)
            try:
                await reader.start(position)
                while True:
                    for record in await reader.poll(1.0):
                        self._found[partition][record.offset] = record
                    position = reader.position()
            except KeyfoldError:
                await asyncio.sleep(0.2)
            finally:
                await reader.stop()
