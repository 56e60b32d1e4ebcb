"""A mapping of bounded weight that drops what was not used for longest. It knows no time and no threads."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Lru(Generic[K, V]):
    """At most `capacity` units of weight; an entry heavier than that is not kept at all."""

    __slots__ = ("_capacity", "_entries", "_weight")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def weight(self) -> int:
        """The weight of all entries together."""
        return self._weight

    def get(self, key: K) -> V | None:
        """Return the value and count it as used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def peek(self, key: K) -> V | None:
        """Return the value without counting it as used."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Keep a value, in place of what was under the key before, and drop the oldest while it is too much."""
        before = self._entries.pop(key, None)
        if before is not None:
            self._weight -= before[1]
        if weight > self._capacity:
            return
        self._entries[key] = (value, weight)
        self._weight += weight
        while self._weight > self._capacity:
            _, (_, dropped) = self._entries.popitem(last=False)
            self._weight -= dropped

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()
        self._weight = 0
