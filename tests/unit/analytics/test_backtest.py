"""A run over history finds what live processing found: by event time, whatever the order of reading."""

import json
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
from tests.support.audited_log import AuditedLog, honest
from tests.support.people import DEPLOYMENT
from tests.unit.analytics.found import ALICE, START_MS, act, suppress

from keyfold.analytics.backtest import Backtest, Watch
from keyfold.analytics.detectors import all_detectors
from keyfold.analytics.detectors.detector import Detector, Scope
from keyfold.analytics.engine import Engine, EntityState
from keyfold.analytics.findings import HOUR_MS, Signal
from keyfold.analytics.incidents import Changed
from keyfold.analytics.observations import Observation, Ref
from keyfold.analytics.packing import Packed
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.analytics.shard import MARKS, Shard
from keyfold.analytics.sources import Source
from keyfold.analytics.ticks import TICK_MS, Tick
from keyfold.auditing.rooted import NotRooted, read_root
from keyfold.bus import Inbound
from keyfold.events import topics
from keyfold.events.times import to_milliseconds

SETTINGS = AnalyticsSettings()


class Loud:
    """Says something of every tick, and how many it has seen: whoever sees other ticks says other things."""

    name = "loud"
    scopes: frozenset[Scope] = frozenset({"principal", "key"})

    def begin(self) -> list[int]:
        return [0]

    def look(self, entity: str, tick: Tick, memory: list[int]) -> Iterable[Signal]:
        memory[0] += 1
        said = f"tick {memory[0]}: {sum(tick.items.values())} of {sorted(tick.commands)}"
        number = float(sum(tick.commands.values()))
        evidence = tuple(tick.evidence())
        yield Signal("medium", tick.start_ms, tick.end_ms, number, 0, "commands", said, f"{tick.start_ms}", evidence)

    def dump(self, memory: list[int]) -> Any:
        return memory

    def load(self, document: Any) -> list[int]:
        return [int(document[0])]


DETECTORS: tuple[Detector[Any], ...] = (Loud(), *all_detectors())


def patient(log: AuditedLog) -> AnalyticsSettings:
    """Settings that wait for whatever a log tells late: outcomes have their decisions' times."""
    late = 0
    for kept in log.kept.values():
        documents = [json.loads(record.value or b"{}") for record in kept]
        times = [to_milliseconds(each["time"]) for each in documents if "time" in each]
        late = max([late, *(most - time for most, time in zip(accumulate(times, max), times, strict=True))])
    return AnalyticsSettings(lateness_s=late / 1000 + 10)


async def run(
    log: AuditedLog, until_ms: int | None = None, letters: AsyncIterator[list[Inbound]] | None = None
) -> list[Changed]:
    made = Backtest(log, DETECTORS, patient(log), letters)
    return [each async for each in made.run(DEPLOYMENT, until_ms)]


def told(changes: list[Changed]) -> dict[str, tuple[str, str]]:
    return {
        each.finding.id: (each.finding.signal.sentence, str(each.finding.signal.evidence))
        for each in changes
        if each.finding is not None
    }


async def live(log: AuditedLog, seed: int) -> dict[str, tuple[str, str]]:
    """As the stages do it: each source in small batches, in any order, and ticks closed by the lowest watermark."""
    source, engine = random.Random(seed), Engine(DETECTORS)  # noqa: S311
    lateness_ms = patient(log).lateness_ms
    trust = (await read_root(log, DEPLOYMENT)).trust()
    readers = {partition: Source(partition, log.partitions) for partition in range(log.partitions)}
    left = {partition: list(records) for partition, records in log.kept.items()}
    states: dict[str, EntityState] = {}
    found: dict[str, tuple[str, str]] = {}

    def close(low_ms: int) -> None:
        for entity, state in states.items():
            for each in engine.close(entity, state, low_ms):
                found[each.id] = (each.signal.sentence, str(each.signal.evidence))

    while any(left.values()):
        # Those that are behind are read first, as the first stage holds back what is ahead.
        low = min((p for p in left if left[p]), key=lambda p: (readers[p].mark_ms, source.random()))
        batch, left[low] = left[low][:7], left[low][7:]
        for seen in readers[low].read(trust, batch, lateness_ms).observations:
            for entity in seen.entities():
                engine.take(entity, states.setdefault(entity, EntityState()), [seen])
        close(min((readers[p].mark_ms for p in left if left[p]), default=0))
    close(max(reader.mark_ms for reader in readers.values()) + lateness_ms + HOUR_MS)
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_history_gives_the_same_findings_as_live(seed: int) -> None:
    """By id, sentence and evidence; and the same again when it is run again."""
    log = honest(seed, 150)
    changes = await run(log)
    found = told(changes)
    assert len(found) > 20
    assert found == await live(log, seed)
    assert changes == await run(log)


async def test_records_that_nobody_may_write_are_passed_over() -> None:
    """They are counted, and change no finding."""
    log = honest(1, 150).copy()
    before = told(await run(log))
    partition = next(number for number, kept in log.kept.items() if number and len(kept) > 3)
    kept = log.kept[partition]
    forged = Inbound(topics.EVENTS, partition, kept[2].offset, kept[2].timestamp_ms, kept[2].key, b"{}", ())
    log.kept[partition] = [*kept[:2], forged, *(replace(each, offset=each.offset + 1) for each in kept[2:])]
    made = Backtest(log, DETECTORS, patient(log))
    assert told([each async for each in made.run(DEPLOYMENT)]).keys() == before.keys()
    assert made.told.outcomes["not-believed"] == 1
    assert made.told.observations > 0


