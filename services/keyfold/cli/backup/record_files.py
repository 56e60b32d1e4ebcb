"""One partition's records in a file, exactly: offset, time, key, value and headers, one frame after the other.

A frame is its length (u32) and: offset (u64), time in ms (i64), key, value, the number of headers (u16), and each
header's name and value; bytes are a length (i32, -1 for none) and the bytes. All numbers are big-endian.
"""

import io
from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO, Final

from keyfold.bus import Inbound
from keyfold.cli.backup.errors import BackupDamaged

_LENGTH: Final = Struct(">I")
_HEAD: Final = Struct(">Qq")
_SIZE: Final = Struct(">i")
_COUNT: Final = Struct(">H")
_LARGEST: Final = 64 * 1024 * 1024


def encoded(record: Inbound) -> bytes:
    """Return a record's frame."""
    parts = [_HEAD.pack(record.offset, record.timestamp_ms), _bytes(record.key), _bytes(record.value)]
    parts.append(_COUNT.pack(len(record.headers)))
    for name, value in record.headers:
        parts += [_bytes(name.encode()), _bytes(value)]
    frame = b"".join(parts)
    return _LENGTH.pack(len(frame)) + frame


def records(file: BinaryIO, topic: str, partition: int) -> Iterator[Inbound]:
    """Yield the records of a file. Raises `BackupDamaged` where a frame is not whole."""
    while head := file.read(_LENGTH.size):
        size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else _LARGEST + 1
        frame = file.read(size) if size <= _LARGEST else b""
        if len(frame) != size:
            raise BackupDamaged(f"the records of {topic}-{partition} end in the middle of one")
        yield _decoded(io.BytesIO(frame), topic, partition)


def _decoded(frame: BinaryIO, topic: str, partition: int) -> Inbound:
    offset, timestamp_ms = _HEAD.unpack(_exactly(frame, _HEAD.size, topic))
    key, value = _field(frame, topic), _field(frame, topic)
    count = _COUNT.unpack(_exactly(frame, _COUNT.size, topic))[0]
    headers = [((_field(frame, topic) or b"").decode(), _field(frame, topic)) for _ in range(count)]
    return Inbound(topic, partition, offset, timestamp_ms, key, value, tuple(headers))


def _bytes(content: bytes | None) -> bytes:
    return _SIZE.pack(-1) if content is None else _SIZE.pack(len(content)) + content


def _field(frame: BinaryIO, topic: str) -> bytes | None:
    size = _SIZE.unpack(_exactly(frame, _SIZE.size, topic))[0]
    return None if size == -1 else _exactly(frame, size, topic)


def _exactly(frame: BinaryIO, size: int, topic: str) -> bytes:
    content = frame.read(size) if size >= 0 else b""
    if len(content) != size:
        raise BackupDamaged(f"a record of {topic} is not whole")
    return content
