"""Detectors that count something in sliding windows against its baseline: what they have in common. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from keyfold.analytics.detectors.baseline import Baselines, Limits
from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.detectors.reading import reading
from keyfold.analytics.detectors.saying import Said
from keyfold.analytics.detectors.settings import BaselineSettings
from keyfold.analytics.detectors.sliding import Sliding
from keyfold.analytics.detectors.wording import usual
from keyfold.analytics.findings import HOUR_MS, SEVERITIES, Severity, Signal
from keyfold.analytics.observations import KEY, Ref
from keyfold.analytics.ticks import Tick

MINUTE_MS: Final = HOUR_MS // 60
WINDOWS: Final = (MINUTE_MS, 10 * MINUTE_MS, HOUR_MS)
DAY_MS: Final = 24 * HOUR_MS
_DOMINANT: Final = 0.5


@dataclass(slots=True)
class Counted:
    """One kind of count of one entity: its windows and their baselines."""

    windows: tuple[Sliding, ...]
    baselines: Baselines


@dataclass(slots=True)
class Counts:
    """The memory: each kind that was ever counted."""

    kinds: dict[str, Counted] = field(default_factory=dict)
    said: Said = field(default_factory=Said)


class CountingDetector(ABC):
    """Counts by kind, given by `count`; `describe` says a high one. Kinds are few and fixed.

    `names_peer` tells whether findings name the key or principal of most authorized uses: not where others are counted.
    `minimum` is the count below which nothing is said; `worst` the highest severity of a kind, where it is less than
    critical.
    """

    name: str
    scopes: frozenset[Scope]
    windows: Sequence[int] = WINDOWS
    unit = "operations"
    names_peer = True

    def __init__(
        self,
        baseline: BaselineSettings,
        minimum: Mapping[str, int],
        worst: Mapping[str, Severity] | None = None,
        noise: float = 1.0,
        keys_milder: int = 0,
    ) -> None:
        self._rules = Limits(baseline, self.windows, noise)
        self._minimum, self._keys_milder = minimum, keys_milder
        self._worst = {kind: SEVERITIES.index(severity) for kind, severity in (worst or {}).items()}

    @abstractmethod
    def count(self, tick: Tick) -> Mapping[str, int]:
        """Return how much of each kind a tick holds; kinds of which it holds nothing may be left out."""

    @abstractmethod
    def describe(self, kind: str, number: int, window_ms: int) -> str:
        """Say it, without what is usual: `decrypted 4,120 items in 10 minutes`."""

    @abstractmethod
    def evidence(self, kind: str, tick: Tick) -> list[Ref]:
        """Return the first events of a kind in a tick."""

    def begin(self) -> Counts:
        """Return the memory of an unknown entity."""
        return Counts()

    def look(self, entity: str, tick: Tick, memory: Counts) -> Iterable[Signal]:
        """Count a tick and compare with what is usual."""
        counted = self.count(tick)
        if not counted:
            return ()
        found = [
            signal
            for kind, number in sorted(counted.items())
            if number and (signal := self._look(entity, kind, number, tick, memory)) is not None
        ]
        return memory.said.news(found) if found else ()

    def _look(self, entity: str, kind: str, number: int, tick: Tick, memory: Counts) -> Signal | None:
        hour, counted = tick.start_ms // HOUR_MS, memory.kinds.get(kind)
        if counted is None:
            baselines = Baselines.begin(self._rules, hour)
            counted = memory.kinds[kind] = Counted(tuple(map(Sliding, self.windows)), baselines)
        totals = [window.add(tick.start_ms, number) for window in counted.windows]
        milder = self._keys_milder if entity.startswith(KEY) else 0
        rank, index = counted.baselines.judge(hour, totals, self._minimum[kind], milder)
        if rank < 0:
            return None
        rank = min(rank, self._worst.get(kind, rank))
        window, baseline = counted.windows[index], counted.baselines.each[index]
        text = self.describe(kind, totals[index], window.window_ms)
        return Signal(
            severity=SEVERITIES[rank],
            since_ms=window.since_ms,
            until_ms=tick.end_ms,
            observed=totals[index],
            expected=round(baseline.expected, 1),
            unit=self.unit,
            sentence=f"{text}, {usual(baseline.expected, tick.start_ms)}",
            aspect=kind,
            evidence=tuple(self.evidence(kind, tick)),
            **(main_peer(entity, tick) if self.names_peer else {}),
        )

    def dump(self, memory: Counts) -> Any:
        """Return the memory as JSON values."""
        kinds = {
            kind: [[window.dump() for window in counted.windows], counted.baselines.dump()]
            for kind, counted in memory.kinds.items()
        }
        return [kinds, memory.said.dump()]

    def load(self, document: Any) -> Counts:
        """Return the memory of a document of `dump`."""
        with reading():
            kinds, said = document
            return Counts({kind: self._load(*each) for kind, each in kinds.items()}, Said.load(said))

    def _load(self, windows: Sequence[Sequence[int]], baselines: Sequence[Any]) -> Counted:
        loaded = tuple(map(Sliding, self.windows))
        for window, each in zip(loaded, windows, strict=True):
            window.load(each)
        return Counted(loaded, Baselines.load(self._rules, baselines))


def main_peer(entity: str, tick: Tick) -> dict[str, str]:
    """Return the key or principal of most of a tick's operations, where there is one, as a signal's fields."""
    if not tick.peers:
        return {}
    peer = max(tick.peers, key=lambda name: (tick.peers[name], name))
    if tick.peers[peer] <= _DOMINANT * tick.peers.total():
        return {}
    return {"principal" if entity.startswith(KEY) else "key_id": peer}
