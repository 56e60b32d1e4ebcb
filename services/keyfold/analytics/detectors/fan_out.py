"""fan-out: how many distinct keys a principal uses, quickly or slowly, against what is usual."""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from struct import iter_unpack, pack
from typing import Any, Final

from keyfold.analytics.detectors.baseline import Baselines, Limits
from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.detectors.known import fingerprint
from keyfold.analytics.detectors.reading import reading
from keyfold.analytics.detectors.saying import Said
from keyfold.analytics.detectors.settings import FanOutSettings
from keyfold.analytics.detectors.wording import plural, span, usual
from keyfold.analytics.findings import HOUR_MS, SEVERITIES, Signal
from keyfold.analytics.observations import Ref
from keyfold.analytics.ticks import MAX_REFS, TICK_MS, Tick

WINDOWS: Final = (HOUR_MS // 6, HOUR_MS, 24 * HOUR_MS)
_ASPECTS: Final = ("10m", "1h", "24h")
MAX_KEYS: Final = 1_000
_PAIR: Final = "<QI"


@dataclass(slots=True)
class Touched:
    """The memory: by window, the keys' fingerprints with the tick of their last use, the latest last."""

    recent: tuple[dict[int, int], ...] = field(default_factory=lambda: tuple({} for _ in WINDOWS))
    baselines: Baselines | None = None
    said: Said = field(default_factory=Said)

    def touch(self, names: Iterable[str], tick: int) -> list[int]:
        """Take in the keys of a tick, and return how many distinct ones each window holds."""
        fingerprints = [fingerprint(name) for name in sorted(names)]
        for window_ms, keys in zip(WINDOWS, self.recent, strict=True):
            for each in fingerprints:
                keys.pop(each, None)
                keys[each] = tick
            oldest = tick - window_ms // TICK_MS
            while (first := next(iter(keys))) and (keys[first] <= oldest or len(keys) > MAX_KEYS):
                del keys[first]
        return [len(keys) for keys in self.recent]


class FanOut:
    """Sees scraping: many keys in minutes, and few an hour that become many in a day."""

    name = "fan-out"
    scopes: frozenset[Scope] = frozenset({"principal"})

    def __init__(self, settings: FanOutSettings) -> None:
        self._minimum, self._rules = settings.minimum, Limits(settings.baseline, WINDOWS, noise=0.1)

    def begin(self) -> Touched:
        """Return the memory of an unknown principal."""
        return Touched()

    def look(self, entity: str, tick: Tick, memory: Touched) -> Iterable[Signal]:  # noqa: ARG002
        """Count the keys of each window, and compare with what is usual."""
        keys = [name for name, number in tick.peers.items() if number]
        if not keys:
            return ()
        hour = tick.start_ms // HOUR_MS
        if memory.baselines is None:
            memory.baselines = Baselines.begin(self._rules, hour)
        counts = memory.touch(keys, tick.start_ms // TICK_MS)
        rank, index = memory.baselines.judge(hour, counts, self._minimum)
        if rank < 0:
            return ()
        expected, window_ms = memory.baselines.each[index].expected, WINDOWS[index]
        signal = Signal(
            severity=SEVERITIES[rank],
            since_ms=tick.end_ms - window_ms,
            until_ms=tick.end_ms,
            observed=counts[index],
            expected=round(expected, 1),
            unit="keys",
            sentence=f"used {plural(counts[index], 'different key')} in {span(window_ms)}, "
            + usual(expected, tick.start_ms),
            aspect=_ASPECTS[index],
            evidence=tuple(_evidence(tick)),
        )
        return memory.said.news([signal])

    def dump(self, memory: Touched) -> Any:
        """Return the memory as JSON values; shorter windows hold the latest of the longest."""
        keys = b"".join(pack(_PAIR, *each) for each in memory.recent[-1].items())
        baselines = memory.baselines.dump() if memory.baselines is not None else None
        return [b64encode(keys).decode(), baselines, memory.said.dump()]

    def load(self, document: Any) -> Touched:
        """Return the memory of a document of `dump`."""
        with reading():
            text, baselines, said = document
            loaded = Touched(said=Said.load(said))
            if baselines is not None:
                loaded.baselines = Baselines.load(self._rules, baselines)
            try:
                keys = dict(iter_unpack(_PAIR, b64decode(text, validate=True)))
            except Exception as error:
                raise ValueError("keys are pairs of fingerprint and tick") from error
            last = max(keys.values(), default=0)
            for window_ms, recent in zip(WINDOWS, loaded.recent, strict=True):
                recent.update((key, tick) for key, tick in keys.items() if tick > last - window_ms // TICK_MS)
            return loaded


def _evidence(tick: Tick) -> list[Ref]:
    return tick.evidence()[:MAX_REFS]
