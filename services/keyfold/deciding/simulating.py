"""What other policies would have answered to the commands that are in the log. Pure; it is given replayed decisions.

Each authorization is asked again on the state of its time: Cedar with the proposed policies, then grants and rights, as
`authorizing` does it. The state is what really came about: a command that would have been denied has still happened for
those after it, and one that would have been allowed has not. Form, state of keys and limits are not asked again.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal

from keyfold.deciding.asking import Answer, Question, questions, refused_before
from keyfold.deciding.cedar import Authorizer
from keyfold.deciding.replaying import REGISTRY_PARTITION, Recorded
from keyfold.deciding.supposing import Proposed, Supposed
from keyfold.deciding.world import World
from keyfold.events import errors, facts

Change = Literal["newly denied", "newly allowed"]


@dataclass(slots=True)
class Changed:
    """Authorizations of one principal, verb (or `UseCompromisedVersion`) and stream that would come out differently.

    `example` is the first one's event; `policies` and `codes` are those of all of them under the proposed policies.
    """

    change: Change
    principal: str
    verb: str
    stream: str
    first: str
    last: str
    example: str
    count: int = 0
    policies: set[str] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Totals:
    """`decisions` were looked at; an approval that may carry out a proposal, and a use that met compromised versions,
    is two `authorizations`.

    Not asked: `dry_runs`, commands that were `refused` before authorization (by code), and `unreadable` decisions,
    which the log or an error inside policy does not let be asked again.
    """

    decisions: int = 0
    authorizations: int = 0
    newly_denied: int = 0
    newly_allowed: int = 0
    dry_runs: int = 0
    unreadable: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Simulation:
    """Counts what proposed policies would change. Give it decisions while their worlds are live."""

    def __init__(self, proposed: Proposed) -> None:
        self._proposed = proposed
        self._authorizers = {True: Authorizer(), False: Authorizer()}
        self._changed: dict[tuple[Change, str, str, str], Changed] = {}
        self.totals = Totals()

    @property
    def changed(self) -> list[Changed]:
        """What would change, denials first, the most frequent first."""
        found = self._changed.values()
        return sorted(found, key=lambda each: (each.change != "newly denied", -each.count, each.principal, each.verb))

    def consider(self, recorded: Recorded) -> None:
        """Ask about one decision. Total: what cannot be asked is counted."""
        self.totals.decisions += 1
        event, supposed = recorded.event, self._supposed(recorded)
        try:
            if isinstance(event, facts.DryRunSucceeded) or recorded.command.data.dry_run:
                self.totals.dry_runs += 1
                return
            code = refused_before(recorded)
            if code is not None:
                self.totals.refused[code] += 1
                return
            for question in questions(recorded):
                before, after = question.answer(recorded.world), question.answer(supposed)
                self.totals.authorizations += 1
                if before.allowed != after.allowed:
                    self._note(recorded, question, after)
        except (errors.Refusal, KeyError):
            self.totals.unreadable += 1

    def _supposed(self, recorded: Recorded) -> World:
        own, world = recorded.leaf.partition == REGISTRY_PARTITION, recorded.world
        entities = Supposed(world.entities, self._proposed)
        registry = entities if own else Supposed(world.registry, self._proposed)
        return replace(world, entities=entities, registry=registry, authorizer=self._authorizers[own])

    def _note(self, recorded: Recorded, question: Question, after: Answer) -> None:
        change: Change = "newly allowed" if after.allowed else "newly denied"
        self.totals.newly_allowed += after.allowed
        self.totals.newly_denied += not after.allowed
        event, verb = recorded.event, question.action
        name = (change, question.principal.principal, verb, event.subject)
        noted = self._changed.setdefault(name, Changed(*name, first=event.time, last=event.time, example=event.id))
        if event.time < noted.first:
            noted.first, noted.example = event.time, event.id
        noted.last = max(noted.last, event.time)
        noted.count += 1
        noted.policies.update(after.policies)
        noted.codes.update(() if after.code is None else (after.code,))
