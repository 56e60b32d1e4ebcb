"""Reading a keystore: it believes what checking record by record believes, however the log is cut or tampered with."""

from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS, certificate, key_on, signer

from keyfold.bus import Inbound, Outbound
from keyfold.events import facts, topics
from keyfold.events.chains import ChainReader, Place, read_event
from keyfold.events.errors import RecordError
from keyfold.events.statements import PATH_HEADER, SEALED_HEADER, SIGNATURE_HEADER, ChainHead, Entry
from keyfold.events.times import to_text
from keyfold.events.trust import Trust
from keyfold.hsm.errors import KeystoreBroken
from keyfold.hsm.keystore_reader import KeystoreReader
from keyfold.log import Author

PARTITION = 2
TRUST = Trust.pin(DEPLOYMENT, signer("root").public_key).with_event(certificate("hsm"))
SIZES = (1, 2, 3, 1, 7, 4)


def stored(number: int) -> facts.Event:
    stream = key_on(PARTITION, number)
    key_id, blob = stream.removeprefix("key/"), b64encode(b"blob %d" % number).decode()
    spec = {"key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM"}
    return facts.KeyMaterialStored.new("x", stream, to_text(START_MS), key_id=key_id, version=1, blob=blob, **spec)


def entry(event: facts.Event) -> Entry:
    return Entry(event.subject.encode(), event.to_value())


def signed(sizes: Iterable[int] = SIZES, make: Callable[[int], Entry] = lambda n: entry(stored(n))) -> list[Inbound]:
    """Statements of these sizes, as the worker writes them."""
    key, head, written, number = signer("hsm"), ChainHead(), list[Outbound](), 0
    author = Author(DEPLOYMENT, "hsm", key.fingerprint, key.sign)
    for size in sizes:
        head, made = author.records(topics.KEYSTORE, PARTITION, head, [make(number + n) for n in range(size)])
        written += made
        number += size
    return [
        Inbound(record.topic, PARTITION, offset, START_MS, record.key, record.value, record.headers)
        for offset, record in enumerate(written)
    ]


Read = tuple[list[bytes], Place | None]


def one_by_one(records: Iterable[Inbound]) -> Read:
    """What must be believed; no place where the log is broken."""
    chains, found = ChainReader(topics.KEYSTORE, PARTITION, PARTITIONS), list[bytes]()
    for record in records:
        place = (record.key, record.value, record.headers, record.timestamp_ms)
        try:
            accepted = chains.accept(TRUST, *place)
            found.append(read_event(accepted, topics.KEYSTORE).to_value())
        except RecordError as error:
            if error.code == "ChainGap":
                return found, None
    return found, chains.places.get("hsm", Place())


def together(pieces: Iterable[list[Inbound]]) -> Read:
    reader, found = KeystoreReader(PARTITION, PARTITIONS, lambda: TRUST), list[bytes]()
    try:
        for piece in pieces:
            found += [event.to_value() for event in reader.read(piece)]
        found += [event.to_value() for event in reader.finish()]
    except KeystoreBroken:
        return found, None
    return found, reader.end("hsm")


def cut(records: list[Inbound], at: int) -> list[list[Inbound]]:
    return [records[start : start + at] for start in range(0, len(records), at)]


def assert_same(records: list[Inbound], at: int) -> Read:
    """Everything that is believed is, and nothing else; a broken log is found in any case."""
    wanted, found = one_by_one(records), together(cut(records, at))
    assert found[1] == wanted[1]
    if wanted[1] is not None:
        assert found[0] == wanted[0]
    return found


@pytest.mark.parametrize("at", range(1, 20))
def test_however_the_log_is_cut(at: int) -> None:
    """All records are read, in order, and the chain ends where it ends."""
    found, end = assert_same(signed(), at)
    assert found == [stored(number).to_value() for number in range(sum(SIZES))]
    assert end is not None
    assert (end.head.n, end.leaf + 1, end.leaves) == (len(SIZES), 4, 4)


def test_a_statement_that_is_not_whole() -> None:
    """What is there of it is read; where it ends is told."""
    found, end = assert_same(signed()[:-1], 500)
    assert len(found) == sum(SIZES) - 1
    assert end is not None
    assert end.leaf + 1 < end.leaves


def _other_header(record: Inbound, name: str, change: Callable[[bytes], bytes]) -> Inbound:
    headers = tuple((key, change(value) if key == name else value) for key, value in record.headers)
    return replace(record, headers=headers)


