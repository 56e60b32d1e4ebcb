"""The pure parts: audit rows, usage, rows of entities, replay, positions, and the small ones beside them."""

import dataclasses
import json
import re
from types import MappingProxyType
from typing import Any

import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import (
    DEPLOYMENT,
    PARTITIONS,
    ROOT,
    START_MS,
    Log,
    genesis_events,
    seeded,
    signer,
    simulated,
)
from tests.unit.projections.living import living

from keyfold.events import facts, topics
from keyfold.events.chains import ChainGap, Place
from keyfold.events.entities import Capabilities, Deployment, KeyVersion
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.streams import partition_of
from keyfold.events.times import to_text
from keyfold.events.trust import Trust
from keyfold.projections import sqlfiles, tables
from keyfold.projections.audit import audit_row
from keyfold.projections.errors import RebuildNeeded, StateMismatch
from keyfold.projections.evidence import IN_PARTS
from keyfold.projections.filters import InvalidCursor, cursor_of, place_of
from keyfold.projections.fold import Fold, Leaf, NotLoaded
from keyfold.projections.months import month_of, month_range
from keyfold.projections.naming import arguments_of
from keyfold.projections.ports import lag
from keyfold.projections.positions import Offsets, check_revocations, dump_places, load_places
from keyfold.projections.replay import Replay, Strange
from keyfold.projections.rows import AuditRow, Progress, Report
from keyfold.projections.usage import usage_of

KEY_ID = "0193f3a0-7c00-7000-8000-00000000000a"
COMMAND_ID = "0193f3a0-7c00-7000-8000-00000000000c"
STREAM = f"key/{KEY_ID}"
TIME = to_text(START_MS)


def decision(command: str = "{}", **more: Any) -> facts.Decision:
    known: dict[str, Any] = {
        "command": command,
        "command_digest": "ab" * 32,
        "body_digest": "0" * 64,
        "signature": "",
        "offset": 41,
        "policies": ["owners"],
        "registry_revision": 7,
        "facts_n": 3,
    }
    return facts.Decision(**{**known, **more})


def command(**data: Any) -> str:
    document = {"id": COMMAND_ID, "type": "keyfold.command.Decrypt.v1", "data": {"principal": "carol", **data}}
    return json.dumps(document)


def denied(text: str) -> facts.Event:
    return facts.CommandDenied.new(
        "e", STREAM, TIME, decision=decision(text), verb="Decrypt", principal="alice", code="AccessDenied"
    )


def used(**data: Any) -> facts.Event:
    known: dict[str, Any] = {
        "offset": 41,
        "command_id": COMMAND_ID,
        "command_digest": "ab" * 32,
        "principal": "alice",
        "verb": "Decrypt",
        "key_id": KEY_ID,
        "items": 5,
        "bytes": 90,
        "versions": {"1": 5},
        "failures": {},
        "mac": "0" * 64,
    }
    return facts.KeyUsed.new("u", STREAM, TIME, **{**known, **data})


def row_of(event: facts.Event) -> AuditRow:
    leaf = folding.leaf(event, 12)
    return audit_row(1, 5, 12, leaf.accepted, event)


def test_a_denial_shows_who_what_and_why() -> None:
    """The row of a denied command has the command's context and items, the code and the deciding policies."""
    row = row_of(denied(command(contexts=[{"tenant": "blue"}], items=3, bytes=11)))
    assert (row.outcome, row.code, row.principal, row.verb) == ("denied", "AccessDenied", "alice", "Decrypt")
    assert (row.key_id, row.command_id, row.command_offset) == (KEY_ID, COMMAND_ID, 41)
    assert (row.items, row.payload_bytes, row.policies, row.registry_revision) == (3, 11, ("owners",), 7)
    assert json.loads(row.contexts or "") == [{"tenant": "blue"}]


def test_an_outcome_shows_what_was_done() -> None:
    """The row of a use names key, version, items and the command that it answers."""
    row = row_of(used())
    assert (row.outcome, row.code, row.key_version, row.items, row.payload_bytes) == ("completed", None, 1, 5, 90)
    assert (row.command_id, row.command_offset, row.command_digest) == (COMMAND_ID, 41, "ab" * 32)


def test_partial_failures_show_their_code() -> None:
    """One kind of failure is named; several are summed up; several versions are none in particular."""
    row = row_of(used(versions={"1": 2, "2": 1}, failures={"InvalidCiphertext": [0, 4]}))
    assert (row.key_version, row.code) == (None, "InvalidCiphertext")
    assert row_of(used(failures={"InvalidCiphertext": [0], "KeyDestroyed": [1]})).code == "SeveralErrors"


