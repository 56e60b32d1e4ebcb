"""Fixtures that several integration tests share: a broker for the client with a responder on it, and a whole system."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from tests.support.whole_system import WholeSystem
from tests.unit.client.deployment import Deployment

from keyfold.bus import BusSettings, KafkaBus
from keyfold.embedded import Stack
from keyfold.projections.store import PostgresQueries


@pytest.fixture(scope="session")
def bootstrap_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of its own: the client's topics have fixed names."""
    stack = Stack(tmp_path_factory.mktemp("client") / "data", development=True)
    try:
        yield stack.start_infrastructure(["kafka"]).bootstrap_servers
    finally:
        stack.reset()


@pytest.fixture
async def deployment(bootstrap_servers: str) -> AsyncIterator[Deployment]:
    """A deployment of four partitions whose services are a responder; topics are made once, the directory anew."""
    bus = KafkaBus(BusSettings(bootstrap_servers=bootstrap_servers))
    admin = bus.admin()
    await admin.start()
    await admin.create_topics(4, replication_factor=1, min_insync_replicas=1)
    await admin.stop()
    made = Deployment(bus)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeSystem]:
    """All services, running."""
    made = WholeSystem(tmp_path_factory.mktemp("system") / "data")
    try:
        made.begin()
        yield made
    finally:
        made.stack.reset()


@pytest.fixture
async def queries(system: WholeSystem) -> AsyncIterator[PostgresQueries]:
    """What the projections of the whole system say."""
    reading = PostgresQueries(system.config.postgres_reader_dsn)
    yield reading
    await reading.close()


async def eventually(look: Callable[[], Awaitable[bool]], timeout_s: float = 60) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + timeout_s
    while not await look():
        assert time.monotonic() < deadline, "it does not happen"
        await asyncio.sleep(0.2)
