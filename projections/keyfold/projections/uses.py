"""Plain uses of keys, read without models: the two events that most of a log is made of. Pure.

A `CommandAuthorized` that no grant covered and that carries no proposal out, and a `KeyUsed` of one version without
failures, are taken from their bytes by one expression each, which is the model's own form: the fields in their order,
each with the form of its type, written as the model writes it. Bytes that match are what the model would have read, and
nothing else is (`tests/property/test_uses.py`); what does not match is no plain use, and is parsed as any other event.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from keyfold.events import facts, topics
from keyfold.events.chains import Accepted
from keyfold.events.errors import InvalidCommand
from keyfold.events.evolve import PROTECTING
from keyfold.events.streams import NAME_PATTERN, UUID_PATTERN, is_stream, key_id_of
from keyfold.events.times import to_milliseconds
from keyfold.projections.audit import USES
from keyfold.projections.audit_commands import command_columns
from keyfold.projections.rows import AuditRow, Usage
from keyfold.projections.usage import SHARED

REMEMBERED: Final = 300
"""Characters of the longest text that a cache keeps. Whoever writes longer ones fills no memory with them."""

_TEXT: Final = r'[^"]*'  # there is no escape and no control character where this is looked for
_COUNT: Final = r"(?:0|[1-9][0-9]{0,17})"
_VERSION: Final = r"[1-9][0-9]{0,8}"
_DIGEST: Final = r"[0-9a-f]{64}"
_CONTROLS: Final = bytes(range(32))
_HEAD: Final = (
    rf'\{{"specversion":"1\.0","id":"({_TEXT})","source":"({_TEXT})","type":"(?:%s)","subject":"({_TEXT})",'
    r'"time":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9]\.[0-9]{3}Z)",'
    r'"datacontenttype":"application/json","data":\{'
)


def _head_of(model: type[facts.Event]) -> str:
    return _HEAD % re.escape(model.type_name)


_DECIDED: Final = re.compile(rf'{_head_of(facts.CommandAuthorized)}"decision":\{{"command":"').match
_BEHIND_COMMAND: Final = '","command_digest":"'
_AUTHORIZED: Final = re.compile(
    rf'({_DIGEST})","body_digest":"({_DIGEST})","signature":"({_TEXT})","offset":({_COUNT}),'
    rf'"policies":\[((?:"{_TEXT}"(?:,"{_TEXT}")*)?)\],"registry_revision":({_COUNT}),"facts_n":({_COUNT}),'
    rf'"registry_n":({_COUNT}),"root_n":({_COUNT}),"grant":null,'
    rf'"charges":\{{((?:"{_TEXT}":{_COUNT}(?:,"{_TEXT}":{_COUNT})*)?)\}},"proposal":null\}},'
    rf'"verb":"({_TEXT})","principal":"({NAME_PATTERN})","key_id":(null|"{UUID_PATTERN}"),'
    rf'"key_version":(null|{_VERSION}),"protection":(null|"HSM"|"SOFTWARE"),"items":({_COUNT}),"bytes":({_COUNT}),'
    rf'"refused_versions":\[((?:{_VERSION}(?:,{_VERSION})*)?)\]\}}\}}'
).fullmatch
_USED: Final = re.compile(
    _head_of(facts.KeyUsed) + rf'"offset":({_COUNT}),"command_id":"({UUID_PATTERN})","command_digest":"({_DIGEST})",'
    rf'"principal":"({NAME_PATTERN})","verb":"({_TEXT})","key_id":"({UUID_PATTERN})","items":({_COUNT}),'
    rf'"bytes":({_COUNT}),"versions":\{{(?:"([0-9]{{1,9}})":({_COUNT}))?\}},'
    rf'"opened":\{{(?:"{_TEXT}":{_COUNT})?\}},"failures":\{{\}},"mac":"{_DIGEST}"\}}\}}'
).fullmatch
_IMPORT: Final = "ImportKeyMaterial"  # uses an import up, which no plain use does
_AUTHORIZED_TYPE: Final = facts.CommandAuthorized.type_name
_USED_TYPE: Final = facts.KeyUsed.type_name
_POLICY: Final = facts.CommandAuthorized.role
_HSM: Final = facts.KeyUsed.role


class Authorized(NamedTuple):
    """A `CommandAuthorized`, field by field; lists and what may be null are still as they were written."""

    event_id: str
    source: str
    subject: str
    time: str
    command: str
    command_digest: str
    body_digest: str
    signature: str
    offset: str
    policies: str
    registry_revision: str
    facts_n: str
    registry_n: str
    root_n: str
    charges: str
    verb: str
    principal: str
    key_id: str
    key_version: str
    protection: str
    items: str
    bytes: str
    refused_versions: str

    @property
    def protected(self) -> int | None:
        """The version whose budget is charged; None where none is."""
        return None if self.key_version == "null" or self.verb not in PROTECTING else int(self.key_version)

    def levels(self) -> dict[str, int]:
        """Return the levels of limits after the command."""
        return _object(self.charges) if self.charges else {}

    def row(self, partition: int, position: int, kafka_offset: int, accepted: Accepted) -> AuditRow:
        """Return what `audit_row` does."""
        said = command_columns(self.command)
        return AuditRow(
            partition, position, kafka_offset,
            self.event_id, _AUTHORIZED_TYPE, self.time, self.subject, "authorized", None, self.principal, self.verb,
            self.key_id[1:-1] if self.key_id != "null" else key_id_of(self.subject),
            int(self.key_version) if self.key_version != "null" else None,
            said["contexts"], int(self.items), int(self.bytes), _texts(self.policies), int(self.registry_revision),
            said["command_id"], self.command_digest, int(self.offset),
            accepted.entry.value, _POLICY, accepted.signer, accepted.place.head.n, accepted.place.leaf,
            said["reason"], said["source"], said["dry_run"], said["grant_id"], said["proposal_id"], said["algorithm"],
            self.verb not in USES,
        )  # fmt: skip

    def event(self, items: int | None = None) -> facts.CommandAuthorized:
        """Return the event, as if it had been about so many items."""
        decision = facts.Decision.model_construct(
            command=self.command,
            command_digest=self.command_digest,
            body_digest=self.body_digest,
            signature=self.signature,
            offset=int(self.offset),
            policies=list(_texts(self.policies)),
            registry_revision=int(self.registry_revision),
            facts_n=int(self.facts_n),
            registry_n=int(self.registry_n),
            root_n=int(self.root_n),
            grant=None,
            charges=self.levels(),
            proposal=None,
        )
        data = facts.CommandAuthorized.Data.model_construct(
            decision=decision,
            verb=self.verb,
            principal=self.principal,
            key_id=from_json(self.key_id),
            key_version=from_json(self.key_version),
            protection=from_json(self.protection),
            items=int(self.items) if items is None else items,
            bytes=int(self.bytes),
            refused_versions=from_json(f"[{self.refused_versions}]"),
        )
        return facts.CommandAuthorized.model_construct(
            id=self.event_id,
            source=self.source,
            type=_AUTHORIZED_TYPE,
            subject=self.subject,
            time=self.time,
            data=data,
        )


class Used(NamedTuple):
    """A `KeyUsed`, field by field; without a version, none of its items was served."""

    event_id: str
    source: str
    subject: str
    time: str
    offset: str
    command_id: str
    command_digest: str
    principal: str
    verb: str
    key_id: str
    items: str
    bytes: str
    version: str | None
    served: str | None

    def usage(self) -> Usage:
        """Return what `usage_of` yields."""
        version, served = int(self.version or SHARED), int(self.served or 0)
        return Usage(self.subject, version, self.principal, self.verb, 1, served, int(self.bytes), 0, self.time)

    def row(self, partition: int, position: int, kafka_offset: int, accepted: Accepted) -> AuditRow:
        """Return what `audit_row` does."""
        return AuditRow(
            partition, position, kafka_offset,
            self.event_id, _USED_TYPE, self.time, self.subject, "completed", None, self.principal, self.verb,
            self.key_id, None if self.version is None else int(self.version),
            None, int(self.items), int(self.bytes), None, None,
            self.command_id, self.command_digest, int(self.offset),
            accepted.entry.value, _HSM, accepted.signer, accepted.place.head.n, accepted.place.leaf,
        )  # fmt: skip


Use = Authorized | Used


class Charges:
    """What plain uses charge to versions and limits, before it becomes state.

    Of many uses of a version, one of all their items comes to the same; of many levels of a limit, the last does.
    """

    def __init__(self) -> None:
        self._items: dict[tuple[str, int], int] = {}
        self._uses: dict[tuple[str, int] | str, tuple[int, Authorized]] = {}

    def add(self, use: Authorized, kafka_offset: int) -> None:
        """Charge one use."""
        version, last = use.protected, (kafka_offset, use)
        if version is not None:
            place = (use.subject, version)
            self._items[place] = self._items.get(place, 0) + int(use.items)
            self._uses[place] = last
        if use.charges:
            self._uses.update(dict.fromkeys(use.levels(), last))

    def take(self) -> Iterator[tuple[facts.CommandAuthorized, int]]:
        """Yield as few events as come to the same, in their order, with their offsets; then nothing is charged."""
        items, uses = self._items, self._uses
        self._items, self._uses = {}, {}
        for offset, use in sorted({last[0]: last for last in uses.values()}.values()):
            version = use.protected
            place = (use.subject, version or 0)
            summed = items[place] if version is not None and uses[place][0] == offset else 0
            yield use.event(summed), offset


def use_of(accepted: Accepted) -> Use | None:
    """Read a record as a plain use by its author; None where it is anything else, or nothing that may be read."""
    value = accepted.entry.value
    if len(value.translate(None, _CONTROLS)) != len(value):
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    use = _READERS.get(accepted.role, _nothing)(text)
    if use is None or use.subject.encode() != accepted.entry.key:
        return None
    return use if _names_stream(use.subject) and _exists(use.time[:16]) else None


def _authorized(text: str) -> Authorized | None:
    before, _, behind = text.partition(_BEHIND_COMMAND)
    head, tail = _DECIDED(before), _AUTHORIZED(behind)
    if head is None or tail is None or "\\" in behind:
        return None
    if "\\" in head[0]:
        return None
    escaped = before[head.end() :]
    command = escaped.replace('\\"', '"')
    if "\\" in command or command.count('"') != len(escaped) - len(command):  # another escape, or a quote without one
        return None
    use = Authorized._make((*head.groups(), command, *tail.groups()))
    return None if use.verb == _IMPORT or (use.charges and not _distinct(use.charges)) else use


def _used(text: str) -> Used | None:
    found = _USED(text) if "\\" not in text else None
    return None if found is None else Used._make(found.groups())


def _nothing(_text: str) -> None:
    return None


_READERS: Final[dict[str, Callable[[str], Use | None]]] = {_POLICY: _authorized, _HSM: _used}
_is_stream: Final = lru_cache(maxsize=65_536)(is_stream)


def _names_stream(text: str) -> bool:
    return _is_stream(text) if len(text) <= REMEMBERED else is_stream(text)


@lru_cache(maxsize=4_096)
def _exists(minute: str) -> bool:
    """Tell whether there is such a minute."""
    try:
        to_milliseconds(f"{minute}:00.000Z")
    except InvalidCommand:
        return False
    return True


def _distinct(members: str) -> bool:
    return len(_object(members)) == members.count('":')


def _object(members: str) -> dict[str, Any]:
    found: dict[str, Any] = from_json(f"{{{members}}}")
    return found


def _texts(items: str) -> tuple[str, ...]:
    return _few_texts(items) if len(items) <= REMEMBERED else tuple(from_json(f"[{items}]"))


@lru_cache(maxsize=4_096)
def _few_texts(items: str) -> tuple[str, ...]:
    return tuple(from_json(f"[{items}]"))


assert facts.CommandAuthorized.topic == facts.KeyUsed.topic == topics.EVENTS  # noqa: S101 - `use_of` reads no other
