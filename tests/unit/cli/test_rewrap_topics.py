"""Re-encryption campaigns over topics: order, keys and headers stay, and a crash neither loses nor doubles a record."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.campaigns import OTHER, Died, Service, line, made, rewrapper
from tests.unit.cli.conftest import KEY, ORDERS, Terminal

from keyfold.bus import BusUnavailable, Inbound, InDoubt, MemoryBus, MemoryCluster, Outbound
from keyfold.bus.memory.bus import MemoryReader
from keyfold.bus.memory.cluster import Fault
from keyfold.bus.topic_plan import Plan
from keyfold.cli.exits import UsageError
from keyfold.cli.rewrap import topics as rewrap_topics
from keyfold.cli.rewrap.journal import Journal
from keyfold.cli.rewrap.topics import CONTEXT_HEADER, REWRAP_HEADER, Places, Records, item_of_record, topic_output
from keyfold.cli.session import Session

CONTEXT = (CONTEXT_HEADER, b'{"t":"7"}')
CAMPAIGN = "c0ffee"


class Topics:
    """A cluster with the topics `in` and `out`."""

    def __init__(self, outputs: int = 3) -> None:
        self.cluster = MemoryCluster(2)
        self.bus = MemoryBus(self.cluster)
        for name, partitions in (("in", 3), ("out", outputs)):
            self.cluster.create(Plan(name, partitions, {"max.message.bytes": "1000000"}))

    async def put(self, *records: Outbound) -> None:
        writer = self.bus.writer("test")
        await writer.start()
        await writer.commit(records)
        await writer.stop()

    async def fill(self, count: int = 5) -> None:
        """Some records in two partitions, one of them without a value and one that is no ciphertext."""
        for n in range(count):
            value = {2: None, 3: b"none"}.get(n, made(1, f"item {n}"))
            await self.put(Outbound("in", n % 2, b"key %d" % n, value, (("h", b"1"), CONTEXT)))

    def all(self, topic: str) -> list[Inbound]:
        found: list[Inbound] = []
        for partition in range(self.cluster.partitions_of(topic) or 0):
            records, _ = self.cluster.log(topic, partition).read(0, committed=True, max_records=1000)
            found += records
        return found


async def campaign(topics: Topics, service: Service, path: Path) -> Any:
    """One run, to the end of the input as it is now."""
    places = await Places.find(topics.bus, "in", "out")
    worker, records = rewrapper(service), Records(topics.bus, "in", {}, 2)
    async with topic_output(topics.bus, places, Journal.open(path, {"of": 1}), CAMPAIGN) as kept:
        for partition, end in sorted(places.ends.items()):
            async for batch in records.read(partition, kept.positions.get(partition), end):
                await kept.keep(batch, await worker.rewrap(batch.items))
        return kept.tally


def source_places(topics: Topics) -> Counter[tuple[str, str]]:
    """Which records the output came from."""
    said = [(record.header(REWRAP_HEADER) or b"").decode().split("/") for record in topics.all("out")]
    return Counter((partition, offset) for _, partition, offset, _ in said)


def check_output(topics: Topics) -> None:
    """Every record once, in its partition and its order, with its key, its headers, and a value that was moved."""
    before = {(r.partition, r.key): r for r in topics.all("in")}
    after = topics.all("out")
    assert [(r.partition, r.key) for r in after] == [(r.partition, r.key) for r in topics.all("in")]
    assert set(source_places(topics).values()) == {1}
    for record in after:
        old = before[record.partition, record.key]
        assert record.headers[:-1] == old.headers
        moved = old.value is not None and old.value.startswith(b"KFCT")
        expected = made(9, (old.value or b"")[26:].decode()) if moved else old.value
        assert record.value == expected


async def test_records_are_moved_in_their_order(tmp_path: Path) -> None:
    """A record without a value goes along; what is no ciphertext stays and is listed."""
    topics = Topics()
    await topics.fill()
    tally = await campaign(topics, Service(), tmp_path / "j")
    check_output(topics)
    assert tally.outcomes == {"moved": 3, "kept": 1, "failed": 1}
    (failed,) = [json.loads(text) for text in (tmp_path / "j.failed").read_text().splitlines()]
    assert failed == {"place": "in/1/2", "code": "NotACiphertext"}


async def test_a_later_run_takes_what_has_come_since(tmp_path: Path) -> None:
    """The journal stays."""
    topics = Topics()
    await topics.fill()
    await campaign(topics, Service(), tmp_path / "j")
    again = Service()
    assert (await campaign(topics, again, tmp_path / "j")).items == 5
    await topics.put(Outbound("in", 0, b"late", made(1, "late"), (CONTEXT,)))
    assert (await campaign(topics, again, tmp_path / "j")).items == 6
    assert again.asked == [made(1, "late")]
    check_output(topics)


async def test_a_lost_journal_doubles_nothing(tmp_path: Path) -> None:
    """The output says what was written, from the start of its log; failures are listed again."""
    topics = Topics()
    await topics.fill()
    first = await campaign(topics, Service(), tmp_path / "j")
    listed = (tmp_path / "j.failed").read_bytes()
    for name in ("j", "j.failed"):
        (tmp_path / name).unlink()
    again = Service()
    assert await campaign(topics, again, tmp_path / "j") == first
    assert (again.asked, (tmp_path / "j.failed").read_bytes()) == ([], listed)
    check_output(topics)


async def test_a_record_counts_once_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may stand between ours, or copies of ours behind them."""
    monkeypatch.setattr(rewrap_topics, "_READ", 2)
    topics = Topics()
    await topics.fill(2)
    await campaign(topics, Service(), tmp_path / "j")
    await topics.put(Outbound("out", 0, b"foreign", b"foreign", ()))
    await topics.fill(9)
    first = await campaign(topics, Service(), tmp_path / "j")
    copied = topics.all("out")[0]
    await topics.put(Outbound("out", 0, copied.key, copied.value, copied.headers))
    (tmp_path / "j").unlink()
    again = Service()
    assert await campaign(topics, again, tmp_path / "j") == first
    assert again.asked == []


