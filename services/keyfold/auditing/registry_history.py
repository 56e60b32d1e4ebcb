"""The registry as it was after each leaf of partition 0: what decisions elsewhere knew when they were made. Pure.

A decision names how many leaves of partition 0 it knew (`registry_n`). Kept is each state of each entity that a
decision on another partition may look at: as much as was ever decided about the registry, however long the log is.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final

from keyfold.events.entities import Bucket, Entity, Proposal
from keyfold.events.view import Changes

_OWN: Final = (Bucket, Proposal)
"""What only partition 0 itself looks at."""


class RegistryHistory:
    """All states of the registry. Fill it in the order of the log."""

    def __init__(self) -> None:
        self._places: dict[str, list[int]] = {}
        self._states: dict[str, list[Entity | None]] = {}
        self._at: RegistryAt | None = None
        self.leaves = 0

    def note(self, leaves: int, changes: Changes) -> None:
        """Note what changed with the last of so many leaves."""
        self.leaves = leaves
        for name, entity in changes.items():
            if not isinstance(entity, _OWN):
                self._places.setdefault(name, []).append(leaves)
                self._states.setdefault(name, []).append(entity)

    def at(self, leaves: int) -> "RegistryAt":
        """Return the registry after so many leaves."""
        if self._at is None or self._at.leaves != leaves:
            self._at = RegistryAt(self, leaves)
        return self._at

    def state(self, name: str, leaves: int) -> Entity | None:
        """Return an entity after so many leaves; None where there is none."""
        index = bisect_right(self._places.get(name, ()), leaves) - 1
        return self._states[name][index] if index >= 0 else None

    def names(self) -> Iterator[str]:
        """Yield the names of all entities that ever were."""
        return iter(self._states)


class RegistryAt(Mapping[str, Entity]):
    """The registry after so many leaves; what was asked for once is remembered."""

    def __init__(self, history: RegistryHistory, leaves: int) -> None:
        self.leaves = leaves
        self._history = history
        self._seen: dict[str, Entity | None] = {}

    def __getitem__(self, name: str) -> Entity:
        if name not in self._seen:
            self._seen[name] = self._history.state(name, self.leaves)
        found = self._seen[name]
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._history.names() if self._history.state(name, self.leaves) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)
