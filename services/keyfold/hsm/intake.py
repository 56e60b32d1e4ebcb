"""Intake: raw records of one authorized partition become tickets, in order, or are left out and reported.

What is not signed by who may, misplaced or no ticket is left out (`UntrustedRecord`), and so is what was read before
(`ChainRepeat`). A gap is not for this module to survive: `ChainGap` stops the partition.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from keyfold.bus import Inbound, header_bytes
from keyfold.events import topics
from keyfold.events.chains import Accepted, ChainReader, ChainRepeat, Place
from keyfold.events.statements import UntrustedRecord
from keyfold.hsm import metrics
from keyfold.hsm.tickets import Ticket, read_ticket
from keyfold.log import DeadLetters, RegistryFollower
from keyfold.telemetry.tracing import carried

_SLICE_S: Final = 0.01


class Intake:
    """The reading side of one partition. After a failure it is thrown away, with the places it moved."""

    def __init__(
        self,
        follower: RegistryFollower,
        dead_letters: DeadLetters,
        partition: int,
        partitions: int,
        places: dict[str, Place],
    ) -> None:
        self._follower, self._dead_letters, self._partition = follower, dead_letters, partition
        self._chains = ChainReader(topics.AUTHORIZED, partition, partitions, places)

    @property
    def places(self) -> dict[str, Place]:
        """Where the chains were read to."""
        return dict(self._chains.places)

    async def read(self, records: Sequence[Inbound]) -> list[Ticket]:
        """Return the tickets among the records. Raises `ChainGap`; then the partition must stop."""
        loop = asyncio.get_running_loop()
        yield_at = loop.time() + _SLICE_S
        tickets: list[Ticket] = []
        for record in records:
            ticket = await self._read_one(record)
            if ticket is not None:
                tickets.append(ticket)
            if loop.time() >= yield_at:
                await asyncio.sleep(0)
                yield_at = loop.time() + _SLICE_S
        return tickets

    async def _read_one(self, record: Inbound) -> Ticket | None:
        try:
            ticket = read_ticket(await self._accept(record), self._partition)
            trace = carried(record.headers)
            return ticket if trace is None else replace(ticket, trace=trace)
        except (UntrustedRecord, ChainRepeat) as error:
            metrics.SKIPPED.labels(error.code).inc()
            await self._dead_letters.report(record, f"{error.code}: {error}")
            return None

    async def _accept(self, record: Inbound) -> Accepted:
        """Believe a record; one that is not believed is looked at again with what the registry says by now."""
        place = (record.key, record.value, record.headers, record.timestamp_ms)
        try:
            return self._chains.accept(self._follower.trust, *place)
        except UntrustedRecord:
            await self._follower.catch_up()
            return self._chains.accept(self._follower.trust, *place)


def chunks(records: Sequence[Inbound], most: int, most_bytes: int) -> Iterator[list[Inbound]]:
    """Cut what was polled into transactions of at most `most` tickets and (unless one alone is larger) bytes."""
    chunk: list[Inbound] = []
    size = 0
    for record in records:
        weight = len(record.value or b"") + header_bytes(record.headers)
        if chunk and (len(chunk) >= most or size + weight > most_bytes):
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += weight
    if chunk:
        yield chunk
