"""The forge: builds raw commands and signed records with every part replaceable, for tests of what must be refused.

`Forge.command` makes what an honest client would send, and lets a test exchange the document, the exact bytes, the
sealed body, the signature, the record key, the partition or the headers, each at the step where it belongs: whatever
comes after a replaced part is made from it, so a forged value is still correctly sealed and signed unless the test says
otherwise. It sends nothing, and shares no code with the SDK beyond the formats themselves.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from keyfold.bus import Headers, Outbound
from keyfold.client.view import SealingKey
from keyfold.events import bodies, topics
from keyfold.events.commands import BY_VERB, type_of
from keyfold.events.replies import CORRELATION_HEADER
from keyfold.events.signatures import Signer, command_message
from keyfold.events.statements import (
    SEALED_HEADER,
    SIGNATURE_HEADER,
    SIGNER_HEADER,
    Chain,
    ChainHead,
    Entry,
    sign_entries,
)
from keyfold.events.streams import partition_of
from keyfold.events.times import to_text
from keyfold.identity import Identity

LIFETIME_MS: Final = 60_000

Document = dict[str, Any]
Items = Sequence[bodies.Item]


@dataclass(frozen=True, slots=True)
class Forged:
    """A command as it will be sent, and what its sender knows besides."""

    id: str
    record: Outbound
    reply_key: bytes
    document: Document

    @property
    def value(self) -> bytes:
        """The exact bytes."""
        return self.record.value or b""

    @property
    def sealed(self) -> bytes:
        """The sealed body as it is in the header; empty where there is none."""
        return dict(self.record.headers).get(SEALED_HEADER, b"")

    @property
    def digest(self) -> str:
        """What replies and events name it by."""
        return sha256(self.value).hexdigest()


def new_id() -> str:
    """Return a fresh UUIDv7 (RFC 9562, section 5.7)."""
    noise = bytearray(now_ms().to_bytes(6, "big") + os.urandom(10))
    noise[6] = noise[6] & 0x0F | 0x70
    noise[8] = noise[8] & 0x3F | 0x80
    text = noise.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def now_ms() -> int:
    """The wall clock, in milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Forge:
    """Forges commands of one identity, answered on one reply partition."""

    identity: Identity
    partitions: int
    sealing_key: SealingKey
    reply: tuple[str, int] = (topics.REPLIES, 0)

    def acting_as(self, identity: Identity) -> "Forge":
        """The same forge in another's name."""
        return replace(self, identity=identity)

    def command(
        self,
        verb: str,
        stream: str,
        *,
        items: Items = (),
        contexts: Sequence[Mapping[str, str]] = ({},),
        arguments: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        edit: Callable[[Document], Any] = lambda _document: None,
        value: bytes | None = None,
        reply_key: bytes | None = None,
        body: bytes | None = None,
        sealed: bytes | None = None,
        signer: Signer | None = None,
        signature: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Callable[[Headers], Headers] = lambda honest: honest,
    ) -> Forged:
        """Make a command: 1. document, 2. its bytes, 3. the body sealed to them, 4. the signature, 5. the record.

        `data` replaces fields of the document's data, `edit` changes the document in place. Items are (context index,
        bytes).
        """
        document = self._document(verb, stream, items, contexts, arguments)
        document["data"] |= data or {}
        edit(document)
        value = json.dumps(document, separators=(",", ":")).encode() if value is None else value
        reply_key = reply_key or os.urandom(bodies.REPLY_KEY_BYTES)
        if sealed is None:
            opened = bodies.encode(reply_key, items) if body is None else body
            sealed = bodies.SUITE.encrypt(opened, self.sealing_key.public_key, bodies.info(value))
        key = stream.encode() if key is None else key
        signer = signer or self.identity.signer
        if signature is None:
            signature = signer.sign(command_message(self.identity.deployment, key, value, sealed))
        honest = (
            (SIGNER_HEADER, signer.fingerprint.encode()),
            (SIGNATURE_HEADER, signature),
            (SEALED_HEADER, sealed),
            (CORRELATION_HEADER, document["id"].encode()),
        )
        place = partition_of(stream, self.partitions) if partition is None else partition
        record = Outbound(topics.COMMANDS, place, key, value, headers(honest))
        return Forged(document["id"], record, reply_key, document)

    def _document(
        self,
        verb: str,
        stream: str,
        items: Items,
        contexts: Sequence[Mapping[str, str]],
        arguments: Mapping[str, Any] | None,
    ) -> Document:
        identifier, now, name = new_id(), now_ms(), self.identity.name
        data: Document = {
            "principal": name,
            "signing_key": self.identity.signer.fingerprint,
            "sealing_key": self.sealing_key.id,
            "expires_at": to_text(now + LIFETIME_MS),
            "reply": {"topic": self.reply[0], "partition": self.reply[1], "correlation_id": identifier},
        }
        if BY_VERB[verb].data_plane:
            size = sum(len(item) for _, item in items)
            data |= {"contexts": [dict(context) for context in contexts], "items": len(items), "bytes": size}
        return {
            "specversion": "1.0",
            "id": identifier,
            "source": f"principal/{name}",
            "type": type_of(verb),
            "subject": stream,
            "time": to_text(now),
            "datacontenttype": "application/json",
            "data": {**data, "arguments": dict(arguments or {})},
        }


def without(*names: str) -> Callable[[Headers], Headers]:
    """Leave headers out."""
    return lambda honest: tuple(pair for pair in honest if pair[0] not in names)


def repeated(name: str) -> Callable[[Headers], Headers]:
    """Say a header twice."""
    return lambda honest: tuple(copy for pair in honest for copy in ((pair, pair) if pair[0] == name else (pair,)))


def damaged(data: bytes, at: int) -> bytes:
    """Flip one bit of one byte."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def signed_record(
    signer: Signer, deployment: str, role: str, place: tuple[str, int], entry: Entry, *, head: ChainHead | None = None
) -> Outbound:
    """Write one record as an author's next statement after `head` (default: as its first), whoever signs it."""
    topic, partition = place
    chain = Chain(deployment, topic, role, partition)
    _, headers = sign_entries(chain, head or ChainHead(), [entry], signer.fingerprint, signer.sign)
    return Outbound(topic, partition, entry.key, entry.value, headers[0])
