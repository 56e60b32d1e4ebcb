"""Whether what a transaction left open in the log is to be committed or aborted. Pure; `settling` finds and ends it.

The state topic has one writer, and every transaction ends with a signed head that names the ends of all chains. A head
that is open, and all of whose statements are in the log, is a whole transaction: it is committed, since its writer may
have been told so. Anything less was never reported as committed: it is aborted. On the other topics, statements up to
the decided head are committed, later ones aborted. What can't be told apart so is not guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keyfold.events.errors import Unavailable
from keyfold.events.statements import ChainHead

Heads = Mapping[str, ChainHead]


class Unsettled(Unavailable):
    """A transaction is open in the log, and whether it was committed cannot be told."""

    code = "Unsettled"


@dataclass(frozen=True, slots=True)
class Statements:
    """What one topic holds of a role near its end: by digest, the statements' numbers and which leaves are there."""

    numbers: dict[str, int] = field(default_factory=dict)
    leaves: dict[str, tuple[int, set[int]]] = field(default_factory=dict)

    def add(self, end: ChainHead, leaf: int, leaves: int) -> None:
        """Note one leaf of a statement of so many."""
        self.numbers[end.digest] = end.n
        self.leaves.setdefault(end.digest, (leaves, set()))[1].add(leaf)

    def whole(self, digest: str) -> bool:
        """Tell whether all leaves of a statement are there."""
        leaves, found = self.leaves.get(digest, (1, set()))
        return len(found) == leaves


@dataclass(frozen=True, slots=True)
class Found:
    """What `verdicts` decides about: heads of the state topic, statements of the others, open and committed ones."""

    committed_head: Heads | None
    open_heads: Sequence[Heads]
    state_open: bool
    open: Mapping[str, Statements]
    committed: Mapping[str, Statements]


def verdicts(state_topic: str, found: Found) -> dict[str, bool]:
    """Return for each topic with open records whether they are to be committed. Raises `Unsettled`. Pure."""
    last = found.open_heads[-1] if found.open_heads else None
    if last is not None and not _whole(last, found):
        if len(found.open_heads) > 1:
            raise Unsettled(f"{state_topic} has a whole and an incomplete transaction open; see the operations guide")
        last = None
    decided = last or found.committed_head or {}
    chosen = {state_topic: last is not None} if found.state_open else {}
    for topic, statements in found.open.items():
        sides = {number <= decided.get(topic, ChainHead()).n for number in statements.numbers.values()}
        if len(sides) > 1:
            raise Unsettled(f"{topic} has records open on both sides of the last state; see the operations guide")
        for side in sides:
            chosen[topic] = side
    return chosen


def _whole(head: Heads, found: Found) -> bool:
    """Tell whether every statement that a head names is in the log, open or committed."""
    before = found.committed_head or {}
    for topic, end in head.items():
        if end.n > before.get(topic, ChainHead()).n:
            places = (found.open.get(topic, Statements()), found.committed.get(topic, Statements()))
            if not any(statements.whole(end.digest) for statements in places):
                return False
    return True
