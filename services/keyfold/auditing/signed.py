"""The signatures of principals that an auditor has to verify, as values: they can wait, and be sent to another process.

What is gathered and in which order is what `deciding.remaking.check_signature` says; here the arithmetic is put off,
since nothing else that is found out about a history depends on it. It costs more than all the rest together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

from keyfold.auditing.findings import Illegal
from keyfold.deciding.remaking import principal_of
from keyfold.deciding.replaying import Recorded
from keyfold.deciding.world import World
from keyfold.events import facts
from keyfold.events.commands import AnyCommand, parse_command
from keyfold.events.entities import Principal
from keyfold.events.errors import SignatureInvalid
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
        except SignatureInvalid:
            return False
        return True


@dataclass(slots=True)
class Pending:
    """What is wrong with a decision if one of its signatures is, and if none is: as if they were verified first."""

    signed: list[Signed]
    signer: tuple[str, str]
    otherwise: Illegal | None = None

    def settled(self, *, valid: bool) -> Illegal | None:
        """Return what is wrong, now that it is known whether all signatures are good."""
        return self.otherwise if valid else not_signed(self.signer, SignatureInvalid.code)


def not_signed(signer: tuple[str, str], reason: str) -> Illegal:
    """Return the finding about a command that is not signed by its principal, with that key."""
    principal, signing_key = signer
    return Illegal("SignatureInvalid", f"a signature of {principal}, key {signing_key[:16]}", reason)


class Verdicts(Protocol):
    """Which of some signatures are wrong, by their place."""

    def ready(self) -> bool:
        """Tell whether they are known."""

    def wrong(self) -> frozenset[int]:
        """Return them, after waiting for them if need be."""


class Checker(Protocol):
    """Who verifies signatures: this process, or another one that has nothing else to do."""

    def check(self, signed: Sequence[Signed]) -> Verdicts: ...


@dataclass(frozen=True, slots=True)
class Known:
    """Verdicts that are there."""

    places: frozenset[int]

    def ready(self) -> bool:
        return True

    def wrong(self) -> frozenset[int]:
        return self.places


class OwnChecker:
    """Verifies at once, in this process."""

    def check(self, signed: Sequence[Signed]) -> Known:
        return Known(wrong_of(signed))


def wrong_of(signed: Sequence[Signed]) -> frozenset[int]:
    """Verify signatures; return the places of those that are wrong."""
    return frozenset(place for place, each in enumerate(signed) if not each.valid())


def signed_of(recorded: Recorded, principal: Principal) -> Iterator[Signed]:
    """Yield what must be signed for a decision: its command, by its principal, and that of a proposal carried out.

    Raises, in their order, what `check_signature` raises but for the arithmetic: KeyError, `Refusal`; and
    `SignatureInvalid` for a signature that is not even hex.
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
