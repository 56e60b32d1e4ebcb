"""Who may do what on the cluster: access rules for Kafka's authorizer, made from one table. Pure.

The rules are a second fence: what is written is believed by signatures, whoever the broker let in. They keep strangers
from filling topics, from ending a service's transactions (a transactional id is owned by whoever starts it), and from
reading what does not concern them. Names are Kafka's: resources, operations and pattern types of its ACLs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from keyfold.events import topics

Resource = Literal["topic", "group", "transactional-id", "cluster"]
Pattern = Literal["literal", "prefixed"]
Operation = Literal["Read", "Write", "Create", "Delete", "Describe", "DescribeConfigs"]

ROLES: Final = (
    "root", "policy", "hsm", "notary", "projector", "scheduler", "analytics", "client", "auditor", "witness",
    "operator",
)  # fmt: skip

CLUSTER: Final = "kafka-cluster"
"""The name that Kafka has for the cluster as a resource."""


@dataclass(frozen=True, slots=True, order=True)
class AccessRule:
    """One ACL binding: `principal` (as Kafka names it, `User:…`) may do `operation`, from any host."""

    principal: str
    resource: Resource
    name: str
    pattern: Pattern
    operation: Operation

    def command(self) -> str:
        """Return the arguments by which Kafka's own `kafka-acls` tool adds it."""
        who = f"--add --allow-principal '{self.principal}' --operation {self.operation}"
        if self.resource == "cluster":
            return f"{who} --cluster"
        return f"{who} --{self.resource} {self.name} --resource-pattern-type {self.pattern}"


@dataclass(frozen=True, slots=True)
class _Role:
    """What one role does. Of topics, names. It answers at whatever reply address a command signs (`replies`), sends
    commands (`calls`), or looks after the cluster's topics without writing (`looks`)."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    transactional: bool = False
    member: bool = False
    replies: bool = False
    calls: bool = False
    looks: bool = False


_INTERNAL: Final = tuple(row.name for row in topics.TOPICS if row.internal)
# Reading back one's own topics is part of restoring: what is there decides, not what was sent.
_TABLE: Final[dict[str, _Role]] = {
    "root": _Role(reads=(topics.EVENTS,), writes=(topics.EVENTS,), transactional=True, looks=True),
    "policy": _Role(
        reads=(topics.COMMANDS, topics.EVENTS, topics.AUTHORIZED, topics.POLICY_STATE),
        writes=(topics.EVENTS, topics.AUTHORIZED, topics.POLICY_STATE, topics.DEAD_LETTERS),
        transactional=True, member=True, replies=True,
    ),
    "hsm": _Role(
        reads=(topics.AUTHORIZED, topics.EVENTS, topics.KEYSTORE, topics.HSM_STATE),
        writes=(topics.EVENTS, topics.KEYSTORE, topics.HSM_STATE, topics.DEAD_LETTERS),
        deletes=(topics.AUTHORIZED,), transactional=True, member=True, replies=True,
    ),
    "notary": _Role(
        reads=(topics.EVENTS, topics.CHECKPOINTS, topics.TILES, topics.NOTARY_STATE),
        writes=(topics.CHECKPOINTS, topics.TILES, topics.NOTARY_STATE, topics.DEAD_LETTERS),
        transactional=True, member=True,
    ),
    "projector": _Role(reads=(topics.EVENTS,), writes=(topics.DIRECTORY, topics.DEAD_LETTERS), member=True),
    "scheduler": _Role(calls=True),
    "analytics": _Role(
        reads=(topics.EVENTS, topics.DEAD_LETTERS, *_INTERNAL), writes=(topics.ALERTS, *_INTERNAL),
        member=True, calls=True,
    ),
    "client": _Role(reads=(topics.CHECKPOINTS, topics.TILES, topics.COSIGNATURES), calls=True),
    "auditor": _Role(
        reads=(topics.EVENTS, topics.CHECKPOINTS, topics.TILES, topics.COSIGNATURES, topics.ALERTS, topics.DEAD_LETTERS)
    ),
    "witness": _Role(
        reads=(topics.EVENTS, topics.CHECKPOINTS, topics.TILES, topics.COSIGNATURES), writes=(topics.COSIGNATURES,)
    ),
    # How far a service is behind is counted in records of what it reads.
    "operator": _Role(
        reads=(topics.COMMANDS, topics.AUTHORIZED, topics.EVENTS, topics.POLICY_STATE, topics.HSM_STATE,
               topics.NOTARY_STATE, topics.CHECKPOINTS, topics.DEAD_LETTERS),
        looks=True,
    ),
}  # fmt: skip


def default_principals() -> dict[str, str]:
    """Return the Kafka user of each role: `keyfold-policy` and so on."""
    return {role: f"keyfold-{role}" for role in ROLES}


def access_rules(users: Iterable[tuple[str, str]]) -> list[AccessRule]:
    """Return the rules of (role, Kafka user), sorted; a role may have several users.

    Raises `KeyError` for a role that is not known.
    """
    found: set[AccessRule] = set()
    for role, user in users:
        found.update(_rules(role, f"User:{user}", _TABLE[role]))
    return sorted(found)


def _rules(role: str, user: str, known: _Role) -> Iterator[AccessRule]:
    def rule(
        resource: Resource, name: str, *operations: Operation, pattern: Pattern = "literal"
    ) -> Iterator[AccessRule]:
        for operation in operations:
            yield AccessRule(user, resource, name, pattern, operation)

    for topic in known.reads:
        yield from rule("topic", topic, "Read", "Describe")
    for topic in known.writes:
        yield from rule("topic", topic, "Write", "Describe")
    for topic in known.deletes:
        yield from rule("topic", topic, "Delete")
    if known.replies:
        yield from rule("topic", topics.REPLIES, "Write", "Describe", pattern="prefixed")
    if known.calls:
        yield from rule("topic", topics.COMMANDS, "Write", "Describe")
        yield from rule("topic", topics.DIRECTORY, "Read", "Describe")
        yield from rule("topic", topics.REPLIES, "Read", "Describe", pattern="prefixed")
    if known.transactional:
        yield from rule("transactional-id", f"keyfold-{role}", "Write", "Describe", pattern="prefixed")
    if known.member:
        yield from rule("group", f"keyfold-{role}", "Read", "Describe", pattern="prefixed")
    if known.looks:
        yield from rule("topic", "keyfold.", "Describe", "DescribeConfigs", pattern="prefixed")
        # Whether the brokers are set as they must be is looked at, too.
        yield from rule("cluster", CLUSTER, "DescribeConfigs")
    if role == "root":
        # The ceremony creates the topics, and fences policy for a moment.
        yield from rule("topic", "keyfold.", "Create", pattern="prefixed")
        yield from rule("transactional-id", "keyfold-policy-0", "Write", "Describe")
