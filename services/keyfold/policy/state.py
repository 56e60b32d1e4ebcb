"""What one partition's policy processor knows: entities, memory, positions and chain heads; and drafts of it.

A batch of commands works on a `Draft`, which becomes the state only after its transaction is committed. Facts of the
HSM worker are folded into the state directly and written with the next transaction: until then the stored position in
events is the older one, so a restore folds them again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keyfold.events import topics
from keyfold.events.chains import Place
from keyfold.events.entities import Entity
from keyfold.events.evolve import Changes
from keyfold.events.statements import ChainHead
from keyfold.log import StateCorrupt
from keyfold.log.state_topic import Change
from keyfold.policy.entities import Entities, to_bytes
from keyfold.policy.memory import Identity, Memory, Remembered, Segment, Summary

EXPIRE_AT_ONCE: Final = 8
_SEGMENTS: Final = "segment/"


@dataclass(frozen=True, slots=True)
class Head:
    """Positions and heads: everything of the state that is one value. Offsets are those of the next record."""

    now_ms: int = 0
    commands: int | None = None
    events: int | None = None
    places: Mapping[str, Place] = field(default_factory=dict)
    events_head: ChainHead = field(default_factory=ChainHead)
    authorized_head: ChainHead = field(default_factory=ChainHead)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the signed head record."""
        return {
            "now_ms": self.now_ms,
            "commands": self.commands,
            "events": self.events,
            "places": {role: [p.head.n, p.head.digest, p.leaf, p.leaves] for role, p in self.places.items()},
            "events_head": [self.events_head.n, self.events_head.digest],
            "authorized_head": [self.authorized_head.n, self.authorized_head.digest],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any] | None) -> "Head":
        """Read a verified head; None is the head of a partition that never wrote one."""
        if document is None:
            return cls()
        places = {
            r: Place(ChainHead(n, digest), leaf, leaves) for r, (n, digest, leaf, leaves) in document["places"].items()
        }
        return cls(
            document["now_ms"],
            document["commands"],
            document["events"],
            places,
            ChainHead(*document["events_head"]),
            ChainHead(*document["authorized_head"]),
        )


def chain_ends(document: dict[str, Any]) -> dict[str, ChainHead]:
    """Return the ends of the chains that a head names, by topic."""
    head = Head.from_json(document)
    return {topics.EVENTS: head.events_head, topics.AUTHORIZED: head.authorized_head}


class State:
    """The committed state of one partition."""

    def __init__(self, head: Head, entities: Mapping[str, Entity], memory: Memory) -> None:
        self.head = head
        self.entities = entities if isinstance(entities, Entities) else Entities.of(entities)
        self.memory = memory
        self._unsaved: dict[str, bytes | None] = {}

    @classmethod
    def from_records(cls, head: dict[str, Any] | None, records: Mapping[str, bytes]) -> "State":
        """Build the state from verified records. Raises `StateCorrupt` where head or memory do not parse.

        Entities are parsed when they are asked for (`Entities`).
        """
        entities = {name: value for name, value in records.items() if not name.startswith(_SEGMENTS)}
        segments = (value for name, value in records.items() if name.startswith(_SEGMENTS))
        try:
            memory = Memory(Segment.model_validate_json(value) for value in segments)
            return cls(Head.from_json(head), Entities(entities), memory)
        except (ValueError, KeyError, TypeError) as error:
            raise StateCorrupt(f"a state record does not parse: {type(error).__name__}") from None

    @property
    def unsaved(self) -> bool:
        """Tell whether folded facts wait for a transaction."""
        return bool(self._unsaved)

    def move(self, **update: Any) -> None:
        """Move positions without a transaction; the next one writes them."""
        self.head = replace(self.head, **update)

    def apply(self, changes: Changes) -> None:
        """Take in changes that a folded fact made."""
        for name, entity in changes.items():
            self._unsaved.setdefault(name, self.entities.stored(name))
            self.entities.put(name, entity, None if entity is None else to_bytes(entity))

    def finish(self, outcomes: Mapping[int, Summary]) -> None:
        """Note outcomes by command offset."""
        for before, after in self.memory.finish(outcomes):
            if after.name not in self._unsaved:
                self._unsaved[after.name] = before.to_bytes()

    def changes(self, draft: "Draft") -> dict[str, Change]:
        """Return old and new value of every record that differs from what the topic holds.

        Raises `StateCorrupt` where an entity was asked for that cannot be read.
        """
        if self.entities.unreadable is not None:
            raise StateCorrupt(f"{self.entities.unreadable} does not parse, and may have been decided about")
        current = {name: self._stored(name) for name in self._unsaved}
        current |= {name: draft.stored(name) for name in draft.changed_entities}
        if draft.segment is not None:
            current[draft.segment.name] = draft.segment.to_bytes()
        current |= {segment.name: None for segment in draft.expired()}
        old = {name: self._unsaved[name] if name in self._unsaved else self._stored(name) for name in current}
        return {name: (old[name], value) for name, value in current.items()}

    def promote(self, draft: "Draft") -> None:
        """Make a draft the state. Call only after commit returned.

        If we crash before, the topic has all of the transaction or nothing, and the restore reads which.
        """
        for segment in draft.expired():
            self.memory.forget(segment)
        for name, entity in draft.changed_entities.items():
            self.entities.put(name, entity, draft.stored(name))
        if draft.segment is not None:
            self.memory.add(draft.segment)
        self.head = draft.head
        self._unsaved.clear()

    def _stored(self, name: str) -> bytes | None:
        if not name.startswith(_SEGMENTS):
            return self.entities.stored(name)
        segment = self.memory.segments.get(int(name.removeprefix(_SEGMENTS)))
        return None if segment is None else segment.to_bytes()


