"""`decide`: from an admitted command and what is known, to the one event that answers it. Pure and total.

No I/O, clock, randomness or ids made inside: the same command, state and time give the same bytes again. The order of
checks: who (revoked?), form, freshness of the caller's view, sealing key, authorization, limits, then state and what
must remain possible. Authorization comes before state, so that who may not use a key does not learn about it.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from keyfold.deciding import limits, proposals, using
from keyfold.deciding.admission import Admitted, reply_topic_allowed
from keyfold.deciding.authorizing import Denied, Permission, authorize
from keyfold.deciding.control import CONTROL
from keyfold.deciding.repairing import GOVERNING, check_repairable
from keyfold.deciding.rules import NotYet, Rule, authorized
from keyfold.deciding.sizes import GROWING, check_size
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.arguments import MAX_ITEMS
from keyfold.events.command_envelope import MAX_CONTEXT_BYTES, MAX_CONTEXTS_BYTES, DataPlaneData
from keyfold.events.commands import AnyCommand, ApproveProposal, GenerateRandom, ProposeCommand, ReEncrypt
from keyfold.events.entities import Principal
from keyfold.events.evolve import evolve
from keyfold.events.times import to_text
from keyfold.events.topics import MAX_COMMAND_BYTES

__all__ = ["Denied", "NotYet", "check_standing", "decide", "denial"]

_STANDING: Final[dict[str, type[errors.Refusal]]] = {
    "Revoked": errors.PrincipalRevoked,
    "Suspended": errors.PrincipalSuspended,
}


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a command becomes, and all that its decision records beside itself."""

    rule: Rule
    permission: Permission
    proposal: facts.ProposalUse | None = None


def decide(admitted: Admitted, world: World) -> facts.PolicyEvent:
    """Return the one event that answers: a fact, `CommandAuthorized`, `DryRunSucceeded` or `CommandDenied`.

    Raises `NotYet`, which is no decision.
    """
    policies: tuple[str, ...] = ()
    try:
        _check_form(admitted, world)
        proposal = proposals.carried_out(admitted.command, world)
        approved_by = proposals.approvers(proposal, world) if proposal else ()
        permission = authorize(admitted.command, admitted.principal, world, approved_by)
        policies = permission.policies
        use = proposals.use_of(proposal, approved_by) if proposal else None
        charges = limits.charges(admitted.command, admitted.principal, world)
        verdict = _carry_out(admitted, permission, use, world)
    except NotYet:
        raise
    except errors.Refusal as refusal:
        return denial(admitted, world, refusal.code, getattr(refusal, "policies", policies))
    if admitted.command.data.dry_run:
        return _dry_run(admitted, verdict, world, charges)
    return _event(admitted, world, verdict, charges)


def denial(admitted: Admitted, world: World, code: str, policies: tuple[str, ...] = ()) -> facts.PolicyEvent:
    """Return the denial of an admitted command."""
    data = {"verb": admitted.command.verb, "principal": admitted.principal.principal, "code": code}
    return _event(admitted, world, _Verdict((facts.CommandDenied, data), Permission(policies)), {})


def _dry_run(admitted: Admitted, verdict: _Verdict, world: World, charges: dict[str, int]) -> facts.PolicyEvent:
    kind, _ = verdict.rule
    data = {
        "verb": admitted.command.verb,
        "principal": admitted.principal.principal,
        "would_be": kind.type_name,
    }
    return _event(admitted, world, _Verdict((facts.DryRunSucceeded, data), verdict.permission), charges)


def _event(admitted: Admitted, world: World, verdict: _Verdict, charges: dict[str, int]) -> facts.PolicyEvent:
    kind, data = verdict.rule
    decision = facts.Decision(
        command=admitted.value.decode(),
        command_digest=admitted.command_digest,
        body_digest=admitted.body_digest,
        signature=admitted.signature.hex(),
        offset=admitted.offset,
        policies=list(verdict.permission.policies),
        registry_revision=world.deployment.revision,
        facts_n=world.facts_n,
        registry_n=world.registry_n,
        root_n=world.root_n,
        grant=verdict.permission.grant,
        charges=charges,
        proposal=verdict.proposal,
    )
    identifier = f"{world.partition}.{admitted.offset}.decision"
    event = kind.new(identifier, admitted.command.subject, to_text(world.now_ms), decision=decision, **data)
    if not isinstance(event, facts.PolicyEvent):
        raise TypeError(kind.__name__)
    return event


