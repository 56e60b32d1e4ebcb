"""The directory topic: what clients may know, as verbatim signed events, so that its publisher need not be trusted.

A directory record has the value and the signature headers of the original record; its own key is a name that it
answers for, and the latest record of a name counts. Partition 0 holds genesis, certificates, sealing keys and what the
token can do; aliases, keys and public keys are spread by name. A deletion is the signed event of the deletion, never a
null.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from keyfold.events import facts, topics
from keyfold.events.chains import single_header
from keyfold.events.entities import CAPABILITIES
from keyfold.events.errors import InvalidCommand, UnsupportedVersion
from keyfold.events.signatures import fingerprint
from keyfold.events.statements import (
    PATH_HEADER,
    SIGNATURE_HEADER,
    SIGNER_HEADER,
    STATEMENT_HEADER,
    Entry,
    Header,
    UntrustedRecord,
    parse_statement,
    verify_entry,
)
from keyfold.events.streams import lies_in
from keyfold.events.times import to_milliseconds
from keyfold.events.trust import Trust, check_author

GENESIS: Final = "genesis"
_PUBLIC_KEY: Final = "public-key/"
_SPREAD: Final = ("alias/", "key/", _PUBLIC_KEY)


def directory_names(event: facts.Event) -> tuple[str, ...]:
    """Return the names that an event answers for in the directory; none where clients need not know it."""
    names: tuple[str, ...] = ()
    match event:
        case facts.Genesis():
            names = (GENESIS,)
        case facts.ServiceKeyCertified() | facts.ServiceKeyRevoked():
            names = (f"certificate/{fingerprint(bytes.fromhex(event.data.public_key))}/{event.id}",)
        case facts.SealingKeyPublished() | facts.SealingKeyErased():
            names = (f"sealing-key/{event.data.sealing_key}",)
        case facts.TokenCapabilitiesFound():
            names = (CAPABILITIES,)
        case facts.AliasCreated() | facts.AliasUpdated() | facts.AliasDeleted():
            names = (event.data.alias,)
        case facts.KeyMaterialGenerated(data=data) | facts.KeyMaterialImported(data=data):
            public = (public_key_name(data.key_id, data.version),) if data.public_key is not None else ()
            names = (f"key/{data.key_id}", *public)
    return names


def public_key_name(key_id: str, version: int) -> str:
    """Return the name of the public half of one version of a key."""
    return f"{_PUBLIC_KEY}{key_id}/{version}"


def directory_partition(name: str, partitions: int) -> int:
    """Return the directory partition of a name: 0 for what every client needs, else spread by SHA-256."""
    if not name.startswith(_SPREAD):
        return 0
    return 1 + int.from_bytes(sha256(name.encode()).digest()[:8], "big") % (partitions - 1)


def verify_verbatim(trust: Trust, partitions: int, value: bytes, headers: Sequence[Header]) -> facts.Event:
    """Check a copied event by its author's signature and inclusion path. Raises `UntrustedRecord`.

    Order and completeness are not claimed: a stale directory can hide what is new, never invent.
    """
    try:
        event = facts.parse_event(value)
    except (InvalidCommand, UnsupportedVersion):
        raise UntrustedRecord("a directory record is no known event") from None
    document = single_header(headers, STATEMENT_HEADER) or b""
    statement = parse_statement(document)
    if statement.topic != topics.EVENTS or not lies_in(event.subject, statement.partition, partitions):
        raise UntrustedRecord("the statement is not of the event's place")
    signer = (single_header(headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
    signature = single_header(headers, SIGNATURE_HEADER) or b""
    trust.verify_statement(statement, document, signature, signer, to_milliseconds(event.time))
    verify_entry(statement, Entry(event.subject.encode(), value), single_header(headers, PATH_HEADER) or b"")
    check_author(event, statement.role, topics.EVENTS)
    return event
