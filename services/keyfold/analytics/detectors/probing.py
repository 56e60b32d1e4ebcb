"""probing: a principal is denied on keys that it never used."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.detectors.known import Known, fingerprint
from keyfold.analytics.detectors.reading import reading
from keyfold.analytics.detectors.saying import Said
from keyfold.analytics.detectors.settings import FirstUseSettings, ProbingSettings
from keyfold.analytics.detectors.wording import plural
from keyfold.analytics.findings import HOUR_MS, Severity, Signal
from keyfold.analytics.observations import Ref
from keyfold.analytics.ticks import MAX_REFS, TICK_MS, Tick

MAX_TRIED: Final = 200
_HOUR: Final = HOUR_MS // TICK_MS


@dataclass(slots=True)
class Probes:
    """The memory: the keys that were ever used, and those that were tried in vain in the last hour, by tick."""

    used: Known
    tried: dict[int, int] = field(default_factory=dict)
    said: Said = field(default_factory=Said)

    def attempt(self, names: Iterable[str], tick: int) -> int:
        """Take in keys on which it was denied, and return how many of the last hour it never used."""
        for name in sorted(names):
            key = fingerprint(name)
            if key not in self.used.fingerprints:
                self.tried.pop(key, None)
                self.tried[key] = tick
        for key in [key for key, last in self.tried.items() if last <= tick - _HOUR]:
            del self.tried[key]
        while len(self.tried) > MAX_TRIED:
            del self.tried[next(iter(self.tried))]
        return len(self.tried)


class Probing:
    """Sees who tries doors that were never his. A misconfigured service is denied on keys that it used before."""

    name = "probing"
    scopes: frozenset[Scope] = frozenset({"principal"})

    def __init__(self, settings: ProbingSettings) -> None:
        self._settings, self._known = settings, FirstUseSettings(remembered=settings.remembered)

    def begin(self) -> Probes:
        """Return the memory of an unknown principal."""
        return Probes(Known(self._known, 0))

    def look(self, entity: str, tick: Tick, memory: Probes) -> Iterable[Signal]:  # noqa: ARG002
        """Learn the keys of a tick that were used, and count those that were tried in vain."""
        if tick.peers:
            for name in memory.used.add(tick.peers, tick.start_ms):
                memory.tried.pop(fingerprint(name), None)
        if not tick.refused or len(memory.used.fingerprints) >= self._settings.remembered:
            return ()
        number = memory.attempt(tick.refused, tick.start_ms // TICK_MS)
        severity = self._severity(number)
        if severity is None:
            return ()
        return memory.said.news([_signal(severity, number, tick)])

    def _severity(self, number: int) -> Severity | None:
        settings = self._settings
        if number >= settings.high:
            return "high"
        if number >= settings.medium:
            return "medium"
        return "low" if number >= settings.low else None

    def dump(self, memory: Probes) -> Any:
        """Return the memory as JSON values."""
        return [memory.used.dump(), list(memory.tried.items()), memory.said.dump()]

    def load(self, document: Any) -> Probes:
        """Return the memory of a document of `dump`."""
        with reading():
            used, tried, said = document
            known = Known.load(self._known, used)
            return Probes(known, {int(key): int(tick) for key, tick in tried}, Said.load(said))


def _signal(severity: Severity, number: int, tick: Tick) -> Signal:
    return Signal(
        severity=severity,
        since_ms=tick.end_ms - HOUR_MS,
        until_ms=tick.end_ms,
        observed=number,
        expected=0,
        unit="keys",
        sentence=f"was denied on {plural(number, 'key')} within an hour that it never used",
        evidence=tuple(_evidence(tick)),
    )


def _evidence(tick: Tick) -> list[Ref]:
    return sorted(ref for use, refs in tick.refs.items() if use.result == "denied" for ref in refs)[:MAX_REFS]
