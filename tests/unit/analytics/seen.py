"""Observations for tests, and a detector that finds every tick."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from keyfold.analytics.findings import Signal
from keyfold.analytics.observations import Observation, Ref, Result
from keyfold.analytics.ticks import Tick

BASE_MS = 1_790_000_000_000


def seen(
    *,
    at: float = 1.0,
    offset: int = 0,
    source: int = 1,
    principal: str | None = "alice",
    key: str | None = "k1",
    verb: str = "Decrypt",
    result: Result = "authorized",
    **more: Any,
) -> Observation:
    """Something that was observed, so many seconds after the beginning."""
    ref = Ref(BASE_MS + int(at * 1000), source, offset, f"{source}.{offset}.decision")
    return Observation(ref, result, verb, principal, key, **more)


@dataclass
class Counting:
    """Finds every tick that it sees, under its number; its memory is how many there were."""

    name: str = "counting"
    scopes: frozenset[Any] = frozenset({"principal", "key"})

    def begin(self) -> list[int]:
        return [0, 0]

    def look(self, entity: str, tick: Tick, memory: list[int]) -> Iterable[Signal]:
        memory[0] += 1
        memory[1] += sum(tick.commands.values())
        yield Signal(
            "medium",
            tick.start_ms,
            tick.end_ms,
            observed=float(sum(tick.commands.values())),
            expected=0.0,
            unit="commands",
            sentence=f"tick {memory[0]}, {memory[1]} in all",
            aspect=str(tick.start_ms),
            evidence=tuple(tick.evidence()),
        )

    def dump(self, memory: list[int]) -> Any:
        return memory

    def load(self, document: Any) -> list[int]:
        if not isinstance(document, list):
            raise ValueError("no memory of this detector")  # noqa: TRY004 - as the protocol says
        return list(document)
