"""Every number by which detectors judge, with its unit, default and meaning.

The defaults were chosen on simulated traffic (docs/detection-quality.md). A detector's numbers are in a model of its
own, so that documents of settings name only what they change.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(gt=0, lt=0.5)]
Fading = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Days = Annotated[float, Field(ge=0, le=400)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BaselineSettings(_Settings):
    """How the usual maximum of a window in each hour of the week is learned, and how far above it is unusual."""

    low: Probability = Field(default=2e-2, description="chance that an hour's usual maximum is this high: low")
    medium: Probability = Field(default=2e-3, description="the same: medium")
    high: Probability = Field(default=2e-5, description="the same: high")
    critical: Probability = Field(default=1e-12, description="the same: critical")
    level_fading: Fading = Field(default=0.05, description="weight of the newest active hour in the level")
    day_fading: Fading = Field(default=0.1, description="weight of the newest day in an hour of the day")
    week_fading: Fading = Field(default=0.2, description="weight of the newest week in an hour of the week")
    spread_fading: Fading = Field(default=0.01, description="weight of the newest active hour in the spread")
    least_spread: float = Field(default=0.2, gt=0, le=3, description="spread of log counts that is always allowed")
    prior_count: float = Field(default=300, ge=0, description="operations in any window that are usual of the unknown")
    prior_spread: float = Field(default=1.2, gt=0, le=5, description="spread of log counts of the unknown")
    prior_hours: float = Field(default=12, gt=0, description="active hours after which the prior weighs a third")


class UsageRateSettings(_Settings):
    """usage-rate: operations of one kind in a minute, ten minutes, an hour, a day."""

    minimum: Count = Field(default=40, description="operations in a window below which nothing is said")
    baseline: BaselineSettings = BaselineSettings()


class SlowUseSettings(_Settings):
    """slow-use: for how much of a day there was decryption."""

    minimum: Count = Field(default=24, description="spans of ten minutes in a day below which nothing is said")
    baseline: BaselineSettings = BaselineSettings(prior_count=140, prior_spread=0.8)


class DataKeyVolumeSettings(_Settings):
    """data-key-volume: data keys in a minute, ten minutes, an hour, a day."""

    minimum: Count = Field(default=40, description="data keys in a window below which nothing is said")
    baseline: BaselineSettings = BaselineSettings()


class FanOutSettings(_Settings):
    """fan-out: distinct keys of one principal in ten minutes, an hour, a day."""

    minimum: Count = Field(default=6, description="distinct keys in a window below which nothing is said")
    baseline: BaselineSettings = BaselineSettings(
        prior_count=8, prior_spread=0.5, low=1e-2, medium=1e-3, high=1e-6, critical=1e-12
    )


class DenialsSettings(_Settings):
    """denials: denied commands, failed decryptions and other failed operations."""

    minimum: Count = Field(default=10, description="of one kind in a window below which nothing is said")
    baseline: BaselineSettings = BaselineSettings(
        prior_count=2, prior_spread=0.6, least_spread=0.35, low=1e-2, medium=1e-3, high=1e-6, critical=1e-12
    )


class ProbingSettings(_Settings):
    """probing: distinct keys, never used by a principal, on which it is denied within an hour."""

    low: Count = Field(default=3, description="such keys: low")
    medium: Count = Field(default=5, description="the same: medium")
    high: Count = Field(default=15, description="the same: high")
    remembered: Count = Field(
        default=1000, le=5000, description="keys that are known; of who uses more, nothing is said"
    )


class ReplaysSettings(_Settings):
    """replays: commands that were not admitted because they were expired, or used another command's id."""

    minimum: Count = Field(default=4, description="such commands in a window below which nothing is said")
    baseline: BaselineSettings = BaselineSettings(
        prior_count=2, prior_spread=0.18, least_spread=0.18, low=1e-2, medium=3e-3, high=1e-6, critical=1e-12
    )