async def test_what_the_input_has_lost_meanwhile_is_counted_by_the_output(tmp_path: Path) -> None:
    """Retention may have taken the records that the output came from; none of it is written again."""
    topics = Topics()
    await topics.fill()
    await campaign(topics, Service(), tmp_path / "j")
    (tmp_path / "j").unlink()
    log = topics.cluster.log("in", 0)
    log.delete_before(2)
    again = Service()
    tally = await campaign(topics, again, tmp_path / "j")
    assert (tally.outcomes, again.asked) == ({"moved": 3, "kept": 1, "failed": 1}, [])
    assert (sum(tally.before.values()), sum(tally.after.values())) == (2, 3)
    log.delete_before(log.high_watermark)
    (tmp_path / "j").unlink()
    assert (await campaign(topics, again, tmp_path / "j")).outcomes == tally.outcomes
    assert len(topics.all("out")) == 5


async def test_an_open_transaction_hides_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies behind another writer's is waited for, a bounded time, and never taken for unwritten."""
    monkeypatch.setattr(rewrap_topics, "_OPEN_S", 0)
    topics, service = Topics(), Service()
    await topics.fill()
    places = await Places.find(topics.bus, "in", "out")
    async with topic_output(topics.bus, places, Journal.open(tmp_path / "j", {"of": 1}), CAMPAIGN) as kept:
        topics.cluster.fail_next_commit(Fault.HANGING, "test")
        with pytest.raises(InDoubt):
            await topics.put(Outbound("out", 0, b"foreign", b"foreign", ()))
        batch = await anext(Records(topics.bus, "in", {}, 2).read(0, None, places.ends[0]))
        await kept.keep(batch, await rewrapper(service).rewrap(batch.items))
    (tmp_path / "j").unlink()
    with pytest.raises(BusUnavailable, match="open transaction"):
        await campaign(topics, service, tmp_path / "j")
    await topics.bus.writer("test").start()
    await campaign(topics, service, tmp_path / "j")
    check_output(topics)


async def test_a_reader_that_does_not_get_on_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that answers no fetch ends the run: it goes on later."""
    topics = Topics()
    await topics.fill()
    monkeypatch.setattr(MemoryReader, "poll", no_records)
    monkeypatch.setattr(MemoryReader, "read_to_end", no_progress)
    with pytest.raises(BusUnavailable):
        await asyncio.wait_for(campaign(topics, Service(), tmp_path / "j"), 5)


async def no_records(*_: Any) -> list[Inbound]:
    """A poll that finds nothing."""
    await asyncio.sleep(0)
    return []


async def no_progress(*_: Any) -> AsyncIterator[list[Inbound]]:
    """As Kafka's reader ends when its deadline is over."""
    for _trouble in ("no progress below the end of a partition",):
        raise BusUnavailable(_trouble)
        yield []


def run_until_it_dies(topics: Topics, service: Service, path: Path) -> bool:
    """Run once; tell whether it died."""
    try:
        asyncio.run(campaign(topics, service, path))
    except BaseException:  # noqa: BLE001 - whatever the crash looks like
        return True
    return False


