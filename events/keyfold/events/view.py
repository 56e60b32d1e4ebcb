"""What events are folded into: a view of entities by name, and the changes that an event makes. No rule is here."""

from collections.abc import Mapping
from typing import TypeVar

from keyfold.events.entities import Entity

View = Mapping[str, Entity]
Changes = dict[str, Entity | None]
Kind = TypeVar("Kind", bound=Entity)


def get(view: View, name: str, kind: type[Kind]) -> Kind:
    """Return the entity of a kind under a name. Raises KeyError."""
    entity = view.get(name)
    if not isinstance(entity, kind):
        raise KeyError(name)
    return entity
