"""The bus against a broker that hangs, dies or never answers: every call ends in time, nothing is lost or doubled."""

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import sender

from keyfold.bus import (
    BusError,
    BusSettings,
    BusUnavailable,
    Fenced,
    InDoubt,
    KafkaBus,
    Outbound,
    RecordRefused,
    WriterUnusable,
)
from keyfold.bus.backoff import BETWEEN_TRANSACTIONS_S
from keyfold.embedded import Stack
from keyfold.events.topics import Topic

SMALL = 4096
SLACK_S = 1.5
IMPATIENT = {
    "start_timeout_s": 1.5,
    "commit_timeout_s": 1.0,
    "send_timeout_s": 1.0,
    "query_timeout_s": 1.0,
    "stop_timeout_s": 1.0,
    "request_timeout_s": 3.0,
}


@pytest.fixture
async def no_tasks_left() -> AsyncIterator[None]:
    """Whatever happened, stopping leaves no task behind."""
    yield
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left


@pytest.fixture
async def silent_server() -> AsyncIterator[str]:
    """A server that accepts connections and never says a word."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    server.close()
    for writer in writers:
        writer.transport.abort()


@pytest.fixture
def frozen(infrastructure: Stack, kafka: object) -> Iterator[Callable[[], None]]:
    """Return what stops the broker's process; it goes on when the test ends, or when it is called again."""
    state = {"stopped": False}

    def toggle() -> None:
        state["stopped"] = not state["stopped"]
        infrastructure.kill("kafka", signal.SIGSTOP if state["stopped"] else signal.SIGCONT)

    yield toggle
    infrastructure.kill("kafka", signal.SIGCONT)


@pytest.fixture
async def topic(kafka: object) -> str:
    """A topic of this test alone, and beside it `<topic>.small` that refuses what is larger than 4 KiB."""
    name = f"f{secrets.token_hex(4)}"
    admin = KafkaBus(patient(kafka)).admin()
    await admin.start()
    rows = [Topic(name, 2, "none", -1, 1 << 20), Topic(f"{name}.small", 1, "none", -1, SMALL)]
    try:
        await admin.create_topics(4, replication_factor=1, min_insync_replicas=1, topics=rows)
    finally:
        await admin.stop()
    return name


def patient(kafka: object) -> BusSettings:
    return BusSettings(bootstrap_servers=kafka.bootstrap_servers)  # type: ignore[attr-defined]


def impatient(kafka: object) -> BusSettings:
    return patient(kafka).model_copy(update=IMPATIENT)


async def in_time(call: Awaitable[object], seconds: float) -> object:
    """Await something that has to end, one way or another, within its own deadline and a little more."""
    began = time.monotonic()
    try:
        return await call
    finally:
        assert time.monotonic() - began < seconds + SLACK_S


async def committed(bus: KafkaBus, topic: str, until: bytes | None = None) -> list[bytes | None]:
    """Read to the end, and again until a value has arrived: a commit becomes visible a moment after it returns."""
    reader = bus.reader(topic, 0, committed=True)
    await reader.start(None)
    found: list[bytes | None] = []
    try:
        async with asyncio.timeout(8):
            while True:
                found += [record.value async for batch in reader.read_to_end() for record in batch]
                if until in {None, *found}:
                    return found
    finally:
        await reader.stop()


async def leave_open(bus: KafkaBus, topic: str, transactional_id: str) -> None:
    """Leave a transaction open at the broker, as a process that dies in the middle of one does."""
    writer = bus.writer(transactional_id)
    await writer.start()
    with pytest.raises(RecordRefused):
        await writer.commit([Outbound(topic, 0, b"k", b"open"), Outbound(f"{topic}.small", 0, b"k", bytes(2 * SMALL))])
    await writer.stop()


