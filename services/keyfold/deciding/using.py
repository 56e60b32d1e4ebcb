"""The rule of the data-plane verbs on keys: spec and usage, state, the version that is used, budget and cost. Pure.

Protection is applied by the current version only. What opens or verifies may use others; those that it must not,
because they are disabled or compromised, are named in the authorization. A compromised version is used only by those
whom a policy permits `UseCompromisedVersion`, which no verb is.
"""

from dataclasses import dataclass
from typing import Any, Final

from keyfold.deciding.authorizing import may_use_compromised
from keyfold.deciding.lifecycle import await_import, check_state
from keyfold.deciding.rules import Rule, authorized
from keyfold.deciding.world import World
from keyfold.events import errors
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.commands import AnyCommand, algorithm_of
from keyfold.events.costs import max_items
from keyfold.events.entities import Alias, Key, KeyVersion, Principal
from keyfold.events.evolve import PROTECTING
from keyfold.events.specs import ALGORITHMS, SYMMETRIC_ONLY, USAGE_OF_VERB, message_types

_BY_CIPHERTEXT: Final = frozenset({"Decrypt", "ReEncrypt", "ReEncryptFrom"})
"""Verbs whose items, under a symmetric key, name their version themselves."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose command it is, and whose approvals count."""

    principal: Principal
    approvals: tuple[str, ...]


def use(command: AnyCommand, caller: Caller, world: World) -> tuple[Rule, tuple[str, ...]]:
    """Return the authorization of a use, and the policies that permit compromised versions if one needed that."""
    data = command.data
    key = world.entities.get(command.subject)
    if not isinstance(key, Key):
        raise errors.NotFound
    if not isinstance(data, DataPlaneData):
        raise TypeError(command.verb)
    if data.alias is not None:
        alias = world.registry.get(data.alias)
        if not isinstance(alias, Alias) or alias.key_id != key.key_id:
            raise errors.AliasMoved
    _check_usage(command, data, key)
    check_state(command.verb, key, world.now_ms)
    if command.verb in PROTECTING and key.current.protected_items + data.items > key.usage_budget:
        raise errors.UsageLimitReached
    return _versions(command, key, caller, world)


def _check_usage(command: AnyCommand, data: DataPlaneData[Any], key: Key) -> None:
    """Refuse what keys of this spec and usage do not do, and batches that cost too much."""
    verb = command.verb
    symmetric = key.key_spec == "SYMMETRIC_DEFAULT"
    if USAGE_OF_VERB[verb] != key.key_usage or (verb in SYMMETRIC_ONLY and not symmetric):
        raise errors.InvalidKeyUsage
    algorithm = algorithm_of(command)
    if algorithm not in ALGORITHMS[key.key_spec, key.key_usage]:
        raise errors.InvalidKeyUsage
    if verb in {"Sign", "Verify"} and data.arguments.message_type not in message_types(algorithm):
        raise errors.InvalidKeyUsage("this algorithm does not take this message type")
    if not symmetric and data.contexts != [{}]:
        raise errors.InvalidCommand("only symmetric encryption binds an encryption context; send one empty context")
    if symmetric and verb == "Decrypt" and data.arguments.key_version is not None:
        raise errors.InvalidCommand("symmetric ciphertexts name their version themselves; name none")
    pair_spec = getattr(data.arguments, "key_pair_spec", None)
    if data.items > max_items(verb, pair_spec or key.key_spec):
        raise errors.BatchTooExpensive


def touched(command: AnyCommand, key: Key) -> tuple[KeyVersion, ...]:
    """Return the versions that a use may meet: all where ciphertexts name theirs, else the one that it uses.

    Raises `NotFound` for one that is not there.
    """
    return key.versions if _by_ciphertext(command, key) else (key.version(_named(command, key)),)


def _by_ciphertext(command: AnyCommand, key: Key) -> bool:
    return command.verb in _BY_CIPHERTEXT and key.key_spec == "SYMMETRIC_DEFAULT"


def _versions(command: AnyCommand, key: Key, caller: Caller, world: World) -> tuple[Rule, tuple[str, ...]]:
    met = touched(command, key)
    policies: tuple[str, ...] = ()
    permitted = False
    if any(version.compromised and version.status == "Active" for version in met):
        permission = may_use_compromised(command, caller.principal, world, caller.approvals)
        permitted, policies = permission is not None, permission or ()
    if not _by_ciphertext(command, key):
        _check_version(key, met[0], world.now_ms, permitted=permitted)
        return authorized(command, key, met[0].version), policies
    existing = [version for version in met if version.status in {"Active", "Disabled"}]
    refused = [each.version for each in existing if _refused(each, world.now_ms, permitted=permitted)]
    if len(refused) == len(existing):
        raise errors.KeyCompromised if any(v.compromised for v in existing) else errors.KeyVersionUnusable
    protects = key.current_version if command.verb in PROTECTING else None
    return authorized(command, key, protects, refused), policies


def _named(command: AnyCommand, key: Key) -> int:
    """Return the one version that a command uses. Raises `NotFound` for one that is not there."""
    chosen = getattr(command.data.arguments, "key_version", None)
    number: int = key.current_version if chosen is None else chosen
    if number > len(key.versions):
        raise errors.NotFound("the key has no such version")
    return number


def _check_version(key: Key, version: KeyVersion, now_ms: int, *, permitted: bool) -> None:
    if version.status != "Active":
        raise errors.KeyVersionUnusable
    if not version.has_material(now_ms):
        await_import(key)
        raise errors.KeyVersionUnusable
    if version.compromised and not permitted:
        raise errors.KeyCompromised


def _refused(version: KeyVersion, now_ms: int, *, permitted: bool) -> bool:
    if version.status != "Active" or not version.has_material(now_ms):
        return True
    return version.compromised and not permitted
