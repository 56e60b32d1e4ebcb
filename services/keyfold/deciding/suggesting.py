"""The least Cedar that permits what a principal was seen to do: from uses to policy texts that can be put. Pure.

For each resource, the verbs that were used, for this principal, under those tags of the encryption context that every
use had with one of few values. Nothing is guessed: another verb, key or value is not permitted. What was done by a
proposal is permitted with as many approvals only. `UseCompromisedVersion` is no verb, and never suggested: it is for a
person to give. Whether the texts cover all uses is checked in `covering`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keyfold.deciding.cedar import REGISTRY_ID, validate_policy
from keyfold.deciding.cedar.text import MAX_STATEMENTS, MAX_TEXT_BYTES
from keyfold.events import facts
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.commands import AnyCommand, ApproveProposal, parse_command
from keyfold.events.proposals import proposed_in
from keyfold.events.streams import key_id_of

MAX_VALUES: Final = 5
MAX_TAGS: Final = 20
MAX_CONDITIONS_BYTES: Final = 16_384
MAX_ALIASES: Final = 5
ROOM: Final = MAX_TEXT_BYTES - 256  # for a line of comment that is put above a text
_NO_CONTEXTS: Final[tuple[Mapping[str, str], ...]] = ({},)
_CONTEXT: Final = "context.encryption_context"


class Use(NamedTuple):
    """One command that was authorized: on a key's id or `registry`, with its contexts and whose approvals it had."""

    resource: str
    verb: str
    contexts: Sequence[Mapping[str, str]] = _NO_CONTEXTS
    approvals: tuple[str, ...] = ()
    event_id: str = ""


class Condition(NamedTuple):
    """A tag of the encryption context and the values that it must have one of."""

    tag: str
    values: tuple[str, ...]


class Scope(NamedTuple):
    """What verbs of one statement have in common: the resource, how many approvals, and the conditions."""

    resource: str
    approvals: int
    conditions: tuple[Condition, ...]


@dataclass(slots=True)
class _Seen:
    """What the uses of one verb on one resource have in common."""

    count: int = 0
    tags: dict[str, set[str]] | None = None
    approvals: int = 0

    def add(self, use: Use) -> None:
        self.approvals = min(self.approvals, len(use.approvals)) if self.count else len(use.approvals)
        self.count += 1
        for context in use.contexts:
            if self.tags is None:
                self.tags = {tag: set() for tag in context}
            for tag in [tag for tag in self.tags if tag not in context]:
                del self.tags[tag]
            for tag, values in list(self.tags.items()):
                values.add(context[tag])
                if len(values) > MAX_VALUES:
                    del self.tags[tag]

    def conditions(self) -> tuple[Condition, ...]:
        """Return the narrowest conditions that fit a statement: those of fewest values first."""
        found = [Condition(tag, tuple(sorted(values))) for tag, values in (self.tags or {}).items()]
        chosen: list[Condition] = []
        room = MAX_CONDITIONS_BYTES
        for condition in sorted(found, key=lambda each: (len(each.values), each)):
            size = len(_clause(condition).encode())
            if size <= room and len(chosen) < MAX_TAGS:
                room -= size
                chosen.append(condition)
        return tuple(sorted(chosen))


@dataclass(slots=True)
class Usage:
    """Everything that one principal was seen to do. Its memory is bounded by resources and verbs, not by uses."""

    principal: str
    seen: dict[tuple[str, str, bool], _Seen] = field(default_factory=lambda: defaultdict(_Seen))

    def add(self, use: Use) -> None:
        """Take in one use."""
        self.seen[use.resource, use.verb, bool(use.approvals)].add(use)

    @property
    def verbs(self) -> set[tuple[str, str]]:
        """The resources and verbs that were used."""
        return {(resource, verb) for resource, verb, _ in self.seen}