def test_facts_without_a_command_are_recorded() -> None:
    """Root's events and sealing keys have neither principal nor verb."""
    row = row_of(genesis_events()[0])
    assert (row.outcome, row.principal, row.verb, row.key_id, row.command_id) == ("recorded", None, None, None, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "null",
        '"text"',
        '{"data": 5}',
        '{"id": 7, "type": 8, "data": {"principal": 9, "contexts": 10, "items": "x", "bytes": -1}}',
        '{"id": "nobody", "type": "x", "data": {"contexts": [{"a": 1}], "items": 1e3, "bytes": true}}',
        '{"data": {"contexts": [{"a": "\\u0000"}]}}',
        '{"data": {"contexts": [{"a": "\\ud800"}]}}',
        '{"data": {"contexts": [[]], "items": NaN}}',
        '{"data": {"items": ' + "9" * 40 + "}}",
        "{" * 5000,
    ],
)
def test_a_strange_command_never_breaks_the_audit(text: str) -> None:
    """Whatever policy put into a decision, the row exists; what has not the expected form stays empty."""
    row = row_of(denied(text))
    assert (row.principal, row.verb, row.code) == ("alice", "Decrypt", "AccessDenied")
    assert (row.command_id, row.contexts, row.items, row.payload_bytes) == (None, None, None, None)


def test_contexts_with_escapes_are_read() -> None:
    """An ordinary escape takes the slower way to the same result."""
    row = row_of(denied('{"data": {"contexts": [{"a": "\\u00fc"}]}}'))
    assert json.loads(row.contexts or "") == [{"a": "ü"}]


def test_usage_by_one_version_is_all_that_versions() -> None:
    """Commands, items, bytes and failures stand under the only version."""
    (row,) = usage_of(used(items=5, versions={"3": 4}, failures={"InvalidCiphertext": [2]}))
    assert dataclasses.astuple(row) == (STREAM, 3, "alice", "Decrypt", 1, 4, 90, 1, TIME)


def test_usage_by_several_versions_is_not_guessed() -> None:
    """Items go to their versions; what belongs to the command as a whole stands under version 0."""
    rows = {row.version: row for row in usage_of(used(versions={"1": 2, "2": 3}))}
    assert {version: (row.commands, row.items, row.bytes) for version, row in rows.items()} == {
        0: (1, 0, 90),
        1: (0, 2, 0),
        2: (0, 3, 0),
    }


def test_usage_where_everything_failed() -> None:
    """A command whose items all failed counts as one command with failures."""
    (row,) = usage_of(used(versions={}, failures={"InvalidCiphertext": [0, 1]}))
    assert (row.version, row.commands, row.items, row.failed_items) == (0, 1, 0, 2)


def test_control_commands_are_no_use() -> None:
    """Only data-plane outcomes count."""
    events = [e for e in simulated(seeded(3), 150) if isinstance(e, facts.CommandCompleted)]
    control = [e for e in events if e.data.verb != "GenerateRandom"]
    assert control
    assert not [usage for event in control for usage in usage_of(event)]


def test_using_a_key_touches_one_row() -> None:
    """A protecting command changes the version's count; the key's own row is not written again."""
    events = simulated(seeded(3), 150)
    verbs = {"Encrypt", "GenerateDataKey"}
    use = next(e for e in events if isinstance(e, facts.CommandAuthorized) and e.data.verb in verbs)
    before = folding.evolved(events[: events.index(use)])
    after = folding.evolved(events[: events.index(use) + 1])
    rows = list(tables.entity_rows(1, use.subject, before[use.subject], after[use.subject]))
    assert [(row.table, row.removed) for row in rows] == [("key_versions", False)]


def test_an_unchanged_entity_has_no_rows() -> None:
    """Nothing is staged for what is equal."""
    for name, entity in folding.evolved(simulated(seeded(3), 100)).items():
        assert list(tables.entity_rows(1, name, entity, entity)) == []


