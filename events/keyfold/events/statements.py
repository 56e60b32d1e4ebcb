"""Statements: how a service signs all records of one transaction on one topic partition at once.

A statement names deployment, topic, role, partition, its number `n` in that role's chain, how many records it covers,
the digest of the statement before it, and the Merkle root over the records. Every record carries the statement, its
signature and its own inclusion path in headers. One signature check serves a whole transaction, and the chain shows
gaps, repeats and reordering. Who may sign what is decided in `trust`; reading order in `chains`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from pydantic import NonNegativeInt

from keyfold.events import merkle, strictjson
from keyfold.events.errors import InvalidCommand, RecordError
from keyfold.events.signatures import EMPTY_DIGEST, STATEMENT, pae
from keyfold.events.streams import Fingerprint
from keyfold.events.strictjson import Frozen

SIGNER_HEADER: Final = "kf_signer"
STATEMENT_HEADER: Final = "kf_statement"
SIGNATURE_HEADER: Final = "kf_signature"
PATH_HEADER: Final = "kf_path"
SEALED_HEADER: Final = "kf_sealed"

GENESIS_DIGEST: Final = "0" * 64
MAX_LEAVES: Final = 100_000

Header = tuple[str, bytes | None]
"""A record's header as it is read. Kafka has headers without a value: nobody here writes any, and anybody may."""


class UntrustedRecord(RecordError):
    """A record is unsigned, wrongly signed, misplaced or by the wrong author: ignored by all readers and reported."""

    code = "UntrustedRecord"


class Statement(Frozen):
    """The signed document; `n` counts from 1 and `prev` is the digest of statement n - 1 (zeros for the first)."""

    deployment: Fingerprint
    topic: str
    role: str
    partition: NonNegativeInt
    n: int
    leaves: int
    prev: Fingerprint
    root: Fingerprint


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last statement of one (role, topic, partition) chain."""

    n: int = 0
    digest: str = GENESIS_DIGEST


@dataclass(frozen=True, slots=True)
class Entry:
    """What a statement covers of one record."""

    key: bytes
    value: bytes
    sealed: bytes = b""

    def leaf(self) -> bytes:
        """Return the leaf hash over length-prefixed key, value and the digest of the sealed body."""
        digest = sha256(self.sealed).digest() if self.sealed else EMPTY_DIGEST
        prefix = len(self.key).to_bytes(4, "big") + self.key + len(self.value).to_bytes(4, "big")
        return merkle.leaf_hash(prefix + self.value + digest)


@dataclass(frozen=True, slots=True)
class Chain:
    """One author's place: all that is constant in its statements."""

    deployment: str
    topic: str
    role: str
    partition: int


def sign_entries(
    chain: Chain, head: ChainHead, entries: Sequence[Entry], signer: str, sign: Callable[[bytes], bytes]
) -> tuple[ChainHead, list[tuple[Header, ...]]]:
    """Make the next statement over the entries; return the new head and each record's headers, in order.

    Raises ValueError for none or more than `MAX_LEAVES`: nobody would accept such a statement.
    """
    if not 1 <= len(entries) <= MAX_LEAVES:
        raise ValueError(f"a statement covers 1 to {MAX_LEAVES} records")
    levels = merkle.levels_of([entry.leaf() for entry in entries])
    document: dict[str, Any] = {
        "deployment": chain.deployment,
        "topic": chain.topic,
        "role": chain.role,
        "partition": chain.partition,
        "n": head.n + 1,
        "leaves": len(entries),
        "prev": head.digest,
        "root": levels[-1][0].hex(),
    }
    statement = strictjson.canonical(document)
    common: tuple[Header, ...] = (
        (SIGNER_HEADER, signer.encode()),
        (STATEMENT_HEADER, statement),
        (SIGNATURE_HEADER, sign(pae(STATEMENT, statement))),
    )
    headers = []
    for index, entry in enumerate(entries):
        path = index.to_bytes(4, "big") + b"".join(merkle.path_of(levels, index))
        sealed: tuple[Header, ...] = ((SEALED_HEADER, entry.sealed),) if entry.sealed else ()
        headers.append((*common, (PATH_HEADER, path), *sealed))
    return ChainHead(head.n + 1, sha256(statement).hexdigest()), headers


def parse_statement(document: bytes) -> Statement:
    """Parse a statement header. Raises `UntrustedRecord`."""
    try:
        strictjson.loads(document)
        statement = strictjson.parse(Statement, document)
    except InvalidCommand as error:
        raise UntrustedRecord(f"the statement is malformed: {error}") from None
    if statement.n < 1 or not 1 <= statement.leaves <= MAX_LEAVES:
        raise UntrustedRecord("the statement's numbers are out of range")
    return statement


def verify_entry(statement: Statement, entry: Entry, path: bytes) -> int:
    """Check one record's inclusion path and return its leaf index. Raises `UntrustedRecord`."""
    if len(path) % 32 != 4:
        raise UntrustedRecord("the inclusion path is malformed")
    index = int.from_bytes(path[:4], "big")
    nodes = [path[i : i + 32] for i in range(4, len(path), 32)]
    try:
        merkle.verify_inclusion(entry.leaf(), index, statement.leaves, nodes, bytes.fromhex(statement.root))
    except merkle.ProofInvalid as error:
        raise UntrustedRecord(f"the record is not what its statement covers: {error}") from None
    return index
