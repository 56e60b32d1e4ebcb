"""Batches of records cut where statements begin, so that each statement is looked at as a whole.

A statement that is whole is verified by its root, one that is cut by each record's path. Only the cuts move: records
stay in their order, and each is given once.
"""

from collections.abc import AsyncIterator
from typing import Final

from keyfold.bus import Inbound
from keyfold.log.believing import begin_of_last_statement

MOST: Final = 4_000
"""How many records are held back at most; of a longer statement each record is looked at by itself."""


async def by_statement(batches: AsyncIterator[list[Inbound]], most: int = MOST) -> AsyncIterator[list[Inbound]]:
    """Yield the records of some batches; what the last record's statement has so far waits for the rest of it."""
    held: list[Inbound] = []
    async for batch in batches:
        held += batch
        cut = begin_of_last_statement(held)
        if len(held) - cut > most:
            cut = len(held)
        if cut:
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held
