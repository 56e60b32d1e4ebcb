"""What a witness makes of a checkpoint, given the last one that it cosigned. Pure.

All rules are here. A checkpoint is cosigned where nothing was cosigned before, where it is the same tree, or where a
proof shows that it extends the last one. A smaller tree is let pass where a proof shows that the last one extends it.
Whatever else is signed by the log is a fork: two trees that no single log can have had.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from keyfold.events.checkpoints import Checkpoint
from keyfold.events.errors import RecordError
from keyfold.events.merkle import ProofInvalid
from keyfold.events.tree import verify_consistency

_WHAT_TO_DO: Final = "do not trust the log until its operator has explained both (they are kept as evidence)"


class Forked(RecordError):
    """The log has signed a checkpoint that contradicts what was cosigned: it was forked, cut off or rewritten."""

    code = "Forked"


class Step(Enum):
    """What to do with a checkpoint."""

    COSIGN = auto()
    IGNORE = auto()


def judge(last: Checkpoint | None, found: Checkpoint, path: Sequence[bytes] | None) -> Step:
    """Decide about a checkpoint whose log signatures are good. Raises `Forked`.

    `path` is the consistency proof between the two sizes, from the smaller to the larger; None where there is none.
    """
    if last is None:
        return Step.COSIGN
    if found.origin != last.origin:
        raise ValueError("two checkpoints of different logs do not compare")
    if found.size == last.size:
        if found.root != last.root:
            raise Forked(f"{found.origin} signed two trees of {found.size} leaves; {_WHAT_TO_DO}")
        return Step.IGNORE
    smaller, larger = sorted((last, found), key=lambda one: one.size)
    if path is None or not _extends(smaller, larger, path):
        raise Forked(
            f"{found.origin} signed a tree of {found.size} leaves that does not go with the cosigned one of "
            f"{last.size}; {_WHAT_TO_DO}"
        )
    return Step.COSIGN if found.size > last.size else Step.IGNORE


def _extends(smaller: Checkpoint, larger: Checkpoint, path: Sequence[bytes]) -> bool:
    try:
        verify_consistency(smaller.size, larger.size, smaller.root, larger.root, path)
    except ProofInvalid:
        return False
    return True
