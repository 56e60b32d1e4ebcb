"""A desk for partition 0 whose commands number themselves."""

from typing import Any

from tests.support.desk import Desk, fresh_registry
from tests.support.people import command, signer

from keyfold.events import facts
from keyfold.events.entities import Deployment, Principal
from keyfold.events.evolve import evolve
from keyfold.events.streams import REGISTRY


class Hall(Desk):
    """Registry commands by name; `alice` sends them unless another is named."""

    def __init__(self, **options: Any) -> None:
        super().__init__(0, fresh_registry(**options))
        self.number = 0

    def code(self, verb: str, by: str = "alice", **arguments: Any) -> str | None:
        """Decide a command; return why it is denied, None if it is not."""
        self.number += 1
        used = self.deployment().current_sealing_key
        options = {"arguments": arguments, "issued_ms": self.now_ms, "sealing_key": used}
        before = len(self.events)
        self.decide(command(verb, REGISTRY, self.number, principal=by, **options))
        assert len(self.events) == before + 1, self.batches[-1].dead_letters
        event = self.last()
        return event.data.code if isinstance(event, facts.CommandDenied) else None

    def deployment(self) -> Deployment:
        found = self.state.entities["deployment"]
        assert isinstance(found, Deployment)
        return found

    def principal(self, name: str) -> Principal:
        found = self.state.entities[f"principal/{name}"]
        assert isinstance(found, Principal)
        return found

    def fold(self, event: facts.Event) -> None:
        self.state.apply(evolve(self.state.entities, event))

    def register(self, name: str, *groups: str, key: str | None = None, **more: Any) -> str | None:
        public_key = signer(key or name).public_key.hex()
        return self.code("RegisterPrincipal", principal=name, public_key=public_key, groups=list(groups), **more)