def check_standing(principal: Principal, now_ms: int) -> None:
    """Raise `PrincipalRevoked`, `PrincipalSuspended` or `PrincipalExpired` of who may not be answered at all."""
    standing = _STANDING.get(principal.status)
    if standing is not None:
        raise standing
    if principal.expired(now_ms):
        raise errors.PrincipalExpired


def _check_form(admitted: Admitted, world: World) -> None:
    data = admitted.command.data
    check_standing(admitted.principal, world.now_ms)
    if not reply_topic_allowed(data.reply.topic):
        raise errors.ReplyAddressInvalid
    if isinstance(data, DataPlaneData):
        _check_batch(admitted.command, data)
    if (data.min_registry_revision or 0) > world.deployment.revision:
        raise NotYet
    if data.sealing_key != world.deployment.current_sealing_key:
        raise errors.SealingKeyRetired


def _check_batch(command: AnyCommand, data: DataPlaneData[Any]) -> None:
    if data.items > MAX_ITEMS or data.bytes > MAX_COMMAND_BYTES or len(data.contexts) > data.items:
        raise errors.BatchTooLarge
    sizes = [sum(len(k.encode()) + len(v.encode()) for k, v in context.items()) for context in data.contexts]
    if max(sizes) > MAX_CONTEXT_BYTES or sum(sizes) > MAX_CONTEXTS_BYTES:
        raise errors.BatchTooLarge("an encryption context has at most 8 KiB, all of a command 64 KiB")
    if len(sizes) > 1 and len({tuple(sorted(context.items())) for context in data.contexts}) != len(sizes):
        raise errors.InvalidCommand("the contexts of a command are distinct")
    if isinstance(command, ReEncrypt):
        destination = command.data.arguments.destination
        if destination and (len(destination) != len(data.contexts) or max(destination) >= len(data.contexts)):
            raise errors.InvalidCommand("`destination` names one context for each context")


def _carry_out(admitted: Admitted, permission: Permission, use: facts.ProposalUse | None, world: World) -> _Verdict:
    command = admitted.command
    if isinstance(command, ProposeCommand):
        rule, wanted = proposals.propose(command, admitted.command_digest, world)
        if isinstance(wanted.data, DataPlaneData):
            _check_batch(wanted, wanted.data)
        return _Verdict(rule, permission)
    if isinstance(command, ApproveProposal):
        return _approved(admitted, command, permission, world)
    if not command.data_plane or command.verb in CONTROL:
        return _Verdict(_checked_rule(admitted, command, world), permission, use)
    if isinstance(command, GenerateRandom):
        return _Verdict(authorized(command, None), permission, use)
    caller = using.Caller(admitted.principal, tuple(use.approvers) if use else ())
    rule, more = using.use(command, caller, world)
    policies = tuple(sorted({*permission.policies, *more}))
    return _Verdict(rule, replace(permission, policies=policies), use)


def _approved(admitted: Admitted, command: ApproveProposal, permission: Permission, world: World) -> _Verdict:
    granted: list[Permission] = []

    def carry_out(wanted: AnyCommand, by: Permission) -> Rule:
        granted.append(by)
        return _checked_rule(admitted, wanted, world)

    rule, executed = proposals.approve(command, world, carry_out)
    if executed is None:
        return _Verdict(rule, permission)
    approved_by = (*proposals.approvers(executed, world), command.data.principal)
    policies = sorted({*permission.policies, *granted[0].policies})
    return _Verdict(rule, Permission(tuple(policies)), proposals.use_of(executed, approved_by))


def _checked_rule(admitted: Admitted, command: AnyCommand, world: World) -> Rule:
    """Return what a command becomes, unless a key outgrew its record, or too few could put policies right."""
    rule = CONTROL[command.verb](command, world)
    if not issubclass(rule[0], (*GROWING, *GOVERNING)) or command.subject != admitted.command.subject:
        return rule
    changes = evolve(world.entities, _event(admitted, world, _Verdict(rule, Permission(())), {}))
    if issubclass(rule[0], GROWING):
        check_size(changes, world)
    if issubclass(rule[0], GOVERNING):
        check_repairable(changes, world)
    return rule
