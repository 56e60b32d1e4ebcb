"""Settings of the HSM worker, frozen; every number carries its unit in its name."""

from pydantic import BaseModel, ConfigDict, Field


class HsmSettings(BaseModel):
    """Sizes and pauses. The defaults are meant for two cores and the embedded stack as well as for a cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_tickets: int = Field(default=200, ge=1, description="tickets of one transaction, at most")
    batch_bytes: int = Field(default=2 * 1024 * 1024, ge=1, description="bytes of tickets of one transaction, at most")
    poll_s: float = Field(default=1.0, gt=0, description="how long an idle poll waits")
    slice_s: float = Field(default=0.01, gt=0, description="longest work on the event loop before others may run")
    token_retry_s: float = Field(default=5.0, ge=0, description="how long one batch waits for a silent token, in all")
    token_check_s: float = Field(default=5.0, gt=0, description="pause between checks of the token")
    slow_call_s: float = Field(default=0.5, gt=0, description="a token's call that takes longer makes it Degraded")
    slow_memory_s: float = Field(default=30.0, ge=0, description="how long it stays so after the last slow call")
    first_retry_s: float = Field(default=0.1, gt=0, description="first pause before a partition is restored")
    longest_retry_s: float = Field(default=5.0, gt=0, description="longest such pause; it doubles up to here")
    aborts_before_isolation: int = Field(default=3, ge=1, description="aborts of a batch before it goes one by one")
    sealing_key_wait_s: float = Field(default=2.0, ge=0, description="wait for a sealing key that the registry knows")
    open_handles: int = Field(default=4096, ge=1, description="unwrapped keys that stay open")
    trim_after_s: float = Field(default=60.0, gt=0, description="pause between deletions of passed tickets")
