"""What every detector is. Pure; its memory of an entity is a value that can be written down and read again."""

from collections.abc import Iterable
from typing import Any, Generic, Literal, Protocol, TypeVar

from keyfold.analytics.findings import Signal
from keyfold.analytics.ticks import Tick

Scope = Literal["principal", "key"]
Memory = TypeVar("Memory")


class Detector(Protocol, Generic[Memory]):
    """One kind of unusual use.

    `name` is part of findings' identity, kebab-case. `scopes` are the kinds of entities that it looks at. A memory is
    bounded in size whatever its entity does.
    """

    name: str
    scopes: frozenset[Scope]

    def begin(self) -> Memory:
        """Return the memory of an entity that was never seen: the prior."""

    def look(self, entity: str, tick: Tick, memory: Memory) -> Iterable[Signal]:
        """Look at the next tick of an entity, learn from it (in place), and return what is unusual.

        Ticks come in the order of their time; those without any observation do not come at all.
        """

    def dump(self, memory: Memory) -> Any:
        """Return a memory as JSON values (short: this is written for each entity that was active)."""

    def load(self, document: Any) -> Memory:
        """Return the memory of a document of `dump`. Raises `ValueError` for any other."""
