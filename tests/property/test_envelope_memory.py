"""Envelopes of any size take constant memory."""

import io
import tracemalloc

from keyfold.client import DataKey
from keyfold.client.envelope import decrypt_stream, encrypt_stream

MIB = 1024 * 1024


class Zeros(io.RawIOBase):
    """So many zero bytes, made as they are read."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        taken = min(size, self.left)
        self.left -= taken
        return bytes(taken)


class Hole:
    """Swallows what is written."""

    size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)


def test_memory_does_not_grow_with_the_size() -> None:
    """64 MiB through 64 KiB chunks stay below one MiB, both ways."""
    key, sealed = DataKey(bytes(32), b"e"), io.BytesIO()
    tracemalloc.start()
    try:
        hole = Hole()
        encrypt_stream(Zeros(64 * MIB), hole, key_id="0" * 8 + "-0000-7000-8000-" + "0" * 12, data_key=key)  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
        assert hole.size > 64 * MIB
        assert peak < MIB
        encrypt_stream(Zeros(8 * MIB), sealed, key_id="0" * 8 + "-0000-7000-8000-" + "0" * 12, data_key=key)  # type: ignore[arg-type]
        sealed.seek(0)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        decrypt_stream(sealed, Hole(), lambda header: bytes(32))  # type: ignore[arg-type]
        assert tracemalloc.get_traced_memory()[1] - before < MIB
    finally:
        tracemalloc.stop()
