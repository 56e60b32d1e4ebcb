"""How aiokafka clients are closed here: at once, completely, and without waiting for a broker.

aiokafka's own `stop` flushes first and joins every task, so against a broker that hangs it waits for ever, and a
lookup of a coordinator is repeated for ever. Here the client is taken away from its tasks instead: connections are
aborted and whoever still asks the client for anything is cancelled. This reaches into aiokafka's private parts,
which is why its version is pinned and tests (healthy, stopped and dead broker) watch that no task is left.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from typing import Any, NoReturn


async def close_producer(producer: Any, timeout_s: float) -> None:
    """Give a producer up without flushing it. Nothing of it runs afterwards."""
    producer._closed = True  # keeps its finaliser silent; `send` refuses from now on
    producer._message_accumulator._closed = True
    reading = await _take_client_away(producer.client)
    await _end([producer._sender.sender_task, *reading], timeout_s)
    _forget(producer)


async def close_consumer(consumer: Any, timeout_s: float) -> None:
    """Give a consumer up. A static member of a group keeps its place until its session times out."""
    consumer._closed = True
    tasks: list[asyncio.Task[Any] | None] = list(await _take_client_away(consumer._client))
    if (coordinator := consumer._coordinator) is not None:
        if (closing := getattr(coordinator, "_closing", None)) is not None and not closing.done():
            closing.set_result(None)
        names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_reset_committed_task")
        tasks += [getattr(coordinator, name, None) for name in names]
    if (fetcher := consumer._fetcher) is not None:
        fetcher._closed = True
        tasks += [fetcher._fetch_task, *fetcher._pending_tasks]
    await _end(tasks, timeout_s)
    if fetcher is not None:
        for waiter in list(fetcher._fetch_waiters):
            fetcher._notify(waiter)


async def close_client(client: Any, timeout_s: float) -> None:
    """Give a bare client up."""
    await _end(await _take_client_away(client), timeout_s)


async def within(coroutine: Coroutine[Any, Any, Any], timeout_s: float) -> bool:
    """Run to completion or to the deadline, whichever is first; say whether it completed without an error."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(timeout_s):
            await coroutine
            return True
    return False


def _refuse(*_: object, **__: object) -> NoReturn:
    raise asyncio.CancelledError("this client was closed")


async def _take_client_away(client: Any) -> list[asyncio.Task[Any]]:
    """Make a client useless to whoever holds it; return the tasks that read from its connections."""
    client.send = client.ready = client.force_metadata_update = client._maybe_wait_metadata = _refuse
    if client._sync_task is not None:
        client._sync_task.cancel()
        await asyncio.wait([client._sync_task])
        client._sync_task = None
    if client._md_update_fut is not None:
        client._md_update_fut.cancel()
    reading = []
    for connection in list(client._conns.values()):
        if connection._read_task is not None:
            reading.append(connection._read_task)
        transport = None if connection._writer is None else connection._writer.transport
        connection._on_close_cb = None
        connection.close()
        if transport is not None:
            transport.abort()
    client._conns.clear()
    return reading


async def _end(tasks: Iterable[asyncio.Task[Any] | None], timeout_s: float) -> None:
    """Cancel tasks until they are over: some of aiokafka's survive the first time to join others."""
    left = {task for task in tasks if task is not None}
    deadline = asyncio.get_running_loop().time() + timeout_s
    while left and asyncio.get_running_loop().time() < deadline:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=timeout_s / 10)
        for task in done:
            _retrieve(task)


def _forget(producer: Any) -> None:
    """Look at every outcome that nobody will ask for any more."""
    accumulator = producer._message_accumulator
    queued = [batch for batches in accumulator._batches.values() for batch in batches]
    for batch in (*queued, *accumulator._pending_batches):
        _retrieve(batch.future)
        _retrieve(batch._drain_waiter)
    if producer._txn_manager is not None:
        _retrieve(producer._txn_manager.wait_for_transaction_end())


def _retrieve(future: asyncio.Future[Any] | None) -> None:
    """Look at an exception that nobody will await, so that it is not reported as forgotten."""
    if future is not None and future.done() and not future.cancelled():
        future.exception()
