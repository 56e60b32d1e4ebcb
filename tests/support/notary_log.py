"""What a notary writes, without one: tiles and signed checkpoints over a log in memory, and cosignatures of witnesses.

`NotaryLog.publish` reads what was appended to each partition of events since it did last, and writes one transaction
with the runs that complete all levels of tiles and the checkpoint. The keys are deterministic; `certificate` is root's
word for them.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from tests.support.honest_log import HonestLog
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS, signer

from keyfold.bus import Bus, MemoryBus, MemoryCluster, Outbound
from keyfold.events import facts, topics
from keyfold.events.checkpoints import (
    Checkpoint,
    cosign_ed25519,
    cosign_ml_dsa_44,
    origin_of,
    parse_checkpoint,
    sign_ed25519,
)
from keyfold.events.log_leaves import leaf_of
from keyfold.events.notes import ED25519, ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE, Note, VerifierKey, parse_note
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.events.tree import TILE_HEIGHT, CompactRange, consistency_path

SIGNED_AT_S = START_MS // 1000
MAX_RUN = 8192


class NotaryKeys:
    """The two keys of a notary, named by a seed."""

    def __init__(self, seed: str = "notary") -> None:
        self.ed25519 = signer(seed)
        self._ml_dsa = MLDSA44PrivateKey.from_seed_bytes(sha256(f"keyfold test checkpoints: {seed}".encode()).digest())
        self.checkpoint_key = self._ml_dsa.public_key().public_bytes_raw()

    def certificate(self) -> facts.Event:
        """Root's word for both keys, valid for 80 days from the start."""
        return facts.ServiceKeyCertified.new(
            f"certificate.{self.ed25519.fingerprint[:8]}",
            REGISTRY,
            to_text(START_MS),
            public_key=self.ed25519.public_key.hex(),
            checkpoint_key=self.checkpoint_key.hex(),
            service="notary",
            topics=[topic.name for topic in topics.TOPICS if "notary" in topic.writers],
            not_before=to_text(START_MS - 60_000),
            not_after=to_text(START_MS + 80 * 86_400_000),
        )

    def vkeys(self, origin: str) -> list[VerifierKey]:
        """The keys of a log as an auditor keeps them."""
        return [
            VerifierKey(origin, ED25519, self.ed25519.public_key),
            VerifierKey(origin, ML_DSA_44_COSIGNATURE, self.checkpoint_key),
        ]

    def note(self, checkpoint: Checkpoint) -> Note:
        """A checkpoint that is signed by both."""
        origin = checkpoint.origin
        lines = (
            sign_ed25519(checkpoint, origin, self.ed25519.public_key, self.ed25519.sign),
            cosign_ml_dsa_44(checkpoint, origin, self.checkpoint_key, self._ml_dsa.sign, SIGNED_AT_S),
        )
        return Note(checkpoint.text(), lines)


class NotaryLog:
    """The trees over the events of a deployment, as the notary publishes them through a bus. `trees` holds the leaves.

    `run` is the largest number of hashes in one record; a small one makes many.
    """

    def __init__(
        self,
        bus: Bus,
        deployment: str = DEPLOYMENT,
        partitions: int = PARTITIONS,
        *,
        keys: NotaryKeys | None = None,
        run: int = MAX_RUN,
    ) -> None:
        self._bus, self._deployment, self._run = bus, deployment, run
        self.keys = keys or NotaryKeys()
        self.trees = [PartitionTree() for _ in range(partitions)]
        self._writer: Any = None
        self.notes: list[list[bytes]] = [[] for _ in range(partitions)]

    def origin(self, partition: int) -> str:
        """The origin of a partition's tree."""
        return origin_of(self._deployment, partition)

    async def publish(self, partitions: Iterable[int] | None = None, *, most: int | None = None) -> None:
        """Publish what is new on some partitions (default: all), at most so many leaves of each."""
        for partition in range(len(self.trees)) if partitions is None else partitions:
            tree = self.trees[partition]
            old = tree.size
            reader = self._bus.reader(topics.EVENTS, partition, committed=True)
            await reader.start(tree.next_offset)
            async for batch in reader.read_to_end():
                for record in batch[: None if most is None else max(0, most - (tree.size - old))]:
                    tree.append(leaf_of(record.key, record.value, record.headers), record.offset)
            await reader.stop()
            await self._commit([*tree.runs(partition, old, self._run), self._checkpoint(partition, old)])

    async def publish_leaves(self, partition: int, leaves: Sequence[bytes]) -> None:
        """Publish leaves that are not in the log."""
        tree = self.trees[partition]
        old = tree.size
        for leaf in leaves:
            tree.append(leaf, tree.next_offset)
        await self._commit([*tree.runs(partition, old, self._run), self._checkpoint(partition, old)])

    async def cosign(self, note: bytes, name: str, *, at_s: int = SIGNED_AT_S) -> bytes:
        """Publish a checkpoint with the cosignature of a witness (Ed25519) and return it."""
        parsed = parse_note(note)
        key, checkpoint = signer(name), parse_checkpoint(parsed)
        signed = parsed.with_signatures([cosign_ed25519(checkpoint, name, key.public_key, key.sign, at_s)]).to_bytes()
        sender = self._bus.sender()
        await sender.start()
        await (await sender.send(Outbound(topics.COSIGNATURES, 0, checkpoint.origin.encode(), signed)))
        await sender.stop()
        return signed

    async def _commit(self, records: list[Outbound]) -> None:
        if self._writer is None:
            self._writer = self._bus.writer("keyfold-notary-0")
            await self._writer.start()
        await self._writer.commit(records)

    def _checkpoint(self, partition: int, old: int) -> Outbound:
        tree, origin = self.trees[partition], self.origin(partition)
        note = self.keys.note(Checkpoint(origin, tree.size, tree.head())).to_bytes()
        before = old if self.notes[partition] else 0
        self.notes[partition].append(note)
        path = consistency_path(before, tree.size, tree.node) if before else ()
        headers = (
            ("kf_consistency", before.to_bytes(8, "big") + b"".join(path)),
            ("kf_next", tree.next_offset.to_bytes(8, "big")),
        )
        return Outbound(topics.CHECKPOINTS, 0, origin.encode(), note, headers)


