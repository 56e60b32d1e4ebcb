"""What is wrong with a log, as values: where, by which rule, what was expected and what is there. Pure.

Codes, beside those of the errors that readers raise (`UntrustedRecord`, `ChainRepeat`, `ChainGap`):

RootDiffers         the records up to a checkpoint do not make the tree that it signs
LeafDiffers         the first record that is not the one in the signed tree
Truncated           a checkpoint covers more leaves than the log has
CheckpointInvalid   a checkpoint is not signed as it must be, or is of another log
CosignatureInvalid  a line under the name of a witness that was asked for is not its signature
CheckpointsDiffer   two signed checkpoints of one size have different roots: the notary told two stories
CheckpointOutOfOrder a checkpoint does not go on from the one before it, or one that was kept is not there any more
NotCosigned         a witness that was asked for has cosigned none of a partition's checkpoints
CommandMismatch     a decision does not carry the command that it says it decides
SignatureInvalid    the principal's signature on a command is wrong, or its key was not to be used then
OrderBroken         decisions, their times or their positions go backwards, or know what came later
DecidedTwice        a command was decided a second time
NotAllowed          the state of key, version or registry does not allow what was decided
OutcomeMismatch     an outcome without an accepted command, a second one, or one that does not fit it
DoesNotFollow       an event cannot follow from the state before it
RowDiffers, RowMissing, RowInvented     a row of the projections is not what the log says
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from keyfold.events.errors import RecordError

KEPT: int = 100
"""How many findings of a partition are kept; all are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that must not be. `leaf` counts all records of the partition from 0, `kafka_offset` is a hint.

    `partition` is None for rows that belong to none.
    """

    partition: int | None
    leaf: int | None
    kafka_offset: int | None
    time: str
    code: str
    expected: str
    found: str

    def __str__(self) -> str:
        place = "projections" if self.partition is None else f"partition {self.partition}"
        leaf = "" if self.leaf is None else f" leaf {self.leaf}"
        hint = "" if self.kafka_offset is None else f" (offset {self.kafka_offset})"
        return f"{place}{leaf}{hint}: {self.code}: expected {self.expected}; found {self.found}"


class Illegal(RecordError):
    """A record breaks a rule; `rule` is its code, `expected` and `found` say how."""

    code = "IllegalHistory"

    def __init__(self, rule: str, expected: str, found: str) -> None:
        self.rule, self.expected, self.found = rule, expected, found
        super().__init__(f"{rule}: expected {expected}; found {found}")


@dataclass(slots=True)
class Findings:
    """Findings in the order in which they were made: the first ones are kept, all are counted."""

    kept: list[Finding] = field(default_factory=list)
    count: int = 0

    def add(self, finding: Finding) -> None:
        """Note one."""
        self.count += 1
        if len(self.kept) < KEPT:
            self.kept.append(finding)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Note several."""
        for finding in findings:
            self.add(finding)


def first_of(findings: Iterable[Finding]) -> Finding | None:
    """Return the earliest by broker time, then partition and leaf; what has no place in the log comes last."""

    def place(finding: Finding) -> tuple[object, ...]:
        partition = -1 if finding.partition is None else finding.partition
        return finding.time or "~", partition, finding.leaf is None, finding.leaf or 0

    return min(findings, key=place, default=None)
