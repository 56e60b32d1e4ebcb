"""Reading one partition of the log: only what is authentic is observed, and nothing stops it."""

import json

import pytest
from tests.support.honest_log import KEY, PARTITION, HonestLog
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS, signer

from keyfold.analytics.observations import Observation, Ref, observe
from keyfold.analytics.packing import Unreadable
from keyfold.analytics.sources import Noticed, Source, noticed_of, read_dead_letters
from keyfold.bus import Inbound, Outbound
from keyfold.events import topics
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.trust import Trust
from keyfold.log import Author
from keyfold.log.root_chain import RootChain

LATENESS_MS = 10_000


@pytest.fixture
def log() -> HonestLog:
    """A key, and some uses of it."""
    made = HonestLog()
    made.create_key()
    for _ in range(3):
        made.use_key("Decrypt")
    return made


def records_of(log: HonestLog, partition: int = PARTITION) -> list[Inbound]:
    """What a committed reader is given."""
    return list(log.logs()[topics.EVENTS, partition].committed)


def trust_of(log: HonestLog) -> Trust:
    """What root says."""
    chain = RootChain(DEPLOYMENT, PARTITIONS)
    for record in records_of(log, 0):
        if chain.claims(record):
            chain.accept(record)
    assert chain.trust is not None
    return chain.trust


def read(log: HonestLog, records: list[Inbound] | None = None, source: Source | None = None) -> Noticed:
    """Read all."""
    source = source or Source(PARTITION, PARTITIONS)
    return source.read(trust_of(log), records_of(log) if records is None else records, LATENESS_MS)


def uses(noticed: Noticed) -> list[tuple[str, str]]:
    """Verb and result of what was observed."""
    return [(seen.verb, seen.result) for seen in noticed.observations]


def test_decisions_and_outcomes_are_observed(log: HonestLog) -> None:
    """Who did what with which key, with its place as evidence."""
    noticed = read(log)
    assert uses(noticed)[:2] == [("CreateKey", "authorized"), ("CreateKey", "completed")]
    assert uses(noticed)[2:] == [("Decrypt", "authorized"), ("Decrypt", "completed")] * 3
    last = noticed.observations[-2]
    assert (last.principal, last.key_id, last.items) == ("alice", KEY.removeprefix("key/"), 1)
    assert last.ref[1:] == (
        PARTITION,
        6,
        records_of(log)[6].value and json.loads(records_of(log)[6].value or b"")["id"],
    )


def test_it_goes_on_where_its_row_says(log: HonestLog) -> None:
    """At any place, within a statement too; what was read is not read again."""
    records = records_of(log)
    whole = read(log).observations
    for at in range(len(records) + 1):
        first = Source(PARTITION, PARTITIONS)
        found = read(log, records[:at], first).observations
        second = Source.of_row(PARTITION, PARTITIONS, first.row())
        assert second.next_offset == first.next_offset
        found += read(log, records, second).observations
        assert found == whole
        assert second.row() == Source.of_row(PARTITION, PARTITIONS, second.row()).row()


def test_strangers_and_repeats_are_passed_over_and_counted(log: HonestLog) -> None:
    """Nulls, records without a signature, with another's, and old ones: none is observed, none stops it."""
    records = records_of(log)
    thief = Author(DEPLOYMENT, "policy", signer("thief").fingerprint, signer("thief").sign)
    _, (forged,) = thief.records(topics.EVENTS, PARTITION, ChainHead(), [Entry(KEY.encode(), records[2].value or b"")])
    bad = [
        Outbound(topics.EVENTS, PARTITION, None, None),
        Outbound(topics.EVENTS, PARTITION, KEY.encode(), b"{}"),
        forged,
        Outbound(topics.EVENTS, PARTITION, records[2].key, records[2].value, records[2].headers),
    ]
    for each in bad:
        log.append(each)
    log.use_key("Decrypt")
    noticed = read(log)
    assert uses(noticed)[-1] == ("Decrypt", "completed")
    assert len(noticed.observations) == 10
    assert dict(noticed_of([noticed])) == {"read": 10, "not-believed": 3, "repeated": 1}
    assert noticed.problem == f"{topics.EVENTS}-{PARTITION}@11: ChainRepeat"


def test_signed_records_that_are_no_known_event_are_passed_over(log: HonestLog) -> None:
    """A type or a version of a later release, a broken document: each costs itself."""
    author = Author(DEPLOYMENT, "policy", signer("policy").fingerprint, signer("policy").sign)
    good = records_of(log)[2].value or b""
    for value in (good.replace(b"authorized.v1", b"authorized.v9"), good.replace(b'"items"', b'"item"'), b"\xff"):
        head = log.heads["policy", topics.EVENTS, PARTITION]
        after, (record,) = author.records(topics.EVENTS, PARTITION, head, [Entry(KEY.encode(), value)])
        log.heads["policy", topics.EVENTS, PARTITION] = after
        log.append(record)
    log.use_key("Decrypt")
    noticed = read(log)
    assert noticed.outcomes == {"read": 10, "unknown-event": 3}
    assert uses(noticed)[-2:] == [("Decrypt", "authorized"), ("Decrypt", "completed")]


