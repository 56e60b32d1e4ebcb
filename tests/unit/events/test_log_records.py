"""A record by itself has the leaf hash that it has in the log, and is believed by its author's signature."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.honest_log import PARTITION, HonestLog
from tests.support.people import DEPLOYMENT, ROOT, certificate, signer

from keyfold.events import facts, topics
from keyfold.events.log_leaves import leaf_of
from keyfold.events.log_records import LogRecord, LogRecordInvalid, parse_record, record_of
from keyfold.events.statements import UntrustedRecord
from keyfold.events.trust import Trust

NAMES = ("kf_signer", "kf_statement", "kf_signature", "kf_path", "other")
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=40)), max_size=8)


@pytest.fixture
def record() -> LogRecord:
    """The record of a use of a key."""
    honest = HonestLog()
    honest.create_key()
    honest.use_key()
    found = honest.records[topics.EVENTS, PARTITION][-1][0]
    return record_of(found.key, found.value, found.headers)


def trust() -> Trust:
    return Trust.pin(DEPLOYMENT, ROOT.public_key).with_event(certificate("hsm")).with_event(certificate("policy"))


@given(st.none() | st.binary(max_size=40), st.none() | st.binary(max_size=40), HEADERS)
def test_a_record_keeps_its_leaf_hash(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    """Whatever lies in the log, also what no service wrote, has one form, and its leaf hash is that of the tree."""
    made = record_of(key, value, headers)
    assert made.leaf == leaf_of(key, value, headers)
    again = parse_record(made.to_bytes())
    assert again == made
    assert again.leaf == made.leaf


def test_bytes_around_a_record_are_refused(record: LogRecord) -> None:
    """There is one reading of the bytes: none is left over or lacking."""
    document = record.to_bytes()
    for wrong in (b"", b"\x02" + document[1:], document + b"\0", document[:-1], document + bytes(4), document[:5]):
        with pytest.raises(LogRecordInvalid):
            parse_record(wrong)


def test_the_author_is_believed_by_root(record: LogRecord) -> None:
    """A record that the certified worker signed is its event."""
    event = record.verify_author(trust())
    assert isinstance(event, facts.KeyUsed)
    assert record.event == event
    assert record.statement.role == "hsm"


def test_what_the_author_did_not_sign_is_not_believed(record: LogRecord) -> None:
    """Another value, key, path, an author whom root does not know, a record without a statement."""
    headers = dict(record.headers)
    wrong = [
        LogRecord(record.key, (record.value or b"").replace(b'"items":1', b'"items":2'), record.headers),
        LogRecord(b"registry", record.value, record.headers),
        LogRecord(record.key, b"{}", record.headers),
        LogRecord(None, record.value, record.headers),
        LogRecord(record.key, record.value, ()),
        LogRecord(record.key, record.value, tuple((headers | {"kf_path": bytes(36)}).items())),
        LogRecord(record.key, record.value, tuple((headers | {"kf_signature": bytes(64)}).items())),
        LogRecord(record.key, record.value, tuple((headers | {"kf_signer": b"0" * 64}).items())),
    ]
    for forged in wrong:
        with pytest.raises(UntrustedRecord):
            forged.verify_author(trust())
    with pytest.raises(UntrustedRecord):
        record.verify_author(Trust.pin(DEPLOYMENT, ROOT.public_key).with_event(certificate("hsm", signer("other"))))
