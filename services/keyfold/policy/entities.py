"""The entities of one partition, held as the bytes that its state topic holds, and parsed when they are asked for.

A million keys are a million short byte strings here, not a million objects, and a restart parses none of them. A
bounded number of those that were parsed lately is kept. On the registry's partition all are: there, entities are looked
over in one go (which policies are in force, who may repair them), and every process follows them whole anyway.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError

from keyfold.events.entities import DEPLOYMENT, Entity
from keyfold.log import StateCorrupt

MOST_PARSED: Final = 4096
_ENTITY: Final[TypeAdapter[Entity]] = TypeAdapter(Annotated[Entity, Field(discriminator="kind")])


def to_bytes(entity: Entity) -> bytes:
    """Return what the state topic holds of an entity; equal entities give equal bytes."""
    return entity.model_dump_json().encode()


class Entities(MutableMapping[str, Entity]):
    """Entities by name. Reading one raises `StateCorrupt` where its bytes are none of this version's entities.

    `unreadable` is the name of such a one from then on: nothing that was decided without it may be committed.
    """

    def __init__(self, stored: dict[str, bytes], most_parsed: int = MOST_PARSED) -> None:
        """Take the bytes over; they are not copied."""
        self._stored, self._most = stored, most_parsed
        self._parsed: OrderedDict[str, Entity] = OrderedDict()
        self.unreadable: str | None = None

    @classmethod
    def of(cls, entities: Mapping[str, Entity]) -> "Entities":
        """Hold entities that are known as values."""
        made = cls({})
        made.update(entities)
        return made

    def stored(self, name: str) -> bytes | None:
        """Return the bytes of an entity."""
        return self._stored.get(name)

    def put(self, name: str, entity: Entity | None, stored: bytes | None) -> None:
        """Replace an entity and its bytes; None removes it."""
        if entity is None or stored is None:
            self._stored.pop(name, None)
            self._parsed.pop(name, None)
        else:
            self._stored[name] = stored
            self._keep(name, entity)

    def __getitem__(self, name: str) -> Entity:
        entity = self._parsed.get(name)
        if entity is None:
            entity = self._parse(name, self._stored[name])
        self._keep(name, entity)
        return entity

    def __setitem__(self, name: str, entity: Entity) -> None:
        self.put(name, entity, to_bytes(entity))

    def __delitem__(self, name: str) -> None:
        del self._stored[name]
        self._parsed.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def _keep(self, name: str, entity: Entity) -> None:
        self._parsed[name] = entity
        self._parsed.move_to_end(name)
        if len(self._parsed) > self._most and DEPLOYMENT not in self._stored:
            self._parsed.popitem(last=False)

    def _parse(self, name: str, stored: bytes) -> Entity:
        try:
            return _ENTITY.validate_json(stored)
        except ValidationError:
            self.unreadable = name
            raise StateCorrupt("an entity of the state does not parse; was it written by a newer version?") from None