TAMPERINGS: dict[str, Callable[[list[Inbound], int], list[Inbound]]] = {
    "another value": lambda r, n: [*r[:n], replace(r[n], value=(r[n].value or b"") + b" "), *r[n + 1 :]],
    "no value": lambda r, n: [*r[:n], replace(r[n], value=None), *r[n + 1 :]],
    "no key": lambda r, n: [*r[:n], replace(r[n], key=None), *r[n + 1 :]],
    "another key": lambda r, n: [*r[:n], replace(r[n], key=key_on(PARTITION, 999).encode()), *r[n + 1 :]],
    "a key of elsewhere": lambda r, n: [*r[:n], replace(r[n], key=key_on(1, 999).encode()), *r[n + 1 :]],
    "another path": lambda r, n: [*r[:n], _other_header(r[n], PATH_HEADER, lambda p: p[:-1] + b"x"), *r[n + 1 :]],
    "a longer path": lambda r, n: [*r[:n], _other_header(r[n], PATH_HEADER, lambda p: p + bytes(32)), *r[n + 1 :]],
    "another signature": lambda r, n: [*r[:n], _other_header(r[n], SIGNATURE_HEADER, lambda _: bytes(64)), *r[n + 1 :]],
    "a sealed body": lambda r, n: [*r[:n], replace(r[n], headers=(*r[n].headers, (SEALED_HEADER, b"x"))), *r[n + 1 :]],
    "a header twice": lambda r, n: [*r[:n], replace(r[n], headers=(*r[n].headers, r[n].headers[0])), *r[n + 1 :]],
    "other order of headers": lambda r, n: [*r[:n], replace(r[n], headers=r[n].headers[::-1]), *r[n + 1 :]],
    "no headers": lambda r, n: [*r[:n], replace(r[n], headers=()), *r[n + 1 :]],
    "a record lost": lambda r, n: [*r[:n], *r[n + 1 :]],
    "a record twice": lambda r, n: [*r[: n + 1], *r[n:]],
    "all again": lambda r, n: [*r[: n + 1], *r[: n + 1], *r[n + 1 :]],
    "a stranger between": lambda r, n: [*r[:n], replace(r[n], headers=(("kf_signer", b"me"),)), *r[n:]],
    "two exchanged": lambda r, n: [*r[:n], *r[n : n + 2][::-1], *r[n + 2 :]],
}


@given(st.sampled_from(sorted(TAMPERINGS)), st.integers(0, sum(SIZES) - 1), st.integers(1, 20))
@settings(deadline=None, max_examples=400)
def test_whatever_is_done_to_a_record(tampering: str, number: int, at: int) -> None:
    """It is ignored, or the log is broken, just as where each record is checked alone."""
    assert_same(TAMPERINGS[tampering](signed(), number), at)


def test_signed_records_that_are_no_events() -> None:
    """They are leaves of the log, never state: those around them are read."""
    odd = {
        1: b"not json",
        3: stored(3).to_value().replace(b'"version":1', b'"version":1,"version":2'),
        4: stored(4).to_value().replace(b'"HSM"', b'"ELSEWHERE"'),
        5: stored(5).to_value().replace(b'"id":"x"', b'"id":"\\u0000"'),
        6: stored(50).to_value(),
        8: stored(8).to_value().replace(b'"source"', b' "source"'),
        9: stored(9).to_value().replace(b"material-stored", b"material-erased"),
        10: stored(10).to_value().replace(b"keystore.material-stored", b"key.used"),
    }
    records = signed([12], lambda n: Entry(stored(n).subject.encode(), odd.get(n) or stored(n).to_value()))
    found, _ = assert_same(records, 500)
    assert found == [stored(number).to_value() for number in range(12) if number not in odd or number == 8]


@pytest.mark.parametrize("key", [key_on(1), "registry", "nothing"])
def test_a_signed_record_of_another_place(key: str) -> None:
    """A signed record whose key is no stream of this partition breaks its statement."""
    records = signed([5], lambda n: Entry(key.encode() if n == 3 else key_on(PARTITION, n).encode(), b"{}"))
    assert assert_same(records, 500) == ([], None)


def test_headers_that_only_the_first_record_has_whole() -> None:
    """Each record has to bring the signature itself, wherever the headers of the first stand."""
    signer_name, statement, signature, path = signed([3])[0].headers
    odd = ("x", b"")
    first, *others = signed([3])
    first = replace(first, headers=(signer_name, statement, odd, ("y", path[1]), signature, path))
    others = [replace(record, headers=(*record.headers[:2], odd, record.headers[3])) for record in others]
    found, end = assert_same([first, *others], 500)
    assert len(found) == 1
    assert end is not None
    assert end.leaf == 0


def test_trust_that_changes_within_a_statement() -> None:
    """What was begun under another trust is checked again, record by record."""
    records, trusts = signed([5]), [Trust.pin(DEPLOYMENT, signer("root").public_key), TRUST]
    reader = KeystoreReader(PARTITION, PARTITIONS, lambda: trusts[-1])
    assert len(list(reader.read(records[:2]))) == 1
    trusts.pop()
    assert list(reader.read(records[2:])) == []
    assert reader.end("hsm").leaf == 0
