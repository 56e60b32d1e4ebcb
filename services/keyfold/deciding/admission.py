"""Admission: is this record a command, and whose? Pure. Nothing here becomes an event.

Authentication comes before parsing, so that what strangers send costs one lookup and at most one signature check, and
is told apart from what a known principal got wrong. One command may come from a stranger: `Assume…WithWebIdentity`,
which is parsed first, because it brings its key, and admitted if an issuer's token binds that key. What fails is
`Rejected`: a rate-limited dead letter, and an error reply where the reply address could be read from bytes that a known
principal, or the holder of the key that the command brings, signed.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from keyfold.bus import Inbound
from keyfold.deciding import federation
from keyfold.events import errors, strictjson, topics
from keyfold.events.command_envelope import MAX_LIFETIME_MS, ReplyAddress, check_scope, peek_reply
from keyfold.events.commands import AnyCommand, AssumePrincipalWithWebIdentity, parse_command, type_of
from keyfold.events.entities import Principal, PrincipalKey, SigningKey
from keyfold.events.evolve import View
from keyfold.events.signatures import SignatureAlgorithm, Verifier, command_message, fingerprint
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.streams import UUID_PATTERN, lies_in
from keyfold.events.times import to_milliseconds

MAX_VALUE_BYTES: Final = 256 * 1024
MAX_STRANGER_BYTES: Final = 32 * 1024
CLOCK_TOLERANCE_MS: Final = 30_000
_ID: Final = re.compile(UUID_PATTERN)
_ASSUME: Final = type_of(AssumePrincipalWithWebIdentity.verb)


class Rejected(errors.KeyfoldError):
    """A record is no acceptable command. `reply` is set where somebody authentic can be told.

    `principal` is whose command it was, where that was verified: registered, and its own key signed it.
    """

    code = "Rejected"

    def __init__(
        self,
        refusal: errors.Refusal,
        reply: ReplyAddress | None = None,
        command_id: str = "",
        principal: str | None = None,
    ) -> None:
        self.refusal, self.reply, self.command_id, self.principal = refusal, reply, command_id, principal
        super().__init__(f"{refusal.code}: {refusal}")


@dataclass(frozen=True, slots=True)
class Admitted:
    """An authentic, well-formed command in its place, with what its decision must record.

    `principal` is who signed it: as registered, or as a token says, and then the registry may not know it yet.
    """

    command: AnyCommand
    principal: Principal
    value: bytes
    sealed: bytes
    signature: bytes
    offset: int
    command_digest: str
    body_digest: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where records are read: the deployment and the partition among how many."""

    deployment: str
    partition: int
    partitions: int


@dataclass(frozen=True, slots=True)
class _Signed:
    """A record's bytes, what its headers claim about them, and the message that the signature must be over."""

    value: bytes
    sealed: bytes
    signer: str
    signature: bytes
    message: bytes


def admit(record: Inbound, place: Place, registry: View, now_ms: int) -> Admitted:
    """Authenticate and parse one record. Raises `Rejected`."""
    key, value = record.key, record.value
    if key is None or value is None or not _belongs(key, place):
        raise Rejected(errors.InvalidCommand("the record key is no stream of this partition"))
    sealed = record.header(SEALED_HEADER) or b""
    signer = (record.header(SIGNER_HEADER) or b"").decode("ascii", "replace")
    signature = record.header(SIGNATURE_HEADER) or b""
    signed = _Signed(value, sealed, signer, signature, command_message(place.deployment, key, value, sealed))
    command, registered = _authenticate(signed, registry, now_ms)
    _check_name(command, registered, signer)
    _check_stream(command, key)
    expires_ms = _check_times(command, now_ms)
    return Admitted(
        command,
        _principal(command, registered, registry, now_ms),
        value,
        sealed,
        signature,
        record.offset,
        sha256(value).hexdigest(),
        sha256(sealed).hexdigest(),
        expires_ms,
    )


def _belongs(key: bytes, place: Place) -> bool:
    stream = key.decode("utf-8", "replace")
    return lies_in(stream, place.partition, place.partitions)


def _authenticate(signed: _Signed, registry: View, now_ms: int) -> tuple[AnyCommand, Principal | None]:
    """Return the command and the registered principal that signed it, if one did.

    That a key is revoked or expired is said to who holds it only. With an expired one, which a federated principal may
    use again, a new token is welcome.
    """
    holder = _holder(signed.signer, registry)
    if holder is None:
        return _from_stranger(signed), None
    principal, key = holder
    _verify(_verifier(key.public_key, key.algorithm), signed)
    if len(signed.value) > MAX_VALUE_BYTES or len(signed.value) + len(signed.sealed) > topics.MAX_COMMAND_BYTES:
        raise _unreadable(signed.value, errors.BatchTooLarge())
    if not key.usable(now_ms) and (key.status == "Revoked" or _assumption(signed.value) is None):
        raise _unreadable(signed.value, errors.SigningKeyRevoked())
    return _parse(signed.value), principal


