"""Reading signed records in order: what is believed, ignored, or stops the reader."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keyfold.events import facts
from keyfold.events.chains import Accepted, ChainGap, ChainReader, ChainRepeat, Place, read_event, single_header
from keyfold.events.statements import (
    PATH_HEADER,
    SEALED_HEADER,
    SIGNATURE_HEADER,
    SIGNER_HEADER,
    STATEMENT_HEADER,
    Entry,
    UntrustedRecord,
)
from keyfold.events.trust import Trust


@pytest.fixture
def reader(world: Any) -> ChainReader:
    """A reader of the partition of the example key, at the start."""
    return ChainReader("keyfold.events", world.partition, world.partitions)


@pytest.fixture
def accept(world: Any, reader: ChainReader) -> Callable[..., Accepted]:
    """Give a record to the reader, as a consumer does."""

    def give(record: Any, trust: Trust | None = None, at: int | None = None) -> Accepted:
        time = world.now if at is None else at
        return reader.accept(trust or world.trust, record.key, record.value, record.headers, time)

    return give


def test_accepts_a_chain(world: Any, reader: ChainReader, accept: Callable[..., Accepted]) -> None:
    """Records of consecutive statements are accepted in order, and the place moves to the last one."""
    author = world.author("policy")
    records = author.write(world.entries(3)) + author.write(world.entries(1)) + author.write(world.entries(5))
    places = [accept(record).place for record in records]
    assert [(place.head.n, place.leaf, place.leaves) for place in places] == [
        (1, 0, 3), (1, 1, 3), (1, 2, 3), (2, 0, 1), *((3, i, 5) for i in range(5)),
    ]  # fmt: skip
    assert reader.places == {"policy": places[-1]}
    assert places[-1].head == author.head


def test_says_who_wrote_what(world: Any, accept: Callable[..., Accepted]) -> None:
    """An accepted record names its role, its signer and its entry."""
    entry = Entry(world.key_stream.encode(), b"value", b"sealed")
    accepted = accept(world.author("hsm").write([entry])[0])
    assert (accepted.role, accepted.signer) == ("hsm", world.examples.HSM.fingerprint)
    assert accepted.entry == entry


def test_roles_have_chains_of_their_own(world: Any, reader: ChainReader, accept: Callable[..., Accepted]) -> None:
    """The records of two roles may be mixed in any way; each role's chain is followed by itself."""
    policy, hsm = world.author("policy").write(world.entries(3)), world.author("hsm").write(world.entries(2))
    for record in (policy[0], hsm[0], policy[1], hsm[1], policy[2]):
        accept(record)
    assert {role: place.leaf for role, place in reader.places.items()} == {"policy": 2, "hsm": 1}


def test_goes_on_from_stored_places(world: Any, accept: Callable[..., Accepted]) -> None:
    """A reader with stored places goes on in the middle of a statement, and refuses to start over."""
    records = world.author("policy").write(world.entries(3))
    place = accept(records[0]).place
    later = ChainReader("keyfold.events", world.partition, world.partitions, {"policy": place})
    with pytest.raises(ChainRepeat):
        later.accept(world.trust, records[0].key, records[0].value, records[0].headers, world.now)
    later.accept(world.trust, records[1].key, records[1].value, records[1].headers, world.now)
    assert later.places["policy"].leaf == 1


def test_a_chain_runs_on_across_keys(world: Any, accept: Callable[..., Accepted]) -> None:
    """One role's chain goes on when another certified key signs."""
    author, other = world.author("policy"), world.examples.signer("policy two")
    trust = world.trust.with_event(world.certificate("policy", signer=other))
    accept(author.write(world.entries(1))[0], trust)
    author.signer = other
    assert accept(author.write(world.entries(1))[0], trust).place.head.n == 2


@pytest.mark.parametrize("header", [SIGNER_HEADER, STATEMENT_HEADER, SIGNATURE_HEADER, PATH_HEADER])
@pytest.mark.parametrize("spoil", ["absent", "twice", "empty", "junk", "null"])
def test_spoilt_headers(
    world: Any, reader: ChainReader, accept: Callable[..., Accepted], header: str, spoil: str
) -> None:
    """A record with an absent, repeated, empty, null or senseless header is untrusted, and nothing moves."""
    record = world.author("policy").write(world.entries(2))[0]
    bad = {
        "absent": record.without(header),
        "twice": replace(record, headers=(*record.headers, (header, record.header(header)))),
        "empty": record.with_header(header, b""),
        "junk": record.with_header(header, b"\xff\x00|"),
        "null": record.with_header(header, None),
    }[spoil]
    with pytest.raises(UntrustedRecord):
        accept(bad)
    assert reader.places == {}
    accept(record)


