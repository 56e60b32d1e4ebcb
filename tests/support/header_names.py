"""Records whose header names are no UTF-8, as producers in other languages can write them; aiokafka's would not."""

from typing import Any

import pytest
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from keyfold.bus import Headers


class NotText(str):
    """A header name whose bytes are no UTF-8. It is read as `\\xff\\xfe`."""

    READ_AS = "\\xff\\xfe"

    def encode(self, *_: Any) -> bytes:
        """What goes to the broker."""
        return b"\xff\xfe"


def batch_of(*headers: Headers, compression: int = 0, base: int = 0) -> bytes:
    """One batch with a record for each of these headers, as a broker returns it."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2, compression_type=compression, is_transactional=0,
        producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1 << 20,
    )  # fmt: skip
    for number, each in enumerate(headers):
        builder.append(number, 1_700_000_000_000 + number, b"key", b"%d" % number, list(each))
    batch = bytearray(builder.build())
    batch[:8] = base.to_bytes(8, "big")
    return bytes(batch)


def write_any_header_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let aiokafka's producers take such names, until the test is over: by what it is in pure Python."""
    for module in (message_accumulator, producer):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
