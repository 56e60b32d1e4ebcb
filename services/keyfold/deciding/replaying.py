"""The log from its start, decision by decision, each with the world in which it was made. Pure.

`Replay` is given the leaves of each partition in their order, and says which partition it wants next. What was known
when is in the decisions themselves: policy's own events before it, the statements of the HSM worker and of root up to
the numbers that it names, and so many leaves of partition 0. It holds state, never the log: what waits is what policy
itself had not folded yet.

It does not ask whether leaves are authentic and in order; whoever reads the log does. Deciding again is `remaking`.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from keyfold.deciding.cedar import Authorizer
from keyfold.deciding.world import World
from keyfold.events import facts
from keyfold.events.commands import AnyCommand, parse_command
from keyfold.events.entities import Entity
from keyfold.events.errors import RecordError
from keyfold.events.evolve import View, evolve
from keyfold.events.times import to_milliseconds

REGISTRY_PARTITION: Final = 0


class LogContradicts(RecordError):
    """A decision names statements that stand behind it in the log: it cannot have known them."""

    code = "LogContradicts"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One event of the log: its place among the leaves of its partition, and the statement that covers it.

    Positions count from 0. A position may be missing: a leaf that is no event of its author counts, and says nothing.
    """

    partition: int
    position: int
    role: str
    statement_n: int
    event: facts.Event
    value: bytes


