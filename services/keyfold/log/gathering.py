"""Gathering: waiting a moment for companions, so that one transaction serves several records.

A transaction costs the broker and both ends about as much as a dozen records do. Where the last batch held more than
what has come now, its senders are about to be heard again, and a short wait pays; a lone record never waits.
"""

import asyncio
from typing import Final

from keyfold.bus import Inbound, Reader

WAIT_SECONDS: Final = 0.002


class Gatherer:
    """Polls one reader in batches. Not for use by two tasks."""

    def __init__(self, reader: Reader, wait_s: float = WAIT_SECONDS) -> None:
        self._reader, self._wait_s = reader, wait_s
        self._expected = 1

    async def poll(self, timeout_s: float, most: int) -> list[Inbound]:
        """Return what comes next, as `Reader.poll` does, and with it what comes within the wait where that pays."""
        records = await self._reader.poll(timeout_s, most)
        if records and len(records) < min(self._expected, most):
            await asyncio.sleep(self._wait_s)
            records += await self._reader.poll(0.0, most - len(records))
        self._expected = len(records)
        return records
