"""A view that example events are folded into, with other data, offsets and times."""

from typing import Any

from keyfold.events import facts
from keyfold.events.entities import DEPLOYMENT, Deployment, Entity, Grant, Key, Principal, Proposal
from keyfold.events.evolve import evolve, get

LATER = "2026-01-31T13:00:00.000Z"


class Book:
    """Folds the example of a type, changed as a test says, at a new offset and a later time."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.view: dict[str, Entity] = {}
        self.offset = 100

    def tell(
        self,
        kind: type[facts.Event],
        subject: str | None = None,
        /,
        *,
        time: str = LATER,
        why: dict[str, Any] | None = None,
        **data: Any,
    ) -> dict[str, Entity | None]:
        """Fold an event and return what it changed. `why` is said in the decision beside the example's."""
        example = self.world.event(kind)
        self.offset += 1
        fields = {name: getattr(example.data, name) for name in type(example.data).model_fields}
        if "decision" in fields:
            fields["decision"] = fields["decision"].model_copy(update={"offset": self.offset, **(why or {})})
        return self.fold(kind.new("id", subject or example.subject, time, **{**fields, **data}))

    def fold(self, event: facts.Event) -> dict[str, Entity | None]:
        """Fold an event as it is and return what it changed."""
        changes = evolve(self.view, event)
        for name, entity in changes.items():
            if entity is None:
                self.view.pop(name, None)
            else:
                self.view[name] = entity
        return changes

    def key(self) -> Key:
        return get(self.view, self.world.key_stream, Key)

    def deployment(self) -> Deployment:
        return get(self.view, DEPLOYMENT, Deployment)

    def principal(self, name: str = "bob") -> Principal:
        return get(self.view, f"principal/{name}", Principal)

    def grant(self, grant: str) -> Grant:
        return get(self.view, f"grant/{grant}", Grant)

    def proposal(self, proposal: str) -> Proposal:
        return get(self.view, f"proposal/{proposal}", Proposal)
