"""Signatures that one process has to verify and another one, which has nothing else to do, verifies for it.

Whoever is idle says for how many batches it is good (`idle`); only so many are put into the common queue, all others
are verified where they are. What comes back are the places of wrong signatures, to the queue of who asked. An answer
that does not come is not waited for without end: the signatures are verified again by who needs them.
"""

import time
from collections.abc import Iterator, Sequence
from multiprocessing.context import SpawnContext
from queue import Empty
from typing import Any, Final

from keyfold.auditing.signed import Known, Verdicts, wrong_of
from keyfold.deciding.signed import Signed

_PART: Final = 125
"""Signatures in a batch; some hundredths of a second of work."""
_AHEAD: Final = 2
"""Batches that a helper takes: one in work, one that lies ready."""
_LOOK_S: Final = 0.02
_PATIENCE_S: Final = 10.0


class Sharing:
    """What the processes have in common. It can be given to a process that is started, not sent to one that runs."""

    def __init__(self, context: SpawnContext, processes: int) -> None:
        self.jobs: Any = context.Queue()
        self.answers: list[Any] = [context.Queue() for _ in range(processes)]
        self.idle: Any = context.Semaphore(0)
        self.phase: Any = context.Value("i", 0)
        self._members: Any = context.Value("i", 0)

    def join(self) -> int:
        """Return the number of this process among them. What it did not send by its end is not waited for."""
        for queue in (self.jobs, *self.answers):
            queue.cancel_join_thread()
        with self._members.get_lock():
            self._members.value += 1
            return int(self._members.value) - 1


class SharedChecker:
    """Gives away what others are idle for, and verifies the rest at once. Of one process, for one walk at a time."""

    def __init__(self, sharing: Sharing, member: int) -> None:
        self._sharing, self._member = sharing, member
        self._asked = 0
        self._answers: dict[int, frozenset[int]] = {}

    def check(self, signed: Sequence[Signed]) -> Verdicts:
        """Verify some signatures, here or elsewhere."""
        parts = [self._part(signed[at : at + _PART]) for at in range(0, len(signed), _PART)]
        return parts[0] if len(parts) == 1 else _Parts(parts)

    def _part(self, signed: Sequence[Signed]) -> Verdicts:
        if not self._sharing.idle.acquire(block=False):
            return Known(wrong_of(signed))
        self._asked += 1
        self._sharing.jobs.put((self._member, self._asked, [tuple(each) for each in signed]))
        return _Asked(self, self._asked, signed)

    def answer(self, number: int, wait_s: float) -> frozenset[int] | None:
        """Return what came back of a batch, after waiting for it so long."""
        answers, end = self._sharing.answers[self._member], time.monotonic() + wait_s
        while number not in self._answers:
            try:
                came, wrong = answers.get(timeout=max(0.0, end - time.monotonic()))
            except Empty:
                return None
            self._answers[came] = frozenset(wrong)
        return self._answers.pop(number)


class _Asked:
    """A batch that was given away."""

    def __init__(self, checker: SharedChecker, number: int, signed: Sequence[Signed]) -> None:
        self._checker, self._number, self._signed = checker, number, signed
        self._known: frozenset[int] | None = None

    def ready(self) -> bool:
        if self._known is None:
            self._known = self._checker.answer(self._number, 0)
        return self._known is not None

    def wrong(self) -> frozenset[int]:
        if self._known is None:
            self._known = self._checker.answer(self._number, _PATIENCE_S)
        if self._known is None:
            self._known = wrong_of(self._signed)
        return self._known


class _Parts:
    """Several batches as one."""

    def __init__(self, parts: Sequence[Verdicts]) -> None:
        self._parts = parts

    def ready(self) -> bool:
        return all(part.ready() for part in self._parts)

    def wrong(self) -> frozenset[int]:
        return frozenset(self._places())

    def _places(self) -> Iterator[int]:
        for number, part in enumerate(self._parts):
            yield from (number * _PART + place for place in part.wrong())


def help_others(sharing: Sharing, phase: int) -> None:
    """Verify what others give away, for as long as the phase lasts. What was promised by then is still done."""
    promised = 0
    while sharing.phase.value == phase:
        while promised < _AHEAD:
            sharing.idle.release()
            promised += 1
        promised -= _help(sharing)
    end = time.monotonic() + _PATIENCE_S  # who took a promise and died gives nothing away any more
    while promised and time.monotonic() < end:
        promised -= 1 if sharing.idle.acquire(block=False) else _help(sharing)


def _help(sharing: Sharing) -> int:
    """Do one batch, if one comes soon; return how many were done."""
    try:
        member, number, signed = sharing.jobs.get(timeout=_LOOK_S)
    except Empty:
        return 0
    sharing.answers[member].put((number, sorted(wrong_of([Signed(*each) for each in signed]))))
    return 1