def uses_of(event: facts.PolicyEvent, principal: str) -> Iterator[Use]:
    """Yield what a decision let a principal do: its own command, and what an approval carried out in its name.

    Raises `InvalidCommand` for a decision that does not hold a command.
    """
    decision = event.data.decision
    command = parse_command(decision.command.encode())
    if isinstance(event, facts.CommandDenied | facts.DryRunSucceeded):
        return
    carried_out = decision.proposal
    approves = isinstance(command, ApproveProposal)
    if command.data.principal == principal:
        yield _use(command, event.id, carried_out.approvers if carried_out and not approves else ())
    if approves and carried_out:
        wanted = proposed_in(carried_out.command.encode())
        if wanted.data.principal == principal:
            yield _use(wanted, event.id, carried_out.approvers)


def _use(command: AnyCommand, event_id: str, approvals: Iterable[str]) -> Use:
    data = command.data
    contexts = data.contexts if isinstance(data, DataPlaneData) else _NO_CONTEXTS
    return Use(key_id_of(command.subject) or REGISTRY_ID, command.verb, contexts, tuple(approvals), event_id)


def suggest(usage: Usage, aliases: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return policy texts, each within the bounds of one; none for no uses. `aliases` are keys' names by id."""
    merged: dict[Scope, list[str]] = {}
    for (resource, verb, _), seen in sorted(usage.seen.items()):
        merged.setdefault(Scope(resource, seen.approvals, seen.conditions()), []).append(verb)
    statements = (
        _statement(usage.principal, scope, verbs, aliases.get(scope.resource, ())) for scope, verbs in merged.items()
    )
    texts = tuple(_packed(usage.principal, statements))
    for text in texts:
        validate_policy(text)
    return texts


def _packed(principal: str, statements: Iterable[str]) -> Iterator[str]:
    """Put as many statements into each text as it may hold."""
    header = f"// What {principal} was seen to use.\n"
    parts, size = [header], len(header)
    for statement in statements:
        more = 1 + len(statement.encode())
        if len(parts) > MAX_STATEMENTS or size + more > ROOM:
            yield "\n".join(parts)
            parts, size = [header], len(header)
        parts.append(statement)
        size += more
    if len(parts) > 1:
        yield "\n".join(parts)


def _statement(principal: str, scope: Scope, verbs: Sequence[str], aliases: Sequence[str]) -> str:
    kind = "Registry" if scope.resource == REGISTRY_ID else "Key"
    actions = ", ".join(f"Action::{quoted(verb)}" for verb in verbs)
    clauses = [f"context.approvals.count >= {scope.approvals}"] if scope.approvals else []
    clauses += map(_clause, scope.conditions)
    lines = [
        *_comment(verbs, aliases),
        "permit(",
        f"    principal == Principal::{quoted(principal)},",
        f"    action in [{actions}],",
        f"    resource == {kind}::{quoted(scope.resource)}",
        ")" + "".join(f"\nwhen {{ {clause} }}" for clause in clauses) + ";\n",
    ]
    return "\n".join(lines)


def _comment(verbs: Sequence[str], aliases: Sequence[str]) -> Iterator[str]:
    if aliases:
        more = len(aliases) - MAX_ALIASES
        yield "// " + ", ".join(sorted(aliases)[:MAX_ALIASES]) + (f" and {more} more names" if more > 0 else "")
    if "CreateKey" in verbs:
        yield "// CreateKey: for this key, which exists now; another one has another id"


def _clause(condition: Condition) -> str:
    tag, values = quoted(condition.tag), [quoted(value) for value in condition.values]
    value = f"{_CONTEXT}.getTag({tag})"
    allowed = f"{value} == {values[0]}" if len(values) == 1 else f"[{', '.join(values)}].contains({value})"
    return f"{_CONTEXT}.hasTag({tag}) && {allowed}"


def quoted(text: str) -> str:
    """Return any text as a Cedar string: what is not plainly printable is escaped by its code point."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else f"\\u{{{ord(char):x}}}"