@pytest.mark.parametrize("part", ["key", "value"])
def test_null(world: Any, accept: Callable[..., Accepted], part: str) -> None:
    """A null key or value is untrusted."""
    record = world.author("policy").write(world.entries(1))[0]
    with pytest.raises(UntrustedRecord, match="null"):
        accept(replace(record, **{part: None}))


@pytest.mark.parametrize(
    "key", [b"", b"key/", b"registry", b"\xff", b"principal/Alice", b"key/x\n", b"partition/0", b"partition/99999"]
)
def test_misplaced(world: Any, accept: Callable[..., Accepted], key: bytes) -> None:
    """A record whose key is no stream of this partition is untrusted, though well signed."""
    record = world.author("policy").write([Entry(key, b"value")])[0]
    with pytest.raises(UntrustedRecord, match="no stream of this partition"):
        accept(record)


@pytest.mark.parametrize("change", [{"key": b"principal/alice"}, {"value": b"another"}])
def test_altered(world: Any, accept: Callable[..., Accepted], change: dict[str, bytes]) -> None:
    """A record with another value or (well placed) key is not what was signed."""
    record = world.author("policy").write(world.entries(1))[0]
    with pytest.raises(UntrustedRecord):
        accept(replace(record, **change))


def test_sealed_body_is_covered(world: Any, accept: Callable[..., Accepted]) -> None:
    """A sealed body cannot be exchanged, added or removed."""
    key = world.key_stream.encode()
    sealed, plain = world.author("policy").write([Entry(key, b"1", b"sealed"), Entry(key, b"2")])
    added = replace(plain, headers=(*plain.headers, (SEALED_HEADER, b"x")))
    for bad in (sealed.with_header(SEALED_HEADER, b"other"), sealed.without(SEALED_HEADER), added):
        with pytest.raises(UntrustedRecord):
            accept(bad)


@pytest.mark.parametrize("where", [{"topic": "keyfold.keystore"}, {"partition": 0}])
def test_statement_of_another_place(world: Any, accept: Callable[..., Accepted], where: dict[str, Any]) -> None:
    """A record copied from another topic or partition is untrusted."""
    with pytest.raises(UntrustedRecord, match="another topic or partition"):
        accept(world.author("policy", **where).write(world.entries(1))[0])


def test_repeat_within_and_across_statements(world: Any, reader: ChainReader, accept: Callable[..., Accepted]) -> None:
    """A record that was read before is a repeat, whether of this statement or an older one; nothing moves."""
    author = world.author("policy")
    first, second = author.write(world.entries(2)), author.write(world.entries(2))
    for record in (*first, second[0]):
        accept(record)
    before = dict(reader.places)
    for record in (*first, second[0]):
        with pytest.raises(ChainRepeat):
            accept(record)
    assert reader.places == before
    accept(second[1])


def test_gap_at_the_start(world: Any, reader: ChainReader, accept: Callable[..., Accepted]) -> None:
    """A chain starts with leaf 0 of statement 1."""
    author = world.author("policy")
    first, second = author.write(world.entries(2)), author.write(world.entries(1))
    for record in (first[1], second[0]):
        with pytest.raises(ChainGap):
            accept(record)
    assert reader.places == {}


def test_gap_within_a_statement(world: Any, accept: Callable[..., Accepted]) -> None:
    """A missing leaf is a gap."""
    records = world.author("policy").write(world.entries(3))
    accept(records[0])
    with pytest.raises(ChainGap, match="leaf 2 does not follow leaf 0"):
        accept(records[2])


def test_gap_at_the_end_of_a_statement(world: Any, accept: Callable[..., Accepted]) -> None:
    """The last leaves of a statement cannot be cut off by going on with the next statement."""
    author = world.author("policy")
    first, second = author.write(world.entries(2)), author.write(world.entries(1))
    accept(first[0])
    with pytest.raises(ChainGap):
        accept(second[0])


def test_gap_of_a_statement(world: Any, accept: Callable[..., Accepted]) -> None:
    """A missing statement is a gap."""
    author = world.author("policy")
    first, _, third = (author.write(world.entries(1)) for _ in range(3))
    accept(first[0])
    with pytest.raises(ChainGap, match="does not follow statement 1"):
        accept(third[0])