def _holder(signer: str, registry: View) -> tuple[Principal, PrincipalKey] | None:
    index = registry.get(f"signing-key/{signer}")
    principal = registry.get(f"principal/{index.principal}") if isinstance(index, SigningKey) else None
    key = principal.key(signer) if isinstance(principal, Principal) else None
    return (principal, key) if isinstance(principal, Principal) and key is not None else None


def _from_stranger(signed: _Signed) -> AnyCommand:
    """Return a command that brings the key which signed it. Its verifier is not kept: anybody can bring keys."""
    command = _assumption(signed.value)
    if command is None:
        raise Rejected(errors.UnknownPrincipal())
    arguments = command.data.arguments
    public_key = bytes.fromhex(arguments.public_key)
    if fingerprint(public_key) != signed.signer:
        raise Rejected(errors.UnknownPrincipal())
    _verify(Verifier(public_key, arguments.algorithm), signed)
    if len(signed.value) + len(signed.sealed) > topics.MAX_COMMAND_BYTES:
        raise _rejected(command, errors.BatchTooLarge())
    return command


def _assumption(value: bytes) -> AssumePrincipalWithWebIdentity | None:
    """Return the one command that may come from a stranger, if it is that; what is longer is not even read."""
    try:
        if len(value) > MAX_STRANGER_BYTES or strictjson.loads(value).get("type") != _ASSUME:
            return None
        return strictjson.parse(AssumePrincipalWithWebIdentity, value)
    except errors.InvalidCommand:
        return None


def _verify(verifier: Verifier, signed: _Signed) -> None:
    try:
        verifier.verify(signed.signature, signed.message)
    except errors.SignatureInvalid as refusal:
        raise Rejected(refusal) from None


@lru_cache(maxsize=4096)
def _verifier(public_key: str, algorithm: SignatureAlgorithm) -> Verifier:
    return Verifier(bytes.fromhex(public_key), algorithm)


def _principal(command: AnyCommand, registered: Principal | None, registry: View, now_ms: int) -> Principal:
    """Return whose command it is: a token's word goes before the registry's."""
    if isinstance(command, AssumePrincipalWithWebIdentity):
        try:
            identity = federation.authenticate(command, registry, now_ms)
        except errors.Refusal as refusal:
            raise _rejected(command, refusal) from None
        return federation.principal_of(identity, command.data.arguments.public_key, registry, now_ms)
    if registered is None:
        raise Rejected(errors.UnknownPrincipal())
    return registered


def _parse(value: bytes) -> AnyCommand:
    try:
        return parse_command(value)
    except errors.Refusal as refusal:
        raise _unreadable(value, refusal) from None


def _unreadable(value: bytes, refusal: errors.Refusal) -> Rejected:
    """Name the command by the id that its author gave it, else the author could not tell what is refused."""
    reply = peek_reply(value)
    claimed = strictjson.loads(value).get("id") if reply is not None else None
    return Rejected(refusal, reply, claimed if isinstance(claimed, str) and _ID.fullmatch(claimed) else "")


def _check_name(command: AnyCommand, registered: Principal | None, signer: str) -> None:
    if isinstance(command, AssumePrincipalWithWebIdentity):
        own = fingerprint(bytes.fromhex(command.data.arguments.public_key)) == signer
    else:
        own = registered is not None and command.data.principal == registered.principal
    if not own or command.data.signing_key != signer:
        raise Rejected(errors.SignatureInvalid("the command names another principal or key than signed it"))


def _check_stream(command: AnyCommand, key: bytes) -> None:
    if command.subject.encode() != key:
        raise _rejected(command, errors.InvalidCommand("the record key is not the command's stream"))
    try:
        check_scope(command)
    except errors.InvalidCommand as refusal:
        raise _rejected(command, refusal) from None


def _check_times(command: AnyCommand, now_ms: int) -> int:
    """Return the expiry. An old record is refused before it costs an event: it may be anybody's replay."""
    issued, expires = to_milliseconds(command.time), to_milliseconds(command.data.expires_at)
    if expires <= now_ms:
        raise _rejected(command, errors.Expired())
    if not issued < expires <= issued + MAX_LIFETIME_MS or expires > now_ms + MAX_LIFETIME_MS + CLOCK_TOLERANCE_MS:
        raise _rejected(command, errors.InvalidCommand("a command lives for at most 15 minutes; check the clock"))
    return expires


def _rejected(command: AnyCommand, refusal: errors.Refusal) -> Rejected:
    """To be called when the command's name was checked; who brings a token is not yet known by it."""
    principal = None if isinstance(command, AssumePrincipalWithWebIdentity) else command.data.principal
    return Rejected(refusal, command.data.reply, command.id, principal)


def reply_topic_allowed(topic: str) -> bool:
    """Tell whether an address is a reply topic: `keyfold.replies` or `keyfold.replies.<name>`."""
    if topic == topics.REPLIES:
        return True
    name = topic.removeprefix(topics.REPLIES_PREFIX)
    return topic.startswith(topics.REPLIES_PREFIX) and 0 < len(name) <= 100 and _plain(name)


def _plain(name: str) -> bool:
    return name.isascii() and all(character.isalnum() or character in "._-" for character in name)
