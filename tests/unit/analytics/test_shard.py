"""One partition of entities: all that it remembers is in its rows; it stays bounded; nothing counts twice."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.analytics.seen import BASE_MS, Counting, seen

from keyfold.analytics import shard as module
from keyfold.analytics.ages import Ages
from keyfold.analytics.engine import Engine
from keyfold.analytics.findings import Finding
from keyfold.analytics.observations import Observation
from keyfold.analytics.packing import Packed, partition_of_entity
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.analytics.shard import MARKS, Shard
from keyfold.analytics.ticks import TICK_MS

PARTITIONS = 1
SOURCES = range(2)
DAY_MS = 86_400_000


@dataclass
class Kept:
    """A shard with its rows, that can be lost and restored."""

    settings: AnalyticsSettings = field(default_factory=AnalyticsSettings)
    rows: dict[bytes, bytes] = field(default_factory=dict)
    reports: list[str] = field(default_factory=list)
    partitions: int = PARTITIONS

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Only the rows are left."""
        self.shard = Shard(
            0, self.partitions, SOURCES, Engine([Counting()]), self.settings, self.rows,
            lambda action, what: self.reports.append(f"{action} {what}"),
        )  # fmt: skip

    def take(self, *observations: Observation, low: float | None = None) -> list[Finding]:
        """Take in, let all sources come to a time, and write."""
        marks = {} if low is None else dict.fromkeys(SOURCES, BASE_MS + int(low * 1000))
        self.shard.take(Packed(list(observations), marks))
        found = self.shard.close()
        self.write()
        return found

    def write(self) -> None:
        """Write what changed."""
        for key, row in self.shard.changes().items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row


def ids(findings: Iterable[Finding]) -> list[str]:
    """Their ids, sorted."""
    return sorted(each.id for each in findings)


def test_ticks_are_closed_when_all_sources_have_come_so_far() -> None:
    """One that lags holds them."""
    kept = Kept()
    kept.shard.take(Packed([seen(at=1)], {0: BASE_MS + 60_000}))
    assert kept.shard.close() == []
    kept.shard.take(Packed([], {1: BASE_MS + TICK_MS}))
    assert {each.entity for each in kept.shard.close()} == {"principal/alice", "key/k1"}


def test_entities_of_other_partitions_are_left_to_them() -> None:
    """An observation comes to both its entities' partitions; each takes its own."""
    kept = Kept(partitions=4)
    own = [name for name in map(str, range(40)) if partition_of_entity(f"principal/{name}", 4) == 0]
    kept.take(*(seen(offset=number, principal=str(number), key=None) for number in range(40)))
    assert sorted(kept.rows) == sorted([*(f"principal/{name}".encode() for name in own), MARKS])


observations = st.lists(
    st.builds(
        seen,
        at=st.floats(0, 120),
        offset=st.integers(0, 60),
        source=st.sampled_from(list(SOURCES)),
        principal=st.sampled_from(["alice", "bob", None]),
        key=st.sampled_from(["k1", None]),
        items=st.integers(1, 4),
    ),
    max_size=30,
    unique_by=lambda each: (each.ref.partition, each.ref.offset),
)


