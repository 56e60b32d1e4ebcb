"""unusual-hour: activity in an hour of the week in which it never was, near which it never was."""

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

    `unusual` tells whether that hour is unusual, `sensitive` what was decrypted, signed or administered in it so far.
    """

    began_ms: int = -1
    hour: int = -1
    unusual: bool = False
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
        hour = tick.start_ms // HOUR_MS
        if memory.began_ms < 0:
            memory.began_ms = tick.start_ms
        if hour != memory.hour:
            memory.hour, memory.sensitive = hour, 0
            memory.unusual = self._is_unusual(tick.start_ms, memory)
            _count(memory.active, _slot(tick.start_ms))
        if not memory.unusual:
            return ()
        memory.sensitive += _sensitive(tick)
        return memory.said.news([self._signal(tick, memory)])

    def _is_unusual(self, time_ms: int, memory: Rhythm) -> bool:
        if time_ms - memory.began_ms < self._settings.weeks * 7 * DAY_MS:
            return False
        active, slot = memory.active, _slot(time_ms)
        if sum(active) < self._settings.active_hours:
            return False
        if slot >= _DAY and not any(active[_DAY:]):
            return True
        around = range(slot - self._settings.neighbours, slot + self._settings.neighbours + 1)
        return not any(active[hour % _DAY] or active[_DAY + hour % _DAY] for hour in around)

    def _signal(self, tick: Tick, memory: Rhythm) -> Signal:
        severity: Severity = "medium" if memory.sensitive >= self._settings.minimum else "low"
        done = f", with {plural(memory.sensitive, 'sensitive operation')}," if memory.sensitive else ""
        history = span(tick.start_ms - memory.began_ms)
        return Signal(
            severity=severity,
            since_ms=tick.start_ms - tick.start_ms % HOUR_MS,
            until_ms=tick.end_ms,
            observed=memory.sensitive,
            expected=0,
            unit="sensitive operations",
            sentence=f"was active{done} on {hour_of_week(tick.start_ms)}, as never near that hour in {history}",
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
