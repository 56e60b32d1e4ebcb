"""dormant: a key or principal that wakes after a silence much longer than its usual ones."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.detectors.known import DAY_MS
from keyfold.analytics.detectors.reading import reading
from keyfold.analytics.detectors.settings import DormantSettings
from keyfold.analytics.detectors.verbs import POWER, SENSITIVE_USE, uses_keys
from keyfold.analytics.detectors.wording import span
from keyfold.analytics.findings import HOUR_MS, SEVERITIES, Severity, Signal
from keyfold.analytics.observations import KEY
from keyfold.analytics.ticks import Tick

_VERY: float = 3
_REMEMBERED_FROM_MS = DAY_MS


@dataclass(slots=True)
class Silence:
    """The memory: when it was seen last, its longest silence (fading), and the waking that goes on, if one does."""

    last_ms: int = 0
    longest_ms: float = 0
    slept_ms: int = 0
    usual_ms: float = 0
    woke_ms: int = 0
    said: int = -1


class Dormant:
    """Sees the use of what was forgotten. For an hour after waking it watches for decryption, signing and power."""

    name = "dormant"
    scopes: frozenset[Scope] = frozenset({"principal", "key"})

    def __init__(self, settings: DormantSettings) -> None:
        self._least_ms = settings.least_days * DAY_MS
        self._factor, self._forgetting = settings.factor, settings.forgetting

    def begin(self) -> Silence:
        """Return the memory of an unknown entity."""
        return Silence()

    def look(self, entity: str, tick: Tick, memory: Silence) -> Iterable[Signal]:
        """Compare the silence before a tick with those that were before. Administration does not wake a key."""
        if entity.startswith(KEY) and not uses_keys(tick):
            return ()
        gap = tick.start_ms - memory.last_ms if memory.last_ms else 0
        memory.last_ms = tick.start_ms
        if gap >= _REMEMBERED_FROM_MS:
            self._wake(gap, tick, memory)
        if not memory.slept_ms:
            return ()
        if tick.start_ms // HOUR_MS != memory.woke_ms // HOUR_MS:
            memory.slept_ms = 0
            return ()
        return self._say(tick, memory)

    def _wake(self, gap: int, tick: Tick, memory: Silence) -> None:
        if gap >= max(self._least_ms, self._factor * memory.longest_ms):
            memory.slept_ms, memory.usual_ms, memory.woke_ms, memory.said = gap, memory.longest_ms, tick.start_ms, -1
        memory.longest_ms = max(float(gap), memory.longest_ms * self._forgetting)

    def _say(self, tick: Tick, memory: Silence) -> Iterable[Signal]:
        very = memory.slept_ms >= _VERY * max(self._least_ms, self._factor * memory.usual_ms)
        severity: Severity = ("high" if very else "medium") if _is_alarming(tick) else "low"
        rank = SEVERITIES.index(severity)
        if rank <= memory.said:
            return
        memory.said = rank
        usual = f"up to {span(memory.usual_ms)}" if memory.usual_ms else "less than a day"
        yield Signal(
            severity=severity,
            since_ms=tick.start_ms,
            until_ms=tick.end_ms,
            observed=round(memory.slept_ms / DAY_MS, 1),
            expected=round(memory.usual_ms / DAY_MS, 1),
            unit="days",
            sentence=f"{_doing(tick)} after {span(memory.slept_ms)} of silence, where {usual} is usual",
            evidence=tuple(_evidence(tick)),
        )

    def dump(self, memory: Silence) -> Any:
        """Return the memory as JSON values."""
        return list(astuple(memory))

    def load(self, document: Any) -> Silence:
        """Return the memory of a document of `dump`."""
        with reading():
            last_ms, longest_ms, slept_ms, usual_ms, woke_ms, said = document
            return Silence(last_ms, longest_ms, slept_ms, usual_ms, woke_ms, said)


def _alarming(tick: Tick) -> list[str]:
    verbs = {use.verb for use in tick.items if use.result == "authorized"}
    return sorted(verbs & (SENSITIVE_USE | POWER))


def _is_alarming(tick: Tick) -> bool:
    return bool(_alarming(tick))


def _doing(tick: Tick) -> str:
    verbs = _alarming(tick) or sorted({use.verb for use in tick.commands})
    return f"woke ({', '.join(verbs[:3])})"


def _evidence(tick: Tick) -> list[Any]:
    return tick.evidence(*_alarming(tick)) or sorted(ref for refs in tick.refs.values() for ref in refs)[:5]
