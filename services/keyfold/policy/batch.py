"""One batch of commands: from records to what one transaction writes and what is said after it. No I/O.

A decision is one event; warnings that it causes stand behind it in the same transaction.

Every record costs its own outcome only: a record that is no command becomes a dead letter, an error inside deciding
becomes `CommandDenied{InternalError}` of that command.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from time import perf_counter
from typing import NamedTuple

from keyfold.bus import Inbound, Outbound
from keyfold.deciding.admission import Admitted, Place, Rejected, admit
from keyfold.deciding.budgets import warnings
from keyfold.deciding.cedar import Authorizer
from keyfold.deciding.decide import NotYet, decide, denial
from keyfold.deciding.limits import left_ratio
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.entities import DEPLOYMENT, Deployment, Limit
from keyfold.events.evolve import Changes, View, evolve, get
from keyfold.events.statements import Entry
from keyfold.events.streams import REGISTRY, key_id_of
from keyfold.logging import get_logger
from keyfold.policy.answers import Answerer, Refused
from keyfold.policy.memory import Remembered, Summary
from keyfold.policy.metrics import BatchTally
from keyfold.policy.state import Draft
from keyfold.telemetry import tracing
from keyfold.telemetry.tracing import NO_SPAN, BatchSpans, Span, carried

_log = get_logger()


class DeadLetter(NamedTuple):
    """A record that was not admitted, and why; its principal where that was verified."""

    record: Inbound
    reason: str
    code: str
    principal: str | None


@dataclass(slots=True)
class Batch:
    """What a batch produced. `replies` and `dead_letters` leave after the commit; `tally` is counted then."""

    events: list[Entry] = field(default_factory=list)
    tickets: list[Entry] = field(default_factory=list)
    replies: list[Outbound] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    tally: BatchTally = field(default_factory=BatchTally)
    spans: BatchSpans = field(default_factory=BatchSpans)
    ticket_traces: list[bytes | None] = field(default_factory=list)
    reply_traces: list[bytes | None] = field(default_factory=list)

    def belongs(self, span: Span) -> None:
        """What was added since the last call belongs to this span, which ends with the transaction."""
        if span is not NO_SPAN:
            self.spans.spans.append(span)
        self.ticket_traces += [span.header] * (len(self.tickets) - len(self.ticket_traces))
        self.reply_traces += [span.header] * (len(self.replies) - len(self.reply_traces))


class Decider:
    """Decides the records of one partition, in order, on a draft."""

    def __init__(
        self,
        place: Place,
        registry: View | None,
        authorizer: Authorizer,
        answerer: Answerer,
        registry_n: Callable[[], int] = lambda: 0,
    ) -> None:
        """`registry` is the followed registry, or None on partition 0, whose own entities are the registry.

        `registry_n` tells how many records of partition 0 the followed registry is the fold of.
        """
        self._place, self._registry, self._registry_n = place, registry, registry_n
        self._authorizer, self._answerer = authorizer, answerer

    def forget(self) -> None:
        """Drop what was learnt on drafts that will not become the state."""
        if self._registry is None:
            self._authorizer.forget()

    def decide_all(self, records: list[Inbound], draft: Draft, *, refuse_all: bool = False) -> Batch:
        """Handle records in order. `refuse_all` answers each with InternalError: it was found to break the batch."""
        batch, tracer = Batch(), tracing.current()
        for record in records:
            draft.advance(now_ms=max(draft.head.now_ms, record.timestamp_ms), commands=record.offset + 1)
            span = tracer.begin("policy.decide", "consumer", parent=carried(record.headers))
            self._handle(record, draft, batch, refuse_all, span)
            batch.belongs(span)
        return batch

    def _handle(self, record: Inbound, draft: Draft, batch: Batch, refuse: bool, span: Span) -> None:
        registry, began = self._registry if self._registry is not None else draft, perf_counter()
        try:
            admitted = admit(record, self._place, registry, draft.head.now_ms)
        except Rejected as rejected:
            span.set(code=rejected.refusal.code)
            self._reject(record, rejected, batch)
            return
        finally:
            batch.tally.admission_s += perf_counter() - began
        span.set(verb=admitted.command.verb, command=admitted.command.id)
        if self._answered_before(record, admitted, draft, batch):
            return
        began = perf_counter()
        world = self._world(draft, registry)
        try:
            event, changes = self._decided(admitted, world, refuse)
        except NotYet as refusal:
            batch.tally.decided(admitted.command.verb, refusal.code, record.timestamp_ms)
            self._reply(admitted, refusal.code, None, batch)
            return
        finally:
            batch.tally.decision_s += perf_counter() - began
        warned = list(warnings(event, draft))
        code = _refused(event) or ""
        span.set(code=code)
        span.event("decided")
        batch.tally.decided(admitted.command.verb, code, record.timestamp_ms)
        for warning in warned:
            batch.tally.warned[warning.data.percent] += 1
        if event.data.decision.charges:
            _note_left(event.data.decision.charges, admitted, world, batch.tally)
        draft.apply(changes)
        self._record(admitted, event, draft, batch)
        key = admitted.command.subject.encode()
        batch.events += [Entry(key, warning.to_value()) for warning in warned]

    def _world(self, draft: Draft, registry: View) -> World:
        places = draft.head.places
        hsm, root = places.get("hsm"), places.get("root")
        return World(
            partition=self._place.partition,
            now_ms=draft.head.now_ms,
            entities=draft,
            registry=registry,
            authorizer=self._authorizer,
            facts_n=hsm.head.n if hsm else 0,
            registry_n=self._registry_n(),
            root_n=root.head.n if root else 0,
        )

    def _decided(self, admitted: Admitted, world: World, refuse: bool) -> tuple[facts.PolicyEvent, Changes]:
        if not refuse:
            try:
                event = decide(admitted, world)
                return event, evolve(world.entities, event)
            except NotYet:
                raise
            except Exception as error:  # noqa: BLE001 - total by contract: it costs this record only
                _log.error("decide-failed", command=admitted.command.id, error=type(error).__name__)
        return denial(admitted, world, errors.InternalError.code), {}

    def _reject(self, record: Inbound, rejected: Rejected, batch: Batch) -> None:
        batch.dead_letters.append(DeadLetter(record, str(rejected), rejected.refusal.code, rejected.principal))
        batch.tally.rejected[rejected.refusal.code] += 1
        if rejected.reply is None or record.key is None or record.value is None:
            return
        digest = sha256(record.value).hexdigest()
        refused = Refused(record.key, rejected.command_id, digest, rejected.refusal.code)
        reply = self._answerer.refusal(rejected.reply, refused)
        batch.replies += [reply] if reply is not None else []

    def _answered_before(self, record: Inbound, admitted: Admitted, draft: Draft, batch: Batch) -> bool:
        known = draft.recall((admitted.principal.principal, admitted.command.id))
        if known is None:
            return False
        batch.tally.repeated += 1
        if (known.digest, known.body_digest) != (admitted.command_digest, admitted.body_digest):
            # No event: the id's one decision stands. Two commands under one id are worth a dead letter, though.
            conflict = errors.IdempotencyConflict()
            reason, whose = f"{conflict.code}: {conflict}", admitted.principal.principal
            batch.dead_letters.append(DeadLetter(record, reason, conflict.code, whose))
            self._reply(admitted, conflict.code, None, batch)
        elif known.summary is not None:
            reply = self._answerer.executed_before(admitted, known.summary)
            batch.replies += [reply] if reply is not None else []
        return True

    def _record(self, admitted: Admitted, event: facts.PolicyEvent, draft: Draft, batch: Batch) -> None:
        value, key = event.to_value(), admitted.command.subject.encode()
        batch.events.append(Entry(key, value))
        summary = None
        refused = _refused(event)
        if refused is not None:
            summary = Summary(outcome=f"{event.type}:{refused}", key_id=key_id_of(event.subject))
            self._reply(admitted, refused, event.id, batch)
        else:
            batch.tickets.append(Entry(key, value, admitted.sealed))
        draft.remember(
            Remembered(
                principal=admitted.principal.principal,
                id=admitted.command.id,
                digest=admitted.command_digest,
                body_digest=admitted.body_digest,
                offset=admitted.offset,
                expires_ms=admitted.expires_ms,
                registry_revision=_revision(event, draft),
                summary=summary,
            )
        )

    def _reply(self, admitted: Admitted, code: str, decision: str | None, batch: Batch) -> None:
        command = admitted.command
        refused = Refused(command.subject.encode(), command.id, admitted.command_digest, code, decision)
        reply = self._answerer.refusal(command.data.reply, refused)
        batch.replies += [reply] if reply is not None else []


def _refused(event: facts.PolicyEvent) -> str | None:
    """Return the code that is answered where nothing is executed: of a denial, or of a dry run."""
    if isinstance(event, facts.CommandDenied):
        return event.data.code
    return errors.DryRunOperation.code if isinstance(event, facts.DryRunSucceeded) else None


def _note_left(charges: Mapping[str, int], admitted: Admitted, world: World, tally: BatchTally) -> None:
    """Note what is left of the limits that a decision charged; a level's name is `bucket/<kind>/<limit>/…`."""
    for name, level in charges.items():
        limit = world.registry.get(f"limit/{name.split('/')[2]}")
        if isinstance(limit, Limit):
            tally.left(limit.limit, left_ratio(limit, level, admitted.command, world))


def _revision(event: facts.PolicyEvent, draft: Draft) -> int:
    """The registry revision after the event: what a caller may ask others to have seen."""
    if event.subject == REGISTRY:
        return get(draft, DEPLOYMENT, Deployment).revision
    return event.data.decision.registry_revision


def summary_of(outcome: facts.Outcome) -> Summary:
    """Return an outcome in short, for the memory."""
    failed = f":{outcome.data.code}" if isinstance(outcome, facts.OperationFailed) else ""
    return Summary(
        outcome=outcome.type + failed,
        key_id=getattr(outcome.data, "key_id", None),
        version=getattr(outcome.data, "version", 0),
    )
