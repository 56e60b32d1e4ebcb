"""The life of a key as a list of entries: a fold of its events, in their order. Pure.

Facts stand alone. Uses, denials and dry runs between two facts are counted by day, principal and verb (and code), or
stand alone too where all are wanted. What follows from time alone (validity that begins or ends, material that is over)
has no event; it is an entry of its own where it changes the key's state. A use stands where it was authorized; whether
it was executed is learnt from its outcome, which may come later.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from keyfold.cli.records import short_type
from keyfold.deciding.replaying import Leaf, fold
from keyfold.events import facts
from keyfold.events.entities import Entity, Key
from keyfold.events.key_states import state_of
from keyfold.events.streams import key_stream
from keyfold.events.times import to_milliseconds, to_text
from keyfold.projections.audit_commands import command_columns, proposed_columns

Kind = Literal["fact", "use", "denial", "dry run", "time"]
_SILENT: Final = (facts.CommandCompleted, facts.ImportParametersCreated)
"""Outcomes that say no more than the decision before them."""


@dataclass(slots=True)
class Entry:
    """One line. Counts are those of uses, denials and dry runs; `open` have no outcome yet, `failed` did not happen.

    `state` is the key's behind it, where it is a fact or the time. `order` sorts entries of several partitions.
    """

    kind: Kind
    time: str
    last: str
    partition: int
    position: int
    what: str
    principal: str | None
    state: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    commands: int = 0
    items: int = 0
    failed_items: int = 0
    failed: int = 0
    open: int = 0
    versions: set[int] = field(default_factory=set)
    order: str = ""


class Timeline:
    """The entries of one key between two instants (None: no bound). Give it its partition's leaves, then `finish`."""

    def __init__(self, key_id: str, since: str | None = None, *, single: bool = False) -> None:
        self._stream, self._since, self._single = key_stream(key_id), since, single
        self._entities: dict[str, Entity] = {}
        self._state: str | None = None
        self._now = ""
        self._groups: dict[tuple[str, ...], Entry] = {}
        self._asked: dict[int, Entry] = {}
        self.entries: list[Entry] = []

    @property
    def key(self) -> Key | None:
        """The key as it is now."""
        found = self._entities.get(self._stream)
        return found if isinstance(found, Key) else None

    def add(self, leaf: Leaf) -> None:
        """Take in the next leaf; those of other streams are passed over."""
        event = leaf.event
        if event.subject != self._stream:
            return
        self.pass_time(event.time, leaf.partition)
        fold(self._entities, event)
        match event:
            case facts.CommandAuthorized():
                self._asked[event.data.decision.offset] = self._use(leaf, event)
            case facts.CommandDenied():
                self._count("denial", leaf, event.data.verb, event.data.principal, event.data.code)
            case facts.DryRunSucceeded():
                self._count("dry run", leaf, event.data.verb, event.data.principal, "")
            case facts.Outcome() if event.data.offset in self._asked:
                self._settle(self._asked.pop(event.data.offset), leaf, event)
            case _ if not isinstance(event, _SILENT):
                self._fact(leaf)

    def pass_time(self, until: str, partition: int) -> None:
        """Note what time alone changed since the last event."""
        key = self.key
        for instant in sorted(_instants(key, self._now, until)) if key is not None else ():
            state = state_of(key, to_milliseconds(instant)) if key is not None else None
            if state != self._state:
                self._state = state
                self._put(Entry("time", instant, instant, partition, -1, f"it is {state} now", None, state))
        self._now = max(self._now, until)

    def finish(self, now_ms: int, partition: int) -> list[Entry]:
        """Return all entries from `since` on, with what time has changed up to now."""
        self.pass_time(to_text(now_ms), partition)
        return self.entries

    def _use(self, leaf: Leaf, event: facts.CommandAuthorized) -> Entry:
        data = event.data
        entry = self._count("use", leaf, data.verb, data.principal, "")
        entry.open += 1
        if data.key_version is not None:
            entry.versions.add(data.key_version)
        if self._single:
            asked = command_columns(data.decision.command)
            said = {name: asked[name] for name in ("command_id", "contexts", "reason", "source")}
            grant = {"grant": data.decision.grant, "asked_items": data.items}
            entry.details |= {name: value for name, value in {**said, **grant}.items() if value is not None}
        return entry

    def _settle(self, entry: Entry, leaf: Leaf, event: facts.Outcome) -> None:
        entry.open -= 1
        match event:
            case facts.KeyUsed(data=data):
                entry.items += data.items
                entry.failed_items += sum(len(indexes) for indexes in data.failures.values())
                entry.versions |= {int(name) for name in {**data.versions, **data.opened} if name.isdecimal()}
            case facts.OperationFailed(data=data):
                entry.failed += 1
                codes = entry.details.setdefault("failures", {})
                codes[data.code] = codes.get(data.code, 0) + 1
            case facts.KeyMaterialImported():
                self._fact(leaf)
            case _:
                return

    def _count(self, kind: Kind, leaf: Leaf, verb: str, principal: str, code: str) -> Entry:
        """Add to the entry of the day, or make one."""
        event = leaf.event
        group = (kind, event.time[:10], principal, verb, code)
        entry = None if self._single or not self._wanted(event.time) else self._groups.get(group)
        if entry is None:
            details = {"code": code} if code else {}
            entry = Entry(kind, event.time, event.time, leaf.partition, leaf.position, verb, principal, None, details)
            if self._wanted(event.time):
                self._groups[group] = entry
            self._put(entry)
        entry.commands, entry.last = entry.commands + 1, event.time
        return entry

    def _fact(self, leaf: Leaf) -> None:
        event, key = leaf.event, self.key
        self._groups.clear()
        self._state = None if key is None else state_of(key, to_milliseconds(self._now))
        who, details = about(event)
        kind, place = short_type(event.type), (leaf.partition, leaf.position)
        self._put(Entry("fact", event.time, event.time, *place, kind, who, self._state, details))

    def _wanted(self, time: str) -> bool:
        return self._since is None or time >= self._since

    def _put(self, entry: Entry) -> None:
        if self._wanted(entry.time):
            entry.order = max(entry.time, self.entries[-1].order) if self.entries else entry.time
            self.entries.append(entry)


