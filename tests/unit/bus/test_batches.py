"""Packing a transaction: order, splitting, limits, and that all partitions join in one request."""

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from keyfold.bus.batches import MAX_BATCH_BYTES, MAX_RECORD_BYTES, check_size, limit_of, pack, sending_order
from keyfold.bus.errors import RecordTooLarge
from keyfold.bus.records import Outbound
from keyfold.events import topics


def builder() -> BatchBuilder:
    return BatchBuilder(MAX_BATCH_BYTES, 0, is_transactional=1)


def test_records_of_a_partition_share_a_batch_in_order() -> None:
    """One batch per partition, with each record's place in the call."""
    records = [Outbound("t", n % 3, b"k", b"%d" % n) for n in range(9)]
    packed = pack(builder, records)
    assert [(b.partition, b.indexes) for b in packed] == [(0, [0, 3, 6]), (1, [1, 4, 7]), (2, [2, 5, 8])]
    assert all(b.builder.record_count() == 3 and b.builder.closed() for b in packed)


def test_a_full_batch_is_followed_by_another() -> None:
    """No batch exceeds the smallest topic's limit, except one that holds a single larger record."""
    sizes = [400_000, 400_000, 400_000, 1_500_000, 10, 1_048_500, 10]
    packed = pack(builder, [Outbound(topics.EVENTS, 0, b"k", bytes(size)) for size in sizes])
    assert [b.indexes for b in packed] == [[0, 1], [2], [3], [4], [5], [6]]
    for batch in packed:
        assert len(batch.builder._build()) <= MAX_BATCH_BYTES or len(batch.indexes) == 1


def test_first_batches_go_first() -> None:
    """The sender adds to the transaction what it knows of when it wakes: one request if all partitions are there."""
    records = [Outbound("t", partition, b"k", bytes(700_000)) for partition in (0, 0, 1, 0, 1, 2)]
    order = [(b.partition, b.indexes) for b in sending_order(pack(builder, records))]
    assert order == [(0, [0]), (1, [2]), (2, [5]), (0, [1]), (0, [3]), (1, [4])]


def test_limits_are_those_of_the_table() -> None:
    """Reply topics have the reply limit by prefix; topics outside the table have the largest of all."""
    assert limit_of(topics.COMMANDS) == topics.MAX_COMMAND_BYTES
    assert limit_of(topics.REPLIES_PREFIX + "x") == topics.MAX_REPLY_BYTES
    assert limit_of("other") == MAX_RECORD_BYTES
    assert min(row.max_message_bytes for row in topics.TOPICS) == MAX_BATCH_BYTES


@pytest.mark.parametrize("headers", [(), (("kf_signature", bytes(64)), ("kf_päth", bytes(300)))])
def test_the_size_check_is_an_upper_bound_of_what_is_built(headers: tuple[tuple[str, bytes], ...]) -> None:
    """What passes the check never builds a batch that its topic refuses; what misses it by little is refused here."""
    size = topics.MAX_COMMAND_BYTES - sum(len(v) + 3 * len(k) + 10 for k, v in headers) - 82 - 3
    fits = Outbound(topics.COMMANDS, 0, b"key", bytes(size), headers)
    check_size(fits, 0)
    (batch,) = pack(builder, [fits])
    built = len(batch.builder._build())
    assert topics.MAX_COMMAND_BYTES - 100 < built <= topics.MAX_COMMAND_BYTES
    with pytest.raises(RecordTooLarge) as caught:
        check_size(Outbound(topics.COMMANDS, 0, b"key", bytes(size + 1), headers), 7)
    assert (caught.value.index, caught.value.limit_bytes) == (7, topics.MAX_COMMAND_BYTES)
