"""Copies of an office: for asking the same of one world more than once, or of two worlds that differ in one thing."""

import copy
import json
from typing import TypeVar

from tests.support.desk import Desk
from tests.support.office import Office
from tests.support.people import PARTITIONS, Signed

from keyfold.deciding.cedar import Authorizer
from keyfold.events import facts
from keyfold.events.entities import DEPLOYMENT, AttachedPolicy, Deployment, Entity, RegistryPolicy
from keyfold.events.evolve import get
from keyfold.events.streams import REGISTRY, partition_of
from keyfold.events.times import to_text
from keyfold.policy.batch import Batch
from keyfold.policy.memory import Memory
from keyfold.policy.state import Draft, State

Made = TypeVar("Made", bound=Office)


def fork(made: Made) -> Made:
    """Return a copy that shares nothing which changes, and has learnt nothing of policies yet."""
    other = copy.copy(made)
    other.registry = dict(made.registry)
    other.front = Desk(0, other.registry, made.front.now_ms, made.front.offset)
    other.front.state = _state(made.front)
    other.state, other.authorizer = _state(made), Authorizer()
    other.events, other.batches = list(made.events), list(made.batches)
    return other


def put(made: Office, name: str, text: str, stream: str = REGISTRY) -> None:
    """Let a policy be in force, whoever might have put it and whether it may be put or not."""
    if stream != REGISTRY:
        key = made.key()
        policies = (*key.policies, AttachedPolicy(policy=name, text=text))
        changed = key.model_copy(update={"policies": policies, "policy_revision": key.policy_revision + 1})
        made.state.entities[stream] = changed
        return
    deployment = get(made.registry, DEPLOYMENT, Deployment)
    revision = {"policies_revision": deployment.policies_revision + 1}
    changes: dict[str, Entity] = {
        f"policy/{name}": RegistryPolicy(policy=name, text=text, updated_at=to_text(made.now_ms)),
        DEPLOYMENT: deployment.model_copy(update=revision),
    }
    made.registry.update(changes)
    made.front.state.entities.update(changes)


def desk_of(made: Office, stream: str) -> Desk:
    """Return the desk of a stream's partition; beside the office's two, one that nothing was asked of before."""
    partition = partition_of(stream, PARTITIONS)
    desk = {0: made.front, made.partition: made}.get(partition) or Desk(partition, made.registry)
    desk.now_ms = made.now_ms
    return desk


def tried(desk: Desk, asked: Signed) -> Batch:
    """Decide a command on a draft that is thrown away."""
    return desk.decider().decide_all([asked.inbound(desk.offset, desk.now_ms)], Draft(desk.state))


def answered(made: Office, asked: Signed) -> facts.PolicyEvent | None:
    """Return what a command would become; None where it is no command of anybody's."""
    batch = tried(desk_of(made, asked.stream), asked)
    event = facts.parse_event(batch.events[0].value) if batch.events else None
    assert event is None or isinstance(event, facts.PolicyEvent)
    return event


def codes(desk: Desk, *commands: Signed) -> list[str | None]:
    """Decide commands as one batch; say in order why each is denied, None where it is not, `rejected` if it is none."""
    first = desk.offset
    batch = desk.decide(*commands)
    said: dict[int, str | None] = {letter.record.offset: "rejected" for letter in batch.dead_letters}
    for entry in batch.events:
        event = facts.parse_event(entry.value)
        if isinstance(event, facts.PolicyEvent):
            said[event.data.decision.offset] = event.data.code if isinstance(event, facts.CommandDenied) else None
    return [said[first + n] for n in range(len(commands))]


def restarted(desk: Desk) -> State:
    """Return the state that a successor reads from the records which a state topic would hold."""
    records = {name: entity.model_dump_json().encode() for name, entity in reversed(list(desk.state.entities.items()))}
    segments = {segment.name: segment.model_dump_json().encode() for segment in desk.state.memory.segments.values()}
    return State.from_records(json.loads(json.dumps(desk.state.head.to_json())), records | segments)


def _state(desk: Desk) -> State:
    return State(desk.state.head, dict(desk.state.entities), Memory(desk.state.memory.segments.values()))
