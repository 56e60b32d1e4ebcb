"""Header names that are no UTF-8: read with escapes, instead of being an error that no reader gets past.

Brokers take any bytes as a header's name, and so whoever may write to a topic can write them. aiokafka decodes names
strictly: one such record would end every reader at its place, each time it comes there. What aiokafka makes of a fetch
is wrapped here. It reads the batches as ever; where a name is no text, the rest of that batch is read again, with such
bytes as `\\xff`. Nobody knows a header of such a name, so the record is treated as any other that has a strange header.
"""

from collections.abc import Iterator
from itertools import islice
from struct import Struct
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy as Batch
from aiokafka.record.memory_records import MemoryRecords

_HEAD: Final = Struct(">qI")
"""How a batch begins: its first offset, and how many bytes follow."""


def read_any_header_name() -> None:
    """Let every consumer of this process do so. There is no setting for it, so what aiokafka looks like is checked."""
    if fetcher.MemoryRecords not in {MemoryRecords, LenientRecords}:
        raise TypeError("aiokafka's fetcher no longer keeps what it reads records with where it is set here")
    fetcher.MemoryRecords = LenientRecords


class LenientRecords:
    """The record batches of a fetch, in place of aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._records: Any = MemoryRecords(data)

    def size_in_bytes(self) -> int:
        """Return the size of all batches."""
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        """Tell whether another batch follows."""
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        """Return the next batch, None where there is none."""
        batch = self._records.next_batch()
        return batch if batch is None or batch.is_control_batch else _LenientBatch(batch, self._data)


class _LenientBatch:
    """One batch of producers' records: everything of it is aiokafka's own, but the names."""

    __slots__ = ("_batch", "_data")

    def __init__(self, batch: Any, data: bytes) -> None:
        self._batch, self._data = batch, data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        done = 0
        try:
            for record in self._batch:
                yield record
                done += 1
        except (UnicodeDecodeError, CorruptRecordException):  # the second is what aiokafka makes of it in pure Python
            yield from islice(_leniently(self._data, self._batch.base_offset), done, None)


def _leniently(data: bytes, base_offset: int) -> Any:
    """Return the batch that begins at an offset, to be read without trust in names."""
    batch = Batch(next(piece for offset, piece in _batches(data) if offset == base_offset))
    records = iter(batch)  # decompresses
    batch._buffer = _Pieces(batch._buffer)
    return records


def _batches(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the whole batches of a fetch, each with the offset that it begins at."""
    at = 0
    while at + _HEAD.size <= len(data):
        offset, size = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + size
        yield offset, data[at:end]
        at = end


class _Pieces(bytearray):
    """Bytes whose pieces become text whatever they are."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return _Piece(found) if isinstance(index, slice) else found


class _Piece(bytes):
    def decode(self, *_: Any) -> str:
        return super().decode("utf-8", "backslashreplace")
