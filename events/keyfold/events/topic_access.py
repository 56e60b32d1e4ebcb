"""Who may do what on the cluster: access rules for Kafka's authorizer, made from one table. Pure.

The rules are a second fence: what is written is believed by signatures, whoever the broker let in. They keep strangers
from filling topics, from ending a service's transactions (a transactional id is owned by whoever starts it), and from
reading what does not concern them. Names are Kafka's: resources, operations and pattern types of its ACLs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from keyfold.events import topics

Resource = Literal["topic", "group", "transactional-id", "cluster"]
Pattern = Literal["literal", "prefixed"]
Operation = Literal[
    "Read", "Write", "Create", "Delete", "Describe", "DescribeConfigs", "AlterConfigs", "IdempotentWrite"
]

CLUSTER: Final = "kafka-cluster"
ROLES: Final = (
    "root", "policy", "hsm", "notary", "projector", "scheduler", "analytics", "client", "auditor", "witness",
)  # fmt: skip
_ANALYTICS: Final = "keyfold-analytics"
_STREAMS: Final = "keyfold.analytics"


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
        where = "--cluster" if self.resource == "cluster" else f"--{self.resource} {self.name}"
        who = f"--add --allow-principal {self.principal} --operation {self.operation}"
        return f"{who} {where} --resource-pattern-type {self.pattern}"


@dataclass(frozen=True, slots=True)
class _Role:
    """What one role does. Of topics, names; `replies`: it answers at whatever reply address a command signs."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    transactional: bool = False
    member: bool = False
    replies: bool = False
    calls: bool = False


# Reading back one's own topics is part of restoring: what is there decides, not what was sent.
_TABLE: Final[dict[str, _Role]] = {
    "root": _Role(reads=(topics.EVENTS, topics.CHECKPOINTS), writes=(topics.EVENTS,), transactional=True),
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
    "projector": _Role(
        reads=(topics.EVENTS, topics.DIRECTORY), writes=(topics.DIRECTORY, topics.DEAD_LETTERS), member=True
    ),
    "scheduler": _Role(calls=True),
    "analytics": _Role(
        reads=(topics.EVENTS, topics.DEAD_LETTERS, topics.ALERTS), writes=(topics.ALERTS,), member=True, calls=True
    ),
    "client": _Role(calls=True),
    "auditor": _Role(
        reads=(topics.EVENTS, topics.CHECKPOINTS, topics.TILES, topics.COSIGNATURES, topics.ALERTS, topics.DEAD_LETTERS,
               topics.DIRECTORY),
    ),
    "witness": _Role(
        reads=(topics.EVENTS, topics.CHECKPOINTS, topics.TILES, topics.COSIGNATURES), writes=(topics.COSIGNATURES,)
    ),
}  # fmt: skip


def default_principals() -> dict[str, str]:
    """Return the Kafka user of each role: `keyfold-policy` and so on."""
    return {role: f"keyfold-{role}" for role in ROLES}


def access_rules(principals: Mapping[str, str]) -> list[AccessRule]:
    """Return the rules for the users of some roles, sorted. Raises `KeyError` for a role that is not known."""
    found: set[AccessRule] = set()
    for role, user in principals.items():
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
        for topic in (topics.DIRECTORY, topics.CHECKPOINTS, topics.TILES, topics.COSIGNATURES):
            yield from rule("topic", topic, "Read", "Describe")
        yield from rule("topic", topics.REPLIES, "Read", "Describe", pattern="prefixed")
    if known.transactional:
        yield from rule("transactional-id", f"keyfold-{role}", "Write", "Describe", pattern="prefixed")
    if known.member:
        yield from rule("group", f"keyfold-{role}", "Read", "Describe", pattern="prefixed")
    if role == "analytics":
        # Faust keeps its tables in topics of its own, under the names of its application.
        for name in (_ANALYTICS, _STREAMS):
            yield from rule("topic", name, "Read", "Write", "Create", "Describe", "DescribeConfigs", pattern="prefixed")
    if role == "root":
        # The ceremony creates the topics, looks whether they are as the table says, and fences policy for a moment.
        yield from rule("transactional-id", "keyfold-policy", "Write", "Describe", pattern="prefixed")
        yield from rule("topic", "keyfold.", "Create", "Describe", "DescribeConfigs", pattern="prefixed")