def test_an_event_that_breaks_what_looks_at_it_costs_itself_only(
    log: HonestLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poison event."""
    calls = iter(range(100))

    def breaking(*arguments: object) -> Observation | None:
        if next(calls) == 4:
            raise ZeroDivisionError
        return observe(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("keyfold.analytics.sources.observe", breaking)
    noticed = read(log)
    assert noticed.outcomes == {"read": 7, "failed": 1}
    assert noticed.problem == f"{topics.EVENTS}-{PARTITION}@4: ZeroDivisionError"


@pytest.mark.parametrize("missing", range(6))
def test_a_gap_is_counted_and_passed_over(log: HonestLog, missing: int) -> None:
    """Analytics has no state that a missing event could make wrong, and must not go blind."""
    records = records_of(log)
    noticed = read(log, records[:missing] + records[missing + 1 :])
    assert noticed.outcomes == {"read": 7, "gap": 1}


def test_the_watermark_is_the_last_event_s_time_less_the_lateness(log: HonestLog) -> None:
    """Bounded by the broker's own time: no author's clock closes what others still write to."""
    source = Source(PARTITION, PARTITIONS)
    read(log, source=source)
    assert source.mark_ms == START_MS - LATENESS_MS
    early = [
        Inbound(r.topic, r.partition, r.offset, r.timestamp_ms - 5_000, r.key, r.value, r.headers)
        for r in records_of(log)
    ]
    source = Source(PARTITION, PARTITIONS)
    read(log, early, source)
    assert source.mark_ms == START_MS - 5_000 - LATENESS_MS
    source.rise(START_MS)
    source.rise(1)
    assert source.mark_ms == START_MS


@pytest.mark.parametrize("row", [b"", b"[]", b"{}", b'{"v":2,"next":1,"mark":0,"places":{}}', b'{"v":1,"next":"x"}'])
def test_a_row_of_another_release_is_refused(row: bytes) -> None:
    """The caller reads from the start."""
    with pytest.raises(Unreadable):
        Source.of_row(PARTITION, PARTITIONS, row)


def letter(offset: int, value: bytes | None) -> Inbound:
    """A dead letter."""
    return Inbound(topics.DEAD_LETTERS, 0, offset, START_MS, None, value)


def test_dead_letters_that_name_a_principal_are_rejections() -> None:
    """Others say nothing of anybody; those that cannot be read are passed over."""
    values = [
        b'{"code":"Expired","principal":"alice","reason":"Expired: late"}',
        b'{"reason":"SignatureInvalid: wrong"}',
        b'{"code":"Expired","principal":7}',
        b"\xff",
        None,
        b"[]",
        b'{"code":"IdempotencyConflict","principal":"bob"}',
    ]
    noticed = read_dead_letters(4, [letter(offset, value) for offset, value in enumerate(values)])
    assert [(seen.principal, seen.code, seen.result) for seen in noticed.observations] == [
        ("alice", "Expired", "rejected"), ("bob", "IdempotencyConflict", "rejected")
    ]  # fmt: skip
    assert noticed.observations[1].ref == Ref(START_MS, 4, 6, "dead-letter/6")
    assert noticed.outcomes == {"read": 3, "failed": 4}


@pytest.mark.parametrize(
    "value",
    [
        b'{"code":"Expired","principal":"\\ud800"}',
        b'{"code":"Expired","principal":"a\\u0000"}',
        b'{"code":"Expired","principal":"Not A Name"}',
        b'{"code":"Expired","principal":"alice\\n"}',
        b'{"code":"Expired","principal":"%s"}' % (b"a" * 65),
        b'{"code":"Not a code","principal":"alice"}',
        b'{"code":"%s","principal":"alice"}' % (b"A" * 65),
        b'{"code":"","principal":"alice"}',
        b'{"code":"Expired","principal":"alice","principal":"bob"}',
        b'{"code":"Expired","principal":"alice","reason":' + b"[" * 20 + b"]" * 20 + b"}",
    ],
)
def test_dead_letters_whose_names_are_none_are_passed_over(value: bytes) -> None:
    """Whoever may write there can write anything: what no store or alert could hold never becomes an observation."""
    noticed = read_dead_letters(4, [letter(0, value), letter(1, b'{"code":"Expired","principal":"alice"}')])
    assert [seen.principal for seen in noticed.observations] == ["alice"]
    assert noticed.outcomes == {"read": 1, "failed": 1}
