"""Tickets: what policy authorized, as one value. Pure: an authentic record in, a ticket out.

A ticket is never decided about again here. The approval that completes a proposal carries out the proposed command, so
the ticket is that command's: its verb and principal, though id, offset and reply are the approval's. What does not fit
together in it (a body of another digest, a command that this version cannot read) is kept as its `refusal`, because
every accepted command gets an outcome.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from keyfold.events import facts, strictjson, topics
from keyfold.events.chains import Accepted, read_event
from keyfold.events.command_envelope import TYPE_PREFIX
from keyfold.events.commands import (
    AnyCommand,
    ApproveProposal,
    Decrypt,
    Encrypt,
    ImportKeyMaterial,
    algorithm_of,
    parse_command,
)
from keyfold.events.errors import InvalidBody, InvalidCommand, Refusal
from keyfold.events.proposals import proposed_in
from keyfold.events.statements import UntrustedRecord
from keyfold.events.streams import REGISTRY, key_id_of

_ASKS_TOKEN: Final = frozenset(
    {"CreateKey", "RotateKey", "DisableKey", "ScheduleKeyDeletion", "DestroyKey", "DestroyKeyNow"}
    | {"DisableKeyVersion", "DestroyKeyVersion", "MarkKeyCompromised"}
    | {"GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial"}
    | {"GenerateRandom", "RotateSealingKey", "EraseSealingKey", "BeginStorageEpoch", "EndStorageEpoch"}
)
_COMPUTES_LONG: Final = frozenset(
    {"Sign", "Verify", "DeriveSharedSecret", "Encapsulate", "Decapsulate"}
    | {"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo"}
)


@dataclass(frozen=True, slots=True, repr=False)
class Ticket:
    """One accepted command with its decision and its sealed body. `executed` is the command that is carried out.

    `flaw` says what is wrong with what the command claims, where that could be found out only by reading the log.
    `trace` is the step of a trace that is continued here; nobody vouches for it.
    """

    partition: int
    event: facts.PolicyEvent
    command: AnyCommand | None
    executed: AnyCommand | None
    value: bytes
    sealed: bytes
    command_id: str
    principal: str
    verb: str
    refusal: Refusal | None = None
    flaw: str | None = None
    trace: bytes | None = None

    @property
    def decision(self) -> facts.Decision:
        """Why it was accepted."""
        return self.event.data.decision

    @property
    def stream(self) -> str:
        """The stream that command, ticket and outcome belong to."""
        return self.event.subject

    @property
    def key_id(self) -> str | None:
        """The key whose stream this is."""
        return key_id_of(self.event.subject)

    @property
    def version(self) -> int:
        """The key version that policy decided on; 0 where none or several apply."""
        event = self.event
        if isinstance(event, facts.CommandAuthorized):
            return event.data.key_version or 0
        if isinstance(event, facts.KeyRotated):
            return event.data.version
        return 1 if isinstance(event, facts.KeyCreated) else 0

    @property
    def registry_revision(self) -> int:
        """The registry revision that the command was decided at, or that it made."""
        made = self.event.subject == REGISTRY and not isinstance(self.event, facts.CommandAuthorized)
        return self.event.data.decision.registry_revision + int(made)

    @property
    def asks_token(self) -> bool:
        """Whether it is not for the event loop: it asks a token in any case, or computes for long.

        Others ask the token where something is not open yet.
        """
        event, command = self.event, self.command
        in_token = isinstance(event, facts.CommandAuthorized) and event.data.protection == "HSM"
        if in_token or self.verb in _ASKS_TOKEN or self.verb in _COMPUTES_LONG:
            return True
        return isinstance(command, Encrypt | Decrypt) and algorithm_of(command) != "SYMMETRIC_DEFAULT"

    @property
    def only_uses_keys(self) -> bool:
        """Whether it leaves the keystore as it is, so that others of its kind may be executed beside it."""
        command = self.command
        return command is not None and command.data_plane and not isinstance(command, ImportKeyMaterial)


def read_ticket(accepted: Accepted, partition: int) -> Ticket:
    """Read an authentic record of the authorized topic. Raises `UntrustedRecord` for what is no ticket."""
    event = read_event(accepted, topics.EVENTS)
    if not isinstance(event, facts.PolicyEvent) or isinstance(event, facts.CommandDenied):
        raise UntrustedRecord(f"{event.type} is no ticket")
    value, sealed = event.data.decision.command.encode(), accepted.entry.sealed
    try:
        command = parse_command(value)
    except Refusal as refusal:
        return _unreadable(partition, event, value, refusal)
    mismatch = _mismatch(event, command, value, sealed)
    try:
        executed = _executed(event, command)
    except Refusal as refusal:
        executed, mismatch = command, refusal
    principal, verb = executed.data.principal, executed.verb
    return Ticket(partition, event, command, executed, value, sealed, command.id, principal, verb, mismatch)


def _executed(event: facts.PolicyEvent, command: AnyCommand) -> AnyCommand:
    proposal = event.data.decision.proposal
    if proposal is None or not isinstance(command, ApproveProposal):
        return command
    return proposed_in(proposal.command.encode())


def _mismatch(event: facts.PolicyEvent, command: AnyCommand, value: bytes, sealed: bytes) -> Refusal | None:
    decision = event.data.decision
    if sha256(sealed).hexdigest() != decision.body_digest:
        return InvalidBody("the ticket carries another body than was decided on")
    if sha256(value).hexdigest() != decision.command_digest or command.subject != event.subject:
        return InvalidCommand("the ticket's command is not the one that was decided on")
    return None


def _unreadable(partition: int, event: facts.PolicyEvent, value: bytes, refusal: Refusal) -> Ticket:
    """A command that policy could read and this version cannot still gets its outcome, if it says whose it is."""
    try:
        document = strictjson.loads(value)
        identity = facts.OutcomeData(
            offset=event.data.decision.offset,
            command_id=document["id"],
            command_digest=event.data.decision.command_digest,
            principal=document["data"]["principal"],
            verb=document["type"].removeprefix(TYPE_PREFIX).partition(".")[0],
        )
    except (InvalidCommand, ValueError, TypeError, KeyError, AttributeError):
        raise UntrustedRecord("the ticket's command does not even say whose it is") from None
    return Ticket(
        partition, event, None, None, value, b"", identity.command_id, identity.principal, identity.verb, refusal
    )
