"""first-use: a key's first use by a principal, a principal's first use of a verb, an entity's first context value."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.detectors.known import DAY_MS, Known, fingerprint
from keyfold.analytics.detectors.reading import reading
from keyfold.analytics.detectors.saying import Said
from keyfold.analytics.detectors.settings import FirstUseSettings
from keyfold.analytics.detectors.verbs import POWER, uses_sensitively
from keyfold.analytics.detectors.wording import plural, span
from keyfold.analytics.findings import Severity, Signal
from keyfold.analytics.observations import KEY, Ref
from keyfold.analytics.ticks import MAX_REFS, Tick

_MAX_SAID: Final = 3
_POWER: Final = frozenset(map(fingerprint, POWER))


@dataclass(slots=True)
class FirstUses:
    """The memory: what is known by kind (`user` of a key, `verb` and `context` of a principal)."""

    known: dict[str, Known] = field(default_factory=dict)
    said: Said = field(default_factory=Said)


class FirstUse:
    """Sees what never was, where new things are rare. A key that had the same users for long makes it medium."""

    name = "first-use"
    scopes: frozenset[Scope] = frozenset({"principal", "key"})

    def __init__(self, settings: FirstUseSettings) -> None:
        self._settings = settings

    def begin(self) -> FirstUses:
        """Return the memory of an unknown entity."""
        return FirstUses()

    def look(self, entity: str, tick: Tick, memory: FirstUses) -> Iterable[Signal]:
        """Compare the names of a tick with those that are known."""
        if entity.startswith(KEY):
            found = self._look("user", tick.peers, tick, memory)
        else:
            verbs = {use.verb for use in tick.items if use.result == "authorized"}
            found = self._look("verb", verbs, tick, memory) + self._look("context", tick.contexts, tick, memory)
        return memory.said.news(found) if found else ()

    def _look(self, kind: str, names: Collection[str], tick: Tick, memory: FirstUses) -> list[Signal]:
        if not names:
            return []
        known = memory.known.get(kind)
        if known is None:
            known = memory.known[kind] = Known(self._settings, tick.start_ms)
        had_power = kind == "verb" and not known.fingerprints.isdisjoint(_POWER)
        news, silence = known.recent(tick.start_ms), tick.start_ms - known.last_ms
        new = known.add(names, tick.start_ms)
        age = tick.start_ms - known.began_ms
        if not new or age < self._settings.quiet_days * DAY_MS or news >= self._settings.usual_novelties:
            return []
        stable = age >= self._settings.old_days * DAY_MS and silence >= self._settings.stable_days * DAY_MS
        stable_ms = silence if stable else 0
        named = new[:_MAX_SAID] if kind != "context" else [new[0]]
        return [_signal(kind, name, len(new), tick, stable_ms=stable_ms, had_power=had_power) for name in named]

    def dump(self, memory: FirstUses) -> Any:
        """Return the memory as JSON values."""
        return [{kind: known.dump() for kind, known in memory.known.items()}, memory.said.dump()]

    def load(self, document: Any) -> FirstUses:
        """Return the memory of a document of `dump`."""
        with reading():
            kinds, said = document
            known = {kind: Known.load(self._settings, each) for kind, each in kinds.items()}
            return FirstUses(known, Said.load(said))


def _signal(kind: str, name: str, number: int, tick: Tick, *, stable_ms: int, had_power: bool) -> Signal:
    power = kind == "verb" and name in POWER and not had_power
    alarming = power or (kind == "user" and uses_sensitively(tick))
    severity: Severity = "medium" if stable_ms and alarming else "low"
    quiet = f"; nothing of the kind was new for {span(stable_ms)}" if stable_ms else ""
    return Signal(
        severity=severity,
        since_ms=tick.start_ms,
        until_ms=tick.end_ms,
        observed=number,
        expected=0,
        unit={"user": "principals", "verb": "verbs", "context": "context values"}[kind],
        sentence=_sentence(kind, name, number) + quiet,
        aspect=f"{kind}/{name}" if kind != "context" else kind,
        evidence=tuple(_evidence(kind, name, tick)),
        principal=name if kind == "user" else None,
    )


def _sentence(kind: str, name: str, number: int) -> str:
    if kind == "user":
        return f"was used by {name} for the first time"
    if kind == "verb":
        return f"used the verb {name} for the first time"
    return f"used {plural(number, 'encryption context value')} for the first time"


def _evidence(kind: str, name: str, tick: Tick) -> list[Ref]:
    return tick.evidence(name) if kind == "verb" else tick.evidence()[:MAX_REFS]
