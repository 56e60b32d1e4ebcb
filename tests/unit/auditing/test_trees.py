"""The published tree is read by search: every node, leaf and proof is what the leaves themselves give."""

import asyncio
from typing import Any

import pytest
from tests.support.notary_log import NotaryLog, leaves

from keyfold.auditing.runs import KeptRuns, Run, TilesInvalid, parse_run
from keyfold.auditing.trees import NotPublished, StoredTree, stored_tree
from keyfold.bus import Inbound, MemoryBus, Outbound
from keyfold.events import topics
from keyfold.events.tree import verify_consistency, verify_inclusion

PLACE = 2


async def published(sizes: list[int], run: int = 8192) -> tuple[MemoryBus, NotaryLog]:
    """A tree that grew by so many leaves in each transaction."""
    bus = MemoryBus()
    log = NotaryLog(bus, run=run)
    all_leaves = iter(leaves(sum(sizes)))
    for size in sizes:
        await log.publish_leaves(PLACE, [next(all_leaves) for _ in range(size)])
    return bus, log


@pytest.mark.parametrize(
    ("sizes", "run"),
    [([1], 8192), ([1] * 700, 8192), ([300, 1, 255, 400], 100), ([70_000], 8192), ([5, 66_000, 3], 700)],
)
async def test_proofs_from_tiles_verify(sizes: list[int], run: int) -> None:
    """Inclusion and consistency proofs hold for leaves and sizes at every kind of border."""
    bus, log = await published(sizes, run)
    tree, size = log.trees[PLACE], sum(sizes)
    borders = {0, 1, 2, 255, 256, 257, 511, 512, size // 2, size - 2, size - 1, size, 65_535, 65_536, 65_537}
    async with stored_tree(bus, PLACE) as stored:
        assert await stored.size() == size
        assert await stored.root(size) == tree.root(size)
        for number in sorted(place for place in borders if 0 <= place <= size):
            if number < size:
                path = await stored.inclusion(number, size)
                verify_inclusion(tree.levels[0][number], number, size, path, tree.root(size))
                assert await stored.leaf_at(number) == tree.levels[0][number]
            consistency = await stored.consistency(number, size)
            verify_consistency(number, size, tree.root(number), tree.root(size), consistency)


async def test_nodes_of_every_height() -> None:
    """A node is the hash over its leaves, whether a level of tiles holds it or not."""
    bus, log = await published([256, 1, 700, 43])
    async with stored_tree(bus, PLACE) as stored:
        for height in range(10):
            assert await stored.node(height, (1000 >> height) - 1) == log.trees[PLACE].node(
                height, (1000 >> height) - 1
            )


async def test_what_is_not_published_is_said() -> None:
    """Behind the end there is no leaf, and no node that would need one; an empty tree has none at all."""
    bus, _ = await published([300])
    async with stored_tree(bus, PLACE) as stored:
        for asked in (stored.leaf_at(300), stored.node(8, 1), stored.inclusion(0, 301), stored.leaf_of_offset(9999)):
            with pytest.raises(NotPublished):
                await asked
    async with stored_tree(bus, PLACE + 1) as empty:
        assert await empty.size() == 0
        with pytest.raises(NotPublished):
            await empty.leaf_at(0)


async def test_leaves_are_found_by_kafka_offset() -> None:
    """The offset of a record leads to its leaf, although markers take offsets too; a marker's leads nowhere."""
    bus = MemoryBus()
    writer = bus.writer("test")
    await writer.start()
    offsets: list[int] = []
    log = NotaryLog(bus)
    for number in range(40):
        records = [Outbound(topics.EVENTS, PLACE, b"k", b"%d %d" % (number, n)) for n in range(number % 3 + 1)]
        offsets += await writer.commit(records)
        if number % 2:
            await log.publish([PLACE])
    async with stored_tree(bus, PLACE) as stored:
        assert [await stored.leaf_of_offset(offset) for offset in offsets] == list(range(len(offsets)))
        assert [await stored.offset_of_leaf(index) for index in range(len(offsets))] == offsets
        with pytest.raises(NotPublished):
            await stored.leaf_of_offset(offsets[-1] + 1)
        with pytest.raises(NotPublished):
            await stored.leaf_of_offset(offsets[0] + 1)


async def test_a_leaf_is_found_by_its_hash_from_a_time_on() -> None:
    """The search begins at the last run before the time, and sees what was published since."""
    bus = MemoryBus()
    now = 0

    def clock() -> int:
        return now

    bus.cluster.clock_ms = clock
    log = NotaryLog(bus)
    known = leaves(600)
    for number in range(600):
        now = number * 10
        await log.publish_leaves(PLACE, [known[number]])
    async with stored_tree(bus, PLACE) as stored:
        assert await stored.search(known[0], 0) == 0
        assert await stored.search(known[577], 4000) == 577
        with pytest.raises(NotPublished):
            await stored.search(known[10], 4000)


async def test_a_search_reads_little_of_a_long_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof in a topic of 20,000 runs takes some reads, not all."""
    bus, log = await published([20_000], run=1)
    polls: list[int] = []
    async with stored_tree(bus, PLACE) as stored:
        real = stored._reader.poll

        async def poll(*arguments: Any) -> list[Inbound]:
            found = await real(*arguments)
            polls.append(len(found))
            return found

        monkeypatch.setattr(stored._reader, "poll", poll)
        assert await stored.leaf_at(12_345) == log.trees[PLACE].levels[0][12_345]
    assert sum(polls) <= 500 * 9


@pytest.mark.parametrize("index", [0, 1, 499, 500, 501, 999, 1000, 1001, 1499, 1500, 1501, 1749, 1750, 1999])
async def test_what_lies_at_the_border_of_two_reads_is_found(index: int) -> None:
    """The search forgets no record between what it read and what it reads next."""
    bus, log = await published([2000], run=1)
    for wanted in (index, max(0, index - 1), min(1999, index + 1)):
        async with stored_tree(bus, PLACE) as stored:
            assert await stored.leaf_of_offset(log.trees[PLACE].offsets[wanted]) == wanted


async def test_several_tasks_may_ask_at_once() -> None:
    """Questions of tasks do not disturb each other."""
    bus, log = await published([1] * 900)
    async with stored_tree(bus, PLACE) as stored:
        found = await asyncio.gather(*(stored.leaf_at(number) for number in range(0, 900, 37)))
    assert found == log.trees[PLACE].levels[0][::37]


@pytest.mark.parametrize(
    ("key", "value", "offsets"),
    [
        (b"0-0", bytes(32), bytes(8)),
        (b"0/", bytes(32), bytes(8)),
        (b"0/0", b"", b""),
        (b"0/0", bytes(33), bytes(8)),
        (b"0/0", bytes(64), bytes(8)),
        (b"0/0", bytes(32 * 8193), bytes(8 * 8193)),
    ],
)
async def test_what_is_no_run_is_refused(key: bytes, value: bytes, offsets: bytes) -> None:
    """Records that no notary writes end in an error that says where they lie."""
    with pytest.raises(TilesInvalid, match="offset 7"):
        parse_run(Inbound(topics.TILES, PLACE, 7, 0, key, value, (("kf_offsets", offsets),)))


async def test_a_missing_level_is_told() -> None:
    """Where the topic lacks the hashes above the leaves, the reader says so instead of scanning on."""
    bus = MemoryBus()
    log = NotaryLog(bus)
    writer = bus.writer("test")
    await writer.start()
    tree = log.trees[PLACE]
    for leaf in leaves(256):
        tree.append(leaf, tree.next_offset)
    await writer.commit([record for record in tree.runs(PLACE, 0, 8192) if record.key == b"0/0"])
    async with stored_tree(bus, PLACE) as stored:
        with pytest.raises(TilesInvalid, match="level 1"):
            await stored.node(8, 0)


def test_kept_runs_are_let_go() -> None:
    """Memory is bounded: when too much is kept, all is let go."""
    kept = KeptRuns(max_bytes=32 * 10)
    for number in range(12):
        kept.add(Run(number, 0, 0, number, bytes(32)))
    assert kept.of(0, 0) is None
    assert kept.of(0, 11) is not None
    assert kept.before(0, 99) is not None
    assert kept.after(0, 99) is None


async def test_a_tree_can_be_stopped_before_it_started() -> None:
    """Stopping is always possible."""
    await StoredTree(MemoryBus(), 0).stop()
