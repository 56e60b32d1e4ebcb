"""Restoring partitions one after the other: what keeps a restart with very many records from starving itself.

A restore computes on all that it reads. Where several do so on one event loop, each waits for the others between any
two pieces that come from the network, and large fetches run into their deadline. One at a time is as fast in all, and
the first partition is there sooner. Nothing is read here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

from keyfold.bus import Inbound, Reader

_TURNS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]] = WeakKeyDictionary()


@asynccontextmanager
async def reading_all(reader: Reader) -> AsyncIterator[AsyncIterator[list[Inbound]]]:
    """Start a reader at the start of its log when it is this restore's turn on the event loop; give its batches.

    Others may run between two batches. The turn ends with the block.
    """
    async with _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        await reader.start(None)
        yield _batches(reader)


async def _batches(reader: Reader) -> AsyncIterator[list[Inbound]]:
    async for batch in reader.read_to_end():
        yield batch
        await asyncio.sleep(0)
