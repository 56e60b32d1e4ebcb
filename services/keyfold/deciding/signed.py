"""The signatures of principals that a decision stands on, as values: they can wait, or be sent about. Pure.

Which they are, and in which order, is said here once; who verifies them, and when, is the caller's.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from keyfold.deciding import federation
from keyfold.deciding.replaying import Recorded
from keyfold.deciding.world import World
from keyfold.events import facts
from keyfold.events.commands import AnyCommand, AssumePrincipalWithWebIdentity, parse_command
from keyfold.events.entities import Principal
from keyfold.events.errors import SignatureInvalid
from keyfold.events.evolve import get
from keyfold.events.signatures import SignatureAlgorithm, Verifier, command_message_of_digest, fingerprint


class Signed(NamedTuple):
    """A message and the signature that it must have. The public key is raw bytes, hex."""

    public_key: str
    algorithm: SignatureAlgorithm
    signature: bytes
    message: bytes

    def valid(self) -> bool:
        """Verify. It is a value that is sent about, so it answers; whoever asked makes a finding of it."""
        try:
            _verifier(self.public_key, self.algorithm).verify(self.signature, self.message)
        except (SignatureInvalid, ValueError):  # a policy processor may register what is no key of its algorithm
            return False
        return True


def principal_of(command: AnyCommand, world: World) -> Principal:
    """Return who signed an admitted command: as registered, or as its token says. Raises KeyError, `Refusal`."""
    if isinstance(command, AssumePrincipalWithWebIdentity):
        identity = federation.authenticate(command, world.registry, world.now_ms)
        return federation.principal_of(identity, command.data.arguments.public_key, world.registry, world.now_ms)
    return get(world.registry, f"principal/{command.data.principal}", Principal)


def signed_of(recorded: Recorded, principal: Principal) -> Iterator[Signed]:
    """Yield what must be signed for a decision: its command, by its principal, and that of a proposal carried out, with
    the key that its author signed it with; a key of an issuer's principal may be over and gone by then: its signature
    was checked when it was proposed.

    Raises KeyError, `Refusal`; and `SignatureInvalid` for a key that is not there or a signature that is not even hex.
    """
    decision, world = recorded.decision, recorded.world
    yield _signed(world, recorded.command, decision, principal)
    if decision.proposal is not None:
        proposing = parse_command(decision.proposal.command.encode())
        author = principal_of(proposing, world)
        if author.key(proposing.data.signing_key) is not None or author.principal_type != "federated":
            yield _signed(world, proposing, decision.proposal, author)


def _signed(
    world: World, command: AnyCommand, signed: facts.Decision | facts.ProposalUse, principal: Principal
) -> Signed:
    key = principal.key(command.data.signing_key)
    if key is None:
        raise SignatureInvalid("the principal has no such signing key")
    try:
        signature = bytes.fromhex(signed.signature)
    except ValueError:
        raise SignatureInvalid("the signature is not hex") from None
    deployment, body_digest = _deployment(world.deployment.root_public_key), bytes.fromhex(signed.body_digest)
    message = command_message_of_digest(deployment, command.subject.encode(), signed.command.encode(), body_digest)
    return Signed(key.public_key, key.algorithm, signature, message)


@lru_cache(maxsize=16)
def _deployment(root_public_key: str) -> str:
    return fingerprint(bytes.fromhex(root_public_key))


@lru_cache(maxsize=256)
def _verifier(public_key: str, algorithm: SignatureAlgorithm) -> Verifier:
    return Verifier(bytes.fromhex(public_key), algorithm)
