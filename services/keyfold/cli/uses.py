"""Who used which versions of a key since when, for what, and under which contexts: a fold of one key's events. Pure.

Policy's event says who asked, from where and with which contexts, the HSM worker's which versions served how many
items; the command's offset joins them. `ReEncrypt` is listed under the versions that it opened and under the one that
protects now. What is not in the log cannot be told: an item's own context among several of its command. Of a command
that this program does not understand, host and contexts are unknown.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from keyfold.events import facts
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.commands import AnyCommand, ReEncryptFrom, parse_command
from keyfold.events.errors import Refusal
from keyfold.events.times import to_milliseconds
from keyfold.projections.usage import version_number

DEEDS: Final[dict[str, str]] = {
    **dict.fromkeys(("Encrypt", "ReEncrypt", "ReEncryptTo"), "protected"),
    **dict.fromkeys(("GenerateDataKey", "GenerateDataKeyWithoutPlaintext"), "protected"),
    **dict.fromkeys(("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"), "protected"),
    "Decrypt": "opened", "ReEncryptFrom": "moved on",
    "Sign": "signed", "Verify": "verified", "GenerateMac": "authenticated", "VerifyMac": "verified",
    "DeriveSharedSecret": "agreed", "Encapsulate": "encapsulated", "Decapsulate": "decapsulated",
}  # fmt: skip
"""What each verb did with items, in a word."""


@dataclass(slots=True)
class Uses:
    """What one principal did from one host with one version by one verb. `contexts` counts commands that named them."""

    version: int
    verb: str
    principal: str
    host: str | None
    commands: int = 0
    items: int = 0
    failed_items: int = 0
    first: str = ""
    last: str = ""
    contexts: Counter[str] = field(default_factory=Counter)

    def add(self, time: str, items: int, failed: int, contexts: Iterable[str]) -> None:
        """Count one command."""
        self.commands, self.items, self.failed_items = self.commands + 1, self.items + items, self.failed_items + failed
        self.first, self.last = self.first or time, time
        self.contexts.update(contexts)

    def as_data(self) -> dict[str, Any]:
        """Return it as a document."""
        names = ("version", "verb", "principal", "host", "commands", "items", "failed_items", "first", "last")
        contexts = [{"context": json.loads(text), "commands": count} for text, count in self.contexts.most_common()]
        return {**{name: getattr(self, name) for name in names}, "did": DEEDS.get(self.verb), "contexts": contexts}


@dataclass(slots=True)
class Moved:
    """What was encrypted again under another key."""

    destination: str
    commands: int = 0
    items: int = 0
    last: str = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A use that was authorized and has no outcome yet. A command that is not understood (None) is one all the same."""

    event: facts.CommandAuthorized
    command: AnyCommand | None


class Radius:
    """The uses of versions (none named: all) from `since_ms` on, counted event by event in the order of the log."""

    def __init__(self, key_id: str, versions: Collection[int], since_ms: int) -> None:
        self._key_id, self._versions, self._since_ms = key_id, frozenset(versions), since_ms
        self._asked: dict[int, _Asked] = {}
        self._uses: dict[tuple[int, str, str, str | None], Uses] = {}
        self._moved: dict[str, Moved] = {}

    def add(self, event: facts.Event) -> None:
        """Count one event of the key's partition; others are passed over."""
        if isinstance(event, facts.CommandAuthorized):
            self._authorized(event)
        elif isinstance(event, facts.Outcome):
            asked = self._asked.pop(event.data.offset, None)
            if asked is not None and isinstance(event, facts.KeyUsed):
                self._used(asked, event)

    @property
    def uses(self) -> list[Uses]:
        """The uses, by version and time."""
        return sorted(self._uses.values(), key=lambda use: (use.version, use.first, use.principal, use.verb))

    @property
    def moved(self) -> list[Moved]:
        """The keys that items of these versions were encrypted under again."""
        return sorted(self._moved.values(), key=lambda moved: moved.destination)

    @property
    def unsettled(self) -> list[dict[str, Any]]:
        """Uses that were authorized and have no outcome: they may have happened, or may happen yet."""
        return [
            {"time": asked.event.time, "principal": asked.event.data.principal, "verb": asked.event.data.verb}
            for asked in self._asked.values()
            if not self._versions or asked.event.data.key_version in {None, *self._versions}
        ]

    def _authorized(self, event: facts.CommandAuthorized) -> None:
        data = event.data
        if data.key_id != self._key_id or data.verb not in DEEDS or to_milliseconds(event.time) < self._since_ms:
            return
        self._asked[data.decision.offset] = _Asked(event, _command(data.decision.command))

    def _used(self, asked: _Asked, outcome: facts.KeyUsed) -> None:
        counts = {**outcome.data.opened, **outcome.data.versions}
        served = {version_number(name) or 0: count for name, count in counts.items()}
        wanted = [version for version in served if not self._versions or version in self._versions]
        failed = sum(len(indexes) for indexes in outcome.data.failures.values()) if len(served) == 1 else 0
        contexts = _contexts(asked.command)
        for version in wanted:
            name = (version, outcome.data.verb, outcome.data.principal, _host(asked.command))
            use = self._uses.setdefault(name, Uses(*name))
            use.add(asked.event.time, served[version], failed, contexts)
        if wanted and isinstance(asked.command, ReEncryptFrom):
            destination = asked.command.data.arguments.destination_key_id
            moved = self._moved.setdefault(destination, Moved(destination))
            moved.commands, moved.last = moved.commands + 1, asked.event.time
            moved.items += sum(served[version] for version in wanted)


@dataclass(slots=True)
class Marks:
    """Which versions of a key are marked as compromised, and since when: the last word counts."""

    key_id: str
    occurred_at: dict[int, str] = field(default_factory=dict)

    def add(self, event: facts.Event) -> None:
        """Take one event of the key's partition."""
        if isinstance(event, facts.KeyCompromised) and event.data.key_id == self.key_id:
            self.occurred_at.update(dict.fromkeys(event.data.versions, event.data.occurred_at))


def _command(text: str) -> AnyCommand | None:
    try:
        return parse_command(text.encode())
    except Refusal:
        return None


def _contexts(command: AnyCommand | None) -> list[str]:
    """Return contexts as canonical text; the empty one is none."""
    if command is None or not isinstance(command.data, DataPlaneData):
        return []
    return [json.dumps(context, ensure_ascii=False, sort_keys=True) for context in command.data.contexts if context]


def _host(command: AnyCommand | None) -> str | None:
    if command is None:
        return None
    return command.source.removeprefix(f"principal/{command.data.principal}").lstrip("/") or None