def test_a_crash_at_any_point_loses_nothing_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the transaction and the note, the output topic itself says what was written."""
    die_at, died = 1, True
    while died:
        path = tmp_path / f"j{die_at}"
        topics, service = Topics(), Service()
        asyncio.run(topics.fill())
        with monkeypatch.context() as patched:
            _die_at(patched, die_at)
            died = run_until_it_dies(topics, service, path)
        tally = asyncio.run(campaign(topics, service, path))
        assert tally.outcomes == {"moved": 3, "kept": 1, "failed": 1}, die_at
        assert (sum(tally.before.values()), sum(tally.after.values())) == (3, 3)
        assert (path.with_name(f"{path.name}.failed")).read_text().count("\n") == 1
        check_output(topics)
        die_at += 1
    assert die_at > 10


def _die_at(patched: pytest.MonkeyPatch, step: int) -> None:
    real, steps = os.fsync, [0]

    def fsync(handle: int) -> None:
        for _ in range(2):
            steps[0] += 1
            if steps[0] == step:
                raise Died
            if steps[0] % 2:
                real(handle)

    patched.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.LANDED, Fault.HANGING])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_transaction_in_doubt_is_settled_first(tmp_path: Path, fault: Fault, nth: int) -> None:
    """Whether it landed is seen from the output; either way each record is there once."""
    topics, service = Topics(), Service()
    asyncio.run(topics.fill())
    name = f"keyfold-rewrap-{CAMPAIGN}"
    topics.cluster.fail_next_commit(fault, name)
    assert run_until_it_dies(topics, service, tmp_path / "j")
    if nth == 2:
        topics.cluster.fail_next_commit(fault, name)
        run_until_it_dies(topics, service, tmp_path / "j")
    tally = asyncio.run(campaign(topics, service, tmp_path / "j"))
    assert tally.outcomes == {"moved": 3, "kept": 1, "failed": 1}
    check_output(topics)


def test_what_others_write_into_the_output_is_not_ours(tmp_path: Path) -> None:
    """Records of other campaigns, and those without a mark, are not counted when a note was lost."""
    topics, service = Topics(), Service()
    asyncio.run(topics.fill())
    topics.cluster.fail_next_commit(Fault.LANDED, f"keyfold-rewrap-{CAMPAIGN}")
    assert run_until_it_dies(topics, service, tmp_path / "j")
    last = max(record.offset for record in topics.all("in") if record.partition == 0)
    for said in (b"", b"other/0/%d/moved" % last, b"c0ffee/1/%d/moved" % last, b"c0ffee/0/x/moved"):
        asyncio.run(topics.put(Outbound("out", 0, b"foreign", b"foreign", ((REWRAP_HEADER, said),))))
    assert asyncio.run(campaign(topics, service, tmp_path / "j")).outcomes == {"moved": 3, "kept": 1, "failed": 1}
    ours = [record.key for record in topics.all("out") if record.key != b"foreign"]
    assert sorted(ours) == sorted(record.key for record in topics.all("in"))


async def test_the_output_needs_as_many_partitions() -> None:
    """Order is kept in each."""
    with pytest.raises(UsageError, match="at least 3"):
        await Places.find(Topics(outputs=2).bus, "in", "out")


@pytest.mark.parametrize(
    ("headers", "context", "is_item"),
    [
        ((), {"fixed": "1"}, True), ((CONTEXT,), {"t": "7"}, True), (((CONTEXT_HEADER, b"[]"),), {}, False),
        (((CONTEXT_HEADER, b"{"),), {}, False), (((CONTEXT_HEADER, b'{"a":1}'),), {}, False),
        ((CONTEXT, CONTEXT), {"fixed": "1"}, True),
    ],
)  # fmt: skip
def test_contexts_of_records(headers: Any, context: dict[str, str], is_item: bool) -> None:
    """From the header; a fixed one where there is none. A header that is no context makes it no ciphertext."""
    item = item_of_record(Inbound("in", 0, 7, 0, None, made(), headers), {"fixed": "1"})
    assert (item.context, item.reference is not None, item.place) == (context, is_item, "in/0/7")


def test_topics_from_the_command_line(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """References of a topic are counted, and a campaign over it is run."""
    from keyfold.client import Keyfold

    monkeypatch.chdir(tmp_path)
    topics, service = Topics(), Service()
    asyncio.run(topics.fill())

    async def re_encrypt_batch(_: Keyfold, key: str, ciphertexts: Any, **options: Any) -> Any:
        return await service.re_encrypt_batch(key, ciphertexts, **options)

    monkeypatch.setattr(Session, "bus", lambda *_: topics.bus)
    monkeypatch.setattr(Keyfold, "re_encrypt_batch", re_encrypt_batch)
    counted = terminal.done("--json", "rewrap", ORDERS, "--topic", "in", "--report-only").document
    assert (counted["references"], counted["unreadable"]) == ({"1": 3}, 1)
    terminal.projected.keys_.clear()
    ran = terminal("--json", "rewrap", ORDERS, "--topic", "in", "--output-topic", "out", "--to", OTHER)
    assert (ran.code, ran.document["moved"], ran.document["to"]) == (1, 3, OTHER)
    assert ran.document["failures"] == "out.rewrap.journal.failed"
    assert {KEY, OTHER} == {each["key_id"] for each in ran.document["before"] + ran.document["after"]}
    assert line(made(9, "item 0".ljust(40, "."), OTHER)) in [line(r.value or b"") for r in topics.all("out")]
