"""An office: a desk for one key's partition, beside it the registry's, and people who ask. For tests of deciding."""

from typing import Any, TypeVar

from tests.support.desk import Desk, fresh_registry, outcome_of
from tests.support.people import command, key_on, signer

from keyfold.events import facts
from keyfold.events.entities import Entity, Grant, Key, Proposal
from keyfold.events.replies import parse_reply
from keyfold.events.streams import REGISTRY

KEY = key_on(2)
Kind = TypeVar("Kind", bound=Entity)
WEEK = 7 * 86_400


class Office(Desk):
    """A desk for partition 2 whose commands number themselves; `registry` commands go to a desk of their own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(2, fresh_registry(**options))
        self.number = 0
        self.front = Desk(0, self.registry)

    def ask(self, verb: str, stream: str = KEY, **options: Any) -> facts.PolicyEvent:
        """Decide one command and return its event. `by` names who asks."""
        self.number += 1
        options = {"issued_ms": self.now_ms, "principal": options.pop("by", "alice"), **options}
        desk = self.front if stream == REGISTRY else self
        desk.now_ms = self.now_ms
        before = len(desk.events)
        desk.decide(command(verb, stream, self.number, **options))
        event = desk.events[before]
        assert isinstance(event, facts.PolicyEvent)
        return event

    def code(self, verb: str, stream: str = KEY, **options: Any) -> str | None:
        """Return why a command is denied, None if it is not."""
        event = self.ask(verb, stream, **options)
        return event.data.code if isinstance(event, facts.CommandDenied) else None

    def register(self, name: str, *groups: str, **arguments: Any) -> None:
        """Register a principal with the key that `people.signer` gives it."""
        public_key = signer(name).public_key.hex()
        known = {"principal": name, "public_key": public_key, "groups": list(groups), **arguments}
        assert self.code("RegisterPrincipal", REGISTRY, arguments=known) is None

    def key(self) -> Key:
        return self._entity(KEY, Key)

    def grant(self, name: str) -> Grant:
        return self._entity(f"grant/{name}", Grant)

    def proposal(self, name: str, stream: str = KEY) -> Proposal:
        return self._entity(f"proposal/{name}", Proposal, self.front if stream == REGISTRY else self)

    def reply(self, stream: str = KEY) -> str:
        """The last reply's code."""
        desk = self.front if stream == REGISTRY else self
        reply = desk.batches[-1].replies[-1]
        return parse_reply(reply.value or b"").data.code or ""

    def _entity(self, name: str, kind: type[Kind], desk: Desk | None = None) -> Kind:
        found = (desk or self).state.entities[name]
        assert isinstance(found, kind)
        return found


def office(status: str = "Enabled", **options: Any) -> Office:
    """An office with one key that has a policy of its own, in a state."""
    made = Office(**options)
    created = made.ask("CreateKey", arguments={"tags": {"team": "shop"}})
    made.ask("PutPolicy", arguments={"policy": "first", "text": "permit (principal, action, resource);"})
    if status == "Failed":
        made.finish(outcome_of(created, facts.OperationFailed, key_id=made.key().key_id, code="TokenUnavailable"))
    if status == "Disabled":
        made.ask("DisableKey", arguments={"reason": "audit"})
    if status in {"PendingDeletion", "Destroyed"}:
        made.ask("ScheduleKeyDeletion", arguments={"pending_window_seconds": WEEK})
        made.now_ms += WEEK * 1000
    if status == "Destroyed":
        made.ask("DestroyKey")
    assert made.key().status == status
    return made


def bare(rules: str, **options: Any) -> Office:
    """An office with one key and no policies but these, beside what lets administrators work."""
    own = f'permit (principal in Group::"administrators", action, resource);\n{rules}'
    made = Office(rules=own, **options)
    made.ask("CreateKey")
    return made
