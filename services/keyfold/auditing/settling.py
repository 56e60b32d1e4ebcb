"""Findings in the order of the log, although some of them depend on signatures that are verified later.

Signatures are handed to a checker by the batch of records. A batch's findings are told when its verdicts are there and
all before it is told; a few batches may wait, not more.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from keyfold.auditing.findings import Finding, Findings, Illegal
from keyfold.auditing.signed import Checker, Pending, Verdicts
from keyfold.deciding.signed import Signed

_WAITING: Final = 8
"""How many batches may wait for verdicts."""

_Place = Callable[[Illegal], Finding]


@dataclass(slots=True)
class _Batch:
    """What was found, in order: findings, and what waits for the signatures from a place on."""

    found: list[Finding | tuple[Pending, int, _Place]] = field(default_factory=list)
    signed: list[Signed] = field(default_factory=list)
    verdicts: Verdicts | None = None


class Settling:
    """The findings of one partition on their way."""

    def __init__(self, findings: Findings, checker: Checker) -> None:
        self._findings, self._checker = findings, checker
        self._batch = _Batch()
        self._closed: deque[_Batch] = deque()

    def add(self, finding: Finding) -> None:
        """Note what is found whatever the signatures are."""
        self._batch.found.append(finding)

    def wait(self, pending: Pending, place: Callable[[Illegal], Finding]) -> None:
        """Note what depends on signatures; `place` makes a finding of it."""
        self._batch.found.append((pending, len(self._batch.signed), place))
        self._batch.signed += pending.signed

    def close(self) -> None:
        """End a batch: its signatures are verified from now on, and what is settled is told."""
        batch, self._batch = self._batch, _Batch()
        batch.verdicts = self._checker.check(batch.signed) if batch.signed else None
        self._closed.append(batch)
        while self._closed and (len(self._closed) > _WAITING or _ready(self._closed[0])):
            self._settle(self._closed.popleft())

    def finish(self) -> None:
        """Tell everything, after waiting for it."""
        self.close()
        while self._closed:
            self._settle(self._closed.popleft())

    def _settle(self, batch: _Batch) -> None:
        wrong = batch.verdicts.wrong() if batch.verdicts is not None else frozenset()
        for each in batch.found:
            if isinstance(each, Finding):
                self._findings.add(each)
                continue
            pending, first, place = each
            illegal = pending.settled(valid=wrong.isdisjoint(range(first, first + len(pending.signed))))
            if illegal is not None:
                self._findings.add(place(illegal))


def _ready(batch: _Batch) -> bool:
    return batch.verdicts is None or batch.verdicts.ready()
