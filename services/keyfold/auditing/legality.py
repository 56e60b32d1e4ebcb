"""The history of one partition, event by event: whether each follows from what stands before it. Pure.

State is folded as policy had it: its own events at once, the HSM worker's and root's when a decision says that it knew
them. So every decision is looked at in the very world in which it was made. What is kept does not grow with the log,
but with keys, grants and what waits.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from keyfold.auditing.findings import Illegal
from keyfold.auditing.outcomes import Ticket, check_outcome, ticket_of
from keyfold.auditing.registry_history import RegistryHistory
from keyfold.auditing.rules import examine, no_command
from keyfold.auditing.seen import SeenCommands
from keyfold.auditing.signed import Pending
from keyfold.deciding.cedar import Authorizer
from keyfold.deciding.replaying import Leaf, Moment, Recorded
from keyfold.deciding.world import World
from keyfold.events import facts
from keyfold.events.entities import Entity
from keyfold.events.errors import Refusal
from keyfold.events.evolve import evolve
from keyfold.events.times import to_milliseconds

_REGISTRY: Final = 0


class Legality:
    """The rules of one partition, and the state that they need. `registry` is None on partition 0."""

    def __init__(self, partition: int, registry: RegistryHistory | None) -> None:
        self._partition, self._registry = partition, registry
        self.entities: dict[str, Entity] = {}
        self.tickets: dict[int, Ticket] = {}
        self.decisions = self.signatures = self.outcomes = 0
        self._later: deque[Leaf] = deque()
        self._folded = {"hsm": 0, "root": 0}
        self._seen = {"hsm": 0, "root": 0}
        self._registry_n = 0
        self._offset, self._time = -1, ""
        self._seen_ids = SeenCommands()
        self._waiting: set[tuple[str, str]] = set()
        self._authorizer = Authorizer()

    def take(self, leaf: Leaf, *, full: bool = True) -> list[Illegal | Pending]:
        """Fold the next event and return what is wrong about it, and what depends on signatures that are not verified
        yet. Without `full`, its signatures and rules are taken for granted."""
        event, found = leaf.event, list[Illegal | Pending]()
        if isinstance(event, facts.PolicyEvent):
            self._decision(leaf, event, found, full=full)
            return found
        if leaf.role in self._seen:
            if leaf.statement_n <= self._folded[leaf.role]:
                known = f"a decision before it knew statement {self._folded[leaf.role]}"
                found.append(Illegal("OrderBroken", f"{leaf.role} statements that no decision knew yet", known))
            self._seen[leaf.role] = max(self._seen[leaf.role], leaf.statement_n)
            self._later.append(leaf)
        if isinstance(event, facts.Outcome):
            self.outcomes += 1
            self._outcome(event, found)
        elif isinstance(event, facts.UsageBudgetWarning) and event.data.offset != self._offset:
            told = f"one about {event.data.offset}"
            found.append(Illegal("OrderBroken", f"a warning about offset {self._offset}", told))
        return found

    def finish(self) -> list[Illegal | Pending]:
        """Fold what no decision has known yet, at the end of the log."""
        found = list[Illegal | Pending]()
        self._know(self._seen["hsm"], self._seen["root"], found)
        return found

    def _decision(self, leaf: Leaf, event: facts.PolicyEvent, found: list[Illegal | Pending], *, full: bool) -> None:
        decision = event.data.decision
        self.decisions += 1
        if not self._in_order(event):
            found.extend(self._disorder(event))
        self._offset, self._time = max(self._offset, decision.offset), max(self._time, event.time)
        self._registry_n = max(self._registry_n, decision.registry_n)
        self._know(decision.facts_n, decision.root_n, found)
        recorded = Recorded(leaf, event, Moment(self._world(event)))
        for check in (self._rules, self._once, self._open) if full else (self._once, self._open):
            try:
                pending = check(recorded)
            except Illegal as illegal:
                found.append(illegal)
            except Refusal as refusal:
                found.append(no_command(refusal))
            else:
                if pending is not None:
                    found.append(pending)
        self._fold(event, found)

    def _rules(self, recorded: Recorded) -> Pending:
        self.signatures += 1
        return examine(recorded)

    def _open(self, recorded: Recorded) -> None:
        ticket = ticket_of(recorded.event, recorded.command, self.entities)
        if ticket is not None:
            self.tickets[recorded.decision.offset] = ticket
            self._waiting.add(ticket.identity)

    def _in_order(self, event: facts.PolicyEvent) -> bool:
        """Commands are decided in their order; time and what is known of other chains only grow."""
        decision = event.data.decision
        return (
            decision.offset > self._offset
            and event.time >= self._time
            and decision.registry_n >= self._registry_n
            and (self._registry is None or decision.registry_n <= self._registry.leaves)
            and self._folded["hsm"] <= decision.facts_n <= self._seen["hsm"]
            and self._folded["root"] <= decision.root_n <= self._seen["root"]
        )

    def _disorder(self, event: facts.PolicyEvent) -> Iterator[Illegal]:
        """Yield what is not in order, if anything is."""
        decision = event.data.decision
        if decision.offset <= self._offset:
            yield Illegal("OrderBroken", f"a command offset above {self._offset}", str(decision.offset))
        if event.time < self._time:
            yield Illegal("OrderBroken", f"a time not before {self._time}", event.time)
        if decision.registry_n < self._registry_n:
            yield Illegal("OrderBroken", f"at least {self._registry_n} known leaves of partition 0",
                          str(decision.registry_n))  # fmt: skip
        if self._registry is not None and decision.registry_n > self._registry.leaves:
            yield Illegal("OrderBroken", f"at most {self._registry.leaves} leaves of partition 0",
                          str(decision.registry_n))  # fmt: skip
        for role, known in (("hsm", decision.facts_n), ("root", decision.root_n)):
            if not self._folded[role] <= known <= self._seen[role]:
                told = f"{self._folded[role]} to {self._seen[role]} known statements of {role}"
                yield Illegal("OrderBroken", told, str(known))

    def _know(self, facts_n: int, root_n: int, found: list[Illegal | Pending]) -> None:
        """Fold what a decision knew of others, in the order of the log."""
        folded, later = self._folded, self._later
        folded["hsm"], folded["root"] = max(facts_n, folded["hsm"]), max(root_n, folded["root"])
        while later and later[0].statement_n <= folded[later[0].role]:
            self._fold(later.popleft().event, found)

    def _fold(self, event: facts.Event, found: list[Illegal | Pending]) -> None:
        try:
            changes = evolve(self.entities, event)
        except KeyError as error:
            found.append(Illegal("DoesNotFollow", f"{error} to be there", event.type))
            return
        for name, entity in changes.items():
            if entity is None:
                self.entities.pop(name, None)
            else:
                self.entities[name] = entity

    def _world(self, event: facts.PolicyEvent) -> World:
        decision = event.data.decision
        return World(
            partition=self._partition,
            now_ms=to_milliseconds(event.time),
            entities=self.entities,
            registry=self.entities if self._registry is None else self._registry.at(decision.registry_n),
            authorizer=self._authorizer,
            facts_n=decision.facts_n,
            registry_n=decision.registry_n,
            root_n=decision.root_n,
        )

    def _once(self, recorded: Recorded) -> None:
        """A command's id is decided once, as long as its command could be accepted or its outcome is missing."""
        data, identifier = recorded.command.data, recorded.command.id
        expires_ms, now_ms = to_milliseconds(data.expires_at), recorded.world.now_ms
        if (
            self._seen_ids.add(data.principal, identifier, expires_ms, now_ms)
            or (data.principal, identifier) in self._waiting
        ):
            raise Illegal("DecidedTwice", f"one decision of command {identifier}", "another one")

    def _outcome(self, outcome: facts.Outcome, found: list[Illegal | Pending]) -> None:
        ticket = self.tickets.pop(outcome.data.offset, None)
        if ticket is None:
            told = f"{outcome.type} of offset {outcome.data.offset}"
            found.append(Illegal("OutcomeMismatch", "an accepted command without an outcome", told))
            return
        self._waiting.discard(ticket.identity)
        try:
            check_outcome(ticket, outcome)
        except Illegal as illegal:
            found.append(illegal)
