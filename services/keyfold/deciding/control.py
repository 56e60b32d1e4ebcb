"""The rules of the control verbs: from a command and the state to the fact that it becomes. Pure.

Each rule returns the event's class and its data, or raises the refusal. Authorization was decided before.
"""

from collections.abc import Callable
from typing import Any, Final

from keyfold.deciding.cedar import validate_policy
from keyfold.deciding.lifecycle import check_state
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.commands import Command
from keyfold.events.entities import Alias, Key, Principal, RegistryPolicy, SealingKey
from keyfold.events.signatures import fingerprint
from keyfold.events.streams import REGISTRY
from keyfold.events.times import MINUTE_MS, to_milliseconds, to_text

MIN_PENDING_SECONDS: Final = 7 * 86_400
ERASE_AFTER_MS: Final = 16 * MINUTE_MS
MAX_KEY_POLICIES: Final = 20
MIN_ADMINISTRATORS: Final = 2

Rule = tuple[type[facts.Event], dict[str, Any]]


def _key(command: Command, world: World) -> Key:
    key = world.entities.get(command.subject)
    if not isinstance(key, Key):
        raise errors.NotFound
    check_state(command.verb, key)
    return key


def _create_key(command: Any, world: World) -> Rule:
    if command.subject in world.entities:
        raise errors.AlreadyExists
    arguments = command.data.arguments
    return facts.KeyCreated, {
        "key_id": command.subject.removeprefix("key/"),
        "key_spec": arguments.key_spec,
        "protection": arguments.protection,
        "description": arguments.description,
        "tags": arguments.tags,
        "created_by": command.data.principal,
    }


def _rotate_key(command: Command, world: World) -> Rule:
    key = _key(command, world)
    data = {"version": len(key.versions) + 1, "key_spec": key.key_spec, "protection": key.protection}
    return facts.KeyRotated, {"key_id": key.key_id, "cause": "requested", **data}


def _enable_key(command: Command, world: World) -> Rule:
    return facts.KeyEnabled, {"key_id": _key(command, world).key_id}


def _disable_key(command: Any, world: World) -> Rule:
    return facts.KeyDisabled, {"key_id": _key(command, world).key_id, "reason": command.data.arguments.reason}


def _schedule_key_deletion(command: Any, world: World) -> Rule:
    key = _key(command, world)
    seconds = command.data.arguments.pending_window_seconds
    if seconds < MIN_PENDING_SECONDS and not world.deployment.development:
        raise errors.InvalidCommand("the waiting period is 7 to 30 days")
    return facts.KeyDeletionScheduled, {
        "key_id": key.key_id,
        "deletion_date": to_text(world.now_ms + seconds * 1000),
    }


def _cancel_key_deletion(command: Command, world: World) -> Rule:
    return facts.KeyDeletionCancelled, {"key_id": _key(command, world).key_id}


def _destroy_key(command: Command, world: World) -> Rule:
    key = _key(command, world)
    if key.deletion_date is None or to_milliseconds(key.deletion_date) > world.now_ms:
        raise errors.InvalidState("the waiting period is not over")
    return facts.KeyDestroyed, {"key_id": key.key_id, "versions": [v.version for v in key.versions]}


def _create_alias(command: Any, world: World) -> Rule:
    arguments = command.data.arguments
    if arguments.alias in world.entities:
        raise errors.AlreadyExists
    return facts.AliasCreated, {"alias": arguments.alias, "key_id": arguments.key_id}


def _update_alias(command: Any, world: World) -> Rule:
    arguments = command.data.arguments
    if not isinstance(world.entities.get(arguments.alias), Alias):
        raise errors.NotFound
    return facts.AliasUpdated, {"alias": arguments.alias, "key_id": arguments.key_id}


def _delete_alias(command: Any, world: World) -> Rule:
    alias = command.data.arguments.alias
    if not isinstance(world.entities.get(alias), Alias):
        raise errors.NotFound
    return facts.AliasDeleted, {"alias": alias}