def about(event: facts.Event) -> tuple[str | None, dict[str, Any]]:
    """Return who brought a fact about, and what it says beside what all facts say."""
    said = event.data.model_dump(mode="json", exclude={"decision", "key_id", "command_digest", "attributes"})
    who: str | None = said.pop("principal", None)
    if isinstance(event, facts.PolicyEvent):
        decision = event.data.decision
        asked = command_columns(decision.command)
        who = asked["principal"]
        said |= {"reason": said.get("reason") or asked["reason"], "source": asked["source"]}
        if decision.proposal is not None:
            proposed = proposed_columns(decision.proposal.command)
            said |= {"proposal": decision.proposal.proposal, "approvers": decision.proposal.approvers}
            who = proposed["principal"]
    return who, {name: value for name, value in said.items() if value not in (None, "", [], {})}


def _instants(key: Key | None, after: str, until: str) -> Iterator[str]:
    """Yield when time alone may change the state of a key."""
    if key is None:
        return
    for instant in {key.not_before, key.not_after, key.current.valid_to}:
        if instant is not None and after < instant <= until:
            yield instant


class Names:
    """What happened to the names of a key. Give it the leaves of the registry in their order."""

    def __init__(self, key_id: str, since: str | None = None) -> None:
        self._key_id, self._since = key_id, since
        self._names: set[str] = set()
        self.entries: list[Entry] = []

    def add(self, leaf: Leaf) -> None:
        """Take in the next leaf."""
        event = leaf.event
        if not isinstance(event, facts.AliasCreated | facts.AliasUpdated | facts.AliasDeleted):
            return
        alias, ours = event.data.alias, getattr(event.data, "key_id", None) == self._key_id
        if not ours and alias not in self._names:
            return
        (self._names.add if ours else self._names.discard)(alias)
        who, details = about(event)
        if not ours and isinstance(event, facts.AliasUpdated):
            details["moved_to"] = event.data.key_id
        if self._since is None or event.time >= self._since:
            kind, place = short_type(event.type), (leaf.partition, leaf.position)
            self.entries.append(
                Entry("fact", event.time, event.time, *place, kind, who, None, details, order=event.time)
            )
