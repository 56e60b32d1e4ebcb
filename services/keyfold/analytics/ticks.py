"""Ten seconds of one entity, summed: what detectors look at. Pure.

Sums, smallest-first evidence and sets do not depend on the order in which observations come, so partitions of the log
may be read in any order and by any number of workers: as long as an observation comes before its tick is closed, the
tick is the same. All of it is bounded: names beyond the first thousand of a tick are only counted.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keyfold.analytics.observations import KEY, Observation, Ref, Result
from keyfold.events.errors import AccessDenied, NotFound

TICK_MS: Final = 10_000
MAX_NAMES: Final = 1_000
MAX_ACTS: Final = 200
MAX_REFS: Final = 5
LATE: Final = "late"
PROBED: Final = frozenset({AccessDenied.code, NotFound.code})
"""Codes of who tries what was never its own. Limits, approvals and states refuse what is its own as well."""


class Use(NamedTuple):
    """What the counts of a tick are by."""

    verb: str
    result: Result


class Act(NamedTuple):
    """One observation that the order matters of: an administrative decision, or the use of a key beside such."""

    ref: Ref
    verb: str
    result: Result
    target: str | None


@dataclass(slots=True)
class Tick:
    """The sums of one entity from `start_ms` (a multiple of `TICK_MS`, event time) on.

    `commands` counts observations, `items` cryptographic operations, `failures` items that failed. `peers` counts
    items by key id where the entity is a principal, and by principal where it is a key (authorized uses only, no
    administration); `contexts` counts by context pair. `codes` counts what has a code by result and code
    (`denied/AccessDenied`), `refused` uses of a key that were never the principal's to make, by key id (see `PROBED`).
    `acts` are in order. `refs` are the first of each use: evidence.

    What came late belongs to ticks that are closed. It is named here and not summed: uses, peers and contexts have no
    number by it, though they may have none else; codes are counted apart (`late/AccessDenied`).
    """

    start_ms: int
    commands: Counter[Use] = field(default_factory=Counter)
    items: Counter[Use] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    peers: Counter[str] = field(default_factory=Counter)
    contexts: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    acts: list[Act] = field(default_factory=list)
    refs: dict[Use, list[Ref]] = field(default_factory=dict)

    @property
    def end_ms(self) -> int:
        """Behind it."""
        return self.start_ms + TICK_MS

    @property
    def is_late(self) -> bool:
        """Tell whether all of it came late: nothing is known to have happened in this time."""
        return not any(self.commands.values())

    def add(self, entity: str, seen: Observation, *, late: bool = False) -> None:
        """Take in one observation of the entity. Each is to be given once."""
        use, once = Use(seen.verb, seen.result), 0 if late else 1
        self.commands[use] += once
        self.items[use] += once * seen.items
        if once * seen.failures:
            self.failures[seen.verb] += seen.failures
        if seen.code is not None:
            self._count(self.codes, f"{LATE if late else seen.result}/{seen.code}", 1)
        if seen.result == "authorized":
            peer = seen.principal if entity.startswith(KEY) else seen.key_id
            if peer is not None and not seen.administrative:
                self._count(self.peers, peer, once * seen.items)
            for pair in seen.contexts:
                self._count(self.contexts, pair, once)
        if (
            seen.code in PROBED
            and seen.key_id is not None
            and not (late or seen.administrative or entity.startswith(KEY))
        ):
            self._count(self.refused, seen.key_id, 1)
        if seen.administrative:
            insort(self.acts, Act(seen.ref, seen.verb, seen.result, seen.target))
            del self.acts[MAX_ACTS:]
        refs = self.refs.setdefault(use, [])
        insort(refs, seen.ref)
        del refs[MAX_REFS:]

    def operations(self, *verbs: str, result: Result = "authorized") -> int:
        """Count the cryptographic operations of some verbs."""
        return sum(self.items[Use(verb, result)] for verb in verbs)

    def coded(self) -> Iterator[tuple[tuple[str, str], int]]:
        """Yield result (or `LATE`), code, and how often they came."""
        for name, number in self.codes.items():
            result, _, code = name.partition("/")
            yield (result, code), number

    def evidence(self, *verbs: str, result: Result = "authorized") -> list[Ref]:
        """Return the first events of some verbs, or of all."""
        found = [ref for use, refs in self.refs.items() if use.result == result and (use.verb in verbs or not verbs)
                 for ref in refs]  # fmt: skip
        return sorted(found)[:MAX_REFS]

    @staticmethod
    def _count(counter: Counter[str], name: str, number: int) -> None:
        if name in counter or len(counter) < MAX_NAMES:
            counter[name] += number


def tick_of(time_ms: int) -> int:
    """Return the start of the tick in which a time lies."""
    return time_ms - time_ms % TICK_MS
