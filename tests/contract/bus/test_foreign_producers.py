"""What producers in other languages may write, and aiokafka's would not: no reader stops at it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, codec
from tests.conftest import Kafka
from tests.contract.bus.world import World, gather
from tests.support.header_names import NotText, write_any_header_name

from keyfold.bus import Inbound

# What a foreign client does needs a broker: the bus in memory has no bytes.
pytestmark = [pytest.mark.stack, pytest.mark.parametrize("world", ["kafka"], indirect=True)]


@asynccontextmanager
async def producer(kafka: Kafka, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """A client that Keyfold did not make."""
    made = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, **options)
    async with asyncio.timeout(20):
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


async def read(world: World, count: int) -> list[Inbound]:
    """All records, as readers of commands do."""
    return await gather(await world.reader(committed=False), count)


async def test_a_header_name_that_is_no_text(world: World, kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is read with an escaped name, and so are those that came before and after it, in one batch or more."""
    write_any_header_name(monkeypatch)
    names = ["name", NotText("x"), "name", "name", NotText("x")]
    async with producer(kafka, linger_ms=200) as foreign:
        for number in (0, 1):
            sent = [
                await foreign.send(world.a, b"%d%d" % (number, at), partition=0, headers=[(name, b"h")])
                for at, name in enumerate(names)
            ]
            await asyncio.gather(*sent)
    found = await read(world, 2 * len(names))
    assert [record.value for record in found] == [b"%d%d" % (number, at) for number in (0, 1) for at in range(5)]
    assert [record.offset for record in found] == list(range(10))
    read_as = ["name", NotText.READ_AS, "name", "name", NotText.READ_AS]
    assert [name for record in found for name, _ in record.headers] == 2 * read_as


async def test_compressed_records_are_stored_so_that_everybody_can_read_them(
    world: World, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The brokers undo what a producer has compressed. (gzip stands for codecs that Python's library lacks.)"""
    async with producer(kafka, compression_type="gzip") as foreign:
        await foreign.send_and_wait(world.a, b"x" * 1000, partition=0)
    monkeypatch.setattr(codec, "has_gzip", lambda: False)
    assert [record.value for record in await read(world, 1)] == [b"x" * 1000]
