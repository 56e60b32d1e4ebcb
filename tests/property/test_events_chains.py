"""Chains of signed records: whatever is dropped, doubled, moved or inserted is noticed, and nothing moves."""

import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfold.events import facts
from keyfold.events.chains import ChainGap, ChainReader, ChainRepeat
from keyfold.events.errors import RecordError
from keyfold.events.statements import SEALED_HEADER, Chain, ChainHead, Entry, Header, UntrustedRecord, sign_entries
from keyfold.events.streams import partition_of
from keyfold.events.times import to_milliseconds
from keyfold.events.trust import Trust

EXAMPLES: dict[str, Any] = runpy.run_path(str(Path(__file__).resolve().parents[1] / "vectors" / "examples.py"))
NOW = to_milliseconds(EXAMPLES["TIME"])
KEY: bytes = EXAMPLES["KEY_STREAM"].encode()
PARTITION = partition_of(EXAMPLES["KEY_STREAM"], 4)


@dataclass(frozen=True)
class Record:
    role: str
    n: int
    leaf: int
    value: bytes
    headers: tuple[Header, ...]


@cache
def trust() -> Trust:
    made = Trust.pin(EXAMPLES["DEPLOYMENT"], EXAMPLES["ROOT"].public_key)
    for role in ("policy", "hsm"):
        certificate = facts.ServiceKeyCertified.new(
            "c",
            "registry",
            EXAMPLES["TIME"],
            public_key=EXAMPLES["signer"](role).public_key.hex(),
            service=role,
            topics=["keyfold.events"],
            not_before=EXAMPLES["TIME"],
            not_after="2026-02-28T00:00:00.000Z",
        )
        made = made.with_event(certificate)
    return made


@cache
def chain(role: str, sizes: tuple[int, ...]) -> tuple[Record, ...]:
    """A role's records in statements of the given sizes."""
    signer, head, made = EXAMPLES["signer"](role), ChainHead(), []
    place = Chain(EXAMPLES["DEPLOYMENT"], "keyfold.events", role, PARTITION)
    for n, size in enumerate(sizes, 1):
        entries = [Entry(KEY, b"%d/%d" % (n, i), b"sealed" if i == 1 else b"") for i in range(size)]
        head, headers = sign_entries(place, head, entries, signer.fingerprint, signer.sign)
        made += [Record(role, n, i, entries[i].value, headers[i]) for i in range(size)]
    return tuple(made)


def reader() -> ChainReader:
    return ChainReader("keyfold.events", PARTITION, 4)


def accept(at: ChainReader, record: Record) -> None:
    at.accept(trust(), KEY, record.value, record.headers, NOW)


def expected(records: Sequence[Record], seen: Sequence[Record], record: Record) -> type[RecordError] | None:
    """The plain rule: the next of its role's records is accepted, an older one is a repeat, another one a gap."""
    own = [each for each in records if each.role == record.role]
    count = sum(1 for each in seen if each.role == record.role)
    at = own.index(record)
    if at == count:
        return None
    return ChainRepeat if at < count else ChainGap


sizes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@given(sizes, sizes, st.data())
@settings(max_examples=80, deadline=None)
def test_any_order(policy: tuple[int, ...], hsm: tuple[int, ...], data: st.DataObject) -> None:
    """Records given in any order, any number of times: exactly the next of each role moves its place."""
    records = (*chain("policy", policy), *chain("hsm", hsm))
    at, seen = reader(), list[Record]()
    for _ in range(data.draw(st.integers(1, 25))):
        own = [each for each in records if each not in seen]
        likely = st.sampled_from(own[:2]) if own else st.sampled_from(records)
        record = data.draw(st.one_of(likely, st.sampled_from(records)))
        before = dict(at.places)
        error = expected(records, seen, record)
        if error is None:
            accept(at, record)
            seen.append(record)
            assert (at.places[record.role].head.n, at.places[record.role].leaf) == (record.n, record.leaf)
        else:
            with pytest.raises(error):
                accept(at, record)
            assert at.places == before


@given(sizes.filter(lambda made: sum(made) > 1), st.data())
@settings(max_examples=80, deadline=None)
def test_one_change(made: tuple[int, ...], data: st.DataObject) -> None:
    """One record dropped or two swapped: the reader stops at the first record that does not follow."""
    records = list(chain("policy", made))
    first = data.draw(st.integers(0, len(records) - 2))
    if data.draw(st.booleans()):
        broken = [*records[:first], *records[first + 1 :]]
    else:
        second = data.draw(st.integers(first + 1, len(records) - 1))
        broken = list(records)
        broken[first], broken[second] = broken[second], broken[first]
    at = reader()
    for record in broken[:first]:
        accept(at, record)
    before = dict(at.places)
    with pytest.raises(ChainGap):
        accept(at, broken[first])
    assert at.places == before
    accept(at, records[first])


@given(sizes, st.data())
@settings(max_examples=80, deadline=None)
def test_any_altered_bit(made: tuple[int, ...], data: st.DataObject) -> None:
    """A record with one bit of key, value or any header flipped is untrusted; the true record is accepted after it."""
    records = chain("policy", made)
    target = data.draw(st.integers(0, len(records) - 1))
    at = reader()
    for record in records[:target]:
        accept(at, record)
    record, before = records[target], dict(at.places)
    parts = [KEY, record.value, *(value for _, value in record.headers)]
    which = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 8 * len(parts[which]) - 1))
    changed = bytearray(parts[which])
    changed[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(changed)
    headers = [(name, parts[2 + i]) for i, (name, _) in enumerate(record.headers)]
    with pytest.raises(UntrustedRecord):
        at.accept(trust(), parts[0], parts[1], headers, NOW)
    assert at.places == before
    accept(at, record)


names = st.sampled_from(["kf_signer", "kf_statement", "kf_signature", "kf_path", SEALED_HEADER, "other"])


@given(
    st.one_of(st.none(), st.just(KEY), st.binary(max_size=40)),
    st.one_of(st.none(), st.binary(max_size=40)),
    st.lists(st.tuples(names, st.binary(max_size=200)), max_size=8),
)
@settings(max_examples=120, deadline=None)
def test_random_records(key: bytes | None, value: bytes | None, headers: list[Header]) -> None:
    """Whatever a stranger puts on the topic is an untrusted record, never another error."""
    at = reader()
    with pytest.raises(UntrustedRecord):
        at.accept(trust(), key, value, headers, NOW)
    assert at.places == {}


@given(st.lists(st.tuples(names, st.binary(max_size=60)), max_size=3), st.data())
@settings(max_examples=80, deadline=None)
def test_random_headers_beside_real_ones(more: list[Header], data: st.DataObject) -> None:
    """Additional headers make a record untrusted where they repeat a name, and change nothing where they do not."""
    record = chain("policy", (3,))[0]
    headers = data.draw(st.permutations([*record.headers, *more]))
    repeated = any(name != "other" for name, _ in more)
    at = reader()
    if not repeated:
        at.accept(trust(), KEY, record.value, headers, NOW)
        return
    sealed_only = {name for name, _ in more} <= {SEALED_HEADER, "other"}
    harmless = sealed_only and (sum(name == SEALED_HEADER for name, _ in more) > 1 or (SEALED_HEADER, b"") in more)
    if harmless:  # an empty or ambiguous sealed body counts as none, which is what was signed
        at.accept(trust(), KEY, record.value, headers, NOW)
        return
    with pytest.raises(UntrustedRecord):
        at.accept(trust(), KEY, record.value, headers, NOW)