class Draft(Mapping[str, Entity]):
    """Changes of one batch on top of a state, readable as the view that `decide` and `evolve` take."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._expired: list[Segment] | None = None
        self._segment: Segment | None = None
        self.head = state.head
        self.changed_entities: dict[str, Entity | None] = {}
        self._bytes: dict[str, bytes] = {}
        self.remembered: dict[Identity, Remembered] = {}

    def __getitem__(self, name: str) -> Entity:
        if name in self.changed_entities:
            entity = self.changed_entities[name]
            if entity is None:
                raise KeyError(name)
            return entity
        return self._state.entities[name]

    def __contains__(self, name: object) -> bool:
        if name in self.changed_entities:
            return self.changed_entities[str(name)] is not None
        return name in self._state.entities

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in self._state.entities if name not in self.changed_entities)
        yield from (name for name, entity in self.changed_entities.items() if entity is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def segment(self) -> Segment | None:
        """The new segment, if anything was decided."""
        if self._segment is None and self.remembered:
            number = self._state.memory.next_number
            self._segment = Segment(number=number, entries=tuple(self.remembered.values()))
        return self._segment

    def recall(self, identity: Identity) -> Remembered | None:
        """Return what is remembered of a command, in this batch or before.

        What has expired counts as forgotten whether it was dropped already or not: when that is depends on batches.
        """
        known = self.remembered.get(identity) or self._state.memory.recall(identity)
        if known is None or (known.summary is not None and known.expires_ms <= self.head.now_ms):
            return None
        return known

    def advance(self, **update: Any) -> None:
        """Move positions, heads or time."""
        self.head = replace(self.head, **update)

    def apply(self, changes: Changes) -> None:
        """Take in what a decision changed."""
        self.changed_entities.update(changes)
        for name in changes:
            self._bytes.pop(name, None)

    def stored(self, name: str) -> bytes | None:
        """Return what is to be stored of a changed entity; None where it was removed."""
        entity = self.changed_entities[name]
        if entity is None:
            return None
        if name not in self._bytes:
            self._bytes[name] = to_bytes(entity)
        return self._bytes[name]

    def remember(self, entry: Remembered) -> None:
        """Remember a decided command."""
        self.remembered[entry.identity] = entry
        self._segment = None

    def expired(self) -> list[Segment]:
        """Return old segments that this transaction drops (the same at every call)."""
        if self._expired is None:
            self._expired = self._state.memory.expired(self.head.now_ms, EXPIRE_AT_ONCE)
        return self._expired
