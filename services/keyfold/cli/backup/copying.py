"""Copying the log of a deployment whose services are stopped: every topic that others do not follow from.

All copies must be of one moment, since transactions span topics: state topics say how far the others were worked on.
So nothing may be at work: no transaction is open before, and every end is where it was after. Commands may still come;
those that came too late are not in the copy, as if they had not been sent.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from keyfold.bus import Admin, Bus, TopicMismatch
from keyfold.cli.backup.errors import BackupMoved
from keyfold.cli.backup.files import private_directory
from keyfold.cli.backup.manifest import CopiedPartition
from keyfold.cli.backup.record_files import encoded
from keyfold.events import topics

# Replies are gone after an hour and sealed to whoever asked; the directory is published anew from the events.
DERIVED: Final = frozenset({topics.REPLIES, topics.DIRECTORY})
_PATIENCE_S: Final = 35.0
_LOOK_S: Final = 0.5
COPIED: Final = tuple(row for row in topics.TOPICS if row.name not in DERIVED)


@dataclass(frozen=True, slots=True)
class _Bounds:
    first: Mapping[int, int]
    end: Mapping[int, int]
    stable: Mapping[int, int]


async def copy_log(
    bus: Bus, partitions: int, directory: Path, say: Callable[[str], None]
) -> dict[str, list[CopiedPartition]]:
    """Copy all topics of `COPIED` into files. Raises `BackupMoved`, `TopicMismatch`, `BusUnavailable`."""
    admin = bus.admin()
    await admin.start()
    try:
        before = await _at_rest(admin)
        _require_partitions(before, partitions)
        found = {}
        for row in COPIED:
            found[row.name] = [
                await _copied(bus, row.name, partition, before[row.name], directory)
                for partition in range(row.partitions or partitions)
            ]
            say(f"{row.name}: {sum(each.records for each in found[row.name])} records")
        moved = [name for name in before if name != topics.COMMANDS and await _bounds(admin, name) != before[name]]
    finally:
        await admin.stop()
    if moved:
        raise BackupMoved(f"{', '.join(moved)} moved meanwhile: stop every service, then make the backup again")
    return found


async def _at_rest(admin: Admin) -> dict[str, _Bounds]:
    """Return the bounds when no transaction is open: of a service that was killed, one is until its time is over."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    while True:
        bounds = {row.name: await _bounds(admin, row.name) for row in COPIED}
        busy = [name for name, each in bounds.items() if name != topics.COMMANDS and each.stable != each.end]
        if not busy:
            return bounds
        if asyncio.get_running_loop().time() > deadline:
            raise BackupMoved(
                f"transactions are open in {', '.join(busy)}: stop every service; if they stay, start the services "
                "once, which end what is theirs, and stop them again"
            )
        await asyncio.sleep(_LOOK_S)


def _require_partitions(bounds: Mapping[str, _Bounds], partitions: int) -> None:
    """Partitions that were added by mistake are left out, if nothing is in them: so a restore gets rid of them."""
    wrong = []
    for row in COPIED:
        end, wanted = bounds[row.name].end, row.partitions or partitions
        if not end.keys() >= set(range(wanted)):
            wrong.append(f"{row.name} has {len(end)} partitions, not {wanted}")
        wrong += [f"{row.name}-{more} is one too many, and not empty" for more in end if more >= wanted and end[more]]
    if wrong:
        raise TopicMismatch(tuple(wrong))


async def _bounds(admin: Admin, topic: str) -> _Bounds:
    return _Bounds(
        await admin.start_offsets(topic),
        await admin.end_offsets(topic, committed=False),
        await admin.end_offsets(topic, committed=True),
    )


async def _copied(bus: Bus, topic: str, partition: int, bounds: _Bounds, directory: Path) -> CopiedPartition:
    first, end = bounds.first[partition], bounds.end[partition]
    name = f"log/{topic}/{partition}.records"
    path = directory / name
    private_directory(path.parent)
    digest, count = sha256(), 0
    reader = bus.reader(topic, partition, committed=topic != topics.COMMANDS)
    path.touch(mode=0o600, exist_ok=False)
    try:
        await reader.start(first)
        with path.open("wb") as file:
            async for batch in reader.read_to_end():
                for record in batch:
                    if record.offset < end:
                        frame = encoded(record)
                        file.write(frame)
                        digest.update(frame)
                        count += 1
            file.flush()
            os.fsync(file.fileno())
    finally:
        await reader.stop()
    return CopiedPartition(
        partition=partition, first=first, end=end, records=count, file=name, sha256=digest.hexdigest()
    )
