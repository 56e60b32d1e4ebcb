"""`decide`: from an admitted command and what is known, to the one event that answers it. Pure and total.

No I/O, clock, randomness or ids made inside: the same command, state and time give the same bytes again. The order of
checks: who (revoked?), form, freshness of the caller's view, sealing key, authorization, then state. Authorization
comes before state, so that who may not use a key does not learn about it.
"""

from typing import Any, Final

from keyfold.deciding.admission import Admitted, reply_topic_allowed
from keyfold.deciding.cedar import Request
from keyfold.deciding.control import CONTROL
from keyfold.deciding.lifecycle import check_state
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.commands import (
    MAX_CONTEXT_BYTES,
    MAX_CONTEXTS_BYTES,
    MAX_ITEMS,
    CreateKey,
    DataPlaneData,
    GenerateRandom,
    ReEncrypt,
)
from keyfold.events.entities import MAX_PROTECTED_ITEMS, Alias, Key
from keyfold.events.evolve import PROTECTING
from keyfold.events.streams import key_id_of
from keyfold.events.times import to_text
from keyfold.events.topics import MAX_COMMAND_BYTES


class Denied(errors.AccessDenied):
    """Cedar's answer, with the policies that determined it."""

    def __init__(self, policies: tuple[str, ...]) -> None:
        self.policies = policies
        super().__init__()


class NotYet(errors.RegistryBehind):
    """Not a decision: the caller has seen a later registry than this partition."""


Rule = tuple[type[facts.Event], dict[str, Any]]
_NO_CONTEXTS: Final[list[dict[str, str]]] = [{}]


def decide(admitted: Admitted, world: World) -> facts.PolicyEvent:
    """Return `CommandAuthorized`, a lifecycle fact or `CommandDenied`. Raises `NotYet`, which is no decision."""
    policies: tuple[str, ...] = ()
    try:
        _check_form(admitted, world)
        policies = _authorize(admitted, world)
        kind, data = _rule(admitted, world)
    except NotYet:
        raise
    except errors.Refusal as refusal:
        return denial(admitted, world, refusal.code, getattr(refusal, "policies", policies))
    return _event(kind, admitted, world, policies, data)


def denial(admitted: Admitted, world: World, code: str, policies: tuple[str, ...] = ()) -> facts.PolicyEvent:
    """Return the denial of an admitted command."""
    data = {"verb": admitted.command.verb, "principal": admitted.principal.principal, "code": code}
    return _event(facts.CommandDenied, admitted, world, policies, data)


def _event(
    kind: type[facts.Event], admitted: Admitted, world: World, policies: tuple[str, ...], data: dict[str, Any]
) -> facts.PolicyEvent:
    decision = facts.Decision(
        command=admitted.value.decode(),
        command_digest=admitted.command_digest,
        body_digest=admitted.body_digest,
        signature=admitted.signature.hex(),
        offset=admitted.offset,
        policies=list(policies),
        registry_revision=world.deployment.revision,
        facts_n=world.facts_n,
    )
    identifier = f"{world.partition}.{admitted.offset}.decision"
    event = kind.new(identifier, admitted.command.subject, to_text(world.now_ms), decision=decision, **data)
    if not isinstance(event, facts.PolicyEvent):
        raise TypeError(kind.__name__)
    return event


def _check_form(admitted: Admitted, world: World) -> None:
    data = admitted.command.data
    if admitted.principal.status != "Active":
        raise errors.PrincipalRevoked
    if not reply_topic_allowed(data.reply.topic):
        raise errors.ReplyAddressInvalid
    if isinstance(data, DataPlaneData):
        _check_batch(admitted, data)
    if (data.min_registry_revision or 0) > world.deployment.revision:
        raise NotYet
    if data.sealing_key != world.deployment.current_sealing_key:
        raise errors.SealingKeyRetired


def _check_batch(admitted: Admitted, data: DataPlaneData) -> None:
    if data.items > MAX_ITEMS or data.bytes > MAX_COMMAND_BYTES or len(data.contexts) > data.items:
        raise errors.BatchTooLarge
    sizes = [sum(len(k.encode()) + len(v.encode()) for k, v in context.items()) for context in data.contexts]
    if max(sizes) > MAX_CONTEXT_BYTES or sum(sizes) > MAX_CONTEXTS_BYTES:
        raise errors.BatchTooLarge("an encryption context has at most 8 KiB, all of a command 64 KiB")
    if len(sizes) > 1 and len({tuple(sorted(context.items())) for context in data.contexts}) != len(sizes):
        raise errors.InvalidCommand("the contexts of a command are distinct")
    if isinstance(admitted.command, ReEncrypt):
        destination = admitted.command.data.arguments.destination
        if destination and (len(destination) != len(data.contexts) or max(destination) >= len(data.contexts)):
            raise errors.InvalidCommand("`destination` names one context for each context")


def _authorize(admitted: Admitted, world: World) -> tuple[str, ...]:
    command, data = admitted.command, admitted.command.data
    key_id = key_id_of(command.subject)
    key = world.entities.get(command.subject) if key_id is not None else None
    creation = None
    if isinstance(command, CreateKey):
        arguments = command.data.arguments
        creation = (arguments.protection, arguments.key_spec, arguments.tags)
    plane = data if isinstance(data, DataPlaneData) else None
    request = Request(
        principal=admitted.principal,
        action=command.verb,
        key=key if isinstance(key, Key) else None,
        resource_id=key_id or "registry",
        is_key=key_id is not None,
        creation=creation,
        contexts=plane.contexts if plane else _NO_CONTEXTS,
        items=plane.items if plane else 0,
        bytes=plane.bytes if plane else 0,
        now_ms=world.now_ms,
    )
    verdict = world.authorizer.authorize(request, world.registry, world.deployment.policies_revision)
    if not verdict.allowed:
        raise Denied(verdict.policies)
    return verdict.policies


def _rule(admitted: Admitted, world: World) -> Rule:
    command = admitted.command
    if isinstance(command, GenerateRandom):
        return _authorized(admitted, None)
    if command.data_plane:
        return _use(admitted, world)
    return CONTROL[command.verb](command, world)


def _use(admitted: Admitted, world: World) -> Rule:
    command, data = admitted.command, admitted.command.data
    key = world.entities.get(command.subject)
    if not isinstance(key, Key):
        raise errors.NotFound
    if not isinstance(data, DataPlaneData):
        raise TypeError(command.verb)
    if data.alias is not None:
        alias = world.registry.get(data.alias)
        if not isinstance(alias, Alias) or alias.key_id != key.key_id:
            raise errors.AliasMoved
    check_state(command.verb, key)
    protecting = command.verb in PROTECTING
    if protecting and key.version(key.current_version).protected_items + data.items > MAX_PROTECTED_ITEMS:
        raise errors.UsageLimitReached
    return _authorized(admitted, key)


def _authorized(admitted: Admitted, key: Key | None) -> Rule:
    command, data = admitted.command, admitted.command.data
    if not isinstance(data, DataPlaneData):
        raise TypeError(command.verb)
    return facts.CommandAuthorized, {
        "verb": command.verb,
        "principal": admitted.principal.principal,
        "key_id": key.key_id if key else None,
        "key_version": key.current_version if key and command.verb in PROTECTING else None,
        "protection": key.protection if key else None,
        "items": data.items,
        "bytes": data.bytes,
    }
