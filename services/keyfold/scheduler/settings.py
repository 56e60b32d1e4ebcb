"""Settings of the scheduler; units are in the names. Addresses and places come from `keyfold.config`."""

from pydantic import BaseModel, ConfigDict, Field

from keyfold.scheduler.duties import Times


class SchedulerSettings(BaseModel):
    """`sealing_key_erase_after_s` exceeds a command's longest life (15 min), so that nothing valid becomes unreadable.

    In a deployment for development, where policy lets anything retired be erased, sealing keys from before the storage
    epoch are erased `awaited_erase_after_s` after retirement: erasure certificates wait for them.
    A key may be destroyed when its date has come, so `interval_s` is how late that may be. `key_set_timeout_s` bounds
    the reading of one issuer's keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_s: float = Field(default=1.0, gt=0)
    command_timeout_s: float = Field(default=15.0, gt=0)
    key_set_timeout_s: float = Field(default=10.0, gt=0)
    sealing_key_lifetime_s: float = Field(default=24 * 3600, gt=0)
    sealing_key_erase_after_s: float = Field(default=16 * 60, ge=16 * 60)
    awaited_erase_after_s: float = Field(default=5.0, ge=0)
    settle_s: float = Field(default=30.0, ge=0)
    backoff_s: float = Field(default=1.0, gt=0)
    max_backoff_s: float = Field(default=300.0, gt=0)

    def times(self) -> Times:
        """The same in milliseconds, for the core."""
        return Times(
            rotate_after_ms=int(self.sealing_key_lifetime_s * 1000),
            erase_after_ms=int(self.sealing_key_erase_after_s * 1000),
            erase_awaited_after_ms=int(self.awaited_erase_after_s * 1000),
            settle_ms=int(self.settle_s * 1000),
            backoff_ms=int(self.backoff_s * 1000),
            max_backoff_ms=int(self.max_backoff_s * 1000),
        )
