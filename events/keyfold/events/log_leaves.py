"""What a leaf of the log's Merkle trees is made of: every record that a committed reader is given, in its order.

Whether a record is authentic does not matter here: the tree is the log as it lies there, and all readers agree on it
whatever they believe of it (decision 33). Kafka's offsets and times are not part of it: they may change when a log is
restored.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from keyfold.events.chains import single_header
from keyfold.events.statements import SIGNATURE_HEADER, SIGNER_HEADER, STATEMENT_HEADER, Header

OFFSETS_HEADER: Final = "kf_offsets"
"""On the tiles topic, with level 0: the u64 offset of keyfold.events of each leaf."""

_ABSENT: Final = b"\xff\xff\xff\xff"


def leaf_of(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> bytes:
    """Return the leaf hash (RFC 9162, section 2.1.1) of a record.

    The entry is record key, value, signer, statement and signature, each after its length (u32). What is null, absent
    or, of headers, there twice, is the length 0xFFFFFFFF without bytes.
    """
    return sha256(b"\x00" + entry_of(key, value, headers)).digest()


def entry_of(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> bytes:
    """Return the entry that the leaf hash is made of."""
    parts = [
        key, value,
        single_header(headers, SIGNER_HEADER),
        single_header(headers, STATEMENT_HEADER),
        single_header(headers, SIGNATURE_HEADER),
    ]  # fmt: skip
    return b"".join(_ABSENT if part is None else len(part).to_bytes(4, "big") + part for part in parts)
