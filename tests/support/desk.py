"""Policy's core without a bus: a `Decider` and its state for one or all partitions, fed by hand."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS, Signed, first_events, signer

from keyfold.bus import Inbound
from keyfold.deciding.admission import Place
from keyfold.deciding.cedar import Authorizer
from keyfold.events import facts
from keyfold.events.commands import parse_command
from keyfold.events.entities import Entity
from keyfold.events.evolve import evolve
from keyfold.events.proposals import proposed_in
from keyfold.events.streams import REGISTRY
from keyfold.policy.answers import Answerer
from keyfold.policy.batch import Batch, Decider, summary_of
from keyfold.policy.memory import Memory
from keyfold.policy.state import Draft, Head, State


def fresh_registry(**options: object) -> dict[str, Entity]:
    """The registry's entities after the first events."""
    view: dict[str, Entity] = {}
    for event in first_events(**options):
        fold(view, event)
    return view


def fold(view: dict[str, Entity], event: facts.Event) -> None:
    """Apply one event in place."""
    for name, entity in evolve(view, event).items():
        if entity is None:
            view.pop(name, None)
        else:
            view[name] = entity


@dataclass
class Desk:
    """One partition's decider, its state, and what came of it. `registry` is shared by the desks of a deployment."""

    partition: int
    registry: dict[str, Entity]
    now_ms: int = START_MS
    offset: int = 0
    events: list[facts.Event] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    authorizer: Authorizer = field(default_factory=Authorizer)

    def __post_init__(self) -> None:
        own = dict(self.registry) if self.partition == 0 else {}
        self.state = State(Head(), own, Memory())

    def decider(self) -> Decider:
        place = Place(DEPLOYMENT, self.partition, PARTITIONS)
        answerer = Answerer(DEPLOYMENT, signer("policy"))
        return Decider(place, None if self.partition == 0 else self.registry, self.authorizer, answerer)

    def record(self, command: Signed, at_ms: int | None = None) -> Inbound:
        self.offset += 1
        return command.inbound(self.offset - 1, self.now_ms if at_ms is None else at_ms)

    def decide(self, *commands: Signed, refuse_all: bool = False) -> Batch:
        """Decide commands as one batch and take the draft for committed."""
        return self.decide_records([self.record(each) for each in commands], refuse_all=refuse_all)

    def decide_records(self, records: list[Inbound], *, refuse_all: bool = False) -> Batch:
        draft = Draft(self.state)
        batch = self.decider().decide_all(records, draft, refuse_all=refuse_all)
        self.state.changes(draft)
        self.state.promote(draft)
        self.batches.append(batch)
        self.events += [facts.parse_event(entry.value) for entry in batch.events]
        if self.partition == 0:
            self.registry.clear()
            self.registry.update(self.state.entities)
        return batch

    def finish(self, *outcomes: facts.Outcome) -> None:
        """Fold the worker's outcomes."""
        for outcome in outcomes:
            self.state.apply(evolve(self.state.entities, outcome))
            self.state.finish({outcome.data.offset: summary_of(outcome)})

    def last(self) -> facts.Event:
        return self.events[-1]


def outcome_of(event: facts.PolicyEvent, kind: type[facts.Event] | None = None, **data: object) -> facts.Outcome:
    """What a worker would append for a decision; `CommandCompleted` unless another kind is asked for."""
    decision = event.data.decision
    command = parse_command(decision.command.encode())
    executed = command
    if decision.proposal is not None and command.verb == "ApproveProposal":
        executed = proposed_in(decision.proposal.command.encode())
    known = {
        "offset": decision.offset,
        "command_id": command.id,
        "command_digest": decision.command_digest,
        "principal": executed.data.principal,
        "verb": executed.verb,
    }
    made = (kind or facts.CommandCompleted).new(f"{event.id}.outcome", event.subject, event.time, **known, **data)
    assert isinstance(made, facts.Outcome)
    return made


def produced(batches: Iterable[Batch]) -> list[bytes]:
    return [entry.value for batch in batches for entry in batch.events]


__all__ = ["REGISTRY", "Desk", "fold", "fresh_registry", "outcome_of", "produced"]