async def bus_of(honest: HonestLog) -> MemoryBus:
    """A bus whose events topic holds the committed records of an honest log, one transaction each."""
    bus = MemoryBus(MemoryCluster(PARTITIONS, clock_ms=lambda: START_MS))
    writer = bus.writer("keyfold-test")
    await writer.start()
    for (topic, partition), kept in honest.records.items():
        for record, committed in kept if topic == topics.EVENTS else ():
            if committed:
                await writer.commit([Outbound(topic, partition, record.key, record.value, record.headers)])
    return bus


class PartitionTree:
    """All leaves of one tree, and the hashes of its tile levels."""

    def __init__(self) -> None:
        self.levels: list[list[bytes]] = [[]]
        self.offsets: list[int] = []
        self._range = CompactRange()

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self.offsets)

    @property
    def next_offset(self) -> int:
        """The offset behind the last leaf's record."""
        return self.offsets[-1] + 1 if self.offsets else 0

    def append(self, leaf: bytes, offset: int) -> None:
        """Add a leaf."""
        self.levels[0].append(leaf)
        self.offsets.append(offset)
        for height, _, node in self._range.append(leaf):
            level, rest = divmod(height, TILE_HEIGHT)
            if not rest:
                self.levels += [[] for _ in range(level + 1 - len(self.levels))]
                self.levels[level].append(node)

    def head(self) -> bytes:
        """The root of all leaves."""
        return self._range.root()

    def node(self, height: int, index: int) -> bytes:
        """A hash of the tree, computed from the leaves."""
        return self.root_of(self.levels[0][index << height : (index + 1) << height])

    def root(self, size: int) -> bytes:
        """The root of the first leaves."""
        return self.root_of(self.levels[0][:size])

    @staticmethod
    def root_of(leaves: Sequence[bytes]) -> bytes:
        """The root over leaf hashes."""
        tree = CompactRange()
        tree.extend(leaves)
        return tree.root()

    def runs(self, partition: int, old: int, most: int) -> list[Outbound]:
        """The records that the levels have grown by since a size, lowest level first."""
        records = []
        for level, hashes in enumerate(self.levels):
            start, end = old >> TILE_HEIGHT * level, len(hashes)
            for first in range(start, end, most):
                part = hashes[first : min(first + most, end)]
                offsets = b"".join(n.to_bytes(8, "big") for n in self.offsets[first : first + len(part)])
                headers = (("kf_offsets", offsets),) if level == 0 else ()
                key = f"{level}/{first}".encode()
                records.append(Outbound(topics.TILES, partition, key, b"".join(part), headers))
        return records


def witness_key(name: str) -> VerifierKey:
    """The key of the witness that `NotaryLog.cosign` plays."""
    return VerifierKey(name, ED25519_COSIGNATURE, signer(name).public_key)


def leaves(count: int, salt: str = "") -> list[bytes]:
    """Distinct leaf hashes."""
    return [sha256(f"leaf {salt}{number}".encode()).digest() for number in range(count)]
