"""A header name that is no UTF-8 costs its record at most, never those before and after it."""

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from tests.support.header_names import NotText, batch_of

from keyfold.bus.header_names import LenientRecords, read_any_header_name

GOOD = (("name", b"1"),)
BAD = (("before", b"2"), (NotText("x"), b"3"), ("after", None))


def read(data: bytes) -> list[tuple[int, bytes, tuple[tuple[str, bytes | None], ...]]]:
    """What aiokafka's consumer hands out of a fetch."""
    records = PartitionRecords(
        TopicPartition("t", 0), LenientRecords(data), [], 0, None, None, check_crcs=True, isolation_level=READ_COMMITTED
    )
    return [(each.offset, each.value, tuple(each.headers)) for each in records]


@pytest.mark.parametrize("compression", [0, 1])
def test_what_stands_around_it_is_read_as_ever(compression: int) -> None:
    """Offsets, values and the other names are those that were written; the name itself is read with escapes."""
    data = batch_of(GOOD, compression=compression)
    data += batch_of(GOOD, BAD, GOOD, BAD, compression=compression, base=1)
    data += batch_of(GOOD, compression=compression, base=5)
    bad = (("before", b"2"), (NotText.READ_AS, b"3"), ("after", None))
    assert read(data) == [
        (0, b"0", GOOD),
        (1, b"0", GOOD), (2, b"1", bad), (3, b"2", GOOD), (4, b"3", bad),
        (5, b"0", GOOD),
    ]  # fmt: skip


def test_keys_and_values_that_are_no_text_are_bytes_as_ever() -> None:
    """Only names become text."""
    data = batch_of((("name", b"\xff\xfe"), (NotText("x"), b"\xff")))
    assert read(data) == [(0, b"0", (("name", b"\xff\xfe"), (NotText.READ_AS, b"\xff")))]


def test_a_batch_that_is_broken_is_still_an_error() -> None:
    """Names are all that is forgiven: bytes that are no records are not taken for some."""
    data = bytearray(batch_of(BAD))
    data[61] += 2  # the record's length, in the first byte after the batch's head
    records = PartitionRecords(
        TopicPartition("t", 0), LenientRecords(bytes(data)), [], 0, None, None, check_crcs=False, isolation_level=0
    )
    with pytest.raises(Exception, match=r"Invalid record size|invalid record structure"):
        list(records)


def test_every_consumer_of_the_process_reads_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in place as soon as the bus is imported; where aiokafka has changed, that is said."""
    from aiokafka.consumer import fetcher

    assert fetcher.MemoryRecords is LenientRecords
    read_any_header_name()  # again does no harm
    assert fetcher.MemoryRecords is LenientRecords
    monkeypatch.setattr(fetcher, "MemoryRecords", object)
    with pytest.raises(TypeError, match="no longer"):
        read_any_header_name()
