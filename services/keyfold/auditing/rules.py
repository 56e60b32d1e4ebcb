"""Whether a decision follows from its command, its principal and the state in which it was made. Pure.

Asked again are: that the command is the one that was signed, by a key that its principal could use then, for this
stream and in time; that what it became is what the state of key, version or registry makes of it. Rights, limits and
approvals are not asked again here, as that takes Cedar: `keyfold policy explain` makes a decision again with them all.
"""

from hashlib import sha256
from typing import Any, Final

from keyfold.auditing.findings import Illegal
from keyfold.auditing.signed import Pending, not_signed
from keyfold.deciding import using
from keyfold.deciding.control import CONTROL
from keyfold.deciding.lifecycle import check_state
from keyfold.deciding.replaying import Recorded
from keyfold.deciding.signed import principal_of, signed_of
from keyfold.deciding.world import World
from keyfold.events import commands, facts
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.commands import AnyCommand
from keyfold.events.entities import Key
from keyfold.events.errors import KeyfoldError, Refusal
from keyfold.events.evolve import PROTECTING
from keyfold.events.proposals import proposed_in
from keyfold.events.times import to_milliseconds

_BECOMES: Final[dict[str, type[facts.PolicyEvent]]] = {
    "ProposeCommand": facts.ProposalCreated,
    "ApproveProposal": facts.ProposalApproved,
    "GenerateRandom": facts.CommandAuthorized,
}
_BY_CIPHERTEXT: Final = frozenset({"Decrypt", "ReEncrypt", "ReEncryptFrom"})


def check_decision(recorded: Recorded) -> None:
    """Raise `Illegal` unless a decision is what it must be. The world must be the one before it."""
    pending = examine(recorded)
    illegal = pending.settled(valid=all(each.valid() for each in pending.signed))
    if illegal is not None:
        raise illegal


def examine(recorded: Recorded) -> Pending:
    """Look at all of a decision but whether its signatures are good. Raises `Illegal` for what comes before them."""
    try:
        command = recorded.command
    except Refusal as refusal:
        raise no_command(refusal) from None
    _check_record(recorded, command)
    pending = Pending([], (command.data.principal, command.data.signing_key))
    try:
        _check_signer(recorded, command, pending)
        _check_became(recorded, command)
    except Illegal as illegal:
        pending.otherwise = illegal
    except Refusal as refusal:
        pending.otherwise = no_command(refusal)
    return pending


def no_command(refusal: Refusal) -> Illegal:
    """Return the finding about bytes that are no command."""
    return Illegal("CommandMismatch", "a command", f"bytes that are none ({refusal.code})")


def executed_command(event: facts.PolicyEvent, command: AnyCommand) -> AnyCommand:
    """Return what is carried out: the proposed command, where an approval does that. Raises `InvalidCommand`."""
    use = event.data.decision.proposal
    if use is not None and isinstance(command, commands.ApproveProposal):
        return proposed_in(use.command.encode())
    return command


def _check_record(recorded: Recorded, command: AnyCommand) -> None:
    decision, event, now_ms = recorded.decision, recorded.event, recorded.world.now_ms
    digest = sha256(decision.command.encode()).hexdigest()
    if decision.command_digest != digest:
        raise Illegal("CommandMismatch", f"the digest {digest} of the command", decision.command_digest)
    if command.subject != event.subject:
        raise Illegal("CommandMismatch", f"a command for {event.subject}", f"one for {command.subject}")
    identifier = f"{recorded.leaf.partition}.{decision.offset}.decision"
    if event.id != identifier:
        raise Illegal("CommandMismatch", f"the id {identifier}", event.id[:100])
    if to_milliseconds(command.data.expires_at) <= now_ms:
        raise Illegal("OrderBroken", f"a decision before {command.data.expires_at}", f"one at {event.time}")


def _check_signer(recorded: Recorded, command: AnyCommand, pending: Pending) -> None:
    world = recorded.world
    try:
        principal = principal_of(command, world)
        pending.signed.extend(signed_of(recorded, principal))
    except (KeyfoldError, KeyError) as error:
        reason = error.code if isinstance(error, KeyfoldError) else f"no such principal: {error}"
        raise not_signed(pending.signer, reason) from None
    key = principal.key(command.data.signing_key)
    federated = isinstance(command, commands.AssumePrincipalWithWebIdentity)  # its token may be read a little late
    usable = key is not None and (federated or key.usable(world.now_ms))
    if not usable or _revoked(command, world):
        raise Illegal("SignatureInvalid", "a signing key that is in use", "one that is revoked or over")


