"""Lives of principals and keys as ticks, for tests of detectors: honest weeks, and what happens then."""

from collections.abc import Iterable, Iterator
from typing import Any

from keyfold.analytics.detectors.detector import Detector
from keyfold.analytics.findings import HOUR_MS, Signal
from keyfold.analytics.observations import KEY, PRINCIPAL, Observation, Ref, Result
from keyfold.analytics.ticks import Tick, tick_of

MONDAY_MS = 1_767_571_200_000
"""2026-01-05 00:00 UTC."""

SECOND, MINUTE, HOUR, DAY, WEEK = 1_000, 60_000, HOUR_MS, 24 * HOUR_MS, 7 * 24 * HOUR_MS
ALICE, KEY_ID = PRINCIPAL + "alice", "01890a5d-ac96-774b-bcce-b302099a8057"
ITS_KEY = KEY + KEY_ID


def seen(at_ms: int, verb: str = "Decrypt", items: int = 1, result: Result = "authorized", **more: Any) -> Observation:
    """One observation of alice, so long after the Monday."""
    fields: dict[str, Any] = {"principal": "alice", "key_id": KEY_ID} | more
    return Observation(Ref(MONDAY_MS + at_ms, 0, at_ms, f"0.{at_ms}.decision"), result, verb, items=items, **fields)


def ticks(observations: Iterable[Observation], entity: str = ALICE) -> Iterator[Tick]:
    """The ticks of observations in time order."""
    tick: Tick | None = None
    for each in observations:
        start = tick_of(each.ref.time_ms)
        if tick is None or tick.start_ms != start:
            if tick is not None:
                yield tick
            tick = Tick(start)
        tick.add(entity, each)
    if tick is not None:
        yield tick


def look(
    detector: Detector[Any], observations: Iterable[Observation], entity: str = ALICE, memory: Any = None
) -> list[Signal]:
    """What a detector says of a life."""
    memory = detector.begin() if memory is None else memory
    return [signal for tick in ticks(observations, entity) for signal in detector.look(entity, tick, memory)]


def since(signals: Iterable[Signal], at_ms: int) -> list[Signal]:
    """Those that end after a time."""
    return [signal for signal in signals if signal.until_ms > MONDAY_MS + at_ms]


def office(weeks: int, verb: str = "Decrypt", items: int = 4, **more: Any) -> Iterator[Observation]:
    """Working days from nine to five, three times an hour."""
    for day in (day for day in range(7 * weeks) if day % 7 < 5):
        for slot in range(24):
            yield seen(day * DAY + 9 * HOUR + slot * 20 * MINUTE, verb, items + (slot + day) % 3, **more)
