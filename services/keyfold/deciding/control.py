"""The rules of the control verbs: from a command and the state to the fact that it becomes. Pure.

Each rule returns the event's class and its data, or raises the refusal. Authorization was decided before.
"""

from collections.abc import Callable
from typing import Any, Final

from keyfold.deciding import (
    federation,
    grants,
    identities,
    imports,
    incidents,
    keys,
    limits,
    proposals,
    storage,
    versions,
)
from keyfold.deciding.cedar import validate_policy
from keyfold.deciding.keys import governed_key
from keyfold.deciding.rules import Rule
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.entities import Alias, RegistryPolicy
from keyfold.events.streams import REGISTRY

MAX_KEY_POLICIES: Final = 20


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


def _put_policy(command: Any, world: World) -> Rule:
    arguments = command.data.arguments
    if command.subject != REGISTRY:
        key = governed_key(command, world)
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
        found = any(attached.policy == policy for attached in governed_key(command, world).policies)
    if not found:
        raise errors.NotFound
    return facts.PolicyDeleted, {"policy": policy}


CONTROL: Final[dict[str, Callable[[Any, Any], Rule]]] = {
    **keys.RULES,
    **versions.RULES,
    **imports.RULES,
    **storage.RULES,
    **grants.RULES,
    **limits.RULES,
    **incidents.RULES,
    **proposals.RULES,
    "CreateAlias": _create_alias,
    "UpdateAlias": _update_alias,
    "DeleteAlias": _delete_alias,
    "PutPolicy": _put_policy,
    "DeletePolicy": _delete_policy,
    **identities.RULES,
    **federation.RULES,
}
