"""A cut route drops everything silently; a healed one goes on with what was sent meanwhile."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from fault_injection.proxy import Proxies, Route

WAIT_S = 0.2


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A server that says what it hears."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def route(echo: int) -> AsyncIterator[Route]:
    """A route to it."""
    made = Route(free_port(), echo)
    await made.start()
    yield made
    made.heal()
    await made.stop()


async def said(reader: asyncio.StreamReader, count: int) -> bytes | None:
    """What arrives within a moment; None where nothing does."""
    try:
        return await asyncio.wait_for(reader.readexactly(count), WAIT_S)
    except TimeoutError:
        return None


async def test_an_open_route_passes_everything_and_the_end(route: Route) -> None:
    """Both ways, and the end of a connection as well."""
    reader, writer = await asyncio.open_connection("127.0.0.1", route.listen)
    writer.write(b"hello")
    assert await said(reader, 5) == b"hello"
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()


async def test_a_cut_route_says_nothing_and_goes_on_when_it_is_healed(route: Route) -> None:
    """No answer, no error, no end; then what was sent arrives."""
    reader, writer = await asyncio.open_connection("127.0.0.1", route.listen)
    writer.write(b"one")
    assert await said(reader, 3) == b"one"
    route.cut()
    writer.write(b"two")
    assert await said(reader, 3) is None
    assert not reader.at_eof()
    route.heal()
    assert await said(reader, 3) == b"two"
    writer.close()


async def test_a_new_connection_on_a_cut_route_leads_nowhere(route: Route) -> None:
    """It is taken, as SYN packets that get lost look like a slow network, and served when the route is healed."""
    route.cut()
    reader, writer = await asyncio.open_connection("127.0.0.1", route.listen)
    writer.write(b"hello")
    assert await said(reader, 5) is None
    route.heal()
    assert await said(reader, 5) == b"hello"
    writer.close()


async def test_routes_are_cut_one_by_one(echo: int) -> None:
    """The program cuts the named route and no other, and ends when it is told to."""
    ports = {"policy-0/kafka-1": (free_port(), echo), "policy-0/kafka-2": (free_port(), echo)}
    proxies = await asyncio.to_thread(Proxies, ports)
    try:
        await asyncio.to_thread(proxies.cut, "policy-0/kafka-1")
        heard = []
        for here, _ in ports.values():
            reader, writer = await asyncio.open_connection("127.0.0.1", here)
            writer.write(b"hello")
            heard.append(await said(reader, 5))
            writer.close()
        assert heard == [None, b"hello"]
    finally:
        await asyncio.to_thread(proxies.stop)