@pytest.mark.usefixtures("no_tasks_left")
@pytest.mark.parametrize("port", ["writer", "reader", "sender", "admin"])
async def test_start_has_a_deadline(silent_server: str, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 8: a server that accepts and says nothing ends `start`, too. A writer has shortened the pause by then."""
    monkeypatch.setattr(sender, "BACKOFF_OVERRIDE", 0.02)
    bus = KafkaBus(BusSettings(bootstrap_servers=silent_server, **IMPATIENT))
    made = {
        "writer": lambda: bus.writer("w"),
        "reader": lambda: bus.reader("t", 0, committed=True),
        "sender": bus.sender,
        "admin": bus.admin,
    }[port]()
    start = made.start(None) if port == "reader" else made.start()  # type: ignore[attr-defined]
    with pytest.raises(BusUnavailable):
        await in_time(start, 1.5)
    await in_time(made.stop(), 0)  # type: ignore[attr-defined]
    assert port != "writer" or sender.BACKOFF_OVERRIDE == BETWEEN_TRANSACTIONS_S


@pytest.mark.usefixtures("no_tasks_left")
async def test_membership_of_a_silent_server_stops_in_time(silent_server: str) -> None:
    """Rule 8: joining is tried behind the caller's back, and stopping does not wait for it."""
    member = KafkaBus(BusSettings(bootstrap_servers=silent_server, **IMPATIENT)).membership("g", "t", "i")
    await in_time(member.start(), 0)
    await asyncio.sleep(0.1)
    assert member.wanted == frozenset()
    await in_time(member.stop(), 1.0)


@pytest.mark.stack
@pytest.mark.usefixtures("no_tasks_left")
async def test_aiokafka_would_commit_without_a_failed_record(kafka: object, topic: str) -> None:
    """Why rule 1 exists: aiokafka's own commit succeeds although one of the records was refused."""
    producer = AIOKafkaProducer(
        bootstrap_servers=patient(kafka).bootstrap_servers,
        transactional_id=f"{topic}-raw",
        transaction_timeout_ms=5000,
        max_batch_size=1 << 20,
    )
    await producer.start()
    await producer.begin_transaction()
    futures = [
        await producer.send(topic, b"half", partition=0),
        await producer.send(f"{topic}.small", bytes(2 * SMALL), partition=0),
    ]
    await producer.commit_transaction()
    await asyncio.gather(*futures, return_exceptions=True)
    await producer.stop()
    assert await committed(KafkaBus(patient(kafka)), topic, b"half") == [b"half"]


@pytest.mark.stack
@pytest.mark.usefixtures("no_tasks_left")
async def test_a_hung_broker_leaves_the_commit_in_doubt(kafka: object, topic: str, frozen: Callable[[], None]) -> None:
    """Rules 2 and 8: the deadline ends the commit, stop takes no time, and the next writer settles all or nothing."""
    bus = KafkaBus(impatient(kafka))
    writer = bus.writer(f"{topic}-w")
    await writer.start()
    await writer.commit([Outbound(topic, 0, b"k", b"before")])
    frozen()
    with pytest.raises(InDoubt) as caught:
        await in_time(writer.commit([Outbound(topic, 0, b"k", b"doubtful%d" % n) for n in range(3)]), 1.0)
    assert caught.type is InDoubt
    with pytest.raises(WriterUnusable):
        await writer.commit([Outbound(topic, 0, b"k", b"again")])
    await in_time(writer.stop(), 0)
    successor = bus.writer(f"{topic}-w")
    with pytest.raises(BusUnavailable):
        await in_time(successor.start(), 1.5)
    await in_time(successor.stop(), 0)
    frozen()
    bus = KafkaBus(patient(kafka))
    settled = bus.writer(f"{topic}-w")
    await settled.start()
    found = await committed(bus, topic)
    assert found in ([b"before"], [b"before", b"doubtful0", b"doubtful1", b"doubtful2"])
    await settled.commit([Outbound(topic, 0, b"k", b"after")])
    assert await committed(bus, topic, b"after") == [*found, b"after"]
    await settled.stop()


@pytest.mark.stack
@pytest.mark.usefixtures("no_tasks_left")
async def test_cancelling_a_hung_commit_is_immediate(kafka: object, topic: str, frozen: Callable[[], None]) -> None:
    """Rule 2: whoever cancels does not wait for the broker; the writer is in doubt all the same."""
    bus = KafkaBus(patient(kafka))
    writer = bus.writer(f"{topic}-w")
    await writer.start()
    frozen()
    task = asyncio.create_task(writer.commit([Outbound(topic, 0, b"k", b"v")]))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await in_time(task, 0)
    with pytest.raises(WriterUnusable):
        await writer.commit([Outbound(topic, 0, b"k", b"v")])
    await in_time(writer.stop(), 0)


@pytest.mark.stack
@pytest.mark.usefixtures("no_tasks_left")
async def test_reading_and_sending_at_a_hung_broker_end_in_time(
    kafka: object, topic: str, frozen: Callable[[], None]
) -> None:
    """Rule 8: polls end empty, questions end with an error, and nothing waits when it is stopped."""
    bus = KafkaBus(impatient(kafka))
    reader, replies, admin = bus.reader(topic, 0, committed=True), bus.sender(), bus.admin()
    await reader.start(None)
    await replies.start()
    await admin.start()
    await (await replies.send(Outbound(topic, 1, b"k", b"v")))
    await reader.poll(0.1)
    frozen()
    assert await in_time(reader.poll(0.3), 0.3) == []
    with pytest.raises(BusUnavailable):
        await in_time(reader.end_offset(), 1.0)
    with pytest.raises(BusUnavailable):
        await in_time(admin.end_offsets(topic), 2.0)
    delivery = await replies.send(Outbound(topic, 0, b"k", b"v"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(delivery, 0.3)
    with pytest.raises(BusUnavailable):
        await in_time(replies.flush(), 1.0)
    await in_time(reader.stop(), 0)
    await in_time(replies.stop(), 1.0)
    await in_time(admin.stop(), 0)


@pytest.mark.stack
@pytest.mark.usefixtures("no_tasks_left")
async def test_a_sender_replaces_a_producer_that_died(kafka: object, topic: str) -> None:
    """One call is told to try again, the producer is replaced behind, and the next ones work."""
    replies = KafkaBus(patient(kafka)).sender()
    await replies.start()
    replies._producer._sender.sender_task.cancel()
    await asyncio.sleep(0.05)
    with pytest.raises(BusUnavailable):
        await replies.send(Outbound(topic, 0, b"k", b"lost"))
    assert replies._revival is not None
    await in_time(replies._revival, 2.0)
    assert await in_time(await replies.send(Outbound(topic, 0, b"k", b"v")), 2.0) == 0
    await replies.stop()


@pytest.mark.stack
@pytest.mark.usefixtures("no_tasks_left")
async def test_creating_topics_waits_for_missing_brokers_until_its_deadline(kafka: object, topic: str) -> None:
    """Brokers that were just started or away count as missing for a moment; what is simply wrong fails at once."""
    admin = KafkaBus(impatient(kafka)).admin()
    await admin.start()
    try:
        began = time.monotonic()
        with pytest.raises(BusError, match="InvalidReplicationFactor"):
            await admin.create_topics(1, replication_factor=2, min_insync_replicas=1, topics=(), reply_names=[topic])
        assert 1.5 <= time.monotonic() - began < 1.5 + SLACK_S
        with pytest.raises(BusError, match="InvalidPartitions"):
            await in_time(
                admin.create_topics(0, replication_factor=1, min_insync_replicas=1, topics=(), reply_names=[topic]), 0
            )
    finally:
        await admin.stop()


@pytest.mark.stack
@pytest.mark.usefixtures("no_tasks_left")
async def test_an_orphaned_transaction_ends_at_its_timeout(kafka: object, topic: str) -> None:
    """A dead owner that nobody replaces holds committed readers up for its timeout, and no longer."""
    bus = KafkaBus(patient(kafka).model_copy(update={"transaction_timeout_ms": 1000}))
    await leave_open(bus, topic, f"{topic}-dead")
    sender, reader = bus.sender(), bus.reader(topic, 0, committed=True)
    await sender.start()
    await (await sender.send(Outbound(topic, 0, b"k", b"behind")))
    await reader.start(None)
    assert await reader.poll(0.2) == []
    assert reader.caught_up_at() is None
    found = await in_time(reader.poll(6.0), 6.0)
    assert [record.value for record in found] == [b"behind"]  # type: ignore[attr-defined]
    assert reader.caught_up_at() is not None
    await sender.stop()
    await reader.stop()


@pytest.mark.stack
@pytest.mark.usefixtures("no_tasks_left")
async def test_take_over_aborts_at_once_and_fences(kafka: object, topic: str) -> None:
    """Rule 3: a successor does not wait for the timeout (30 s here), and the predecessor is told `Fenced`."""
    bus = KafkaBus(patient(kafka).model_copy(update={"transaction_timeout_ms": 30_000}))
    await leave_open(bus, topic, f"{topic}-w")
    first = bus.writer(f"{topic}-w")
    await in_time(first.start(), 0.5)
    await first.commit([Outbound(topic, 0, b"k", b"first")])
    second = bus.writer(f"{topic}-w")
    await in_time(second.start(), 0.5)
    with pytest.raises(Fenced):
        await first.commit([Outbound(topic, 0, b"k", b"zombie")])
    assert await committed(bus, topic, b"first") == [b"first"]
    await first.stop()
    await second.stop()


@pytest.mark.stack
@pytest.mark.usefixtures("no_tasks_left")
async def test_everything_survives_a_killed_broker(kafka: object, topic: str, infrastructure: Stack) -> None:
    """kill -9 of the broker: acknowledged records are there afterwards, and running ports go on by themselves."""
    bus = KafkaBus(patient(kafka))
    writer, reader, sender = bus.writer(f"{topic}-w"), bus.reader(topic, 0, committed=True), bus.sender()
    member = bus.membership(f"{topic}-g", topic, "one")
    await writer.start()
    await reader.start(None)
    await sender.start()
    await member.start()
    await asyncio.wait_for(member.wait_change(), 15)
    await writer.commit([Outbound(topic, 0, b"k", b"%d" % n) for n in range(100)])
    infrastructure.kill("kafka")
    with pytest.raises(InDoubt):
        await in_time(writer.commit([Outbound(topic, 0, b"k", b"doubtful")]), 5.0)
    await writer.stop()
    pending = await sender.send(Outbound(topic, 1, b"k", b"pending"))
    assert member.wanted == {0, 1}
    await asyncio.to_thread(infrastructure.start, "kafka")
    assert await asyncio.wait_for(pending, 30) >= 0
    successor = bus.writer(f"{topic}-w")
    await successor.start()
    await successor.commit([Outbound(topic, 0, b"k", b"after")])
    found: list[bytes | None] = []
    async with asyncio.timeout(30):
        while b"after" not in found:
            found += [record.value for record in await reader.poll(1.0)]
    assert [value for value in found if value != b"doubtful"] == [b"%d" % n for n in range(100)] + [b"after"]
    newcomer = bus.membership(f"{topic}-g", topic, "two")
    await newcomer.start()
    assert len(await asyncio.wait_for(newcomer.wait_change(), 30)) == 1
    assert len(await asyncio.wait_for(member.wait_change(frozenset({0, 1})), 30)) == 1
    assert member.wanted | newcomer.wanted == {0, 1}
    for port in (successor, reader, sender, member, newcomer):
        await port.stop()
