"""admin-sequence: a policy changed, used, and changed back; many deletions, suspensions or grants by one principal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from keyfold.analytics.detectors.counting import DAY_MS, MINUTE_MS, CountingDetector, Counts
from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.detectors.reading import reading
from keyfold.analytics.detectors.saying import Said
from keyfold.analytics.detectors.settings import AdminSequenceSettings, MassActsSettings
from keyfold.analytics.detectors.verbs import DELETION, GRANT, POLICY_CHANGE, SENSITIVE_USE, SUSPENSION, kind_of_use
from keyfold.analytics.detectors.wording import plural, span
from keyfold.analytics.findings import HOUR_MS, Severity, Signal
from keyfold.analytics.observations import Ref
from keyfold.analytics.ticks import Act, Tick
from keyfold.projections.audit import USES

MAX_PENDING: Final = 8
_SAID: Final = {
    "deletions": ("disabled or deleted", "key"),
    "suspensions": ("suspended or revoked", "principal"),
    "grants": ("made", "grant"),
}
_VERBS: Final = {"deletions": DELETION, "suspensions": SUSPENSION, "grants": GRANT}


class MassActs(CountingDetector):
    """Counts administrative acts that do harm by their number."""

    name = "admin-sequence"
    scopes: frozenset[Scope] = frozenset({"principal"})
    windows = (10 * MINUTE_MS, HOUR_MS, DAY_MS)
    unit = "acts"
    _kind_of = kind_of_use(deletions=DELETION, suspensions=SUSPENSION, grants=GRANT)

    def __init__(self, settings: MassActsSettings) -> None:
        minimum = {kind: getattr(settings, kind) + 1 for kind in _VERBS}
        super().__init__(settings.baseline, minimum, noise=0.1)

    def count(self, tick: Tick) -> Mapping[str, int]:
        """Count authorized acts by kind."""
        counts: dict[str, int] = {}
        for use, number in tick.commands.items():
            kind = self._kind_of.get(use)
            if kind is not None:
                counts[kind] = counts.get(kind, 0) + number
        return counts

    def describe(self, kind: str, number: int, window_ms: int) -> str:
        """Say how many in which time."""
        did, noun = _SAID[kind]
        return f"{did} {plural(number, noun)} in {span(window_ms)}"

    def evidence(self, kind: str, tick: Tick) -> list[Ref]:
        """Return the first of them."""
        return tick.evidence(*_VERBS[kind])


@dataclass(slots=True)
class Pending:
    """A policy change that may be taken back: what was used since, in all and of what an attacker wants."""

    ref: Ref
    uses: int = 0
    sensitive: int = 0


@dataclass(slots=True)
class Sequence:
    """The memory: the last change of each of a few policies, and the counts of mass acts."""

    pending: dict[str, Pending] = field(default_factory=dict)
    said: Said = field(default_factory=Said)
    mass: Counts = field(default_factory=Counts)


class AdminSequence:
    """Sees who opens a door, walks through it, and closes it again; and who tears down."""

    name = "admin-sequence"
    scopes: frozenset[Scope] = frozenset({"principal"})

    def __init__(self, settings: AdminSequenceSettings) -> None:
        self._within_ms = int(settings.within_minutes * MINUTE_MS)
        self._mass = MassActs(settings.mass)

    def begin(self) -> Sequence:
        """Return the memory of an unknown principal."""
        return Sequence()

    def look(self, entity: str, tick: Tick, memory: Sequence) -> Iterable[Signal]:
        """Follow the policy changes of a tick, and count its acts."""
        found = self._follow(tick, memory) if tick.acts or memory.pending else []
        return [*memory.said.news(found), *self._mass.look(entity, tick, memory.mass)]

    def _follow(self, tick: Tick, memory: Sequence) -> list[Signal]:
        for target in [name for name, each in memory.pending.items() if self._is_over(each, tick)]:
            del memory.pending[target]
        uses, sensitive = _uses(tick)
        found = []
        for act in tick.acts:
            if act.verb not in POLICY_CHANGE or act.result != "authorized" or act.target is None:
                continue
            before = memory.pending.pop(act.target, None)
            if before is not None and before.uses + uses:
                found.append(_signal(act, before, before.uses + uses, before.sensitive + sensitive, tick))
            memory.pending[act.target] = Pending(act.ref)
            if len(memory.pending) > MAX_PENDING:
                del memory.pending[next(iter(memory.pending))]
        for each in memory.pending.values():
            each.uses += uses
            each.sensitive += sensitive
        return found

    def _is_over(self, pending: Pending, tick: Tick) -> bool:
        return tick.start_ms - pending.ref.time_ms > self._within_ms

    def dump(self, memory: Sequence) -> Any:
        """Return the memory as JSON values."""
        pending = [[target, list(each.ref), each.uses, each.sensitive] for target, each in memory.pending.items()]
        return [pending, memory.said.dump(), self._mass.dump(memory.mass)]

    def load(self, document: Any) -> Sequence:
        """Return the memory of a document of `dump`."""
        with reading():
            pending, said, mass = document
            loaded = {target: Pending(Ref(*ref), uses, sensitive) for target, ref, uses, sensitive in pending}
            return Sequence(loaded, Said.load(said), self._mass.load(mass))


def _uses(tick: Tick) -> tuple[int, int]:
    """Count uses of keys in a tick, in all and of what an attacker wants. Their order in it is not known."""
    uses = sensitive = 0
    for use, number in tick.items.items():
        if use.result == "authorized" and use.verb in USES:
            uses += number
            sensitive += number if use.verb in SENSITIVE_USE else 0
    return uses, sensitive


def _signal(act: Act, before: Pending, uses: int, sensitive: int, tick: Tick) -> Signal:
    severity: Severity = "high" if sensitive else "medium"
    return Signal(
        severity=severity,
        since_ms=before.ref.time_ms,
        until_ms=tick.end_ms,
        observed=uses,
        expected=0,
        unit="uses between two changes",
        sentence=f"changed the policy {act.target}, used keys {plural(uses, 'time')}, and changed it again after "
        f"{span(act.ref.time_ms - before.ref.time_ms)}",
        aspect=f"policy/{act.target}",
        evidence=(before.ref, act.ref),
    )
