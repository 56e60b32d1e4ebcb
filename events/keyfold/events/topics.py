"""The one table of Kafka topics: names, cleanup, sizes, and who writes them.

It only describes; `keyfold.bus` creates topics from it and refuses a cluster that differs.
Sizes rise along the way (command < ticket < reply), so that what was admitted always fits downstream.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

Cleanup = Literal["delete", "compact", "none"]

MIB: Final = 1024 * 1024
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

COMMANDS: Final = "keyfold.commands"
AUTHORIZED: Final = "keyfold.authorized"
EVENTS: Final = "keyfold.events"
KEYSTORE: Final = "keyfold.keystore"
POLICY_STATE: Final = "keyfold.policy-state"
HSM_STATE: Final = "keyfold.hsm-state"
REPLIES: Final = "keyfold.replies"
REPLIES_PREFIX: Final = "keyfold.replies."
DIRECTORY: Final = "keyfold.directory"
CHECKPOINTS: Final = "keyfold.checkpoints"
TILES: Final = "keyfold.tiles"
NOTARY_STATE: Final = "keyfold.notary-state"
COSIGNATURES: Final = "keyfold.cosignatures"
ALERTS: Final = "keyfold.alerts"
DEAD_LETTERS: Final = "keyfold.dead-letters"
ANALYTICS_OBSERVATIONS: Final = "keyfold.analytics-observations"
ANALYTICS_FINDINGS: Final = "keyfold.analytics-findings"
ANALYTICS_SOURCES: Final = "keyfold.analytics-sources"
ANALYTICS_ENTITIES: Final = "keyfold.analytics-entities"
ANALYTICS_INCIDENTS: Final = "keyfold.analytics-incidents"

MAX_COMMAND_BYTES: Final = 1 * MIB
MAX_TICKET_BYTES: Final = 2 * MIB
MAX_REPLY_BYTES: Final = 4 * MIB


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic's contract with the cluster.

    `partitions` is None where the deployment's N applies. `retention_ms` is -1 for ever.
    `append_time` asks the broker to stamp records (LogAppendTime): the only clock that decisions and certificates
    trust, so every topic with signed statements has it. `internal` topics are between the workers of analytics alone;
    nobody signs on them.
    """

    name: str
    partitions: int | None
    cleanup: Cleanup
    retention_ms: int
    max_message_bytes: int
    append_time: bool = False
    transactional: bool = False
    writers: frozenset[str] = field(default_factory=frozenset)
    internal: bool = False


TOPICS: Final[tuple[Topic, ...]] = (
    Topic(COMMANDS, None, "delete", 7 * DAY_MS, MAX_COMMAND_BYTES, append_time=True, writers=frozenset({"producer"})),
    Topic(AUTHORIZED, None, "none", -1, MAX_TICKET_BYTES, True, True, frozenset({"policy"})),
    Topic(EVENTS, None, "none", -1, MAX_TICKET_BYTES, True, True, frozenset({"policy", "hsm", "root"})),
    Topic(KEYSTORE, None, "none", -1, MAX_TICKET_BYTES, True, True, frozenset({"hsm"})),
    Topic(POLICY_STATE, None, "compact", -1, MAX_REPLY_BYTES, True, True, frozenset({"policy"})),
    Topic(HSM_STATE, None, "compact", -1, MAX_REPLY_BYTES, True, True, frozenset({"hsm"})),
    Topic(REPLIES, None, "delete", HOUR_MS, MAX_REPLY_BYTES, writers=frozenset({"policy", "hsm"})),
    Topic(DIRECTORY, None, "compact", -1, MAX_TICKET_BYTES, writers=frozenset({"projector"})),
    Topic(CHECKPOINTS, 1, "none", -1, MIB, transactional=True, writers=frozenset({"notary"})),
    Topic(TILES, None, "none", -1, MIB, transactional=True, writers=frozenset({"notary"})),
    Topic(NOTARY_STATE, 1, "compact", -1, MAX_REPLY_BYTES, True, True, frozenset({"notary"})),
    Topic(COSIGNATURES, 1, "none", -1, MIB, writers=frozenset({"witness"})),
    Topic(ALERTS, 1, "delete", 90 * DAY_MS, MIB, append_time=True, writers=frozenset({"analytics"})),
    Topic(DEAD_LETTERS, 1, "delete", 30 * DAY_MS, MIB, writers=frozenset({"policy", "hsm", "projector", "notary"})),
    Topic(ANALYTICS_OBSERVATIONS, None, "delete", DAY_MS, MIB, append_time=True, internal=True),
    Topic(ANALYTICS_FINDINGS, 1, "delete", 7 * DAY_MS, MIB, append_time=True, internal=True),
    Topic(ANALYTICS_SOURCES, None, "compact", -1, MIB, internal=True),
    Topic(ANALYTICS_ENTITIES, None, "compact", -1, MIB, internal=True),
    Topic(ANALYTICS_INCIDENTS, 1, "compact", -1, MIB, internal=True),
)
