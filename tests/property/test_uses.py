"""Plain uses are read without models: whatever the bytes, what is read is what the shared reader would have read."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.histories import decided
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, seeded, simulated

from keyfold.events import facts, topics
from keyfold.events.chains import Accepted, read_event
from keyfold.events.statements import Entry, UntrustedRecord
from keyfold.projections.audit import audit_row
from keyfold.projections.errors import StateMismatch
from keyfold.projections.fold import Fold, Leaf, UseLeaf
from keyfold.projections.folding import Folding
from keyfold.projections.memory import MemorySchemas
from keyfold.projections.positions import Offsets
from keyfold.projections.replay import Item
from keyfold.projections.usage import usage_of
from keyfold.projections.uses import Authorized, Used, use_of

SEEDS = st.integers(0, 2**32 - 1)
PIECES = [
    b"",
    b"0",
    b"-1",
    b"1e3",
    b"1.0",
    b"00",
    b"9" * 19,
    b'"',
    b"\\",
    b'\\"',
    b"\\u0000",
    b"\\ud800",
    b"\\n",
    b"\n",
]
PIECES += [
    b"\n",
    b"\x7f",
    b"\xff",
    "é".encode(),
    b" ",
    b",",
    b"{}",
    b"null",
    b"true",
    b'"a":1,"a":1',
    b'"x":"y",',
    b"}",
]


@cache
def leaves(seed: int = 1) -> list[Leaf]:
    """Believed records of both kinds of histories: decided by policy, and made up."""
    events = [*decided(seeded(seed), 160), *simulated(seeded(seed), 60)]
    return [folding.leaf(event, number) for number, event in enumerate(events)]


def uses() -> list[Leaf]:
    return [leaf for leaf in leaves() if use_of(leaf.accepted) is not None]


def quick(leaf: Leaf) -> Item:
    use = use_of(leaf.accepted)
    return leaf if use is None else UseLeaf(leaf.kafka_offset, leaf.accepted, use)


def check(accepted: Accepted, event: facts.Event) -> None:
    use = use_of(accepted)
    if use is None:
        return
    assert use.row(1, 7, 9, accepted) == audit_row(1, 7, 9, accepted, event)
    if isinstance(use, Authorized):
        assert use.event() == event
        assert use.event().to_value() == event.to_value()
    else:
        assert [use.usage()] == list(usage_of(event))


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_a_use_says_what_its_event_says(seed: int) -> None:
    """Rows, usage and the event itself, of everything that policy and worker write."""
    for leaf in leaves(seed):
        check(leaf.accepted, leaf.event)


def test_plain_uses_are_read_as_such() -> None:
    """Most of what policy authorizes and the worker does is read the short way, or the short way is of no use."""
    kinds = [type(use_of(leaf.accepted)) for leaf in leaves()]
    plain = [
        leaf
        for leaf in leaves()
        if isinstance(leaf.event, facts.CommandAuthorized)
        and leaf.event.data.verb != "ImportKeyMaterial"
        and (leaf.event.data.decision.grant, leaf.event.data.decision.proposal) == (None, None)
        and b"\\\\" not in leaf.accepted.entry.value
    ]
    assert kinds.count(Authorized) == len(plain) > 20
    assert kinds.count(Used) > 20


@settings(max_examples=1500, deadline=None)
@given(data=st.data())
def test_what_is_changed_is_read_alike_or_not_at_all(data: st.DataObject) -> None:
    """Bytes of a use in which something is replaced, left out or put in, wherever."""
    leaf = data.draw(st.sampled_from(uses()))
    value = leaf.accepted.entry.value
    at = data.draw(st.integers(0, len(value)))
    until = min(len(value), at + data.draw(st.integers(0, 3)))
    changed = value[:at] + data.draw(st.sampled_from(PIECES) | st.binary(max_size=2)) + value[until:]
    accepted = replace(leaf.accepted, entry=Entry(leaf.accepted.entry.key, changed))
    try:
        event = read_event(accepted, topics.EVENTS)
    except UntrustedRecord:
        assert use_of(accepted) is None
    else:
        check(accepted, event)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"charges":{}', b'"charges":{"bucket/a":1,"bucket/a":2}'),
        (b'"time":"2', b'"time":"2026-02-30T00:00:00.000Z","x":"2'),
        (b'"items":', b'"items":1,"items":'),
        (b'"subject":"key/', b'"subject":"kay/'),
    ],
)
def test_what_no_reader_believes_is_no_use(old: bytes, new: bytes) -> None:
    """Names that stand twice, dates that do not exist, streams that are none."""
    leaf = next(leaf for leaf in uses() if old in leaf.accepted.entry.value)
    accepted = replace(
        leaf.accepted, entry=Entry(leaf.accepted.entry.key, leaf.accepted.entry.value.replace(old, new, 1))
    )
    assert use_of(accepted) is None


def test_a_date_that_does_not_exist_is_no_use() -> None:
    """The form of a time is not enough."""
    leaf = uses()[0]
    value = leaf.accepted.entry.value.replace(leaf.event.time.encode(), b"2026-02-30T00:00:00.000Z")
    assert use_of(replace(leaf.accepted, entry=Entry(leaf.accepted.entry.key, value))) is None


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, cuts=SEEDS)
@example(seed=1, cuts=1)
async def test_uses_are_folded_like_their_events(seed: int, cuts: int) -> None:
    """Batch for batch: the same rows, entities, directory and progress, however the log is cut."""
    for events in (decided(seeded(seed), 120), simulated(seeded(seed), 60)):
        schemas = MemorySchemas()
        await schemas.prepare(PARTITIONS)
        store = schemas.partition_store("blue")
        for partition, believed in folding.by_partition(events).items():
            await _fold_both(store, partition, believed, cuts)


async def _fold_both(store: Any, partition: int, believed: Sequence[Leaf], cuts: int) -> None:
    sizes, left = seeded(cuts), list(believed)
    plainly, quickly = Folding(store, cached=3), Folding(store, cached=3)
    while left:
        size = sizes.randint(1, 60)
        offsets = await store.offsets(partition)
        places = {leaf.accepted.role: leaf.accepted.place for leaf in left[:size]}
        wanted = (await plainly.fold(offsets, left[:size])).batch(places)
        found = (await quickly.fold(offsets, [quick(leaf) for leaf in left[:size]])).batch(places)
        assert (found.audit, found.after, found.directory) == (wanted.audit, wanted.after, wanted.directory)
        assert found.entities == wanted.entities
        assert _rows(found.rows) == _rows(wanted.rows)
        plainly.promote(wanted)
        quickly.promote(found)
        await store.apply(found)
        left = left[size:]


def _rows(staged: Sequence[Any]) -> dict[Any, Any]:
    found = {(row.table, row.removed, *row.key()): row.document for row in staged}
    assert len(found) == len(staged)
    return found


def test_a_use_of_a_key_that_never_was_does_not_follow_from_the_state() -> None:
    """It is told at its own offset, as for any other event, before anything of it counts."""
    leaf = next(leaf for leaf in uses() if isinstance(use := use_of(leaf.accepted), Authorized) and use.protected)
    found = quick(leaf)
    assert isinstance(found, UseLeaf)
    fold = Fold(Offsets(1), {leaf.event.subject: None})
    with pytest.raises(StateMismatch, match=f"offset {leaf.kafka_offset} "):
        fold.use(found)
    assert fold.batch({}).after == Offsets(1)