@settings(max_examples=60, deadline=None)
@given(observations, st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_losing_everything_but_the_rows_changes_nothing(
    taken: list[Observation], restarts: set[int], repeats: set[int]
) -> None:
    """Restarts in the middle of windows, with the last batch read again, and repeated batches: the same findings."""
    taken.sort(key=lambda each: (each.ref.partition, each.ref.offset))
    straight, shaken = Kept(), Kept()
    found: list[Finding] = []
    other: list[Finding] = []
    for number, each in enumerate(taken):
        low = float(number)
        found += straight.take(each, low=low)
        if number in restarts:
            shaken.shard.take(Packed([each]))  # taken in, and lost before it was written
            shaken.shard.close()
            shaken.restart()
        other += shaken.take(each, low=low)
        if number in repeats:
            other += shaken.take(*taken[: number + 1], low=low)
    found += straight.take(low=1e6)
    shaken.restart()
    other += shaken.take(low=1e6)
    assert ids(found) == ids(other)
    assert {each.id: each.signal for each in found} == {each.id: each.signal for each in other}
    assert straight.rows == shaken.rows


@settings(max_examples=60, deadline=None)
@given(observations, st.randoms(use_true_random=False))
def test_the_order_of_sources_does_not_matter(taken: list[Observation], choice: Any) -> None:
    """As long as each source's own order is kept and nothing comes behind the watermark."""
    by_source = {source: sorted((e for e in taken if e.ref.partition == source), key=lambda e: e.ref.offset)
                 for source in SOURCES}  # fmt: skip
    one, other = Kept(), Kept()
    for source in SOURCES:
        one.take(*by_source[source])
    queues = [list(reversed(each)) for each in by_source.values()]
    while any(queues):
        queue = choice.choice([each for each in queues if each])
        other.take(queue.pop())
    assert ids(one.take(low=1e6)) == ids(other.take(low=1e6))


def test_a_row_of_another_release_begins_anew_and_is_told() -> None:
    """Nobody else is touched."""
    kept = Kept()
    kept.take(seen(at=1), seen(at=1, offset=1, principal="bob", key=None))
    kept.rows[b"principal/alice"] = b"\x09" + kept.rows[b"principal/alice"][1:]
    kept.restart()
    found = kept.take(seen(at=2, offset=2), low=60)
    assert [report.split()[:2] for report in kept.reports] == [["entity-begins-anew", "principal/alice:"]]
    assert {(each.entity, each.signal.observed) for each in found} == {
        ("principal/alice", 1.0), ("principal/bob", 1.0), ("key/k1", 2.0)
    }  # fmt: skip


def test_entities_that_were_not_seen_for_long_are_forgotten() -> None:
    """By event time, once an hour of it; their rows are deleted."""
    kept = Kept(AnalyticsSettings(keep_days=30))
    kept.take(seen(at=1), low=100)
    kept.take(seen(at=20 * 86_400, offset=1, principal="bob", key=None), low=20 * 86_400 + 100)
    assert len(kept.shard) == 3
    kept.restart()
    kept.take(low=32 * 86_400)
    assert set(kept.rows) == {b"principal/bob", MARKS}
    assert (len(kept.shard), kept.shard.forgotten) == (1, 2)


def test_of_too_many_the_least_lately_seen_go_but_none_with_open_ticks() -> None:
    """A bounded number is remembered, whatever strangers' names are tried."""
    kept = Kept(AnalyticsSettings(max_entities=100, live_entities=10))
    for day in range(5):
        at = day * 86_400.0
        kept.take(*(seen(at=at, offset=day * 50 + n, principal=f"{day}-{n}", key=None) for n in range(50)), low=at + 50)
    assert len(kept.shard) <= 100
    assert all(f"principal/4-{n}".encode() in kept.rows for n in range(50))
    assert len(kept.shard._live) <= 10
    kept.take(*(seen(at=5 * 86_400, offset=999 + n, principal=f"open-{n}", key=None) for n in range(150)))
    assert len(kept.shard) >= 150


def test_open_ticks_are_bounded_by_closing_the_oldest_early() -> None:
    """Where a source stands still, others cannot fill the memory."""
    kept = Kept(AnalyticsSettings(open_ticks=3))
    found = kept.take(*(seen(at=10.0 * n, offset=n, key=None) for n in range(10)))
    assert len(found) == 7
    assert [each.signal.since_ms for each in found] == [BASE_MS + n * TICK_MS for n in range(7)]


def test_a_row_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks with many names are closed early, so that the row can be written."""
    monkeypatch.setattr(module, "MAX_ROW", 2_000)
    kept = Kept()
    for n in range(40):
        kept.take(seen(at=10.0 * n, offset=n, key=None, contexts=(f"tenant={'x' * 100}",)))
        assert all(len(row) <= 2_000 for row in kept.rows.values())
    assert len(kept.take(low=1e6)) < 40


def test_ages() -> None:
    """By the day."""
    ages = Ages()
    for number in range(6):
        ages.saw(b"%d" % number, number * DAY_MS)
    ages.saw(b"0", 5 * DAY_MS)
    ages.drop(b"1")
    ages.drop(b"none")
    assert ages.before(4 * DAY_MS) == [b"2", b"3"]
    assert ages.oldest(3) == [b"2", b"3", b"4"]
    assert len(ages) == 5
