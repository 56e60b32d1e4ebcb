"""Settings of the analytics process, frozen; every number carries its unit in its name."""

from pydantic import BaseModel, ConfigDict, Field

from keyfold.analytics.ticks import TICK_MS


class AnalyticsSettings(BaseModel):
    """Sizes and pauses. A finding is told about a tick's length, `lateness_s` and two batches after its first event."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lateness_s: float = Field(default=10.0, ge=0, description="how long a tick stays open for what comes late")
    skew_s: float = Field(default=600.0, gt=0, description="event time by which a source may be ahead of the last one")
    heartbeat_s: float = Field(default=2.0, gt=0, description="pause between watermarks where nothing else is sent")
    batch_events: int = Field(default=1_000, ge=1, description="event records of one batch, at most")
    batch_s: float = Field(default=0.2, ge=0, description="how long a batch of event records is gathered")
    waiting_events: int = Field(default=4_000, ge=1, description="event records of a source that wait, then it pauses")
    take_messages: int = Field(default=200, ge=1, description="records of observations between two writes, at most")
    take_s: float = Field(default=1.0, ge=0, description="how long observations are gathered between two writes")
    send_s: float = Field(default=30.0, gt=0, description="deadline of what one batch sends; then the process ends")
    keep_days: float = Field(default=90.0, gt=0, description="event time after which an unseen entity is forgotten")
    max_entities: int = Field(default=500_000, ge=1, description="entities of a partition that are remembered, at most")
    live_entities: int = Field(default=5_000, ge=1, description="entities of a partition that are kept parsed")
    open_ticks: int = Field(default=360, ge=1, description="open ticks of an entity; more close the oldest early")
    trust_interval_s: float = Field(default=1.0, gt=0, description="pause between looks for what root has said")
    commit_s: float = Field(default=2.0, gt=0, description="pause between commits of what was read")
    session_s: float = Field(default=20.0, gt=0, description="after how long without a sign a worker counts as dead")

    @property
    def lateness_ms(self) -> int:
        """The same in milliseconds."""
        return int(self.lateness_s * 1000)

    @property
    def skew_ms(self) -> int:
        """The same in milliseconds, two ticks at least."""
        return max(int(self.skew_s * 1000), 2 * TICK_MS)

    @property
    def keep_ms(self) -> int:
        """The same in milliseconds."""
        return int(self.keep_days * 24 * 3_600_000)
