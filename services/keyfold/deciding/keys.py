"""The rules of the verbs about whole keys: creation, rotation, states, validity, tags. Pure, like all of `control`."""

from collections.abc import Callable
from typing import Any, Final

from keyfold.deciding.lifecycle import check_state
from keyfold.deciding.rules import Rule, authorized
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.commands import AnyCommand
from keyfold.events.entities import CAPABILITIES, Capabilities, Key
from keyfold.events.key_states import budget_used, period_over_at
from keyfold.events.specs import ALGORITHMS, default_usage, is_asymmetric
from keyfold.events.times import to_milliseconds, to_text

MIN_PENDING_SECONDS: Final = 7 * 86_400
MIN_ROTATION_SECONDS: Final = 90 * 86_400
MAX_TAGS: Final = 50
MAX_VERSIONS: Final = 1_000


def governed_key(command: AnyCommand, world: World) -> Key:
    """Return the key that a command is for. Raises `NotFound`, or what refuses the verb in the key's state."""
    key = world.entities.get(command.subject)
    if not isinstance(key, Key):
        raise errors.NotFound
    check_state(command.verb, key, world.now_ms)
    return key


def _create_key(command: Any, world: World) -> Rule:
    if command.subject in world.entities:
        raise errors.AlreadyExists
    arguments = command.data.arguments
    usage = _usage(arguments)
    found = world.registry.get(CAPABILITIES)
    if isinstance(found, Capabilities):
        offer = found.offer(arguments.key_spec, usage, arguments.protection)
        if offer is None or (offer.resident and arguments.origin == "EXTERNAL"):
            raise errors.Unsupported
    if arguments.rotation_period_seconds is not None:
        _check_period(arguments.rotation_period_seconds, arguments.origin, world)
    _check_validity(arguments.not_before, arguments.not_after, world)
    return facts.KeyCreated, {
        "key_id": command.subject.removeprefix("key/"),
        **arguments.model_dump(),
        "key_usage": usage,
        "created_by": command.data.principal,
    }


def _usage(arguments: Any) -> str:
    usage = arguments.key_usage or default_usage(arguments.key_spec)
    if usage is None:
        raise errors.InvalidKeyUsage("keys of this spec have several usages; choose one")
    if (arguments.key_spec, usage) not in ALGORITHMS:
        raise errors.InvalidKeyUsage("keys of this spec do not have this usage")
    return str(usage)


def _check_period(seconds: int, origin: str, world: World) -> None:
    if origin == "EXTERNAL":
        raise errors.InvalidCommand("a key of imported material is not rotated by period: nobody else has its material")
    if seconds < MIN_ROTATION_SECONDS and not world.deployment.development:
        raise errors.InvalidCommand("the rotation period is 90 to 2560 days")


def _check_validity(not_before: str | None, not_after: str | None, world: World) -> None:
    if not_after is None:
        return
    begin = world.now_ms if not_before is None else max(world.now_ms, to_milliseconds(not_before))
    if to_milliseconds(not_after) <= begin:
        raise errors.InvalidCommand("`not_after` is ahead, and after `not_before`")


def _rotate_key(command: Any, world: World) -> Rule:
    key = governed_key(command, world)
    if len(key.versions) >= MAX_VERSIONS:
        raise errors.InvalidState(f"a key has at most {MAX_VERSIONS} versions; create another one")
    cause = command.data.arguments.cause
    if cause in {"usage-budget", "period"} and key.origin == "EXTERNAL":
        raise errors.InvalidState("nobody else has the material of this key: its versions are imported")
    if cause == "usage-budget" and not budget_used(key):
        raise errors.InvalidState("the current version has not used that much of its budget")
    period_over_ms = period_over_at(key)
    if cause == "period" and (period_over_ms is None or world.now_ms < period_over_ms):
        raise errors.InvalidState("the rotation period is not over")
    if cause == "compromise" and not key.current.compromised:
        raise errors.InvalidState("the current version is not compromised")
    kind = {"key_spec": key.key_spec, "key_usage": key.key_usage, "origin": key.origin, "protection": key.protection}
    return facts.KeyRotated, {"key_id": key.key_id, "version": len(key.versions) + 1, "cause": cause, **kind}


def _update_validity(command: Any, world: World) -> Rule:
    key, arguments = governed_key(command, world), command.data.arguments
    bounds = {
        name: getattr(key, name) if wish is None else None if wish == "never" else wish
        for name, wish in (("not_before", arguments.not_before), ("not_after", arguments.not_after))
    }
    if arguments.not_before is not None or arguments.not_after is not None:
        begin, end = bounds["not_before"], bounds["not_after"]
        if begin is not None and end is not None and to_milliseconds(end) <= to_milliseconds(begin):
            raise errors.InvalidCommand("`not_after` is after `not_before`")
    return facts.KeyValidityUpdated, {"key_id": key.key_id, **bounds}


def _enable_rotation(command: Any, world: World) -> Rule:
    key, seconds = governed_key(command, world), command.data.arguments.rotation_period_seconds
    _check_period(seconds, key.origin, world)
    return facts.KeyRotationEnabled, {"key_id": key.key_id, "rotation_period_seconds": seconds}


def _disable_rotation(command: AnyCommand, world: World) -> Rule:
    return facts.KeyRotationDisabled, {"key_id": governed_key(command, world).key_id}


def _get_public_key(command: Any, world: World) -> Rule:
    key, chosen = governed_key(command, world), command.data.arguments.key_version
    if not is_asymmetric(key.key_spec):
        raise errors.InvalidKeyUsage("only key pairs have a public key")
    number = key.current_version if chosen is None else chosen
    if number > len(key.versions) or key.version(number).status not in {"Active", "Disabled"}:
        raise errors.KeyVersionUnusable
    return authorized(command, key, number)


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
    "UpdateKeyValidity": _update_validity,
    "EnableKeyRotation": _enable_rotation,
    "DisableKeyRotation": _disable_rotation,
    "GetPublicKey": _get_public_key,
}
