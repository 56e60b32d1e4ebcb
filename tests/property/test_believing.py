"""Believing many records at once gives the verdicts of believing them one by one, whatever was done to them."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.audited_log import authors, honest
from tests.support.people import DEPLOYMENT, PARTITIONS, ROOT, certificate, signer

from keyfold.bus import Inbound
from keyfold.events import facts, merkle, topics
from keyfold.events.chains import Accepted, ChainReader, read_event
from keyfold.events.errors import RecordError
from keyfold.events.log_leaves import leaf_of
from keyfold.events.statements import PATH_HEADER, ChainHead, Entry, UntrustedRecord
from keyfold.events.trust import Trust
from keyfold.log.believing import Believer, event_of, leaves_of

LOG = (14, 90)


def trust() -> Trust:
    known = Trust.pin(DEPLOYMENT, ROOT.public_key)
    return known.with_event(certificate("policy")).with_event(certificate("hsm"))


def records(partition: int, statement: int) -> list[Inbound]:
    """Honest events, signed anew in statements of some size: long ones stand whole in a batch, or do not."""
    made: list[Inbound] = []
    heads = {role: ChainHead() for role in authors()}
    events = honest(*LOG).events(partition)
    for start in range(0, len(events), statement):
        for role in ("policy", "hsm"):
            mine = [event for event in events[start : start + statement] if event.role == role]
            entries = [Entry(event.subject.encode(), event.to_value()) for event in mine]
            heads[role], signed = authors()[role].records(topics.EVENTS, partition, heads[role], entries)
            for each in signed:
                place, headers = len(made), tuple(each.headers)
                made.append(Inbound(topics.EVENTS, partition, place, 1_790_000_000_000, each.key, each.value, headers))
    return made


def mutated(kept: list[Inbound], source: random.Random, changes: int) -> list[Inbound]:
    """Change, move, double and drop records, and exchange their headers."""
    for _ in range(changes):
        at = source.randrange(len(kept))
        match source.randrange(7):
            case 0:
                del kept[at]
            case 1:
                kept.insert(at, kept[source.randrange(len(kept))])
            case 2:
                kept[at] = replace(kept[at], value=(kept[at].value or b"") + b" ")
            case 3:
                kept[at] = replace(kept[at], headers=kept[source.randrange(len(kept))].headers)
            case 4:
                kept[at] = replace(kept[at], key=source.choice([None, b"registry", b"key/x"]))
            case 5:
                name, value = kept[at].headers[source.randrange(4)]
                kept[at] = replace(kept[at], headers=(*kept[at].headers, (name, value)))
            case 6:
                kept[at] = without_a_value(kept[at], source.randrange(4))
            case _:
                kept[at] = replace(kept[at], headers=tuple((n, v[:-1]) for n, v in kept[at].headers if v))
    return kept


def without_a_value(record: Inbound, place: int) -> Inbound:
    """Kafka knows headers without a value, whatever our types say."""
    headers: list[tuple[str, Any]] = list(record.headers)
    headers[place] = headers[place][0], None
    return replace(record, headers=tuple(headers))


def alone(reader: ChainReader, known: Trust, record: Inbound) -> Accepted | RecordError:
    try:
        return reader.accept(known, record.key, record.value, record.headers, record.timestamp_ms)
    except RecordError as error:
        return error


def verdict(result: Accepted | RecordError) -> object:
    return (result.code, str(result)) if isinstance(result, RecordError) else result


def batches(kept: Sequence[Inbound], size: int) -> list[Sequence[Inbound]]:
    return [kept[at : at + size] for at in range(0, len(kept), size)]


@given(
    seed=st.integers(0, 2**32),
    statement=st.sampled_from([1, 2, 7, 30]),
    batch=st.sampled_from([1, 5, 64, 500]),
    changes=st.integers(0, 4),
)
@settings(max_examples=25, deadline=None)
def test_verdicts_and_places_are_the_same(seed: int, statement: int, batch: int, changes: int) -> None:
    """For each record, and for the chains behind it."""
    kept = mutated(records(1, statement), random.Random(seed), changes)  # noqa: S311 - choices of a test
    known = trust()
    believer, reader = Believer(1, PARTITIONS), ChainReader(topics.EVENTS, 1, PARTITIONS)
    for part in batches(kept, batch):
        found = list(map(verdict, believer.accept_all(known, part)))
        assert found == [verdict(alone(reader, known, record)) for record in part]
        assert believer.places == reader.places
        assert leaves_of(part) == [leaf_of(record.key, record.value, record.headers) for record in part]


@pytest.mark.parametrize("place", range(4))
def test_headers_without_a_value_are_read_alike(place: int) -> None:
    """Of a run of records too: they are leaves, and nobody believes them."""
    kept = [without_a_value(record, place) for record in records(1, 30)[:3]]
    found = list(Believer(1, PARTITIONS).accept_all(trust(), kept))
    assert all(isinstance(each, UntrustedRecord) for each in found)
    assert leaves_of(kept) == [leaf_of(record.key, record.value, record.headers) for record in kept]


def test_paths_that_are_made_anew_do_not_lead_to_the_signed_root() -> None:
    """Paths are signed by nobody: whoever edits a record can make those of its whole statement fit each other."""
    kept = records(1, 30)
    end = next(at for at in range(1, len(kept)) if kept[at].headers[1] != kept[0].headers[1])
    run = [replace(kept[0], value=b"{}"), *kept[1:end]]
    levels = merkle.levels_of([Entry(record.key or b"", record.value or b"").leaf() for record in run])
    for index, record in enumerate(run):
        path = index.to_bytes(4, "big") + b"".join(merkle.path_of(levels, index))
        run[index] = replace(record, headers=(*record.headers[:3], (PATH_HEADER, path)))
    found = list(Believer(1, PARTITIONS).accept_all(trust(), run))
    assert len(found) > 2
    assert all(isinstance(each, UntrustedRecord) for each in found)


def test_events_are_read_alike() -> None:
    """By the short way where bytes are what the model writes, else by the strict one; authors are checked by both."""
    known, believer = trust(), Believer(1, PARTITIONS)
    for accepted in believer.accept_all(known, records(1, 30)):
        assert isinstance(accepted, Accepted)
        assert event_of(accepted) == read_event(accepted, topics.EVENTS)


def strange(value: bytes, role: str = "policy", key: bytes = b"registry") -> Accepted:
    entry = Entry(key, value)
    _, made = authors()[role].records(topics.EVENTS, 0, ChainHead(), [entry])
    reader = ChainReader(topics.EVENTS, 0, PARTITIONS)
    return reader.accept(trust(), key, value, tuple(made[0].headers), 1_790_000_000_000)


def test_what_two_readers_could_understand_differently_is_refused_alike() -> None:
    """Doubled names, escapes of what cannot be stored, other authors, other streams, other types."""
    honest_value = certificate("policy", signer("other")).to_value()
    doubled = honest_value.replace(b'{"specversion":"1.0"', b'{"specversion":"1.0","specversion":"1.0"')
    unstorable = honest_value.replace(b'"id":"', b'"id":"\\u0000')
    for value in (doubled, unstorable, honest_value, b"{}", b"[]", b'{"type":"keyfold.key.created.v2"}'):
        accepted = strange(value)
        results: list[object] = []
        for read in (event_of, lambda each: read_event(each, topics.EVENTS)):
            try:
                results.append(read(accepted))
            except RecordError as error:
                results.append((error.code, str(error)))
        assert results[0] == results[1]
        assert not isinstance(results[0], facts.Event), "policy may not write any of these"
