"""Operations of a principal or key, against what is usual in that hour of the week: many (usage-rate, data-key-volume),
and long (slow-use)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from keyfold.analytics.detectors.counting import DAY_MS, MINUTE_MS, WINDOWS, CountingDetector, Counts
from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.detectors.reading import reading
from keyfold.analytics.detectors.settings import DataKeyVolumeSettings, SlowUseSettings, UsageRateSettings
from keyfold.analytics.detectors.verbs import DATA_KEY, DECRYPT, ENCRYPT, SIGN, kind_of_use
from keyfold.analytics.detectors.wording import plural, span
from keyfold.analytics.findings import Signal
from keyfold.analytics.observations import Ref
from keyfold.analytics.ticks import Tick

_BOTH: Final[frozenset[Scope]] = frozenset({"principal", "key"})
_SPAN_MS: Final = 10 * MINUTE_MS
_SAID: Final = {
    "decrypt": "decrypted",
    "slow": "decrypted in",
    "sign": "signed",
    "encrypt": "encrypted",
    "data-key": "generated",
}
_THINGS: Final = {"data-key": "data key", "slow": "ten-minute span"}
_VERBS: Final = {"decrypt": DECRYPT, "sign": SIGN, "encrypt": ENCRYPT, "data-key": DATA_KEY, "slow": DECRYPT}


class _Operations(CountingDetector):
    """Authorized operations by kind of verb."""

    scopes = _BOTH
    windows: Sequence[int] = (*WINDOWS, DAY_MS)
    _kind_of: Mapping[tuple[str, str], str]

    def count(self, tick: Tick) -> Mapping[str, int]:
        """Count authorized operations."""
        counts: dict[str, int] = {}
        for use, number in tick.items.items():
            kind = self._kind_of.get(use)
            if kind is not None:
                counts[kind] = counts.get(kind, 0) + number
        return counts

    def describe(self, kind: str, number: int, window_ms: int) -> str:
        """Say how many in which time."""
        return f"{_SAID[kind]} {plural(number, _THINGS.get(kind, 'item'))} in {span(window_ms)}"

    def evidence(self, kind: str, tick: Tick) -> list[Ref]:
        """Return the first decisions."""
        return tick.evidence(*_VERBS[kind])


class UsageRate(_Operations):
    """Sees mass decryption, signing bursts, and encryption beyond measure. Encryption alone gives nothing away: low."""

    name = "usage-rate"
    _kind_of = kind_of_use(decrypt=DECRYPT, sign=SIGN, encrypt=ENCRYPT)

    def __init__(self, settings: UsageRateSettings) -> None:
        minimum = dict.fromkeys(("decrypt", "sign", "encrypt"), settings.minimum)
        super().__init__(settings.baseline, minimum, worst={"encrypt": "low"}, keys_milder=1)


class DataKeyVolume(_Operations):
    """Sees data keys that are generated beyond measure."""

    name = "data-key-volume"
    _kind_of = kind_of_use(**{"data-key": DATA_KEY})
    unit = "data keys"

    def __init__(self, settings: DataKeyVolumeSettings) -> None:
        super().__init__(settings.baseline, {"data-key": settings.minimum}, keys_milder=1)


@dataclass(slots=True)
class Spans(Counts):
    """The memory: the counts, and the last span that was counted."""

    last: int = -1


class SlowUse(_Operations):
    """Sees slow exfiltration: a little all day long, by for how much of a day there is decryption, however little.

    Spans of ten minutes count: a burst is one, a trickle is many."""

    name = "slow-use"
    windows = (DAY_MS,)
    unit = "spans of ten minutes"
    _kind_of = kind_of_use(slow=DECRYPT)

    def __init__(self, settings: SlowUseSettings) -> None:
        super().__init__(settings.baseline, {"slow": settings.minimum}, keys_milder=1)

    def begin(self) -> Spans:
        """Return the memory of an unknown entity."""
        return Spans()

    def look(self, entity: str, tick: Tick, memory: Counts) -> Iterable[Signal]:
        """Look at the first tick of each span that has a decryption."""
        assert isinstance(memory, Spans)  # noqa: S101 - narrows the type
        span = tick.start_ms // _SPAN_MS
        if span == memory.last or not self.count(tick):
            return ()
        memory.last = span
        return super().look(entity, tick, memory)

    def count(self, tick: Tick) -> Mapping[str, int]:
        """Count a span, if there is a decryption in the tick."""
        return {kind: 1 for kind, number in super().count(tick).items() if number}

    def dump(self, memory: Counts) -> Any:
        """Return the memory as JSON values."""
        assert isinstance(memory, Spans)  # noqa: S101 - narrows the type
        return [super().dump(memory), memory.last]

    def load(self, document: Any) -> Spans:
        """Return the memory of a document of `dump`."""
        with reading():
            counts, last = document
            loaded = super().load(counts)
            return Spans(loaded.kinds, loaded.said, int(last))