def _register_principal(command: Any, world: World) -> Rule:
    arguments = command.data.arguments
    key = fingerprint(bytes.fromhex(arguments.public_key))
    if f"principal/{arguments.principal}" in world.entities or f"signing-key/{key}" in world.entities:
        raise errors.AlreadyExists
    return facts.PrincipalRegistered, arguments.model_dump()


def _revoke_principal(command: Any, world: World) -> Rule:
    principal = world.entities.get(f"principal/{command.data.arguments.principal}")
    if not isinstance(principal, Principal):
        raise errors.NotFound
    if principal.status != "Active":
        raise errors.InvalidState("the principal is revoked already")
    if "administrators" in principal.groups and _administrators(world) <= MIN_ADMINISTRATORS:
        raise errors.InvalidState("two administrators must remain; register another one first")
    return facts.PrincipalRevoked, {"principal": principal.principal}


def _administrators(world: World) -> int:
    found = (entity for entity in world.entities.values() if isinstance(entity, Principal))
    return sum(1 for principal in found if principal.status == "Active" and "administrators" in principal.groups)


def _put_policy(command: Any, world: World) -> Rule:
    arguments = command.data.arguments
    if command.subject != REGISTRY:
        key = _key(command, world)
        others = [policy for policy in key.policies if policy.policy != arguments.policy]
        if len(others) >= MAX_KEY_POLICIES:
            raise errors.InvalidPolicy(f"a key has at most {MAX_KEY_POLICIES} policies")
    validate_policy(arguments.text)
    return facts.PolicyPut, {"policy": arguments.policy, "text": arguments.text}


def _delete_policy(command: Any, world: World) -> Rule:
    policy = command.data.arguments.policy
    if command.subject == REGISTRY:
        found = isinstance(world.entities.get(f"policy/{policy}"), RegistryPolicy)
    else:
        found = any(attached.policy == policy for attached in _key(command, world).policies)
    if not found:
        raise errors.NotFound
    return facts.PolicyDeleted, {"policy": policy}


def _registry_work(command: Command, _world: World) -> Rule:
    """Work for the HSM worker that has no lifecycle fact of its own in policy."""
    return facts.CommandAuthorized, {
        "verb": command.verb,
        "principal": command.data.principal,
        "key_id": None,
        "key_version": None,
        "protection": None,
        "items": 0,
        "bytes": 0,
    }


def _erase_sealing_key(command: Any, world: World) -> Rule:
    sealing_key = world.entities.get(f"sealing-key/{command.data.arguments.sealing_key}")
    if not isinstance(sealing_key, SealingKey):
        raise errors.NotFound
    if sealing_key.erased_at is not None or sealing_key.retired_at is None:
        raise errors.InvalidState("only a retired sealing key is erased, once")
    if to_milliseconds(sealing_key.retired_at) + ERASE_AFTER_MS > world.now_ms:
        raise errors.InvalidState(
            "commands sealed to this key may still be valid; erase it 16 minutes after retirement"
        )
    return _registry_work(command, world)


CONTROL: Final[dict[str, Callable[[Any, Any], Rule]]] = {
    "CreateKey": _create_key,
    "RotateKey": _rotate_key,
    "EnableKey": _enable_key,
    "DisableKey": _disable_key,
    "ScheduleKeyDeletion": _schedule_key_deletion,
    "CancelKeyDeletion": _cancel_key_deletion,
    "DestroyKey": _destroy_key,
    "CreateAlias": _create_alias,
    "UpdateAlias": _update_alias,
    "DeleteAlias": _delete_alias,
    "RegisterPrincipal": _register_principal,
    "RevokePrincipal": _revoke_principal,
    "PutPolicy": _put_policy,
    "DeletePolicy": _delete_policy,
    "RotateSealingKey": _registry_work,
    "EraseSealingKey": _erase_sealing_key,
}
