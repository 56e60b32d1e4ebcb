"""The Merkle tree of one partition of the log, read from the tiles topic: nodes, leaves and proofs, without the log.

What is asked for is found by search over the offsets of the tiles topic, whose level-0 runs are in order; nothing is
scanned from the start. What is read is not believed: a proof counts where it leads from a leaf to a signed root, which
the caller checks. All indexes count leaves; Kafka offsets are hints.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Final

from keyfold.auditing.runs import HASH_BYTES, KeptRuns, Run, TilesInvalid, parse_run
from keyfold.bus import Bus
from keyfold.events import topics
from keyfold.events.errors import Unavailable
from keyfold.events.merkle import node_hash
from keyfold.events.tree import TILE_HEIGHT, Node, consistency_path, inclusion_path, range_hash

_LEAVES: Final = 0  # the level of runs that every search goes by
_NO_HASH: Final = bytes(HASH_BYTES)
_BEHIND_ALL: Final = 1 << 63
_NEAR: Final = 500  # offsets that are rather read than searched: one poll
_TRANSACTION: Final = 10_000  # records among which the hashes above a leaf are looked for


class NotPublished(Unavailable):
    """The notary has not published this part of the tree, or not yet."""

    code = "NotPublished"


class StoredTree:
    """The tree over events partition `partition`. Use `stored_tree`; several tasks may ask at the same time."""

    def __init__(self, bus: Bus, partition: int) -> None:
        self.partition = partition
        self._reader = bus.reader(topics.TILES, partition, committed=True)
        self._lock = asyncio.Lock()
        self._kept = KeptRuns()
        self._start = 0

    async def start(self) -> None:
        """Connect."""
        await self._reader.start(None)
        self._start = self._reader.position()

    async def stop(self) -> None:
        """Disconnect. May be called at any time, and again."""
        await self._reader.stop()

    async def size(self) -> int:
        """Return how many leaves the published tree has now."""
        async with self._lock:
            run = await self._last(lambda run: run.first, _BEHIND_ALL)
            return 0 if run is None else run.end

    async def node(self, height: int, index: int) -> bytes:
        """Return MTH(D[index * 2^height : (index + 1) * 2^height]). Raises `NotPublished` unless its leaves are."""
        level, rest = divmod(height, TILE_HEIGHT)
        async with self._lock:
            hashes = [await self._hash(level, place) for place in range(index << rest, (index + 1) << rest)]
        while len(hashes) > 1:
            hashes = [node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
        return hashes[0]

    async def leaf_at(self, index: int) -> bytes:
        """Return the leaf hash at an index. Raises `NotPublished`."""
        return await self.node(0, index)

    async def leaf_of_offset(self, kafka_offset: int) -> int:
        """Return the index of the leaf whose record lies at an offset of the events topic.

        Raises `NotPublished` where there is none: the tree does not reach so far, or no record lies there (a marker).
        """
        async with self._lock:
            run = await self._last(lambda run: run.offset_at(run.first), kafka_offset)
        for index in () if run is None else range(run.first, run.end):
            if run is not None and run.offset_at(index) == kafka_offset:
                return index
        raise NotPublished(f"no leaf of partition {self.partition} lies at offset {kafka_offset}")

    async def offset_of_leaf(self, index: int) -> int:
        """Return the offset of the events topic at which the record of a leaf lies. Raises `NotPublished`."""
        async with self._lock:
            return (await self._run(_LEAVES, index)).offset_at(index)

    async def search(self, leaf: bytes, since_ms: int) -> int:
        """Return the index of a leaf hash that was published at a time (POSIX ms) or later. Raises `NotPublished`."""
        async with self._lock:
            before = await self._last(lambda run: run.timestamp_ms, since_ms - 1)
            await self._reader.seek(self._start if before is None else before.at)
            async for batch in self._reader.read_to_end():
                for run in map(parse_run, batch):
                    found = run.index_of(leaf) if run.level == _LEAVES else None
                    if found is not None:
                        self._kept.add(run)
                        return found
        raise NotPublished(f"the leaf is not in the published tree of partition {self.partition} since that time")

    async def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return PATH(index, D[size]). Raises `NotPublished`; ValueError out of range."""
        return await self._computed(lambda node: inclusion_path(index, size, node))

    async def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Return PROOF(old, D[new]); of a tree without leaves it is empty. Raises `NotPublished`; ValueError."""
        return () if old == 0 else await self._computed(lambda node: consistency_path(old, new, node))

    async def root(self, size: int) -> bytes:
        """Return MTH(D[size]). Raises `NotPublished`."""
        if size == 0:
            return sha256(b"").digest()
        return (await self._computed(lambda node: (range_hash(0, size, node),)))[0]

    async def _computed(self, compute: Callable[[Node], tuple[bytes, ...]]) -> tuple[bytes, ...]:
        """Compute twice: to hear which nodes are needed, and with them."""
        needed: set[tuple[int, int]] = set()

        def note(height: int, index: int) -> bytes:
            needed.add((height, index))
            return _NO_HASH

        compute(note)
        nodes = {place: await self.node(*place) for place in sorted(needed)}
        return compute(lambda height, index: nodes[height, index])

    async def _hash(self, level: int, index: int) -> bytes:
        return (await self._run(level, index)).hash_at(index)

    async def _run(self, level: int, index: int) -> Run:
        """Return the run that holds a hash, from memory or from the topic.

        A hash above the leaves stands in the transaction that publishes the last leaf under it, behind its leaves.
        """
        kept = self._kept.of(level, index)
        if kept is not None:
            return kept
        last_leaf = ((index + 1) << TILE_HEIGHT * level) - 1
        run = await self._last(lambda run: run.first, last_leaf, self._known(last_leaf))
        if run is None or last_leaf >= run.end:
            raise NotPublished(f"leaf {last_leaf} of partition {self.partition} is not in the published tree yet")
        return run if level == _LEAVES else await self._above(run, level, index)

    def _known(self, leaf: int) -> tuple[int, int]:
        before, after = self._kept.before(_LEAVES, leaf), self._kept.after(_LEAVES, leaf)
        return (0 if before is None else before.at, _BEHIND_ALL if after is None else after.at)

    async def _above(self, leaves: Run, level: int, index: int) -> Run:
        passed = 0
        await self._reader.seek(leaves.at)
        async for batch in self._reader.read_to_end():
            runs = [parse_run(record) for record in batch]
            self._keep(runs)
            for run in runs:
                if run.level == level and run.first <= index < run.end:
                    return run
            passed += len(batch)
            if passed > _TRANSACTION:
                break
        raise TilesInvalid(f"{topics.TILES}/{self.partition} lacks hash {index} of level {level}")

    async def _last(
        self, key: Callable[[Run], int], target: int, within: tuple[int, int] = (0, _BEHIND_ALL)
    ) -> Run | None:
        """Return the last level-0 run whose key, which grows along the topic, is at most the target.

        The run lies at `low` or behind it unless it was found already; all at `high` or behind it are too great.
        `within` says what of both is known.
        """
        low, high = self._start, await self._reader.end_offset()
        low, high = max(low, within[0]), min(high, within[1])
        found: Run | None = None
        while low < high:
            middle = low if high - low <= _NEAR else (low + high) // 2
            runs, behind = await self._leaves_from(middle, high)
            if not runs or key(runs[0]) > target:
                high = middle
                continue
            found = [run for run in runs if key(run) <= target][-1]
            if found is not runs[-1]:
                break
            low = behind
        return found

    async def _leaves_from(self, at: int, high: int) -> tuple[list[Run], int]:
        """Return the next level-0 runs at or behind an offset, below `high`, and the offset behind what was read."""
        if self._reader.position() != at:
            await self._reader.seek(at)
        async for batch in self._reader.read_to_end():
            runs = [run for run in map(parse_run, batch) if run.at < high]
            self._keep(runs)
            leaves = [run for run in runs if run.level == _LEAVES]
            if leaves or len(runs) < len(batch):
                return leaves, self._reader.position()
        return [], high

    def _keep(self, runs: Iterable[Run]) -> None:
        for run in runs:
            self._kept.add(run)


@asynccontextmanager
async def stored_tree(bus: Bus, partition: int) -> AsyncIterator[StoredTree]:
    """Open the tree over a partition of the events topic for as long as the block runs."""
    tree = StoredTree(bus, partition)
    try:
        await tree.start()
        yield tree
    finally:
        await tree.stop()