def test_what_is_not_loaded_is_asked_for_and_nothing_moves() -> None:
    """A fold that lacks an entity names it; the same record can be folded when it is there."""
    events = simulated(seeded(3), 150)
    index = next(n for n, e in enumerate(events) if isinstance(e, facts.KeyRotated))
    fold = Fold(Offsets(1), {})
    with pytest.raises(NotLoaded) as caught:
        fold.add(folding.leaf(events[index], 0))
    assert caught.value.name == events[index].subject
    assert fold.batch({}).after == Offsets(1)
    whole = Fold(Offsets(1), dict(folding.evolved(events[:index])))
    whole.add(folding.leaf(events[index], 0))
    assert whole.batch({}).after.position == 1


def test_an_event_that_cannot_follow_is_a_mismatch() -> None:
    """A rotation of a key that does not exist names its place."""
    rotation = next(e for e in simulated(seeded(3), 150) if isinstance(e, facts.KeyRotated))
    with pytest.raises(StateMismatch, match="offset 17"):
        Fold(Offsets(1), {rotation.subject: None}).add(folding.leaf(rotation, 17))


@dataclasses.dataclass(frozen=True)
class Incoming:
    """A record off the bus."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int = START_MS


def trusted() -> Trust:
    trust = Trust.pin(DEPLOYMENT, ROOT.public_key)
    for event in genesis_events():
        trust = trust.with_event(event)
    return trust


def test_replay_tells_leaves_strange_leaves_and_reports_apart() -> None:
    """An event, an authentic record that is none, and a record that nobody signed."""
    log, trust = Log(), trusted()
    replay = Replay(PARTITIONS, Offsets(0))
    for offset, (_, key, value, headers) in enumerate(log.sign(genesis_events())):
        assert isinstance(replay.read(trust, Incoming(offset, key, value, headers)), Leaf)
    erased = facts.SealingKeyErased.new("x", "registry", TIME, sealing_key=KEY_ID)
    (wrong,) = log.sign_entries("policy", 0, [Entry(b"registry", erased.to_value())])
    strange = replay.read(trust, Incoming(3, *wrong[1:]))
    assert isinstance(strange, Strange)
    assert (strange.report.code, strange.report.kafka_offset) == ("UntrustedRecord", 3)
    report = replay.read(trust, Incoming(4, b"registry", b"{}", (("kf_signer", b"\x00\xff"),), timestamp_ms=-1))
    assert isinstance(report, Report)
    assert (report.signer, report.time) == ("", "1970-01-01T00:00:00.000Z")


def test_replay_goes_on_from_stored_places_and_sees_a_gap() -> None:
    """Chains continue across a restart; what is missing in between raises."""
    log, trust = Log(), trusted()
    first = Replay(PARTITIONS, Offsets(0))
    for offset, (_, key, value, headers) in enumerate(log.sign(genesis_events())):
        first.read(trust, Incoming(offset, key, value, headers))
    stored = Offsets(0, next=3, position=3, places=load_places(dump_places(first.chains.places)))
    erased = facts.SealingKeyErased.new("x", "registry", TIME, sealing_key=KEY_ID)
    (one,), (two,) = log.sign([erased]), log.sign([erased])
    assert isinstance(Replay(PARTITIONS, stored).read(trust, Incoming(4, *one[1:])), Leaf)
    with pytest.raises(ChainGap):
        Replay(PARTITIONS, stored).read(trust, Incoming(5, *two[1:]))


def test_places_survive_storage() -> None:
    """What is written is what is read."""
    places = {"hsm": Place(ChainHead(7, "ab" * 32), 2, 9), "policy": Place()}
    assert load_places(dump_places(places)) == places


@pytest.mark.parametrize(("last_folded", "partition", "ok"), [(5, 1, True), (6, 1, False), (1, 2, False)])
def test_folding_past_a_revocation_demands_a_rebuild(last_folded: int, partition: int, ok: bool) -> None:
    """Up to the last valid statement of this partition is fine; beyond it, or elsewhere at all, is not."""
    key = signer("hsm")
    revoked = facts.ServiceKeyRevoked.new(
        "r", "registry", TIME, public_key=key.public_key.hex(), last_valid={f"{topics.EVENTS}/1": 5}
    )
    offsets = Offsets(partition, signers=MappingProxyType({key.fingerprint: last_folded, "ab" * 32: 99}))
    check_revocations(offsets, trusted())
    if ok:
        check_revocations(offsets, trusted().with_event(revoked))
    else:
        with pytest.raises(RebuildNeeded, match="rebuild"):
            check_revocations(offsets, trusted().with_event(revoked))


def test_months_are_bounded() -> None:
    """Ordinary years have months; everything else is before or after them."""
    assert month_of("2026-01-31T23:59:59.999Z") == "2026_01"
    assert [month_of(f"{year}-06-01T00:00:00.000Z") for year in ("0001", "2019", "2100", "9999")] == [
        "before",
        "before",
        "after",
        "after",
    ]
    assert month_range("2026_12") == ("2026-12-01 00:00:00+00", "2027-01-01 00:00:00+00")
    assert month_range("2099_12")[1] == "2100-01-01 00:00:00+00"


def test_names_are_sorted_by_kind() -> None:
    """Each statement looks for its own kind; what cannot exist is not looked for."""
    names = [
        STREAM,
        "alias/a/b",
        "deployment",
        "principal/x",
        "signing-key/ff",
        "policy/p",
        "sealing-key/None",
        "odd/1",
    ]
    names += ["issuer/i", "limit/l", f"grant/{KEY_ID}", "grant/x", f"grants/{KEY_ID}/bob", f"grants/{KEY_ID}"]
    names += [f"grants/{KEY_ID}/bob/x", f"proposal/{KEY_ID}", "proposal/x", "bucket/rate/l/alice"]
    found = arguments_of(names)
    assert {kind: names for kind, names in found.items() if names} == {
        "key": [KEY_ID],
        "alias": ["alias/a/b"],
        "deployment": ["deployment"],
        "principal": ["x"],
        "signing_key": ["ff"],
        "policy": ["p"],
        "issuer": ["i"],
        "limit": ["l"],
        "grant": [KEY_ID],
        "grants": [f"{KEY_ID}/bob"],
        "proposal": [KEY_ID],
    }


def test_statements_are_filled_with_plain_words_only() -> None:
    """Identifiers are never quoted, so nothing that needs quoting is let in; casts are left alone."""
    assert sqlfiles.with_names("SELECT a::text FROM :schema.t", schema="blue") == "SELECT a::text FROM blue.t"
    with pytest.raises(ValueError, match="cannot stand"):
        sqlfiles.with_names(":schema", schema="a; DROP")


def test_every_table_has_its_statements() -> None:
    """Whatever can be staged can be merged."""
    assert tables.PRIMARY_KEYS.keys() <= sqlfiles.statements("apply").keys()


def test_cursors_come_back() -> None:
    """A cursor is the row's place; anything else is refused."""
    row = row_of(used())
    assert place_of(cursor_of(row)) == (TIME, 1, 5)
    for wrong in ("", "a_b_c", f"{TIME}_1", "2026_1_5"):
        with pytest.raises(InvalidCursor):
            place_of(wrong)