@dataclass(slots=True)
class Moment:
    """Holds a world for as long as it is as it was."""

    world: World | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision as it stands in the log, and the world in which it was made, until `Replay` is asked for more.

    `flaw` says why it cannot be the world in which the decision was made, if so.
    """

    leaf: Leaf
    event: facts.PolicyEvent
    moment: Moment
    flaw: str | None = None

    @property
    def world(self) -> World:
        """The world of the decision. Raises RuntimeError when it has moved on: then it would give wrong answers."""
        if self.moment.world is None:
            raise RuntimeError("the world of this decision has moved on; use it before the next decision is asked for")
        return self.moment.world

    @property
    def decision(self) -> facts.Decision:
        """What the event says of how it came about."""
        return self.event.data.decision

    @property
    def command(self) -> AnyCommand:
        """The command, parsed from the exact bytes. Raises `InvalidCommand`, `UnsupportedVersion`."""
        return _parsed(self.decision.command)


class Replay:
    """Replays the decisions of some partitions. Give it what `wanted` asks for until that is None."""

    def __init__(self, partitions: Collection[int]) -> None:
        """Partition 0 is always read, as the registry; its own decisions are yielded if it is among `partitions`."""
        self._own = {partition: _State() for partition in partitions}
        self._open = {REGISTRY_PARTITION, *partitions}
        self._registry: dict[str, Entity] = {}
        self._leaves = 0
        self._waiting: dict[int, tuple[Leaf, facts.PolicyEvent]] = {}
        self._authorizers = {True: Authorizer(), False: Authorizer()}

    @property
    def wanted(self) -> int | None:
        """The partition whose next leaf is needed; None where nothing more can come."""
        ready = self._open - self._waiting.keys() - {REGISTRY_PARTITION}
        if ready:
            return min(ready)
        return REGISTRY_PARTITION if REGISTRY_PARTITION in self._open else None

    @property
    def waiting(self) -> tuple[Leaf, ...]:
        """The first decision of each partition that knows more of the registry than was given."""
        return tuple(leaf for leaf, _ in self._waiting.values())

    @property
    def registry(self) -> View:
        """The registry after all leaves of partition 0 that were given."""
        return self._registry

    def end(self, partition: int, leaves: int = 0) -> Iterator[Recorded]:
        """Note that a partition has no more leaves; of partition 0, that it has so many in all."""
        self._open.discard(partition)
        if partition == REGISTRY_PARTITION:
            yield from self._release(leaves)

    def take(self, leaf: Leaf) -> Iterator[Recorded]:
        """Fold the next leaf of its partition, and yield the decisions that can be replayed now.

        The iterator is to be exhausted: nothing moves on without that. Raises `LogContradicts`.
        """
        if leaf.partition != REGISTRY_PARTITION:
            yield from self._pass(leaf)
            return
        yield from self._release(leaf.position)
        if REGISTRY_PARTITION in self._own:
            yield from self._pass(leaf)
        fold(self._registry, leaf.event)
        self._leaves = leaf.position + 1
        yield from self._release(self._leaves)

    def _release(self, leaves: int) -> Iterator[Recorded]:
        """Go on with decisions that knew at most so many leaves: the next one, if there is one, they did not know."""
        for partition, (leaf, event) in list(self._waiting.items()):
            if event.data.decision.registry_n <= leaves:
                del self._waiting[partition]
                yield from self._decision(leaf, event)

    def _pass(self, leaf: Leaf) -> Iterator[Recorded]:
        event = leaf.event
        if not isinstance(event, facts.PolicyEvent):
            self._own[leaf.partition].note(leaf)
        elif leaf.partition != REGISTRY_PARTITION and event.data.decision.registry_n > self._leaves:
            self._waiting[leaf.partition] = (leaf, event)
        else:
            yield from self._decision(leaf, event)

    def _decision(self, leaf: Leaf, event: facts.PolicyEvent) -> Iterator[Recorded]:
        state = self._own[leaf.partition]
        state.know(event.data.decision)
        moment = Moment(self._world(leaf, event, state))
        yield Recorded(leaf, event, moment, self._flaw(leaf, event))
        moment.world = None
        fold(state.entities, event)

    def _world(self, leaf: Leaf, event: facts.PolicyEvent, state: "_State") -> World:
        own = leaf.partition == REGISTRY_PARTITION
        return World(
            partition=leaf.partition,
            now_ms=to_milliseconds(event.time),
            entities=state.entities,
            registry=state.entities if own else self._registry,
            authorizer=self._authorizers[own],
            facts_n=event.data.decision.facts_n,
            registry_n=event.data.decision.registry_n,
            root_n=event.data.decision.root_n,
        )

    def _flaw(self, leaf: Leaf, event: facts.PolicyEvent) -> str | None:
        known = event.data.decision.registry_n
        if leaf.partition == REGISTRY_PARTITION or known >= self._leaves:
            return None
        return f"it knew {known} leaves of the registry, and a decision before it knew {self._leaves} already"


class _State:
    """One partition as its policy processor has it: its own events at once, others' when a decision knows them."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self._later: deque[Leaf] = deque()
        self._known = {"hsm": 0, "root": 0}

    def note(self, leaf: Leaf) -> None:
        """Keep a leaf that is no decision until one knows it."""
        if leaf.role not in self._known:
            return
        if leaf.statement_n <= self._known[leaf.role]:
            raise LogContradicts(
                f"statement {leaf.statement_n} of {leaf.role} stands at position {leaf.position} of events partition "
                f"{leaf.partition}, behind a decision that knew it"
            )
        self._later.append(leaf)

    def know(self, decision: facts.Decision) -> None:
        """Fold what was known, in the order of the log."""
        self._known = {"hsm": decision.facts_n, "root": decision.root_n}
        while self._later and self._later[0].statement_n <= self._known[self._later[0].role]:
            fold(self.entities, self._later.popleft().event)


def fold(entities: dict[str, Entity], event: facts.Event) -> None:
    """Apply an event. One that does not follow from the state changes nothing, as for policy's readers."""
    try:
        changes = evolve(entities, event)
    except KeyError:
        return
    for name, entity in changes.items():
        if entity is None:
            entities.pop(name, None)
        else:
            entities[name] = entity


def replay(sources: Mapping[int, Iterator[Leaf]]) -> Iterator[Recorded]:
    """Replay whole partitions, each given as the iterator of its leaves; partition 0 must be among them."""
    replaying = Replay(sources.keys())
    last = 0
    while (partition := replaying.wanted) is not None:
        leaf = next(sources[partition], None)
        if leaf is None:
            yield from replaying.end(partition, last)
            continue
        last = leaf.position + 1 if partition == REGISTRY_PARTITION else last
        yield from replaying.take(leaf)


@lru_cache(maxsize=8)
def _parsed(command: str) -> AnyCommand:
    """Parse a command. It is asked for more than once while its decision is looked at."""
    return parse_command(command.encode())
