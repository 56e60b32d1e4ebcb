"""The world as of a time: the fold of the registry and of one key's stream up to then. Pure.

As of T is a prefix of each partition: all that stands before the first decision that is later than T. So an outcome
counts where nothing later was decided before it. What others state with a later time of their own does not count.
Other keys' entities are not there: no question about one key asks for them. Which leaves a decision knew is not told;
whoever asks about a decision replays it.
"""

from dataclasses import dataclass, field

from keyfold.deciding.cedar import Authorizer
from keyfold.deciding.replaying import Leaf, fold
from keyfold.deciding.world import World
from keyfold.events import facts
from keyfold.events.entities import Entity, Key
from keyfold.events.errors import NotFound
from keyfold.events.streams import key_stream, partition_of


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tells what a partition's prefix holds; `until` is an instant, None for the whole of the partition."""

    until: str | None

    def over(self, leaf: Leaf) -> bool:
        """Tell whether the prefix ends before this leaf. Decisions alone are in the order of time."""
        return isinstance(leaf.event, facts.PolicyEvent) and not self.holds(leaf)

    def holds(self, leaf: Leaf) -> bool:
        """Tell whether a leaf before the end belongs to it."""
        return self.until is None or leaf.event.time <= self.until


@dataclass(slots=True)
class AsOf:
    """What stood in the registry and on a key's stream. Give it the leaves of the prefixes in their order."""

    key_id: str
    registry: dict[str, Entity]
    entities: dict[str, Entity] = field(default_factory=dict)

    def add(self, event: facts.Event) -> None:
        """Fold one event; those of other streams are passed over."""
        if event.subject == key_stream(self.key_id):
            fold(self.entities, event)

    def key(self) -> Key:
        """Return the key. Raises `NotFound` where it did not exist yet."""
        found = self.entities.get(key_stream(self.key_id))
        if not isinstance(found, Key):
            raise NotFound(f"key {self.key_id} did not exist at that time, or never did; `keyfold key list` shows keys")
        return found

    def world(self, now_ms: int, partitions: int) -> World:
        """Return the world in which a command on the key would have been decided at `now_ms`."""
        return World(
            partition=partition_of(key_stream(self.key_id), partitions),
            now_ms=now_ms,
            entities=self.entities,
            registry=self.registry,
            authorizer=Authorizer(),
            facts_n=0,
        )
