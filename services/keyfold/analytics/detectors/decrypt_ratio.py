"""decrypt-ratio: how many commands decrypt for each that encrypts or makes a data key, against what is usual.

Commands are counted, not items: one batch is one decision of a program, however large it is.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from river.stats import EWMean

from keyfold.analytics.detectors.baseline import deviations
from keyfold.analytics.detectors.counting import main_peer
from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.detectors.reading import reading
from keyfold.analytics.detectors.saying import Said
from keyfold.analytics.detectors.settings import DecryptRatioSettings
from keyfold.analytics.detectors.sliding import Sliding
from keyfold.analytics.detectors.verbs import DATA_KEY, DECRYPT, ENCRYPT, kind_of_use
from keyfold.analytics.detectors.wording import plural
from keyfold.analytics.findings import HOUR_MS, Severity, Signal
from keyfold.analytics.ticks import Tick

_KIND: Final = kind_of_use(decrypt=DECRYPT, encrypt=ENCRYPT | DATA_KEY)
_BESIDE: Final = 3
"""Added to both counts, so that few commands make no large ratio."""

_FEW: Final = 10
"""Hours with fewer commands teach nothing."""


@dataclass(slots=True)
class Ratio:
    """The memory: both counts of the last hour, and means of the log ratio and of its square at the end of hours."""

    mean: EWMean
    square: EWMean
    hour: int = -1
    hours: int = 0
    decrypts: Sliding = field(default_factory=lambda: Sliding(HOUR_MS))
    encrypts: Sliding = field(default_factory=lambda: Sliding(HOUR_MS))
    said: Said = field(default_factory=Said)

    def ratio(self, time_ms: int) -> float:
        """Return the logarithm of the last hour's ratio."""
        return math.log((self.decrypts.at(time_ms) + _BESIDE) / (self.encrypts.at(time_ms) + _BESIDE))


class DecryptRatio:
    """Sees a reader where there was a writer: data is taken out that is not put in."""

    name = "decrypt-ratio"
    scopes: frozenset[Scope] = frozenset({"principal"})

    def __init__(self, settings: DecryptRatioSettings) -> None:
        self._settings = settings
        self._low, self._medium = deviations(settings.low), deviations(settings.medium)

    def begin(self) -> Ratio:
        """Return the memory of an unknown entity."""
        return Ratio(EWMean(self._settings.fading), EWMean(self._settings.fading))

    def look(self, entity: str, tick: Tick, memory: Ratio) -> Iterable[Signal]:
        """Count both, learn the ratio of hours that are over, and compare."""
        decrypts = encrypts = 0
        for use, number in tick.commands.items():
            kind = _KIND.get(use)
            if kind == "decrypt":
                decrypts += number
            elif kind == "encrypt":
                encrypts += number
        if not decrypts and not encrypts:
            return ()
        hour = tick.start_ms // HOUR_MS
        if hour != memory.hour:
            self._learn(memory)
            memory.hour = hour
        memory.encrypts.add(tick.start_ms, encrypts)
        total = memory.decrypts.add(tick.start_ms, decrypts)
        if not decrypts or total < self._settings.minimum or memory.hours < self._settings.hours:
            return ()
        return memory.said.news(self._compare(entity, tick, memory))

    def _learn(self, memory: Ratio) -> None:
        if memory.decrypts.total + memory.encrypts.total < _FEW:
            return
        ratio = memory.ratio((memory.hour + 1) * HOUR_MS - 1)
        if memory.hours >= self._settings.hours:
            mean, spread = self._usual(memory)
            ratio = min(ratio, mean + self._medium * spread)
        memory.mean.update(ratio)
        memory.square.update(ratio**2)
        memory.hours += 1

    def _usual(self, memory: Ratio) -> tuple[float, float]:
        mean = memory.mean.get()
        variance = max(memory.square.get() - mean**2, 0.0) + self._settings.least_spread**2
        return mean, math.sqrt(variance)

    def _compare(self, entity: str, tick: Tick, memory: Ratio) -> Iterable[Signal]:
        mean, spread = self._usual(memory)
        ratio = memory.ratio(tick.start_ms)
        if ratio <= mean + self._low * spread:
            return
        decrypts, encrypts = memory.decrypts.total, memory.encrypts.total
        severity: Severity = "medium" if ratio > mean + self._medium * spread else "low"
        observed, expected = math.exp(ratio), math.exp(mean)
        yield Signal(
            severity=severity,
            since_ms=memory.decrypts.since_ms,
            until_ms=tick.end_ms,
            observed=round(observed, 2),
            expected=round(expected, 2),
            unit="commands that decrypt for each that encrypts",
            sentence=f"sent {plural(decrypts, 'command')} that decrypt and {encrypts:,} that encrypt in an hour, "
            f"{_times(observed / expected)} as many for each as usual",
            evidence=tuple(tick.evidence(*DECRYPT)),
            **main_peer(entity, tick),
        )

    def dump(self, memory: Ratio) -> Any:
        """Return the memory as JSON values."""
        means = [memory.mean.get(), memory.square.get()] if memory.hours else []
        windows = [memory.decrypts.dump(), memory.encrypts.dump()]
        return [means, memory.hour, memory.hours, *windows, memory.said.dump()]

    def load(self, document: Any) -> Ratio:
        """Return the memory of a document of `dump`."""
        with reading():
            means, hour, hours, decrypts, encrypts, said = document
            loaded = self.begin()
            for mean, value in zip((loaded.mean, loaded.square), means, strict=False):
                mean.update(float(value))
            loaded.hour, loaded.hours, loaded.said = int(hour), int(hours), Said.load(said)
            loaded.decrypts.load(decrypts)
            loaded.encrypts.load(encrypts)
            return loaded


def _times(factor: float) -> str:
    return f"{factor:,.0f} times" if factor >= 10 else f"{factor:.1f} times"
