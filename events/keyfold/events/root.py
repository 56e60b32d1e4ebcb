"""What root states in its ceremonies: that a deployment begins, and whose keys may sign as which role.

Part of the vocabulary that is whole in `facts`; what a reset of policies states is in `governance`.
"""

from typing import Annotated

from pydantic import Field

from keyfold.events.event import Count, Event, Role
from keyfold.events.governance import InitialPolicy, InitialPrincipal
from keyfold.events.streams import Fingerprint
from keyfold.events.strictjson import Frozen
from keyfold.events.times import Instant


class Genesis(Event):
    """The first record of a deployment: its root key, its number of partitions, and who exists from the start."""

    class Data(Frozen):
        root_public_key: Fingerprint
        partitions: Annotated[int, Field(ge=2, le=10_000)]
        development: bool
        administrators: Annotated[list[InitialPrincipal], Field(min_length=2)]
        services: list[InitialPrincipal]
        policies: list[InitialPolicy]

    role = "root"
    type_name = "keyfold.genesis.v1"
    data: Data


class ServiceKeyCertified(Event):
    """The root identity lets a key sign as a role, on these topics, for at most 90 days.

    `checkpoint_key` is the notary's second key, by which it signs checkpoints too: ML-DSA-44, 1,312 raw bytes in hex.
    """

    class Data(Frozen):
        public_key: Fingerprint
        service: Role
        topics: list[str]
        not_before: Instant
        not_after: Instant
        checkpoint_key: Annotated[str, Field(pattern="^[0-9a-f]{2624}$")] | None = None

    role = "root"
    type_name = "keyfold.service-key.certified.v1"
    data: Data


class ServiceKeyRevoked(Event):
    """Statements of this key count only up to the given number, per `topic/partition`; elsewhere none."""

    class Data(Frozen):
        public_key: Fingerprint
        last_valid: dict[str, Count]

    role = "root"
    type_name = "keyfold.service-key.revoked.v1"
    data: Data
