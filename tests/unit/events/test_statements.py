"""Statements: one signature over all records of a transaction."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from keyfold.events import merkle
from keyfold.events.signatures import STATEMENT, Verifier, pae
from keyfold.events.statements import (
    MAX_LEAVES,
    PATH_HEADER,
    SEALED_HEADER,
    SIGNATURE_HEADER,
    SIGNER_HEADER,
    STATEMENT_HEADER,
    Chain,
    ChainHead,
    Entry,
    Statement,
    UntrustedRecord,
    parse_statement,
    sign_entries,
    verify_entry,
)

CHAIN = Chain("d" * 64, "keyfold.events", "policy", 3)


def signed(*entries: Entry, head: ChainHead | None = None) -> tuple[ChainHead, list[dict[str, bytes]]]:
    made, headers = sign_entries(CHAIN, head or ChainHead(), entries, "f" * 64, lambda message: message[:64])
    return made, [dict(each) for each in headers]


def document(**changes: Any) -> bytes:
    _, headers = signed(Entry(b"k", b"v"))
    return json.dumps({**json.loads(headers[0][STATEMENT_HEADER]), **changes}).encode()


def test_leaf_encoding() -> None:
    """A leaf is SHA-256 over 0x00, the length-prefixed key and value, and the digest of the sealed body."""
    entry = Entry(b"key", b"value", b"sealed")
    laid_out = b"\x00\x00\x00\x00\x03key\x00\x00\x00\x05value" + sha256(b"sealed").digest()
    assert entry.leaf() == sha256(laid_out).digest()
    assert Entry(b"key", b"value").leaf() == sha256(laid_out[:-32] + sha256(b"").digest()).digest()


def test_boundary_between_key_and_value_counts() -> None:
    """Moving a byte from key to value changes the leaf."""
    assert Entry(b"ab", b"c").leaf() != Entry(b"a", b"bc").leaf()


def test_statement_names_everything() -> None:
    """A statement holds the chain's constants, the next number, the count, the last digest and the root."""
    entries = [Entry(b"k", b"1"), Entry(b"k", b"2")]
    head, headers = signed(*entries, head=ChainHead(6, "a" * 64))
    statement = parse_statement(headers[0][STATEMENT_HEADER])
    root = merkle.root_of([entry.leaf() for entry in entries]).hex()
    assert statement == Statement(
        deployment="d" * 64,
        topic="keyfold.events",
        role="policy",
        partition=3,
        n=7,
        leaves=2,
        prev="a" * 64,
        root=root,
    )
    assert head == ChainHead(7, sha256(headers[0][STATEMENT_HEADER]).hexdigest())


def test_headers() -> None:
    """Every record carries signer, statement, signature and its own path; the sealed body only where there is one."""
    _, headers = signed(Entry(b"k", b"1"), Entry(b"k", b"2", b"sealed"))
    names = {SIGNER_HEADER, STATEMENT_HEADER, SIGNATURE_HEADER, PATH_HEADER}
    assert [set(each) for each in headers] == [names, names | {SEALED_HEADER}]
    assert headers[0][SIGNATURE_HEADER] == pae(STATEMENT, headers[0][STATEMENT_HEADER])[:64]
    assert headers[1][PATH_HEADER][:4] == b"\x00\x00\x00\x01"


@pytest.mark.parametrize("count", [0, MAX_LEAVES + 1])
def test_refuses_to_sign_what_nobody_accepts(count: int) -> None:
    """Signing none or too many records is a mistake of the program."""
    with pytest.raises(ValueError, match="covers 1 to"):
        sign_entries(CHAIN, ChainHead(), [Entry(b"", b"")] * count, "f" * 64, lambda message: message)


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 0},
        {"n": -1},
        {"leaves": 0},
        {"leaves": MAX_LEAVES + 1},
        {"partition": -1},
        {"n": "1"},
        {"n": 1.0},
        {"prev": "A" * 64},
        {"root": "0" * 63},
        {"deployment": ""},
        {"more": 1},
    ],
    ids=str,
)
def test_malformed_statement(changes: dict[str, Any]) -> None:
    """A statement with a wrong, missing or additional field is refused."""
    with pytest.raises(UntrustedRecord):
        parse_statement(document(**changes))


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"\xff", b'{"n":1,"n":1}'])
def test_no_statement(value: bytes) -> None:
    """What is not one unambiguous JSON object is no statement."""
    with pytest.raises(UntrustedRecord, match="malformed"):
        parse_statement(value)


@pytest.mark.parametrize("length", [0, 1, 3, 5, 35, 37])
def test_path_of_wrong_length(length: int) -> None:
    """A path is four bytes of index and whole nodes."""
    with pytest.raises(UntrustedRecord, match="path is malformed"):
        verify_entry(parse_statement(document()), Entry(b"k", b"v"), bytes(length))


@pytest.mark.parametrize("entry", [Entry(b"K", b"v"), Entry(b"k", b"V"), Entry(b"k", b"v", b"s")])
def test_entry_is_another(entry: Entry) -> None:
    """A record with another key, value or sealed body is not covered."""
    with pytest.raises(UntrustedRecord, match="not what its statement covers"):
        verify_entry(parse_statement(document()), entry, bytes(4))


def test_golden_vectors(vectors: Callable[[str], Any]) -> None:
    """Statements, digests, signatures and paths (500 records: nine nodes) are as recorded, and verify."""
    golden = vectors("statements")
    verifier, prev, key = Verifier(bytes.fromhex(golden["public_key"])), "0" * 64, golden["record_key"].encode()
    for number, case in enumerate(golden["cases"], 1):
        text, count = case["statement"].encode(), case["records"]
        verifier.verify(bytes.fromhex(case["signature_hex"]), pae(STATEMENT, text))
        statement = parse_statement(text)
        assert (statement.n, statement.prev, statement.leaves) == (number, prev, count)
        prev = case["statement_digest"]
        assert prev == sha256(text).hexdigest()
        for index, path in case["paths_hex"].items():
            i = int(index)
            entry = Entry(key, f"record {i} of {count}".encode(), b"sealed" if i % 2 else b"")
            assert verify_entry(statement, entry, bytes.fromhex(path)) == i
    assert len(bytes.fromhex(golden["cases"][-1]["paths_hex"]["0"])) == 4 + 9 * 32