class MassActsSettings(_Settings):
    """admin-sequence, its counted part: many deletions, suspensions or grants of one principal."""

    deletions: Count = Field(default=2, description="keys that one may disable or delete in a window unsaid")
    suspensions: Count = Field(default=2, description="principals that one may suspend or revoke in a window unsaid")
    grants: Count = Field(default=10, description="grants that one may make in a window unsaid")
    baseline: BaselineSettings = BaselineSettings(
        prior_count=1, prior_spread=0.25, least_spread=0.2, low=5e-2, medium=1e-2, high=1e-6, critical=1e-12
    )


class AdminSequenceSettings(_Settings):
    """admin-sequence: a policy is changed, used, and changed back by one principal; and mass acts."""

    within_minutes: float = Field(default=60, gt=0, le=1440, description="minutes from the change to the change back")
    mass: MassActsSettings = MassActsSettings()


class FirstUseSettings(_Settings):
    """first-use: of a key by a principal, of a verb, of a context value."""

    quiet_days: Days = Field(default=7, description="days of an entity's life in which everything is new")
    old_days: Days = Field(default=21, description="days after which a key or principal is old")
    stable_days: Days = Field(default=10, description="days without anything new after which it is stable")
    usual_novelties: float = Field(default=4, gt=0, description="new things in two weeks after which more say nothing")
    half_life_days: float = Field(default=7, gt=0, description="days after which a new thing counts half")
    remembered: Count = Field(default=1000, le=5000, description="users, verbs or context values that are known")


class DormantSettings(_Settings):
    """dormant: a key or principal that wakes after long silence."""

    least_days: Days = Field(default=30, description="days of silence below which nothing is said")
    factor: float = Field(default=2, ge=1, description="times the longest usual silence")
    forgetting: Fading = Field(default=0.8, description="what is left of the longest silence after a later one")


class UnusualHourSettings(_Settings):
    """unusual-hour: activity in an hour of the week in which it never was."""

    weeks: float = Field(default=3, ge=1, le=52, description="weeks of history that are needed")
    active_hours: Count = Field(default=40, description="active hours in history that are needed")
    neighbours: int = Field(default=2, ge=0, le=6, description="hours before and after that count as well")
    minimum: Count = Field(default=2, description="sensitive operations in the hour from which it is medium")
    rare: float = Field(default=0.1, ge=0, lt=1, description="activity there, as part of an even spread, that is rare")
    rare_minimum: Count = Field(default=6, description="the same, where it was active in some")


class DecryptRatioSettings(_Settings):
    """decrypt-ratio: commands that decrypt for each that encrypts or makes a data key, in an hour and in six."""

    minimum: Count = Field(default=5, description="commands that decrypt in a window below which nothing is said")
    spans: Count = Field(default=30, description="active windows of history that are needed")
    fading: Fading = Field(default=0.02, description="weight of the newest window")
    least_spread: float = Field(default=0.4, gt=0, le=3, description="spread of an hour's log ratio always allowed")
    least_long_spread: float = Field(default=0.25, gt=0, le=3, description="the same, of six hours")
    low: Probability = Field(default=3e-3, description="chance of a usual ratio this high: low")
    medium: Probability = Field(default=3e-4, description="the same: medium")


class DetectorSettings(_Settings):
    """All detectors."""

    usage_rate: UsageRateSettings = UsageRateSettings()
    slow_use: SlowUseSettings = SlowUseSettings()
    data_key_volume: DataKeyVolumeSettings = DataKeyVolumeSettings()
    fan_out: FanOutSettings = FanOutSettings()
    denials: DenialsSettings = DenialsSettings()
    probing: ProbingSettings = ProbingSettings()
    replays: ReplaysSettings = ReplaysSettings()
    admin_sequence: AdminSequenceSettings = AdminSequenceSettings()
    first_use: FirstUseSettings = FirstUseSettings()
    dormant: DormantSettings = DormantSettings()
    unusual_hour: UnusualHourSettings = UnusualHourSettings()
    decrypt_ratio: DecryptRatioSettings = DecryptRatioSettings()
