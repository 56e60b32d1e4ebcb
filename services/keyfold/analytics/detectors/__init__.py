"""The detectors: each sees the ticks of one entity in order, learns what is usual there, and says what is not.

What each sees, by which numbers, and what it misses is in docs/detectors.md.
"""

from typing import Any

from keyfold.analytics.detectors.admin_sequence import AdminSequence
from keyfold.analytics.detectors.decrypt_ratio import DecryptRatio
from keyfold.analytics.detectors.denials import Denials, Replays
from keyfold.analytics.detectors.detector import Detector
from keyfold.analytics.detectors.dormant import Dormant
from keyfold.analytics.detectors.fan_out import FanOut
from keyfold.analytics.detectors.first_use import FirstUse
from keyfold.analytics.detectors.probing import Probing
from keyfold.analytics.detectors.settings import DetectorSettings
from keyfold.analytics.detectors.unusual_hour import UnusualHour
from keyfold.analytics.detectors.usage_rate import DataKeyVolume, SlowUse, UsageRate

__all__ = ["Detector", "DetectorSettings", "all_detectors"]


def all_detectors(settings: DetectorSettings | None = None) -> tuple[Detector[Any], ...]:
    """Return every detector, with its defaults where no settings are given."""
    settings = settings or DetectorSettings()
    return (
        UsageRate(settings.usage_rate),
        SlowUse(settings.slow_use),
        DataKeyVolume(settings.data_key_volume),
        FirstUse(settings.first_use),
        FanOut(settings.fan_out),
        Denials(settings.denials),
        Probing(settings.probing),
        Dormant(settings.dormant),
        UnusualHour(settings.unusual_hour),
        DecryptRatio(settings.decrypt_ratio),
        AdminSequence(settings.admin_sequence),
        Replays(settings.replays),
    )
