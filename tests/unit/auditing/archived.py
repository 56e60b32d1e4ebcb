"""A log in memory to be archived: an honest deployment's records, and as many strange ones as a test wants."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.honest_log import HonestLog
from tests.support.notary_log import NotaryKeys
from tests.support.people import DEPLOYMENT, PARTITIONS, ROOT

from keyfold.auditing.archive_checkpoints import believed
from keyfold.auditing.archive_export import Exported, Wanted, export
from keyfold.bus import Inbound
from keyfold.events import facts, topics
from keyfold.events.checkpoints import Checkpoint, origin_of
from keyfold.events.log_leaves import leaf_of
from keyfold.events.tree import CompactRange
from keyfold.events.trust import Trust

STRANGE_HEADERS: tuple[tuple[tuple[str, bytes | None], ...], ...] = (
    (),
    (("kf_signer", b"\xff"), ("kf_statement", b"{}"), ("kf_path", b"")),
    (("x", b"1"), ("kf_signature", b"a"), ("kf_signature", b"b"), ("x", b"\x00\x01")),
    (("kf_signer", None), ("traceparent", b"00-1"), ("kf_path", b"p")),
    (("", b""),),
)


class Log:
    """All partitions of a log. What is appended is seen by the next reader; offsets have gaps, as markers leave."""

    def __init__(self, *, honest: bool = True) -> None:
        self.deployment, self.partitions = DEPLOYMENT, PARTITIONS
        self.notary = NotaryKeys()
        self.kept: list[list[Inbound]] = [[] for _ in range(PARTITIONS)]
        self.asked: list[tuple[int, int | None]] = []
        self.batch = 100
        if honest:
            for (topic, partition), records in HonestLog().tell().records.items():
                if topic == topics.EVENTS:
                    self.kept[partition] += [record for record, committed in records if committed]

    @property
    def trust(self) -> Trust:
        """What root says of everybody."""
        trust = Trust.pin(DEPLOYMENT, ROOT.public_key).with_event(self.notary.certificate())
        for record in self.kept[0]:
            event = facts.parse_event(record.value or b"")
            trust = trust.with_event(event)
        return trust

    def add(self, partition: int, count: int, seed: int = 0) -> None:
        """Append records that nobody vouches for, of every shape that a record may have."""
        source = random.Random(seed)  # noqa: S311
        for _ in range(count):
            records = self.kept[partition]
            offset = records[-1].offset + source.choice([1, 1, 1, 2, 5]) if records else 3
            key = source.choice([None, b"key/x", b"\xff\xfe", b""])
            value = source.choice([None, b"", b'{"a": "\xc3\xbc\\u0000"}', source.randbytes(40)])
            headers = source.choice(STRANGE_HEADERS)
            records.append(Inbound(topics.EVENTS, partition, offset, 1_790_000_000_000, key, value, headers))  # type: ignore[arg-type]

    async def records(self, partition: int, start: int | None = None) -> AsyncIterator[list[Inbound]]:
        """The records from an offset on."""
        self.asked.append((partition, start))
        found = [record for record in self.kept[partition] if start is None or record.offset >= start]
        for at in range(0, len(found), self.batch):
            yield found[at : at + self.batch]

    def note(self, partition: int, size: int | None = None) -> bytes:
        """A checkpoint over the first records of a partition (default: all)."""
        records = self.kept[partition][:size]
        tree = CompactRange()
        tree.extend([leaf_of(record.key, record.value, record.headers) for record in records])
        checkpoint = Checkpoint(origin_of(DEPLOYMENT, partition), tree.size, tree.root())
        return self.notary.note(checkpoint).to_bytes()

    async def checkpoints(self) -> list[bytes]:
        """Checkpoints over everything."""
        return [self.note(partition) for partition in range(PARTITIONS)]

    async def export(self, directory: Path, *notes: bytes, rows: int = 50_000, form: str = "both") -> list[Exported]:
        """Export up to some checkpoints (default: over everything)."""
        heads = [believed(note, self.trust) for note in notes or await self.checkpoints()]
        formats = {"both": ("parquet", "jsonl"), "parquet": ("parquet",), "jsonl": ("jsonl",)}[form]
        return await export(self, self.trust, heads, directory, wanted=Wanted(formats, rows))  # type: ignore[arg-type]
