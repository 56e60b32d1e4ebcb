"""Leaves of the log's trees: every record has one, and records that readers tell apart have different ones."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from keyfold.events.log_leaves import entry_of, leaf_of
from keyfold.events.statements import PATH_HEADER, SIGNATURE_HEADER, SIGNER_HEADER, STATEMENT_HEADER, Header

HEADERS: list[Header] = [(SIGNER_HEADER, b"signer"), (STATEMENT_HEADER, b"statement"), (SIGNATURE_HEADER, b"signature")]
NONE = "ffffffff"


def decoded(text: str | None) -> bytes | None:
    """Bytes of hex digits, or none."""
    return None if text is None else bytes.fromhex(text)


def test_golden(vectors: Callable[[str], Any]) -> None:
    """Entries and leaf hashes are the recorded ones."""
    for case in vectors("log_leaves")["cases"]:
        key, value = decoded(case["key_hex"]), decoded(case["value_hex"])
        headers = [(name, decoded(data)) for name, data in case["headers"]]
        assert entry_of(key, value, headers).hex() == case["entry_hex"], case["what"]
        assert leaf_of(key, value, headers).hex() == case["leaf_hex"], case["what"]


def test_written_by_hand() -> None:
    """The entry is each part after its length."""
    parts = "00000001" + b"k".hex() + "00000000" + "00000001" + b"s".hex() + NONE + "00000002" + b"si".hex()
    entry = entry_of(b"k", b"", [(SIGNATURE_HEADER, b"si"), (SIGNER_HEADER, b"s")])
    assert entry.hex() == parts
    assert leaf_of(b"k", b"", [(SIGNATURE_HEADER, b"si"), (SIGNER_HEADER, b"s")]) == sha256(b"\0" + entry).digest()


def test_nothing_is_not_empty() -> None:
    """A record without key or value has another leaf than one with empty ones."""
    assert entry_of(None, None, []).hex() == NONE * 5
    assert len({leaf_of(key, value, HEADERS) for key in (None, b"") for value in (None, b"")}) == 4


def test_parts_do_not_run_together() -> None:
    """Bytes that move from one part to the next make another leaf."""
    assert leaf_of(b"ab", b"c", HEADERS) != leaf_of(b"a", b"bc", HEADERS)


@pytest.mark.parametrize("at", range(3))
def test_what_is_signed_counts(at: int) -> None:
    """Signer, statement and signature are part of the leaf; absent, without a value and twice are all none."""
    name, data = HEADERS[at]
    others = [header for header in HEADERS if header[0] != name]
    none = leaf_of(b"k", b"v", others)
    assert leaf_of(b"k", b"v", [*others, (name, None)]) == none
    assert leaf_of(b"k", b"v", [*HEADERS, (name, data)]) == none
    leaves = [leaf_of(b"k", b"v", [*others, (name, value)]) for value in (data, b"", b"other")]
    assert len({none, *leaves}) == 4


def test_other_headers_do_not_count() -> None:
    """Order, paths and headers of others leave the leaf as it is."""
    more = [*HEADERS[::-1], (PATH_HEADER, b"path"), ("x", b"y"), ("x", None)]
    assert leaf_of(b"k", b"v", more) == leaf_of(b"k", b"v", HEADERS)
