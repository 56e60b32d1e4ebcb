"""What every auditor may demand of a notary: all that it published of a partition is one history, that of the log.

It believes nothing but the keys that it is given, and computes everything from the records anew.
"""

from collections.abc import Sequence

from keyfold.bus import Bus, Inbound
from keyfold.events import topics
from keyfold.events.checkpoints import Checkpoint, log_keys, open_checkpoint, origin_of
from keyfold.events.log_leaves import leaf_of
from keyfold.events.merkle import root_of
from keyfold.events.tree import CompactRange, verify_consistency
from keyfold.events.trust import Trust

_LOOKS = 20


class Published:
    """One partition: its events, and what was published of them."""

    def __init__(
        self, trust: Trust, partition: int, events: Sequence[Inbound], tiles: Sequence[Inbound], *, notes: list[Inbound]
    ) -> None:
        self.events, self.tiles = events, tiles
        self.leaves = [leaf_of(record.key, record.value, record.headers) for record in events]
        origin = origin_of(trust.deployment, partition)
        keys = log_keys(trust, origin)
        self.checkpoints: list[tuple[Inbound, Checkpoint]] = []
        for record in notes:
            if record.key == origin.encode():
                opened = open_checkpoint(record.value or b"", keys)
                assert len(opened.signed_at) == 2, "both of the log's keys sign"
                self.checkpoints.append((record, opened.checkpoint))

    @property
    def size(self) -> int:
        """The newest checkpoint's size."""
        return self.checkpoints[-1][1].size if self.checkpoints else 0

    def check(self) -> None:
        """Each checkpoint is of the log and extends the one before; tiles have all hashes up to the newest, once."""
        self._check_checkpoints()
        self._check_tiles()

    def _check_checkpoints(self) -> None:
        before, tree = Checkpoint("", 0, b""), CompactRange()
        for record, checkpoint in self.checkpoints:
            assert before.size < checkpoint.size
            tree.extend(self.leaves[before.size : checkpoint.size])
            assert checkpoint.root == tree.root()
            proof = record.header("kf_consistency") or b""
            path = [proof[at : at + 32] for at in range(8, len(proof), 32)]
            assert int.from_bytes(proof[:8], "big") == before.size
            verify_consistency(before.size, checkpoint.size, before.root, checkpoint.root, path)
            behind = int.from_bytes(record.header("kf_next") or b"", "big")
            assert behind == self.events[checkpoint.size - 1].offset + 1
            before = checkpoint

    def _check_tiles(self) -> None:
        ends: dict[int, int] = {}
        for record in self.tiles:
            level, first = map(int, (record.key or b"").split(b"/"))
            value, offsets = record.value or b"", record.header("kf_offsets")
            count, span = len(value) // 32, 256**level
            assert first == ends.get(level, 0), "runs follow each other"
            assert 1 <= count <= 8192
            hashes = [root_of(self.leaves[at * span : (at + 1) * span]) for at in range(first, first + count)]
            assert value == b"".join(hashes)
            wanted = b"".join(event.offset.to_bytes(8, "big") for event in self.events[first : first + count])
            assert offsets == (wanted if level == 0 else None)
            ends[level] = first + count
        assert ends == {level: self.size >> 8 * level for level in range(8) if self.size >> 8 * level}


async def published(bus: Bus, trust: Trust, partitions: int) -> list[Published]:
    """Read all partitions as they were at one moment: again, where the notary has published meanwhile."""
    for _ in range(_LOOKS):
        notes = await _read(bus, topics.CHECKPOINTS, 0)
        found = [
            Published(trust, p, await _read(bus, topics.EVENTS, p), await _read(bus, topics.TILES, p), notes=notes)
            for p in range(partitions)
        ]
        if len(await _read(bus, topics.CHECKPOINTS, 0)) == len(notes):
            return found
    raise AssertionError("the log does not rest long enough to be looked at")


async def _read(bus: Bus, topic: str, partition: int) -> list[Inbound]:
    reader = bus.reader(topic, partition, committed=True)
    found: list[Inbound] = []
    try:
        await reader.start(None)
        async for batch in reader.read_to_end():
            found += batch
    finally:
        await reader.stop()
    return found