async def test_what_is_behind_the_end_is_not_looked_at() -> None:
    """`until` is exclusive, and what ends before it is the same."""
    log = honest(1, 150)
    whole = await run(log)
    times = sorted(ref.time_ms for each in whole if each.finding for ref in each.finding.signal.evidence)
    until = times[len(times) // 2] // TICK_MS * TICK_MS
    part = told(await run(log, until))
    assert 0 < len(part) < len(told(whole))
    ends = {each.finding.id: each.finding.signal.until_ms for each in whole if each.finding}
    assert part == {name: said for name, said in told(whole).items() if ends[name] <= until}


async def test_dead_letters_are_observed_beside_the_log() -> None:
    """They are a source of their own, merged by their time."""
    log = honest(1, 40)
    letter = json.dumps({"principal": "mallory", "code": "Expired"}).encode()
    at = log.kept[0][-1].timestamp_ms

    async def letters() -> AsyncIterator[list[Inbound]]:
        yield [Inbound(topics.DEAD_LETTERS, 0, number, at, b"", letter, ()) for number in range(3)]

    changes = await run(log, letters=letters())
    said = [each.finding for each in changes if each.finding and each.finding.entity == "principal/mallory"]
    assert said[0].detector == "loud"
    assert said[0].signal.observed == 3


async def test_another_log_is_refused() -> None:
    """Trust begins with the pinned fingerprint."""
    with pytest.raises(NotRooted):
        [each async for each in Backtest(honest(1, 40), DETECTORS, SETTINGS).run("ab" * 32)]


def seen(minute: float, principal: str = "alice", offset: int = 0) -> Observation:
    ref = Ref(START_MS + int(minute * 60_000), 1, offset, f"event-{offset}")
    return Observation(ref=ref, result="authorized", verb="Decrypt", principal=principal, key_id=None)


def test_suppressions_hold_from_when_they_were_put() -> None:
    """Acts are taken in where they stand in event time."""
    watch = Watch([Loud()], AnalyticsSettings())
    changes: list[Changed] = []
    for minute in range(10):
        if minute == 5:
            changes += watch.take(START_MS + 5 * 60_000, suppress("quiet", entity=ALICE))
        observation = seen(minute, offset=minute)
        changes += watch.take(observation.ref.time_ms, observation)
    changes += watch.finish(START_MS + 10 * 60_000)
    suppressed = [each.suppressed_by for each in changes if each.change == "detected"]
    assert suppressed == [None] * 5 + ["quiet"] * 5
    (name,) = {each.incident.id for each in changes if each.incident is not None}
    closed = watch.take(START_MS + 11 * 60_000, act("close", name, 11, resolution="BENIGN"))
    assert [each.change for each in closed] == ["updated"]


def test_entities_are_forgotten_by_age_and_number() -> None:
    """What is seen again afterwards begins anew."""
    settings = SETTINGS.model_copy(update={"keep_days": 1.0, "max_entities": 3})
    watch = Watch([Loud()], settings)
    for number in range(5):
        observation = seen(number, f"p{number}", number)
        watch.take(observation.ref.time_ms, observation)
    later = seen(70, offset=10)
    watch.take(later.ref.time_ms, later)
    assert len(watch._states) <= 4
    assert "principal/p0" not in watch._states
    much_later = seen(60 * 72, "carol", 11)
    watch.take(much_later.ref.time_ms, much_later)
    assert set(watch._states) == {"principal/carol"}


@pytest.mark.parametrize("limits", [{"keep_days": 2.0}, {"keep_days": 1.5}, {"max_entities": 12}])
def test_it_forgets_whom_live_forgets(limits: dict[str, Any]) -> None:
    """At each hour of some weeks in which strangers come and go, in each partition for itself."""
    settings, partitions = SETTINGS.model_copy(update=limits), 3
    watch = Watch([Loud()], settings, partitions=partitions)
    rows: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]
    shards = [
        Shard(each, partitions, range(1), Engine([Loud()]), settings, rows[each], lambda *_: None)
        for each in range(partitions)
    ]
    source, told, lived = random.Random(1), 0, []  # noqa: S311
    for step in range(24 * 14):
        name = f"p{source.randrange(60)}" if step % 7 else "steady"
        observation = seen(60 * step + source.uniform(0, 50), name, step)
        low_ms = observation.ref.time_ms - settings.lateness_ms
        for shard, kept in zip(shards, rows, strict=True):
            for packed in (Packed([], {0: low_ms}), Packed([observation], {})):
                shard.take(packed)
                lived += [each.id for each in shard.close()]
                for row, content in shard.changes().items():
                    kept.update({row: content} if content is not None else {})
                    if content is None:
                        del kept[row]
        told += sum(each.change == "detected" for each in watch.take(observation.ref.time_ms, observation))
        remembered = {name.decode() for kept in rows for name in kept} - {MARKS.decode()}
        assert set(watch._states) == remembered, step
    assert told == len(lived)
    assert len(watch._states) < 60
