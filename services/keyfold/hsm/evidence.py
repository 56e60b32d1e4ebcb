"""Evidence that every partition has turned to a storage epoch, read from the log before the old epoch's key goes.

The command that ends an epoch names a place for each partition. What lies there is believed for its own signature, so
neither who sent the command nor where it looked the places up has to be trusted.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from keyfold.bus import Bus, Inbound, PositionLost
from keyfold.events import commands, facts, topics
from keyfold.events.arguments import EpochEvidence
from keyfold.events.directory import verify_verbatim
from keyfold.events.errors import RecordError
from keyfold.hsm.tickets import Ticket
from keyfold.log import RegistryFollower

_WAIT_S: Final = 5.0


class Evidence:
    """Looks up what `EndStorageEpoch` tickets claim."""

    def __init__(self, bus: Bus, follower: RegistryFollower, partitions: int) -> None:
        self._bus, self._follower, self._partitions = bus, follower, partitions

    async def examine(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Return the tickets, those with a flaw in their evidence marked. Raises `BusUnavailable`."""
        return [await self._examined(ticket) for ticket in tickets]

    async def _examined(self, ticket: Ticket) -> Ticket:
        command = ticket.executed
        if not isinstance(command, commands.EndStorageEpoch) or not isinstance(ticket.event, facts.CommandAuthorized):
            return ticket
        await self._follower.catch_up()
        named = {place.partition: place for place in command.data.arguments.evidence}
        if set(named) != set(range(self._partitions)):
            return replace(ticket, flaw="the evidence does not name every partition")
        for place in named.values():
            flaw = await self._flaw(place, command.data.arguments.epoch)
            if flaw is not None:
                return replace(ticket, flaw=f"partition {place.partition}: {flaw}")
        return ticket

    async def _flaw(self, place: EpochEvidence, epoch: int) -> str | None:
        try:
            record = await self._record(place)
        except PositionLost:
            return "the log does not have this place"
        if record is None:
            return "there is no record at this place"
        try:
            event = verify_verbatim(self._follower.trust, self._partitions, record.value or b"", record.headers)
        except RecordError as error:
            return f"what lies there cannot be believed ({error.code})"
        if not isinstance(event, facts.StorageEpochTurned):
            return "what lies there is another event"
        if event.data.partition != place.partition or event.data.epoch <= epoch:
            return "what lies there is of another partition or epoch"
        return None

    async def _record(self, place: EpochEvidence) -> Inbound | None:
        reader = self._bus.reader(topics.EVENTS, place.partition, committed=True)
        try:
            await reader.start(place.offset)
            async with asyncio.timeout(_WAIT_S):
                while await reader.end_offset() > place.offset:
                    records = await reader.poll(_WAIT_S, 1)
                    if records:
                        return records[0] if records[0].offset == place.offset else None
        except TimeoutError:
            return None
        finally:
            await reader.stop()
        return None
