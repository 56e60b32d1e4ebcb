"""What generators of histories share: a source of choices, time that passes, and events that follow from the last ones.

Nothing here chooses what happens; `histories.Maker` and `governing.Governing` do.
"""

import json
import random
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, TypeVar

from keyfold.events import commands, facts
from keyfold.events.evolve import evolve
from keyfold.events.times import to_text

ZERO = "0" * 64

Kind = TypeVar("Kind")


class Chooser:
    """Appends events as policy, worker and root would write them; keeps the state that they make."""

    def __init__(
        self, source: random.Random, longest_pause_ms: int, start_ms: int, first: Sequence[facts.Event]
    ) -> None:
        self.random = source
        self.longest_pause_ms = longest_pause_ms
        self.now_ms = start_ms
        self.events: list[facts.Event] = []
        self.view: dict[str, Any] = {}
        self.offsets: dict[str, int] = {}
        self.command = ""
        self.count = 0
        for event in first:
            self.events.append(event)
            self._fold(event)

    def all_of(self, kind: type[Kind]) -> list[Kind]:
        """All entities of a kind, in the order of their names."""
        return [entity for _, entity in sorted(self.view.items()) if isinstance(entity, kind)]

    def later(self, longest_ms: int) -> str:
        """A moment from now on."""
        return to_text(self.now_ms + self.random.randint(1, longest_ms))

    def public_key(self, algorithm: str = "Ed25519") -> str:
        """A public key that nobody had before."""
        self.count += 1
        digest = sha256(f"key {self.count}".encode()).hexdigest()
        return digest if algorithm == "Ed25519" else digest * 61

    def decided(
        self,
        kind: type[facts.Event],
        stream: str,
        verb: str,
        /,
        decision: dict[str, Any] | None = None,
        command: str | None = None,
        **data: Any,
    ) -> None:
        """Policy decides a command of alice's (or the one that is given); `decision` says more about it."""
        offset = self.offsets.get(stream, -1) + self.random.randint(1, 3)
        self.offsets[stream] = offset
        self.command = command or self.signed_command(stream, verb)
        known: dict[str, Any] = {
            "command": self.command,
            "command_digest": sha256(self.command.encode()).hexdigest(),
            "body_digest": ZERO,
            "signature": "00" * 64,
            "offset": offset,
            "policies": ["administrators"],
            "registry_revision": self.count,
            "facts_n": len(self.events),
        }
        self.append(kind, stream, decision=facts.Decision(**known, **(decision or {})), **data)

    def outcome(self, kind: type[facts.Event], stream: str, verb: str, /, **data: Any) -> None:
        """The worker answers the last command."""
        document = json.loads(self.command)
        known = {"offset": self.offsets[stream], "command_id": document["id"], "principal": "alice", "verb": verb}
        digest = sha256(self.command.encode()).hexdigest()
        self.append(kind, stream, command_digest=digest, **known, **data)

    def signed_command(
        self, stream: str, verb: str, principal: str = "alice", host: str | None = None, **more: Any
    ) -> str:
        """A command that was signed; some say why, and from where unless that is given."""
        data: dict[str, Any] = {"principal": principal, "signing_key": ZERO, "arguments": {}}
        if commands.BY_VERB[verb].data_plane:
            data |= {"contexts": [{"tenant": "blue", "b": "\\ \t Ünï"}, {}], "items": 3, "bytes": 11}
        if self.random.random() < 0.3:
            data |= {"reason": self.random.choice(["", "ticket 4711", "Prüfung"])}
        place = self.random.choice(["", "", "/host-7", "/pod/a:1"]) if host is None else f"/{host}"
        source = f"principal/{principal}{place}"
        document = {"specversion": "1.0", "id": self.uuid(), "source": source, "subject": stream}
        return json.dumps(document | {"type": commands.type_of(verb), "data": data | more}, ensure_ascii=False)

    def append(self, kind: type[facts.Event], stream: str, /, **data: Any) -> None:
        """Let an event happen, some time after the last one."""
        self.now_ms += self.random.choice([0, 1, 500, self.longest_pause_ms])
        event = kind.new(f"{stream}/{len(self.events)}", stream, to_text(self.now_ms), **data)
        self.events.append(event)
        self._fold(event)

    def _fold(self, event: facts.Event) -> None:
        for name, entity in evolve(self.view, event).items():
            if entity is None:
                self.view.pop(name, None)
            else:
                self.view[name] = entity

    def uuid(self) -> str:
        """An id that nothing else has."""
        text = f"{self.random.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
