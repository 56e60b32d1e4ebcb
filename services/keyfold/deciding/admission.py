"""Admission: is this record a command, and whose? Pure. Nothing here becomes an event.

Authentication comes before parsing, so that what strangers send costs one lookup and at most one signature check, and
is told apart from what a known principal got wrong. What fails is `Rejected`: a rate-limited dead letter, and an error
reply where the reply address could be read from bytes that a known principal signed.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from keyfold.bus import Inbound
from keyfold.events import errors, strictjson, topics
from keyfold.events.commands import MAX_LIFETIME_MS, Command, ReplyAddress, check_scope, parse_command, peek_reply
from keyfold.events.entities import Principal, SigningKey
from keyfold.events.evolve import View
from keyfold.events.signatures import Verifier, command_message
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.streams import UUID_PATTERN, is_stream, partition_of
from keyfold.events.times import to_milliseconds

MAX_VALUE_BYTES: Final = 256 * 1024
CLOCK_TOLERANCE_MS: Final = 30_000
_ID: Final = re.compile(UUID_PATTERN)


class Rejected(errors.KeyfoldError):
    """A record is no acceptable command. `reply` is set where somebody authentic can be told."""

    code = "Rejected"

    def __init__(self, refusal: errors.Refusal, reply: ReplyAddress | None = None, command_id: str = "") -> None:
        self.refusal, self.reply, self.command_id = refusal, reply, command_id
        super().__init__(f"{refusal.code}: {refusal}")


@dataclass(frozen=True, slots=True)
class Admitted:
    """An authentic, well-formed command in its place, with what its decision must record."""

    command: Command
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


def admit(record: Inbound, place: Place, registry: View, now_ms: int) -> Admitted:
    """Authenticate and parse one record. Raises `Rejected`."""
    key, value = record.key, record.value
    if key is None or value is None or not _belongs(key, place):
        raise Rejected(errors.InvalidCommand("the record key is no stream of this partition"))
    sealed = record.header(SEALED_HEADER) or b""
    signature = record.header(SIGNATURE_HEADER) or b""
    principal = _authenticate(record, registry, command_message(place.deployment, key, value, sealed), signature)
    if len(value) > MAX_VALUE_BYTES or len(value) + len(sealed) > topics.MAX_COMMAND_BYTES:
        raise _unreadable(value, errors.BatchTooLarge())
    command = _parse(value)
    _check_binding(command, principal, key)
    return Admitted(
        command,
        principal,
        value,
        sealed,
        signature,
        record.offset,
        sha256(value).hexdigest(),
        sha256(sealed).hexdigest(),
        _check_times(command, now_ms),
    )


def _belongs(key: bytes, place: Place) -> bool:
    stream = key.decode("utf-8", "replace")
    return is_stream(stream) and partition_of(stream, place.partitions) == place.partition


def _authenticate(record: Inbound, registry: View, message: bytes, signature: bytes) -> Principal:
    signer = (record.header(SIGNER_HEADER) or b"").decode("ascii", "replace")
    index = registry.get(f"signing-key/{signer}")
    principal = registry.get(f"principal/{index.principal}") if isinstance(index, SigningKey) else None
    if not isinstance(principal, Principal) or principal.signing_key != signer:
        raise Rejected(errors.UnknownPrincipal())
    try:
        _verifier(principal.public_key).verify(signature, message)
    except errors.SignatureInvalid as refusal:
        raise Rejected(refusal) from None
    return principal


@lru_cache(maxsize=4096)
def _verifier(public_key: str) -> Verifier:
    return Verifier(bytes.fromhex(public_key))


def _parse(value: bytes) -> Command:
    try:
        return parse_command(value)
    except errors.Refusal as refusal:
        raise _unreadable(value, refusal) from None


def _unreadable(value: bytes, refusal: errors.Refusal) -> Rejected:
    """Name the command by the id that its author gave it, else the author could not tell what is refused."""
    reply = peek_reply(value)
    claimed = strictjson.loads(value).get("id") if reply is not None else None
    return Rejected(refusal, reply, claimed if isinstance(claimed, str) and _ID.fullmatch(claimed) else "")


def _check_binding(command: Command, principal: Principal, key: bytes) -> None:
    data = command.data
    if data.principal != principal.principal or data.signing_key != principal.signing_key:
        raise Rejected(errors.SignatureInvalid("the command names another principal or key than signed it"))
    if command.subject.encode() != key:
        raise _rejected(command, errors.InvalidCommand("the record key is not the command's stream"))
    try:
        check_scope(command)
    except errors.InvalidCommand as refusal:
        raise _rejected(command, refusal) from None


def _check_times(command: Command, now_ms: int) -> int:
    """Return the expiry. An old record is refused before it costs an event: it may be anybody's replay."""
    issued, expires = to_milliseconds(command.time), to_milliseconds(command.data.expires_at)
    if expires <= now_ms:
        raise _rejected(command, errors.Expired())
    if not issued < expires <= issued + MAX_LIFETIME_MS or expires > now_ms + MAX_LIFETIME_MS + CLOCK_TOLERANCE_MS:
        raise _rejected(command, errors.InvalidCommand("a command lives for at most 15 minutes; check the clock"))
    return expires


def _rejected(command: Command, refusal: errors.Refusal) -> Rejected:
    return Rejected(refusal, command.data.reply, command.id)


def reply_topic_allowed(topic: str) -> bool:
    """Tell whether an address is a reply topic: `keyfold.replies` or `keyfold.replies.<name>`."""
    if topic == topics.REPLIES:
        return True
    name = topic.removeprefix(topics.REPLIES_PREFIX)
    return topic.startswith(topics.REPLIES_PREFIX) and 0 < len(name) <= 100 and _plain(name)


def _plain(name: str) -> bool:
    return name.isascii() and all(character.isalnum() or character in "._-" for character in name)
