"""Replies: sealed results and clear errors, as one document plus, for results, sealed bytes in a header.

A result is AES-256-GCM under HKDF(reply key, fresh salt, command digest), with command digest, outcome, code, key,
version, decision and registry revision as associated data; whoever opens it checks them against its own command. A
clear reply is only ever an error and is signed by a certified key. Salts come from the caller of these functions.
"""

import hmac
import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Final, Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field

from keyfold.events import strictjson
from keyfold.events.errors import RecordError
from keyfold.events.signatures import pae
from keyfold.events.streams import Fingerprint, KeyId
from keyfold.events.strictjson import Frozen

CORRELATION_HEADER: Final = "kafka_correlationId"
SALT_BYTES: Final = 32
_NONCE: Final = bytes(12)
_COUNT: Final = struct.Struct(">I")
_ITEM: Final = struct.Struct(">BI")


class ReplyInvalid(RecordError):
    """A reply is not an authentic answer to the command: dropped and reported."""

    code = "ReplyInvalid"


class ReplyData(Frozen):
    """`code` is set for errors only; `version` is 0 where several or none apply."""

    command_id: str
    command_digest: Fingerprint
    outcome: Annotated[str, Field(max_length=100)]
    code: Annotated[str, Field(max_length=64)] | None = None
    key_id: KeyId | None = None
    version: Annotated[int, Field(ge=0)] = 0
    decision: str | None = None
    registry_revision: Annotated[int, Field(ge=0)] | None = None


class Reply(Frozen):
    """The CloudEvents document of a reply; `id` is the command's id with the answering role."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: Literal["keyfold.reply.v1"] = "keyfold.reply.v1"
    datacontenttype: Literal["application/json"] = "application/json"
    data: ReplyData

    @classmethod
    def new(cls, role: str, data: ReplyData) -> "Reply":
        return cls(id=f"{data.command_id}.{role}", source=f"keyfold/{role}", data=data)

    def to_value(self) -> bytes:
        """Return the exact bytes of the record."""
        return self.model_dump_json().encode()


class ItemResult(NamedTuple):
    """One item's answer: data, or an error code. A tuple, because there are many; its text never shows the data."""

    data: bytes
    code: str | None = None

    def __repr__(self) -> str:
        return f"ItemResult(<{len(self.data)} bytes>, {self.code!r})"


def parse_reply(value: bytes) -> Reply:
    """Parse exact bytes. Raises `InvalidCommand` where they are not a reply."""
    strictjson.loads(value)
    return strictjson.parse(Reply, value)


def encode_items(items: Sequence[ItemResult]) -> bytes:
    """Lay out results: count u32, then per item status u8 (0 data, 1 error code), length u32, bytes."""
    parts = [_COUNT.pack(len(items))]
    pack = _ITEM.pack
    for item in items:
        data = item.data if item.code is None else item.code.encode()
        parts.append(pack(item.code is not None, len(data)))
        parts.append(data)
    return b"".join(parts)


def decode_items(plaintext: bytes) -> list[ItemResult]:
    """Parse what `encode_items` laid out. Raises `ReplyInvalid`."""
    try:
        (count,) = _COUNT.unpack_from(plaintext)
        at, found = _COUNT.size, []
        for _ in range(count):
            failed, length = _ITEM.unpack_from(plaintext, at)
            at += _ITEM.size
            data = plaintext[at : at + length]
            if failed > 1 or len(data) != length:
                raise ReplyInvalid("an item's status is unknown or the reply ends inside it")
            found.append(ItemResult(b"", data.decode("ascii")) if failed else ItemResult(data))
            at += length
    except (struct.error, UnicodeDecodeError):
        raise ReplyInvalid("the reply's layout is wrong") from None
    if at != len(plaintext):
        raise ReplyInvalid("the reply has bytes after its last item")
    return found


def seal(reply_key: bytes, salt: bytes, data: ReplyData, plaintext: bytes) -> bytes:
    """Return salt ‖ ciphertext. The salt must be fresh: it makes the key single-use, so the nonce is constant."""
    return salt + _aead(reply_key, salt, data).encrypt(_NONCE, plaintext, _associated(data))


def unseal(reply_key: bytes, data: ReplyData, sealed: bytes) -> bytes:
    """Open what `seal` made. Raises `ReplyInvalid`."""
    salt, ciphertext = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
    try:
        return _aead(reply_key, salt, data).decrypt(_NONCE, ciphertext, _associated(data))
    except (InvalidTag, ValueError):
        raise ReplyInvalid("the reply does not open with this command's reply key") from None


def usage_mac(reply_key: bytes, command_digest: str, opened_body: bytes, reply_plaintext: bytes) -> str:
    """Return the MAC that the outcome event carries: only the caller can prove what was asked and answered."""
    key = _derive(reply_key, None, b"keyfold-mac-v1" + bytes.fromhex(command_digest))
    message = sha256(opened_body).digest() + sha256(reply_plaintext).digest()
    return hmac.new(key, message, sha256).hexdigest()


def _aead(reply_key: bytes, salt: bytes, data: ReplyData) -> AESGCM:
    return AESGCM(_derive(reply_key, salt, b"keyfold-reply-v1" + bytes.fromhex(data.command_digest)))


def _derive(reply_key: bytes, salt: bytes | None, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, purpose).derive(reply_key)


def _associated(data: ReplyData) -> bytes:
    revision = "" if data.registry_revision is None else str(data.registry_revision)
    named = [data.command_digest, data.outcome, data.code or "", data.key_id or "", str(data.version)]
    fields = [*named, data.decision or "", revision]
    return pae("keyfold-reply-v1", *(field.encode() for field in fields))
