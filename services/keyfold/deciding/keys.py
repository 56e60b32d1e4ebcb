"""The rules of the verbs that change a key: lifecycle, tags, usage budget. Pure, like all of `control`."""

from collections.abc import Callable
from typing import Any, Final

from keyfold.deciding.budgets import rotation_due
from keyfold.deciding.lifecycle import check_state
from keyfold.deciding.rules import Rule
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.commands import AnyCommand
from keyfold.events.entities import Key
from keyfold.events.times import to_milliseconds, to_text

MIN_PENDING_SECONDS: Final = 7 * 86_400
MAX_TAGS: Final = 50
MAX_VERSIONS: Final = 10_000


def governed_key(command: AnyCommand, world: World) -> Key:
    """Return the key that a command is for. Raises `NotFound`, or what refuses the verb in the key's state."""
    key = world.entities.get(command.subject)
    if not isinstance(key, Key):
        raise errors.NotFound
    check_state(command.verb, key)
    return key


def _create_key(command: Any, world: World) -> Rule:
    if command.subject in world.entities:
        raise errors.AlreadyExists
    return facts.KeyCreated, {
        "key_id": command.subject.removeprefix("key/"),
        **command.data.arguments.model_dump(),
        "created_by": command.data.principal,
    }


def _rotate_key(command: Any, world: World) -> Rule:
    key = governed_key(command, world)
    if len(key.versions) >= MAX_VERSIONS:
        raise errors.InvalidState(f"a key has at most {MAX_VERSIONS} versions; create another one")
    cause = command.data.arguments.cause
    if cause == "usage-budget" and not rotation_due(key):
        raise errors.InvalidState("the current version has not used that much of its budget")
    data = {"version": len(key.versions) + 1, "key_spec": key.key_spec, "protection": key.protection}
    return facts.KeyRotated, {"key_id": key.key_id, "cause": cause, **data}


def _enable_key(command: AnyCommand, world: World) -> Rule:
    return facts.KeyEnabled, {"key_id": governed_key(command, world).key_id}


def _disable_key(command: Any, world: World) -> Rule:
    key = governed_key(command, world)
    return facts.KeyDisabled, {
        "key_id": key.key_id,
        "reason": command.data.arguments.reason or command.data.reason or "",
    }


def _schedule_key_deletion(command: Any, world: World) -> Rule:
    key = governed_key(command, world)
    seconds = command.data.arguments.pending_window_seconds
    if seconds < MIN_PENDING_SECONDS and not world.deployment.development:
        raise errors.InvalidCommand("the waiting period is 7 to 30 days")
    return facts.KeyDeletionScheduled, {
        "key_id": key.key_id,
        "deletion_date": to_text(world.now_ms + seconds * 1000),
    }


def _cancel_key_deletion(command: AnyCommand, world: World) -> Rule:
    return facts.KeyDeletionCancelled, {"key_id": governed_key(command, world).key_id}


def _destroy_key(command: AnyCommand, world: World) -> Rule:
    key = governed_key(command, world)
    if key.deletion_date is None or to_milliseconds(key.deletion_date) > world.now_ms:
        raise errors.InvalidState("the waiting period is not over")
    return _destroyed(key)


def _destroy_key_now(command: AnyCommand, world: World) -> Rule:
    return _destroyed(governed_key(command, world))


def _destroyed(key: Key) -> Rule:
    return facts.KeyDestroyed, {"key_id": key.key_id, "versions": [v.version for v in key.versions]}


def _tag_resource(command: Any, world: World) -> Rule:
    key = governed_key(command, world)
    tags = {**key.tags, **command.data.arguments.tags}
    if len(tags) > MAX_TAGS:
        raise errors.InvalidCommand(f"a key has at most {MAX_TAGS} tags")
    return facts.KeyTagged, {"key_id": key.key_id, "tags": tags}


def _untag_resource(command: Any, world: World) -> Rule:
    key = governed_key(command, world)
    gone = set(command.data.arguments.tag_keys)
    if not gone <= set(key.tags):
        raise errors.NotFound("the key has no such tag")
    return facts.KeyTagged, {"key_id": key.key_id, "tags": {k: v for k, v in key.tags.items() if k not in gone}}


def _update_usage_budget(command: Any, world: World) -> Rule:
    key = governed_key(command, world)
    return facts.UsageBudgetUpdated, {"key_id": key.key_id, **command.data.arguments.model_dump()}


RULES: Final[dict[str, Callable[[Any, World], Rule]]] = {
    "CreateKey": _create_key,
    "RotateKey": _rotate_key,
    "EnableKey": _enable_key,
    "DisableKey": _disable_key,
    "ScheduleKeyDeletion": _schedule_key_deletion,
    "CancelKeyDeletion": _cancel_key_deletion,
    "DestroyKey": _destroy_key,
    "DestroyKeyNow": _destroy_key_now,
    "TagResource": _tag_resource,
    "UntagResource": _untag_resource,
    "UpdateUsageBudget": _update_usage_budget,
}
