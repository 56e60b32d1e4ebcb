"""Kafka's log segments on disk, edited as whoever owns a broker's disk could: with every length and checksum right.

A segment is a row of record batches of format 2 (KIP-98), uncompressed, as Keyfold writes them. The broker must be
stopped meanwhile; it makes its indexes anew when they are missing. Offsets may be left out, as after a compaction.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct

from aiokafka.record.util import calc_crc32c

_OUTER = Struct(">qiib")  # base offset, length, leader epoch, magic
_CRC = Struct(">I")
_INNER = Struct(">hiqqqhii")  # attributes, last offset delta, first and last time, producer, epoch, sequence, count
_CONTROL, _TRANSACTIONAL, _COMPRESSION = 0x20, 0x10, 0x07


@dataclass(frozen=True)
class Record:
    """One record of a batch; `delta` is its offset behind the batch's first."""

    delta: int
    time_delta: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...]


@dataclass(frozen=True)
class Batch:
    """A record batch: of a producer's transaction, or the marker that ends one (`control`)."""

    base: int
    leader_epoch: int
    attributes: int
    last_delta: int
    times: tuple[int, int]
    producer: tuple[int, int, int]
    records: tuple[Record, ...]

    @property
    def control(self) -> bool:
        return bool(self.attributes & _CONTROL)

    @property
    def end(self) -> int:
        return self.base + self.last_delta + 1


Batches = list[Batch]


def log_of(data: Path, topic: str, partition: int) -> Path:
    """Where the embedded broker keeps a partition."""
    (found,) = data.rglob(f"{topic}-{partition}/00000000000000000000.log")
    return found


def read(path: Path) -> Batches:
    """Decode a segment; a file that is grown in advance ends with zeros."""
    data, at, batches = path.read_bytes(), 0, []
    while at + _OUTER.size <= len(data):
        base, length, epoch, magic = _OUTER.unpack_from(data, at)
        if length == 0:
            break
        assert magic == 2, "only record batches of format 2"
        body = data[at + _OUTER.size + _CRC.size : at + 12 + length]
        assert _CRC.unpack_from(data, at + _OUTER.size)[0] == calc_crc32c(body)
        batches.append(_decoded(base, epoch, body))
        at += 12 + length
    return batches


def write(path: Path, batches: Batches) -> None:
    """Encode a segment, and remove what the broker makes from it."""
    path.write_bytes(b"".join(map(_encoded, batches)))
    for pattern in ("*.index", "*.timeindex", "*.txnindex", "*.snapshot"):
        for derived in path.parent.glob(pattern):
            derived.unlink()


def change(batches: Batches, offset: int, how: Callable[[Record], Record]) -> Batches:
    """Exchange the record at an offset."""
    return [
        replace(batch, records=tuple(how(r) if batch.base + r.delta == offset else r for r in batch.records))
        for batch in batches
    ]


def swap(batches: Batches, one: int, other: int) -> Batches:
    """Let two records change places."""
    at = {batch.base + record.delta: record for batch in batches for record in batch.records}

    def exchanged(place: int) -> Callable[[Record], Record]:
        taken = at[other if place == one else one]
        return lambda record: replace(taken, delta=record.delta, time_delta=record.time_delta)

    return change(change(batches, one, exchanged(one)), other, exchanged(other))


def transactions(batches: Batches) -> Iterator[tuple[Batch, ...]]:
    """Yield each transaction: its batches, then its marker, as they stand here for one producer each."""
    open_: dict[int, list[Batch]] = {}
    for batch in batches:
        open_.setdefault(batch.producer[0], []).append(batch)
        if batch.control:
            yield tuple(open_.pop(batch.producer[0]))


def _decoded(base: int, epoch: int, body: bytes) -> Batch:
    attributes, last, first_ms, last_ms, producer, producer_epoch, sequence, count = _INNER.unpack_from(body)
    assert not attributes & _COMPRESSION, "not compressed"
    records, at = [], _INNER.size
    for _ in range(count):
        length, at = _varint(body, at)
        records.append(_record(body[at : at + length]))
        at += length
    assert at == len(body)
    return Batch(
        base, epoch, attributes, last, (first_ms, last_ms), (producer, producer_epoch, sequence), tuple(records)
    )


def _record(data: bytes) -> Record:
    time_delta, at = _varint(data, 1)
    delta, at = _varint(data, at)
    key, at = _bytes(data, at)
    value, at = _bytes(data, at)
    count, at = _varint(data, at)
    headers = []
    for _ in range(count):
        name, at = _bytes(data, at)
        content, at = _bytes(data, at)
        headers.append((name or b"", content))
    return Record(delta, time_delta, key, value, tuple(headers))


def _encoded(batch: Batch) -> bytes:
    records = b"".join(map(_encoded_record, batch.records))
    inner = _INNER.pack(batch.attributes, batch.last_delta, *batch.times, *batch.producer, len(batch.records)) + records
    outer = _OUTER.pack(batch.base, len(inner) + 9, batch.leader_epoch, 2)
    return outer + _CRC.pack(calc_crc32c(inner)) + inner


def _encoded_record(record: Record) -> bytes:
    headers = b"".join(_sized(name) + _sized(content) for name, content in record.headers)
    body = (
        b"\0" + _zigzag(record.time_delta) + _zigzag(record.delta) + _sized(record.key) + _sized(record.value)
        + _zigzag(len(record.headers)) + headers
    )  # fmt: skip
    return _zigzag(len(body)) + body


def _sized(data: bytes | None) -> bytes:
    return _zigzag(-1) if data is None else _zigzag(len(data)) + data


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(data, at)
    return (None, at) if length < 0 else (data[at : at + length], at + length)


def _zigzag(number: int) -> bytes:
    value, out = (number << 1) ^ (number >> 63), bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