def test_lag_counts_from_what_was_folded() -> None:
    """Never negative; a partition that was never folded is behind by all of it."""
    progress = [Progress(0, 7, 6, 7, None, None, TIME), Progress(1, 9, 6, 7, None, None, TIME)]
    assert lag(progress, {0: 10, 1: 8, 2: 4}) == {0: 3, 1: 0, 2: 4}


def test_the_generator_is_legal_and_covers_the_vocabulary() -> None:
    """Histories hold every event type of the events topic that ordinary life has, in partitions of their streams."""
    kinds = {type(event) for seed in range(12) for event in (*simulated(seeded(seed), 200), *living(seeded(seed), 400))}
    rare = {facts.ServiceKeyRevoked}
    assert kinds >= {kind for kind in facts.EVENT_TYPES if kind.topic == topics.EVENTS} - rare
    assert all(0 <= partition_of(event.subject, PARTITIONS) < PARTITIONS for event in simulated(seeded(0), 50))


MODELS = {
    "keys": tables.KEY_COLUMNS,
    "key_versions": (*(set(KeyVersion.model_fields) - {"offset"}), "command_offset"),
    "deployment": tuple(set(Deployment.model_fields) - {"kind"}),
    "capabilities": tuple(set(Capabilities.model_fields) - {"kind"}),
    **IN_PARTS,
}


@pytest.mark.parametrize("table", MODELS)
def test_every_field_has_a_column(table: str) -> None:
    """Postgres takes what it has a column for and is silent about the rest: a new field must not be forgotten."""
    layout = "".join(text for _, text in sqlfiles.scripts("layout"))
    made = layout.partition(f"CREATE TABLE {table} (")[2].partition(";")[0]
    merged = sqlfiles.statements("apply")[table]
    for column in MODELS[table]:
        assert re.search(rf"^    {column} ", made, re.MULTILINE), column
        assert column in tables.PRIMARY_KEYS[table] or f"{column} = excluded.{column}" in merged, column
