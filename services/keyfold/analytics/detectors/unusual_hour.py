"""unusual-hour: activity at a time of day at which it never was, or hardly ever. Pure."""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.detectors.known import DAY_MS
from keyfold.analytics.detectors.reading import reading
from keyfold.analytics.detectors.saying import Said
from keyfold.analytics.detectors.settings import UnusualHourSettings
from keyfold.analytics.detectors.verbs import POWER, SENSITIVE_USE
from keyfold.analytics.detectors.wording import hour_of_week, plural, span
from keyfold.analytics.findings import HOUR_MS, Severity, Signal
from keyfold.analytics.ticks import Tick

_DAY: Final = 24
_SLOTS: Final = 48
_FULL: Final = 255


@dataclass(slots=True)
class Rhythm:
    """The memory: in how many weeks each hour was active, of working days and of weekends; and the hour that is on.

    `unusual` tells from how many sensitive operations on that hour is alarming (0: it is usual), `sensitive` what was
    decrypted, signed or administered in it and in unusual hours right before it.
    """

    began_ms: int = -1
    hour: int = -1
    unusual: int = 0
    sensitive: int = 0
    active: bytearray = field(default_factory=lambda: bytearray(_SLOTS))
    said: Said = field(default_factory=Said)


class UnusualHour:
    """Sees who works when he never works: stolen credentials are used from elsewhere, and at night."""

    name = "unusual-hour"
    scopes: frozenset[Scope] = frozenset({"principal"})

    def __init__(self, settings: UnusualHourSettings) -> None:
        self._settings = settings

    def begin(self) -> Rhythm:
        """Return the memory of an unknown principal."""
        return Rhythm()

    def look(self, entity: str, tick: Tick, memory: Rhythm) -> Iterable[Signal]:  # noqa: ARG002
        """Judge an hour by those before, once; then count what is done in it."""
        if tick.is_late:
            return ()
        hour = tick.start_ms // HOUR_MS
        if memory.began_ms < 0:
            memory.began_ms = tick.start_ms
        if hour != memory.hour:
            before, memory.unusual = memory.unusual, self._from(tick.start_ms, memory)
            if not before or hour != memory.hour + 1:
                memory.sensitive = 0
            memory.hour = hour
            _count(memory.active, _slot(tick.start_ms))
        if not memory.unusual:
            return ()
        memory.sensitive += _sensitive(tick)
        return memory.said.news([self._signal(tick, memory)])

    def _from(self, time_ms: int, memory: Rhythm) -> int:
        """Return from how many sensitive operations on the hour of a time is alarming; 0 where it is usual."""
        settings, active, slot = self._settings, memory.active, _slot(time_ms)
        days = (time_ms - memory.began_ms) // DAY_MS
        if days < settings.weeks * 7 or sum(active) < settings.active_hours:
            return 0
        if slot >= _DAY and not any(active[_DAY:]):
            return settings.minimum
        near = range(slot - settings.neighbours, slot + settings.neighbours + 1)
        seen = sum(active[hour % _DAY] + active[_DAY + hour % _DAY] for hour in near)
        if not seen:
            return settings.minimum
        return settings.rare_minimum if seen <= settings.rare * sum(active) * len(near) / _DAY else 0

    def _signal(self, tick: Tick, memory: Rhythm) -> Signal:
        severity: Severity = "medium" if memory.sensitive >= memory.unusual else "low"
        done = f", with {plural(memory.sensitive, 'sensitive operation')}," if memory.sensitive else ""
        history = span(tick.start_ms - memory.began_ms)
        ever = "never" if memory.unusual == self._settings.minimum else "hardly ever"
        return Signal(
            severity=severity,
            since_ms=tick.start_ms - tick.start_ms % HOUR_MS,
            until_ms=tick.end_ms,
            observed=memory.sensitive,
            expected=0,
            unit="sensitive operations",
            sentence=f"was active{done} on {hour_of_week(tick.start_ms)}, as {ever} near that hour in {history}",
            evidence=tuple(tick.evidence()),
        )

    def dump(self, memory: Rhythm) -> Any:
        """Return the memory as JSON values."""
        active = b64encode(memory.active).decode()
        return [memory.began_ms, memory.hour, memory.unusual, memory.sensitive, active, memory.said.dump()]

    def load(self, document: Any) -> Rhythm:
        """Return the memory of a document of `dump`."""
        with reading():
            began_ms, hour, unusual, sensitive, text, said = document
            active = bytearray(b64decode(text, validate=True))
            if len(active) != _SLOTS:
                raise ValueError("a rhythm has forty-eight hours")
            return Rhythm(began_ms, hour, unusual, sensitive, active, Said.load(said))


def _slot(time_ms: int) -> int:
    """Return the hour of the day, of the weekend behind those of working days. The epoch began on a Thursday."""
    weekend = (time_ms // DAY_MS + 3) % 7 >= 5
    return time_ms // HOUR_MS % 24 + (24 if weekend else 0)


def _count(active: bytearray, slot: int) -> None:
    if active[slot] == _FULL:
        active[:] = bytes((count + 1) // 2 for count in active)
    active[slot] += 1


def _sensitive(tick: Tick) -> int:
    verbs = SENSITIVE_USE | POWER
    return sum(number for use, number in tick.items.items() if use.result == "authorized" and use.verb in verbs)
