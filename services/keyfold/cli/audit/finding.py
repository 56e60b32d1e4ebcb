"""Finding the record that somebody means: by the event's id, by a command's id, or by its place in the log."""

import re
from dataclasses import dataclass
from typing import Final

from keyfold.bus import Bus, Inbound
from keyfold.cli.exits import UsageError
from keyfold.events import topics
from keyfold.events.errors import NotFound
from keyfold.projections.ports import AuditFilter, Queries

_PLACE: Final = re.compile(r"(\d{1,6})/(\d{1,19})")
_COMMAND: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EVENT: Final = re.compile(r"(\d{1,6})\.\d{1,19}\..+")
_DECISIONS: Final = frozenset({"authorized", "denied", "dry-run"})
_PAGE: Final = 1000
_POLL_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Place:
    """A record's partition of the events topic and its Kafka offset."""

    partition: int
    offset: int


def place_named(text: str) -> Place | None:
    """Read `partition/offset`; None for what is named otherwise."""
    found = _PLACE.fullmatch(text)
    return None if found is None else Place(int(found[1]), int(found[2]))


async def place_of(queries: Queries, name: str, *, decision: bool) -> Place:
    """Return the place of the event that an event id or a command id names, by the audit trail. Raises `NotFound`.

    A command's event is its outcome, or its decision where that was asked for or is all there is.
    """
    if _COMMAND.fullmatch(name):
        rows = (await queries.audit(AuditFilter(command_id=name), oldest_first=True)).rows
        chosen = [row for row in rows if (row.outcome in _DECISIONS) == decision] or rows
        if not chosen:
            raise NotFound(f"there is no command {name} in the audit trail")
        row = chosen[0] if decision else chosen[-1]
        return Place(row.partition, row.kafka_offset)
    for partition in await _partitions(queries, name):
        position = 0
        while rows := await queries.audit_log(partition, position, _PAGE):
            for row in rows:
                if row.event_id == name:
                    return Place(partition, row.kafka_offset)
            position = rows[-1].position + 1
    raise NotFound(f"there is no event {name} in the audit trail; name an event, a command, or partition/offset")


async def record_at(bus: Bus, place: Place) -> Inbound:
    """Return the record at a place of the log. Raises `NotFound`, `PositionLost`."""
    reader = bus.reader(topics.EVENTS, place.partition, committed=True)
    try:
        await reader.start(place.offset)
        found = await reader.poll(_POLL_S, 1)
    finally:
        await reader.stop()
    if not found or found[0].offset != place.offset:
        raise NotFound(f"no record lies at {topics.EVENTS} {place.partition}/{place.offset}")
    return found[0]


def check_partition(place: Place, partitions: int) -> None:
    """Raise `UsageError` for a partition that there is not."""
    if place.partition >= partitions:
        raise UsageError(f"there is no partition {place.partition}: the deployment has {partitions}")


async def _partitions(queries: Queries, name: str) -> list[int]:
    """An event of a service says in its id where it lies; root's do not."""
    found = _EVENT.fullmatch(name)
    return [int(found[1])] if found else sorted(row.partition for row in await queries.progress())
