"""What everyone does in honest weeks: requests, drawn phase by phase.

Also honest trouble: retry storms while the token is away, corrupted ciphertexts, expired commands after a pause.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulation.life import Phase
from simulation.population import Kind, Principal
from simulation.requests import Request
from simulation.rhythm import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, START_MS, WEEK_MS, arrivals, clumps

Times = NDArray[np.int64]
MAX_ITEMS: Final = 1_000
_CLUMP: Final[dict[Kind, float]] = {"api": 2.5, "ingest": 2.0, "signer": 2.0, "ci": 4.0, "human": 1.8, "admin": 1.5}
_SINGLE: Final = frozenset({"GetPublicKey"})


def requests_of(rng: np.random.Generator, who: Principal, phase: Phase, holidays: Sequence[int]) -> Iterator[Request]:
    """Return a phase's requests of one principal, not yet in order."""
    times = _times(rng, who, phase, holidays)
    number = len(times)
    if not number:
        return
    verbs = list(phase.verbs)
    weights = np.array([phase.verbs[verb] for verb in verbs])
    chosen = rng.choice(len(verbs), number, p=weights / weights.sum())
    shares = np.array([1.0 / (1 + place) for place in range(len(phase.keys))])
    keys = rng.choice(len(phase.keys), number, p=shares / shares.sum())
    items = np.clip(who.items * rng.lognormal(0, who.spread, number), 1, MAX_ITEMS).astype(int)
    corrupted = rng.random(number) < 0.0005
    refused = rng.random(number) < np.where(times < phase.denied_until_ms, 0.7, 0.0002)
    contexts = _contexts(rng, who, phase, number)
    for index, time in enumerate(times.tolist()):
        verb = verbs[chosen[index]]
        amount = 1 if verb in _SINGLE else int(items[index])
        key = phase.keys[keys[index]]
        if refused[index]:
            yield Request(time, who.name, key, verb, 1, "denied", "AccessDenied", 0, contexts[index])
        elif corrupted[index] and verb == "Decrypt":
            failed = min(amount, int(rng.integers(1, 4)))
            yield Request(time, who.name, key, verb, amount, "completed", "InvalidCiphertext", failed, contexts[index])
        else:
            yield Request(time, who.name, key, verb, amount, contexts=contexts[index])


def storm_of(rng: np.random.Generator, who: Principal, phase: Phase, at_ms: int) -> Iterator[Request]:
    """Return an honest retry storm: the token is away for minutes, everything is asked again and again."""
    until = at_ms + int(rng.uniform(2, 8) * MINUTE_MS)
    verb, key = max(phase.verbs, key=lambda each: phase.verbs[each]), phase.keys[0]
    number = int(rng.integers(20, 90))
    for time in np.sort(rng.integers(at_ms, until, number)).tolist():
        amount = int(np.clip(who.items * rng.lognormal(0, who.spread), 1, MAX_ITEMS))
        draw = rng.random()
        if draw < 0.05:
            yield Request(time, who.name, key, verb, 1, "rejected", "Expired")
        elif draw < 0.6:
            yield Request(time, who.name, key, verb, amount, "failed", "TokenUnavailable")
        else:
            yield Request(time, who.name, key, verb, amount)


def expired_of(rng: np.random.Generator, who: Principal, phase: Phase, at_ms: int) -> Iterator[Request]:
    """Return what an honest pause leaves behind: one to three commands that came too late."""
    verb = max(phase.verbs, key=lambda each: phase.verbs[each])
    for step in range(int(rng.integers(1, 4))):
        yield Request(at_ms + step * 700, who.name, phase.keys[0], verb, 1, "rejected", "Expired")


def _times(rng: np.random.Generator, who: Principal, phase: Phase, holidays: Sequence[int]) -> Times:
    span = (phase.since_ms, phase.until_ms)
    if who.kind == "batch":
        return _nightly(rng, who, span, phase.factor)
    if who.kind == "monthly":
        return _every(rng, span, 28 * DAY_MS, 3 * DAY_MS + 6 * HOUR_MS, number=12, within_ms=5 * MINUTE_MS)
    if who.kind == "cron":
        minute = sum(who.name.encode()) % 60 * MINUTE_MS
        return _every(rng, span, (1 + 5 * (len(who.name) % 2)) * HOUR_MS, minute, number=2, within_ms=8 * SECOND_MS)
    if who.kind == "monitor":
        return _every(
            rng, span, 15 * MINUTE_MS, sum(who.name.encode()) % 15 * MINUTE_MS, number=2, within_ms=2 * SECOND_MS
        )
    begun = arrivals(rng, who.profile, who.per_hour * phase.factor, span, zone_hours=who.zone_hours, holidays=holidays)
    if who.kind == "worker":
        times = clumps(rng, begun, 22.0, 4 * MINUTE_MS)
    else:
        times = clumps(rng, begun, _CLUMP.get(who.kind, 2.0), (90 if who.kind in {"human", "admin"} else 9) * SECOND_MS)
    return times[times < span[1]]


def _every(
    rng: np.random.Generator, span: tuple[int, int], step_ms: int, phase_ms: int, *, number: int, within_ms: int
) -> Times:
    """Return a few requests at fixed times: cron."""
    first = span[0] + (START_MS + phase_ms - span[0]) % step_ms
    times = np.repeat(np.arange(first, span[1], step_ms, dtype=np.int64), number)
    return np.sort(times + rng.integers(0, within_ms, len(times)))


def _nightly(rng: np.random.Generator, who: Principal, span: tuple[int, int], factor: float) -> Times:
    """Return the requests of a job that runs at a fixed time each night, longer at the end of the month."""
    character = sum(who.name.encode())
    hour, weekdays = 1 + character % 4, 5 + character % 3
    runs = []
    first = (span[0] - START_MS) // DAY_MS
    for day in range(int(first), int((span[1] - START_MS) // DAY_MS) + 1):
        amount = rng.normal(50, 8) * factor * (2.0 if day % 30 == 29 else 1.0)
        begin = START_MS + day * DAY_MS + int((hour - who.zone_hours) * HOUR_MS + rng.uniform(0, 10) * MINUTE_MS)
        if day % 7 < weekdays:
            runs.append(begin + rng.integers(0, 30 * MINUTE_MS, max(4, int(amount))))
    times = np.sort(np.concatenate(runs)) if runs else np.zeros(0, np.int64)
    return times[(times >= span[0]) & (times < span[1])]


def _contexts(rng: np.random.Generator, who: Principal, phase: Phase, number: int) -> list[tuple[str, ...]]:
    """Return each request's context pairs: its service, its release or its shard, and for some a value of each."""
    if who.kind in {"signer", "ci", "monitor", "cron"}:
        return [(f"service={who.name}",)] * number
    shards = rng.integers(0, 4 + phase.release % 3, number).tolist()
    if who.many_contexts:
        objects = rng.integers(0, 10**9, number).tolist()
        return [(f"service={who.name}", f"object={each}") for each in objects]
    if who.kind == "human":
        return [(f"tenant={who.tenant}",)] * number
    return [(f"service={who.name}", f"release={phase.release}", f"shard={shard}") for shard in shards]


def holidays_of(rng: np.random.Generator, weeks: int) -> list[int]:
    """Return weekdays that are holidays, as days since the start: about one in three weeks."""
    return sorted({int(rng.integers(0, weeks * WEEK_MS // DAY_MS)) for _ in range(max(1, weeks // 3))})
