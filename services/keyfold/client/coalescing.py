"""Coalescing, without I/O: when do waiting calls become a record, and which of them?

The rules, like Nagle's algorithm with a linger:
 1. with nothing in flight, a call leaves at the end of the current turn of the event loop, with all others of it;
 2. with something in flight, calls gather until a record is full, the linger is over or all in flight is answered;
 3. with `max_in_flight` records in flight, calls gather until one is answered.
A record holds at most `max_items` items, `max_bytes` of items, and what contexts a command may hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from keyfold.client.parcels import Call
from keyfold.events.command_envelope import MAX_CONTEXTS_BYTES

ITEM_OVERHEAD: Final = 6


class Wish(IntEnum):
    """What the queue wants from its shell: to be flushed now, soon (end of this turn), after the linger, or nothing."""

    NOTHING = 0
    NOW = 1
    SOON = 2
    LINGER = 3


NOTHING, NOW, SOON, LINGER = Wish


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one record, and of how many of them are in flight."""

    max_items: int
    max_bytes: int
    max_in_flight: int
    max_context_bytes: int = MAX_CONTEXTS_BYTES


class Queue:
    """The waiting calls of one verb, key and argument set."""

    __slots__ = ("_armed", "_bytes", "_limits", "_max_bytes", "_max_items", "_overdue", "calls", "in_flight")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._max_items, self._max_bytes = limits.max_items, limits.max_bytes
        self.calls: list[Call] = []
        self.in_flight = 0
        self._bytes = 0
        self._armed = False
        self._overdue = False

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is in flight."""
        return not self.calls and not self.in_flight

    def add(self, call: Call) -> Wish:
        """Take a call."""
        self.calls.append(call)
        self._bytes += len(call[1]) + ITEM_OVERHEAD
        if self.in_flight >= self._limits.max_in_flight:
            return NOTHING
        if len(self.calls) >= self._max_items or self._bytes >= self._max_bytes:
            return NOW
        if self._armed:
            return NOTHING
        self._armed = True
        return LINGER if self.in_flight else SOON

    def fired(self) -> None:
        """The turn or the linger is over: what waits now is due."""
        self._armed = False
        self._overdue = bool(self.calls)

    def answered(self) -> Wish:
        """A record is answered or given up."""
        self.in_flight -= 1
        return self.wish()

    def wish(self) -> Wish:
        """What is wanted for the calls that wait, after a flush or an answer."""
        if not self.calls or self.in_flight >= self._limits.max_in_flight:
            return NOTHING
        if self._overdue or self._full() or not self.in_flight:
            self._armed = True
            return SOON
        if self._armed:
            return NOTHING
        self._armed = True
        return LINGER

    def take(self) -> Sequence[Call]:
        """Return the calls of the next record that is due, and count it as in flight; empty if none is."""
        if not self.calls or self.in_flight >= self._limits.max_in_flight or not (self._overdue or self._full()):
            return ()
        taken = self._cut()
        del self.calls[: len(taken)]
        self._bytes -= sum([len(call[1]) for call in taken]) + ITEM_OVERHEAD * len(taken)
        self._overdue = self._overdue and bool(self.calls)
        self.in_flight += 1
        return taken

    def _full(self) -> bool:
        return len(self.calls) >= self._max_items or self._bytes >= self._max_bytes

    def _cut(self) -> list[Call]:
        """The longest beginning that fits one record; at least one call."""
        limits = self._limits
        head = self.calls[: limits.max_items]
        distinct = {call[2] for call in head}
        if self._bytes <= limits.max_bytes and sum([len(c.encode()) for c in distinct]) <= limits.max_context_bytes:
            return head
        size, contexts, context_bytes = 0, set[str](), 0
        for count, (_, data, context, _) in enumerate(head):
            size += len(data) + ITEM_OVERHEAD
            if context not in contexts:
                contexts.add(context)
                context_bytes += len(context.encode())
            if count and (size > limits.max_bytes or context_bytes > limits.max_context_bytes):
                return head[:count]
        return head


def slices(sizes: Sequence[int], contexts: Sequence[str], limits: Limits) -> list[range]:
    """Divide a batch of items of these sizes, in order, into ranges that fit one record each."""
    found: list[range] = []
    start, size, used, context_bytes = 0, 0, set[str](), 0
    for place, (item, context) in enumerate(zip(sizes, contexts, strict=True)):
        more = 0 if context in used else len(context.encode())
        fits = size + item + ITEM_OVERHEAD <= limits.max_bytes and context_bytes + more <= limits.max_context_bytes
        if place > start and not (fits and place - start < limits.max_items):
            found.append(range(start, place))
            start, size, used, context_bytes = place, 0, set(), 0
            more = len(context.encode())
        used.add(context)
        size += item + ITEM_OVERHEAD
        context_bytes += more
    if sizes:
        found.append(range(start, len(sizes)))
    return found