def test_fork_at_the_next_statement(world: Any, accept: Callable[..., Accepted]) -> None:
    """A next statement whose `prev` is not the last digest does not follow."""
    author, other = world.author("policy"), world.author("policy")
    accept(author.write(world.entries(1))[0])
    other.write(world.entries(1, "fork"))
    with pytest.raises(ChainGap):
        accept(other.write(world.entries(1))[0])


def test_fork_of_the_same_statement(world: Any, accept: Callable[..., Accepted]) -> None:
    """Two different statements with one number stop the reader."""
    accept(world.author("policy").write(world.entries(2))[0])
    with pytest.raises(ChainGap, match="stands twice"):
        accept(world.author("policy").write(world.entries(2, "fork"))[1])


def test_signature_is_checked_once(world: Any, accept: Callable[..., Accepted], monkeypatch: Any) -> None:
    """One signature check serves all records of a statement, and is done again when the certificates change."""
    checks: list[int] = []
    real = Trust.verify_statement

    def counted(trust: Trust, *arguments: Any) -> None:
        checks.append(1)
        real(trust, *arguments)

    monkeypatch.setattr(Trust, "verify_statement", counted)
    records = world.author("policy").write(world.entries(3))
    for record in records[:2]:
        accept(record)
    assert len(checks) == 1
    accept(records[2], world.trust.with_event(world.certificate("hsm")))
    assert len(checks) == 2


def test_revocation_counts_inside_a_statement(world: Any, accept: Callable[..., Accepted]) -> None:
    """A statement that was verified before its key's revocation is not believed on."""
    records = world.author("policy").write(world.entries(2))
    accept(records[0])
    with pytest.raises(UntrustedRecord, match="revoked"):
        accept(records[1], world.trust.with_event(world.revocation("policy", {})))


def test_remembered_signature_is_of_exactly_these_headers(world: Any, accept: Callable[..., Accepted]) -> None:
    """Bytes that move between signer, signature and statement headers are not taken for what was verified."""
    author = world.author("policy")
    records = author.write(world.entries(2))
    accept(records[0])
    signature, document = records[1].header(SIGNATURE_HEADER), records[1].header(STATEMENT_HEADER)
    signer = records[1].header(SIGNER_HEADER)
    moved = (
        records[1].with_header(SIGNER_HEADER, signer + b"|").with_header(SIGNATURE_HEADER, signature[1:]),
        records[1]
        .with_header(SIGNATURE_HEADER, signature + b"|" + document[:1])
        .with_header(STATEMENT_HEADER, document[1:]),
    )
    for bad in moved:
        with pytest.raises(UntrustedRecord):
            accept(bad)


def test_many_statements(world: Any, accept: Callable[..., Accepted]) -> None:
    """The memory for verified statements is bounded, and its renewal loses nothing."""
    author = world.author("policy")
    for number in range(1, 20):
        for record in author.write(world.entries(2)):
            assert accept(record).place.head.n == number


def test_single_header() -> None:
    """A header that is absent or repeated is none."""
    headers = [("a", b"1"), ("b", b"2"), ("b", b"2")]
    assert [single_header(headers, name) for name in "abc"] == [b"1", None, None]


def accepted(role: str, key: str, value: bytes) -> Accepted:
    return Accepted(role, "f" * 64, Place(), Entry(key.encode(), value))


def test_read_event(world: Any) -> None:
    """An accepted record of the right author is its event."""
    event = world.event(facts.KeyUsed)
    assert read_event(accepted("hsm", event.subject, event.to_value()), "keyfold.events") == event


@pytest.mark.parametrize(
    ("role", "key", "topic", "match"),
    [
        ("policy", None, "keyfold.events", "policy may not write"),
        ("hsm", None, "keyfold.keystore", "may not write"),
        ("hsm", "registry", "keyfold.events", "not the signed stream"),
    ],
)
def test_read_event_of_the_wrong_author_or_place(
    world: Any, role: str, key: str | None, topic: str, match: str
) -> None:
    """An event of a role that may not write it, on another topic, or under another key, is never state."""
    event = world.event(facts.KeyUsed)
    with pytest.raises(UntrustedRecord, match=match):
        read_event(accepted(role, key or event.subject, event.to_value()), topic)


@pytest.mark.parametrize("value", [b"", b"{}", b'{"type":"keyfold.key.used.v1"}', b'{"type":"keyfold.key.used.v9"}'])
def test_read_event_that_is_none(value: bytes) -> None:
    """A signed record that is no known event is a leaf of the log, never state."""
    with pytest.raises(UntrustedRecord, match="no known event"):
        read_event(accepted("hsm", "registry", value), "keyfold.events")
