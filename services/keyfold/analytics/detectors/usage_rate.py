"""Operations of a principal or key, against what is usual in that hour of the week: many (usage-rate, data-key-volume),
and long (slow-use)."""

from collections.abc import Mapping, Sequence
from typing import Final

from keyfold.analytics.detectors.counting import DAY_MS, WINDOWS, CountingDetector
from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.detectors.settings import DataKeyVolumeSettings, SlowUseSettings, UsageRateSettings
from keyfold.analytics.detectors.verbs import DATA_KEY, DECRYPT, ENCRYPT, SIGN, kind_of_use
from keyfold.analytics.detectors.wording import plural, span
from keyfold.analytics.observations import Ref
from keyfold.analytics.ticks import Tick

_BOTH: Final[frozenset[Scope]] = frozenset({"principal", "key"})
_SAID: Final = {
    "decrypt": "decrypted",
    "slow": "decrypted in",
    "sign": "signed",
    "encrypt": "encrypted",
    "data-key": "generated",
}
_THINGS: Final = {"data-key": "data key", "slow": "ten-second span"}
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
        super().__init__(settings.baseline, minimum, worst={"encrypt": "low"})


class DataKeyVolume(_Operations):
    """Sees data keys that are generated beyond measure."""

    name = "data-key-volume"
    _kind_of = kind_of_use(**{"data-key": DATA_KEY})
    unit = "data keys"

    def __init__(self, settings: DataKeyVolumeSettings) -> None:
        super().__init__(settings.baseline, {"data-key": settings.minimum})


class SlowUse(_Operations):
    """Sees slow exfiltration: a little all day long, by for how much of a day there is decryption, however little."""

    name = "slow-use"
    windows = (DAY_MS,)
    unit = "spans of ten seconds"
    _kind_of = kind_of_use(slow=DECRYPT)

    def __init__(self, settings: SlowUseSettings) -> None:
        super().__init__(settings.baseline, {"slow": settings.minimum})

    def count(self, tick: Tick) -> Mapping[str, int]:
        """Count the tick, if there is a decryption in it."""
        return dict.fromkeys(super().count(tick), 1)