def _revoked(command: AnyCommand, world: World) -> bool:
    """Tell whether the registry has the key as revoked; a token that brings it again does not know that."""
    known = world.principal(command.data.principal)
    key = None if known is None else known.key(command.data.signing_key)
    return key is not None and key.status == "Revoked"


def _check_became(recorded: Recorded, command: AnyCommand) -> None:
    event = recorded.event
    if isinstance(event, facts.CommandDenied | facts.DryRunSucceeded):
        told = (event.data.verb, event.data.principal)
        if told != (command.verb, command.data.principal):
            raise Illegal("CommandMismatch", f"an answer to {command.verb}", f"one to {told[0]} of {told[1]}")
        if isinstance(event, facts.DryRunSucceeded) and not command.data.dry_run:
            raise Illegal("CommandMismatch", "a decision to execute", "a dry run")
        return
    if command.data.dry_run:
        raise Illegal("CommandMismatch", "a dry run or a denial", event.type)
    try:
        executed = executed_command(event, command)
    except Refusal as refusal:
        raise Illegal("CommandMismatch", "a proposed command", f"none ({refusal.code})") from None
    try:
        _check_rule(recorded, executed)
    except (Refusal, KeyError) as error:
        code = error.code if isinstance(error, Refusal) else f"no {error}"
        raise Illegal("NotAllowed", f"{executed.verb} to be denied: {code}", event.type) from None


def _check_rule(recorded: Recorded, command: AnyCommand) -> None:
    event, world = recorded.event, recorded.world
    rule = CONTROL.get(command.verb)
    if rule is not None:
        kind, data = rule(command, world)
        made = kind.new(event.id, event.subject, event.time, decision=event.data.decision, **data)
        if made.to_value() != recorded.leaf.value:
            raise Illegal("NotAllowed", _told(made, event), _told(event, made))
        return
    becomes = _BECOMES.get(command.verb)
    if becomes is None:
        _check_use(command, event, world)
    elif not isinstance(event, becomes):
        raise Illegal("NotAllowed", becomes.type_name, event.type)


def _told(event: facts.Event, other: facts.Event) -> str:
    """Name an event, and the fields in which it differs from another."""
    if event.type != other.type:
        return event.type
    names = type(event.data).model_fields
    differing = [name for name in names if getattr(event.data, name) != getattr(other.data, name)]
    values = ", ".join(f"{name} {getattr(event.data, name)!r}" for name in differing if name != "decision")
    return f"{event.type} with {values[:200]}" if values else event.type


def _check_use(command: AnyCommand, event: facts.PolicyEvent, world: World) -> None:
    """The state of the key allows the verb, and the versions are those that the verb uses then."""
    key, data = world.entities.get(command.subject), command.data
    if not isinstance(key, Key):
        raise KeyError(command.subject)
    if not isinstance(event, facts.CommandAuthorized) or not isinstance(data, DataPlaneData):
        raise Illegal("NotAllowed", facts.CommandAuthorized.type_name, event.type)
    expected = (command.verb, data.principal, key.key_id, key.protection, data.items, data.bytes)
    told = event.data
    found = (told.verb, told.principal, told.key_id, told.protection, told.items, told.bytes)
    if found != expected:
        raise Illegal("CommandMismatch", f"the authorization of {expected}", str(found))
    check_state(command.verb, key, world.now_ms)
    if command.verb in PROTECTING and key.current.protected_items + data.items > key.usage_budget:
        raise Illegal("NotAllowed", f"at most {key.usage_budget} items by one version", "more")
    _check_versions(command, key, told, world.now_ms)


def _check_versions(command: AnyCommand, key: Key, told: facts.CommandAuthorized.Data, now_ms: int) -> None:
    met = using.touched(command, key)
    if command.verb in _BY_CIPHERTEXT and key.key_spec == "SYMMETRIC_DEFAULT":
        wanted = key.current_version if command.verb in PROTECTING else None
        unusable = {v.version for v in met if v.status == "Disabled" or _empty(v, now_ms)}
        if not unusable <= set(told.refused_versions):
            raise Illegal("NotAllowed", f"versions {sorted(unusable)} to be refused", str(told.refused_versions))
    else:
        wanted = met[0].version
        if met[0].status != "Active" or not met[0].has_material(now_ms):
            raise Illegal("NotAllowed", "an active version with material", f"version {wanted}, {met[0].status}")
    if told.key_version != wanted:
        raise Illegal("NotAllowed", f"version {wanted} to be used", f"version {told.key_version}")


def _empty(version: Any, now_ms: int) -> bool:
    return version.status == "Active" and not version.has_material(now_ms)
