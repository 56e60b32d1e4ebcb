"""Batches of records cut where statements begin, so that each statement is looked at as a whole.

A statement that is whole is verified by its root, one that is cut by each record's path. Only the cuts move: records
stay in their order, and each is given once.
"""

from collections.abc import AsyncIterator
from typing import Final

from keyfold.bus import Inbound

MOST: Final = 4_000
"""How many records are held back at most; of a longer statement each record is looked at by itself."""


async def by_statement(batches: AsyncIterator[list[Inbound]], most: int = MOST) -> AsyncIterator[list[Inbound]]:
    """Yield the records of some batches; what the last record's statement has so far waits for the rest of it."""
    held: list[Inbound] = []
    async for batch in batches:
        held += batch
        cut = _start_of_last(held)
        if len(held) - cut > most:
            cut = len(held)
        if cut:
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _start_of_last(records: list[Inbound]) -> int:
    """Return where the records that have the last one's statement begin."""
    at = len(records)
    while at > 0 and records[at - 1].headers[:3] == records[-1].headers[:3]:
        at -= 1
    return at
