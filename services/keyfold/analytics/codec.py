"""What is remembered of an entity, as the bytes that its table holds. Pure; strict; versioned.

In front stand, readable without the rest: the version, when the entity was last seen and when its first open tick ends.
The rest is compact JSON. What the detectors remember changes only when ticks are closed, so it is written then and kept
as text in between.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final, NamedTuple

from keyfold.analytics.engine import Engine, EntityState
from keyfold.analytics.observations import RESULTS, Ref
from keyfold.analytics.packing import Unreadable, read_ref
from keyfold.analytics.ticks import Act, Tick, Use

VERSION: Final = 2
_HEAD: Final = Struct(">BQQ")


class Head(NamedTuple):
    """What can be read of a row at once. `open_ms` is the end of the first open tick, 0 where there is none."""

    seen_ms: int
    open_ms: int


@dataclass(slots=True)
class Live:
    """An entity's state, parsed. `memories` is the text of what its detectors remember; None: to be written anew."""

    state: EntityState = field(default_factory=EntityState)
    memories: str | None = None

    def head(self) -> Head:
        """Return the head of its row."""
        return Head(self.state.seen_ms, min((tick.end_ms for tick in self.state.ticks.values()), default=0))


def read_head(row: bytes) -> Head:
    """Read the head of a row. Raises `Unreadable` for another version."""
    if len(row) < _HEAD.size or row[0] != VERSION:
        raise Unreadable("a row of a version that is not known here")
    _, seen_ms, open_ms = _HEAD.unpack_from(row)
    return Head(seen_ms, open_ms)


def dump(engine: Engine, entity: str, live: Live) -> bytes:
    """Return the row of an entity."""
    state = live.state
    if live.memories is None:
        detectors = {each.name: each for each in engine.of(entity)}
        live.memories = _text(
            {name: detectors[name].dump(memory) for name, memory in state.memories.items() if name in detectors}
        )
    ticks = _text([_ticked(tick) for tick in state.ticks.values()])
    seen = _text(list(state.seen.items()))
    content = f"[{seen},{state.closed_ms},{state.late},{ticks},{live.memories}]"
    return _HEAD.pack(VERSION, *live.head()) + content.encode()


def load(engine: Engine, entity: str, row: bytes) -> Live:
    """Read a row. What detectors that are not known here remember is dropped. Raises `Unreadable`."""
    read_head(row)
    try:
        seen, closed_ms, late, ticks, memories = json.loads(row[_HEAD.size :])
        state = EntityState(
            seen={int(source): int(offset) for source, offset in seen},
            ticks={tick.start_ms: tick for tick in map(_tick, ticks)},
            memories={each.name: each.load(memories[each.name]) for each in engine.of(entity) if each.name in memories},
            closed_ms=int(closed_ms),
            late=int(late),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(f"no row of an entity: {type(error).__name__}") from None
    return Live(state, _text(memories) if set(memories) == set(state.memories) else None)


def _text(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


def _ticked(tick: Tick) -> list[Any]:
    return [
        tick.start_ms,
        [[*use, number] for use, number in tick.commands.items()],
        [[*use, number] for use, number in tick.items.items()],
        tick.failures,
        tick.peers,
        tick.contexts,
        tick.codes,
        [[act.ref, act.verb, act.result, act.target] for act in tick.acts],
        [[*use, refs] for use, refs in tick.refs.items()],
        tick.refused,
    ]


def _tick(row: Sequence[Any]) -> Tick:
    start_ms, commands, items, failures, peers, contexts, codes, acts, refs, refused = row
    return Tick(
        start_ms=int(start_ms),
        commands=Counter({_use(verb, result): int(number) for verb, result, number in commands}),
        items=Counter({_use(verb, result): int(number) for verb, result, number in items}),
        failures=_counter(failures),
        peers=_counter(peers),
        contexts=_counter(contexts),
        codes=_counter(codes),
        acts=[Act(read_ref(ref), verb, _use(verb, result).result, target) for ref, verb, result, target in acts],
        refs={_use(verb, result): _refs(rows) for verb, result, rows in refs},
        refused=_counter(refused),
    )


def _use(verb: Any, result: Any) -> Use:
    if result not in RESULTS:
        raise ValueError("result")
    return Use(str(verb), result)


def _counter(document: Mapping[str, Any]) -> Counter[str]:
    return Counter({str(name): int(number) for name, number in document.items()})


def _refs(rows: Sequence[Any]) -> list[Ref]:
    return [read_ref(row) for row in rows]
