"""Settings of the notary, frozen; every number carries its unit in its name."""

from pydantic import BaseModel, ConfigDict, Field


class NotarySettings(BaseModel):
    """Sizes and pauses. A record has its checkpoint after `round_s` and the time of two rounds, at most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    round_s: float = Field(default=0.4, ge=0, description="from one round's start to the next, if nothing is left over")
    round_records: int = Field(default=10_000, ge=1, description="records of one round, at most, of all partitions")
    poll_records: int = Field(default=1_000, ge=1, description="records of one partition that are read at once")
    trust_interval_s: float = Field(default=1.0, gt=0, description="pause between looks for what root has said")
    first_retry_s: float = Field(default=0.1, ge=0, description="first pause before everything is restored")
    longest_retry_s: float = Field(default=5.0, ge=0, description="longest such pause; it doubles up to here")
    short_log_s: float = Field(default=10.0, ge=0, description="how long a log may end before its signed head, unsaid")
    token_s: float = Field(default=10.0, gt=0, description="how long the token may take for a round, or at a start")
