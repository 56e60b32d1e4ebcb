"""A decision made again from what stands in the log, and compared bit for bit. Pure.

It takes the world from `replaying`. The sealed body is not in the log; no decision depends on more of it than its
digest, which is. Nothing is repaired or explained here.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from keyfold.deciding import federation
from keyfold.deciding.admission import Admitted
from keyfold.deciding.decide import decide
from keyfold.deciding.replaying import Recorded
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.commands import AnyCommand, AssumePrincipalWithWebIdentity, parse_command
from keyfold.events.entities import Principal
from keyfold.events.evolve import get
from keyfold.events.signatures import SignatureAlgorithm, Verifier, command_message_of_digest, fingerprint
from keyfold.events.times import to_milliseconds

Verdict = Literal["reproduced", "differs", "not expected"]


@dataclass(frozen=True, slots=True)
class Remade:
    """A decision made again. `event` is what came of it, if anything did; `why` says what is wrong, if something is."""

    verdict: Verdict
    event: facts.PolicyEvent | None
    why: str


def principal_of(command: AnyCommand, world: World) -> Principal:
    """Return who signed an admitted command: as registered, or as its token says. Raises KeyError, `Refusal`."""
    if isinstance(command, AssumePrincipalWithWebIdentity):
        identity = federation.authenticate(command, world.registry, world.now_ms)
        return federation.principal_of(identity, command.data.arguments.public_key, world.registry, world.now_ms)
    return get(world.registry, f"principal/{command.data.principal}", Principal)


def admitted_of(recorded: Recorded) -> Admitted:
    """Return what admission had made of the command; the sealed body is empty. Raises KeyError, `Refusal`."""
    decision, command = recorded.decision, recorded.command
    return Admitted(
        command=command,
        principal=principal_of(command, recorded.world),
        value=decision.command.encode(),
        sealed=b"",
        signature=bytes.fromhex(decision.signature),
        offset=decision.offset,
        command_digest=decision.command_digest,
        body_digest=decision.body_digest,
        expires_ms=to_milliseconds(command.data.expires_at),
    )


def redecide(recorded: Recorded) -> facts.PolicyEvent:
    """Make a decision again. Raises whatever that raises: `Refusal` and KeyError where the log cannot be right."""
    return decide(admitted_of(recorded), recorded.world)


def remake(recorded: Recorded) -> Remade:
    """Make a decision again and compare the exact bytes. Total: what cannot be made again differs."""
    event, _ = recorded.event, recorded.world  # one that has moved on is a mistake of ours, not of the log
    if isinstance(event, facts.CommandDenied) and event.data.code == errors.InternalError.code:
        return Remade("not expected", None, "an error inside policy is no rule, and need not happen again")
    if recorded.flaw is not None:
        return Remade("differs", None, recorded.flaw)
    try:
        made = redecide(recorded)
    except Exception as error:  # noqa: BLE001 - whatever it is, the decision cannot be made again
        return Remade("differs", None, f"it cannot be made again: {type(error).__name__}: {error}")
    if made.to_value() == recorded.leaf.value:
        return Remade("reproduced", made, "")
    return Remade("differs", made, f"made again, it is {made.type}")


def check_signature(recorded: Recorded) -> None:
    """Raise `SignatureInvalid` unless the principal's key signed the command, as the registry knew it then.

    The command of a proposal that is carried out is checked too, with the key that its author signed it with; a key of
    an issuer's principal may be over and gone by then: its signature was checked when it was proposed.
    """
    decision, world = recorded.decision, recorded.world
    _check(world, recorded.command, decision, principal_of(recorded.command, world))
    if decision.proposal is not None:
        proposing = parse_command(decision.proposal.command.encode())
        author = principal_of(proposing, world)
        if author.key(proposing.data.signing_key) is not None or author.principal_type != "federated":
            _check(world, proposing, decision.proposal, author)


def _check(world: World, command: AnyCommand, signed: facts.Decision | facts.ProposalUse, principal: Principal) -> None:
    key = principal.key(command.data.signing_key)
    if key is None:
        raise errors.SignatureInvalid("the principal has no such signing key")
    deployment = fingerprint(bytes.fromhex(world.deployment.root_public_key))
    message = command_message_of_digest(
        deployment, command.subject.encode(), signed.command.encode(), bytes.fromhex(signed.body_digest)
    )
    _verifier(key.public_key, key.algorithm).verify(bytes.fromhex(signed.signature), message)


@lru_cache(maxsize=256)
def _verifier(public_key: str, algorithm: SignatureAlgorithm) -> Verifier:
    return Verifier(bytes.fromhex(public_key), algorithm)
