"""decrypt-ratio: how many commands decrypt for each that encrypts or makes a data key, against what is usual.

Commands are counted, not items: one batch is one decision of a program, however large it is.
"""

import math
from collections.abc import Iterable, Sequence
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
from keyfold.analytics.detectors.wording import plural, span
from keyfold.analytics.findings import HOUR_MS, Severity, Signal
from keyfold.analytics.ticks import Tick

_KIND: Final = kind_of_use(decrypt=DECRYPT, encrypt=ENCRYPT | DATA_KEY)
_BESIDE: Final = 3
"""Added to both counts, so that few commands make no large ratio."""

_FEW: Final = 10
"""Spans with fewer commands teach nothing."""


WINDOWS: Final = (HOUR_MS, 6 * HOUR_MS)
_MOST: Final = 2.0
"""Standard deviations above its mean from which a ratio teaches no more: an attack does not make itself usual."""


class Share:
    """Both counts of one window, and means of the log ratio and of its square at the end of such spans."""

    __slots__ = ("decrypts", "encrypts", "least_spread", "mean", "span", "spans", "square")

    def __init__(self, window_ms: int, fading: float, least_spread: float) -> None:
        self.least_spread = least_spread
        self.mean, self.square = EWMean(fading), EWMean(fading)
        self.span, self.spans = -1, 0
        self.decrypts, self.encrypts = Sliding(window_ms), Sliding(window_ms)

    def ratio(self, time_ms: int) -> float:
        """Return the logarithm of the ratio as of a time."""
        return math.log((self.decrypts.at(time_ms) + _BESIDE) / (self.encrypts.at(time_ms) + _BESIDE))

    def usual(self) -> tuple[float, float]:
        """Return the mean of the log ratio, and its standard deviation."""
        mean = self.mean.get()
        return mean, math.sqrt(max(self.square.get() - mean**2, 0.0) + self.least_spread**2)

    def count(self, time_ms: int, decrypts: int, encrypts: int, settings: DecryptRatioSettings) -> None:
        """Take in the commands of a tick; learn before, if a span is over."""
        current = time_ms // self.decrypts.window_ms
        if current != self.span:
            self._learn(settings)
            self.span = current
        self.encrypts.add(time_ms, encrypts)
        self.decrypts.add(time_ms, decrypts)

    def _learn(self, settings: DecryptRatioSettings) -> None:
        if self.decrypts.total + self.encrypts.total < _FEW:
            return
        ratio = self.ratio((self.span + 1) * self.decrypts.window_ms - 1)
        if self.spans >= settings.spans:
            mean, spread = self.usual()
            ratio = min(ratio, mean + _MOST * spread)
        self.mean.update(ratio)
        self.square.update(ratio**2)
        self.spans += 1

    def dump(self) -> list[Any]:
        """Return it as JSON values."""
        means = [self.mean.get(), self.square.get()] if self.spans else []
        return [means, self.span, self.spans, self.decrypts.dump(), self.encrypts.dump()]

    def load(self, document: Sequence[Any]) -> None:
        """Go on from a document of `dump`."""
        means, span, spans, decrypts, encrypts = document
        for mean, value in zip((self.mean, self.square), means, strict=False):
            mean.update(float(value))
        self.span, self.spans = int(span), int(spans)
        self.decrypts.load(decrypts)
        self.encrypts.load(encrypts)


@dataclass(slots=True)
class Ratio:
    """The memory: each window's share, and what was said."""

    shares: tuple[Share, ...]
    said: Said = field(default_factory=Said)


class DecryptRatio:
    """Sees a reader where there was a writer: data is taken out that is not put in."""

    name = "decrypt-ratio"
    scopes: frozenset[Scope] = frozenset({"principal"})

    def __init__(self, settings: DecryptRatioSettings) -> None:
        self._settings = settings
        self._low, self._medium = deviations(settings.low), deviations(settings.medium)

    def begin(self) -> Ratio:
        """Return the memory of an unknown entity."""
        settings = self._settings
        spreads = (settings.least_spread, settings.least_long_spread)
        return Ratio(tuple(Share(each, settings.fading, spread) for each, spread in zip(WINDOWS, spreads, strict=True)))

    def look(self, entity: str, tick: Tick, memory: Ratio) -> Iterable[Signal]:
        """Count both, learn the ratios of spans that are over, and compare."""
        decrypts = encrypts = 0
        for use, number in tick.commands.items():
            kind = _KIND.get(use)
            if kind == "decrypt":
                decrypts += number
            elif kind == "encrypt":
                encrypts += number
        if not decrypts and not encrypts:
            return ()
        for share in memory.shares:
            share.count(tick.start_ms, decrypts, encrypts, self._settings)
        if not decrypts:
            return ()
        found = [self._compare(entity, tick, share) for share in memory.shares]
        return memory.said.news(signal for signal in found if signal is not None)

    def _compare(self, entity: str, tick: Tick, share: Share) -> Signal | None:
        settings = self._settings
        if share.decrypts.total < settings.minimum or share.spans < settings.spans:
            return None
        mean, spread = share.usual()
        ratio = share.ratio(tick.start_ms)
        if ratio <= mean + self._low * spread:
            return None
        decrypts, encrypts = share.decrypts.total, share.encrypts.total
        severity: Severity = "medium" if ratio > mean + self._medium * spread else "low"
        observed, expected = math.exp(ratio), math.exp(mean)
        return Signal(
            severity=severity,
            since_ms=share.decrypts.since_ms,
            until_ms=tick.end_ms,
            observed=round(observed, 2),
            expected=round(expected, 2),
            unit="commands that decrypt for each that encrypts",
            sentence=f"sent {plural(decrypts, 'command')} that decrypt and {encrypts:,} that encrypt in "
            f"{span(share.decrypts.window_ms)}, {_times(observed / expected)} as many for each as usual",
            evidence=tuple(tick.evidence(*DECRYPT)),
            **main_peer(entity, tick),
        )

    def dump(self, memory: Ratio) -> Any:
        """Return the memory as JSON values."""
        return [[share.dump() for share in memory.shares], memory.said.dump()]

    def load(self, document: Any) -> Ratio:
        """Return the memory of a document of `dump`."""
        with reading():
            shares, said = document
            loaded = self.begin()
            for share, each in zip(loaded.shares, shares, strict=True):
                share.load(each)
            loaded.said = Said.load(said)
            return loaded


def _times(factor: float) -> str:
    return f"{factor:,.0f} times" if factor >= 10 else f"{factor:.1f} times"
