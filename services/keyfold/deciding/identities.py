"""The rules of principals and their signing keys: from a command and the state to the fact that it becomes. Pure.

A name belongs to one principal for ever, and a signing key to one principal as long as its index is kept, revoked or
not. How principals of an issuer come about is in `federation`; that administrators remain is checked for all verbs in
one place, not here.
"""

from collections.abc import Callable
from typing import Any, Final

from keyfold.deciding.rules import Rule
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.entities import Principal, PrincipalKey
from keyfold.events.signatures import fingerprint
from keyfold.events.times import to_milliseconds

MAX_SIGNING_KEYS: Final = 10


def _principal(command: Any, world: World) -> Principal:
    """Return the principal that the command is about, unless it is revoked."""
    principal = world.entities.get(f"principal/{command.data.arguments.principal}")
    if not isinstance(principal, Principal):
        raise errors.NotFound
    if principal.status == "Revoked":
        raise errors.InvalidState("the principal is revoked")
    return principal


def _own(command: Any, world: World) -> Principal:
    """Return the principal, unless its keys, groups and tags are what tokens say."""
    principal = _principal(command, world)
    if principal.principal_type == "federated":
        raise errors.InvalidState("the keys, groups and tags of a federated principal come from its tokens")
    return principal


def _check_expiry(expires_at: str | None, world: World) -> None:
    if expires_at is not None and to_milliseconds(expires_at) <= world.now_ms:
        raise errors.InvalidCommand("`expires_at` must be in the future")


def _check_new_key(arguments: Any, world: World) -> None:
    if f"signing-key/{fingerprint(bytes.fromhex(arguments.public_key))}" in world.entities:
        raise errors.AlreadyExists("the signing key is in use, or was")
    _check_expiry(arguments.expires_at, world)


def _check_room(kept: tuple[PrincipalKey, ...]) -> None:
    if len(kept) >= MAX_SIGNING_KEYS:
        raise errors.InvalidCommand(f"a principal has at most {MAX_SIGNING_KEYS} usable signing keys; revoke one")


def _register_principal(command: Any, world: World) -> Rule:
    arguments = command.data.arguments
    if f"principal/{arguments.principal}" in world.entities:
        raise errors.AlreadyExists
    _check_new_key(arguments, world)
    return facts.PrincipalRegistered, arguments.model_dump()


def _update_principal(command: Any, world: World) -> Rule:
    arguments = command.data.arguments
    of_tokens = arguments.groups is not None or arguments.tags is not None
    principal = _own(command, world) if of_tokens else _principal(command, world)
    expires_at = principal.expires_at if arguments.expires_at is None else arguments.expires_at
    if expires_at == "never":
        expires_at = None
    elif arguments.expires_at is not None:
        _check_expiry(expires_at, world)
    return facts.PrincipalUpdated, {
        "principal": principal.principal,
        "groups": list(principal.groups) if arguments.groups is None else arguments.groups,
        "tags": principal.tags if arguments.tags is None else arguments.tags,
        "expires_at": expires_at,
    }


def _suspend_principal(command: Any, world: World) -> Rule:
    principal = _principal(command, world)
    if principal.status != "Active":
        raise errors.InvalidState("the principal is suspended already")
    return facts.PrincipalSuspended, {"principal": principal.principal, "reason": command.data.arguments.reason}


def _resume_principal(command: Any, world: World) -> Rule:
    principal = _principal(command, world)
    if principal.status != "Suspended":
        raise errors.InvalidState("the principal is not suspended")
    return facts.PrincipalResumed, {"principal": principal.principal}


def _revoke_principal(command: Any, world: World) -> Rule:
    return facts.PrincipalRevoked, {"principal": _principal(command, world).principal}


def _add_signing_key(command: Any, world: World) -> Rule:
    principal = _own(command, world)
    _check_new_key(command.data.arguments, world)
    _check_room(principal.usable_keys(world.now_ms))
    return facts.SigningKeyAdded, command.data.arguments.model_dump()


def _rotate_signing_key(command: Any, world: World) -> Rule:
    """An expired key may be replaced as well; then the principal has one usable key more than before."""
    arguments = command.data.arguments
    principal = _own(command, world)
    replaced = principal.key(arguments.replaces)
    if replaced is None or replaced.status != "Active":
        raise errors.NotFound("the principal has no active signing key of this fingerprint")
    _check_new_key(arguments, world)
    _check_room(tuple(key for key in principal.usable_keys(world.now_ms) if key != replaced))
    expires_at = arguments.expires_at
    if command.data.principal == principal.principal:
        expires_at = _own_expiry(command, replaced)
    return facts.SigningKeyRotated, {**arguments.model_dump(), "expires_at": expires_at}


def _own_expiry(command: Any, replaced: PrincipalKey) -> str | None:
    """Who rotates a key of their own replaces the one that they sign with, and gets no more time by it."""
    wanted: str | None = command.data.arguments.expires_at
    if replaced.signing_key != command.data.signing_key:
        raise errors.InvalidState("sign with the key that is replaced; an administrator may replace any")
    if replaced.expires_at is None:
        return wanted
    if wanted is not None and to_milliseconds(wanted) > to_milliseconds(replaced.expires_at):
        raise errors.InvalidCommand("the key that is replaced ends before; an administrator may give more time")
    return wanted or replaced.expires_at


def _revoke_signing_key(command: Any, world: World) -> Rule:
    """A revoked principal's keys can be revoked too: then what they sign is not even decided any more."""
    arguments = command.data.arguments
    principal, signing_key = world.principal(arguments.principal), arguments.signing_key
    if principal is None:
        raise errors.NotFound
    key = principal.key(signing_key)
    if key is None:
        raise errors.NotFound("the principal has no signing key of this fingerprint")
    if key.status != "Active":
        raise errors.InvalidState("the signing key is revoked already")
    return facts.SigningKeyRevoked, {"principal": principal.principal, "signing_key": signing_key}


RULES: Final[dict[str, Callable[[Any, Any], Rule]]] = {
    "RegisterPrincipal": _register_principal,
    "UpdatePrincipal": _update_principal,
    "SuspendPrincipal": _suspend_principal,
    "ResumePrincipal": _resume_principal,
    "RevokePrincipal": _revoke_principal,
    "AddSigningKey": _add_signing_key,
    "RotateSigningKey": _rotate_signing_key,
    "RevokeSigningKey": _revoke_signing_key,
}
