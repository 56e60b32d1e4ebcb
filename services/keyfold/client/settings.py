"""Settings of one client: how long it waits, how it batches, how it tries again. Frozen; units are in the names.

Addresses and credentials of the cluster are `keyfold.bus.BusSettings`.
"""

from typing import Annotated, Final
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from keyfold.events import topics
from keyfold.events.arguments import MAX_ITEMS
from keyfold.events.command_envelope import MAX_LIFETIME_MS

MAX_BODY_BYTES: Final = 900_000
"""What the items of one record may take: a command's MiB less its clear part, contexts and sealing."""


class ClientSettings(BaseModel):
    """What `Keyfold.connect` accepts beside addresses and identity.

    `host` is where the caller says it acts: a host or workload instance, signed with every command, for policies and
    the trail. `instance_id` chooses the reply partition. `call_timeout_s` is the deadline of a call that names none.
    `command_lifetime_s` bounds how long after sending a command may still be accepted.
    `linger_ms` is how long a call waits for others while earlier ones are in flight; `max_in_flight` bounds the
    records in flight per key and verb, and then calls gather. `coalesce=False` sends each call as its own record.
    What passes is asked again `retry_attempts` times: after `retry_initial_s`, doubled up to `retry_max_s`; a rate
    limit after `rate_limit_initial_s`, up to `rate_limit_max_s`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}$")] | None = None
    instance_id: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        default_factory=lambda: uuid4().hex
    )
    reply_topic: str = topics.REPLIES
    connect_timeout_s: float = Field(default=15.0, gt=0)
    call_timeout_s: float = Field(default=30.0, gt=0)
    command_lifetime_s: float = Field(default=60.0, ge=1, le=MAX_LIFETIME_MS / 1000)

    coalesce: bool = True
    linger_ms: float = Field(default=2.0, ge=0, le=1000)
    max_batch_items: int = Field(default=256, ge=1, le=MAX_ITEMS)
    max_batch_bytes: int = Field(default=512 * 1024, ge=1, le=MAX_BODY_BYTES)
    max_in_flight: int = Field(default=8, ge=1, le=1000)

    resend_initial_s: float = Field(default=2.0, gt=0)
    resend_max_s: float = Field(default=10.0, gt=0)
    recovery_grace_s: float = Field(default=0.25, ge=0)
    retry_attempts: int = Field(default=8, ge=0, le=100)
    retry_initial_s: float = Field(default=0.02, gt=0)
    retry_max_s: float = Field(default=1.0, gt=0)
    rate_limit_initial_s: float = Field(default=0.2, gt=0)
    rate_limit_max_s: float = Field(default=5.0, gt=0)
    alias_wait_s: float = Field(default=1.0, ge=0)
