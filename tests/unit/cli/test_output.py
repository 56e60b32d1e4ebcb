"""Tables, JSON and lines of events: what people and programs see."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from keyfold.cli.output import pairs, plain, size, table, to_json
from keyfold.cli.records import as_data, as_line
from keyfold.projections.rows import AuditRow

ROW = AuditRow(
    partition=2,
    position=7,
    kafka_offset=19,
    event_id="2.3.decision",
    event_type="keyfold.command.denied.v1",
    time="2026-01-31T12:00:00.000Z",
    stream="key/01890000-0000-7000-8000-0000deadbeef",
    outcome="denied",
    code="AccessDenied",
    principal="alice",
    verb="Decrypt",
    key_id="01890000-0000-7000-8000-0000deadbeef",
    key_version=None,
    contexts='[{"order": "4711"}]',
    items=3,
    payload_bytes=120,
    policies=("registry/forbid#0",),
    registry_revision=4,
    command_id="01890000-0000-7000-8000-000000000002",
    command_digest="00" * 32,
    command_offset=5,
    value=b'{"id": "2.3.decision", "data": {"code": "AccessDenied"}}',
    role="policy",
    signer="11" * 32,
    statement_n=3,
    statement_leaf=0,
)


@dataclass(frozen=True)
class Thing:
    name: str
    where: Path


def test_columns_are_aligned() -> None:
    """The last column is not padded; nothing is a dash."""
    assert table(("A", "LONGER"), [("x", None), ("wide one", True)]) == "A         LONGER\nx         -\nwide one  yes"
    assert table(("A",), [], empty="nothing") == "nothing"
    assert pairs([("a", 1), ("long", ["x", "y"])]) == "a     1\nlong  x, y"


def test_everything_becomes_json() -> None:
    """Dataclasses, paths, bytes, tuples and sets."""
    value = {"thing": Thing("x", Path("/y")), "bytes": b"\x01", "many": (1, {2})}
    assert plain(value) == {"thing": {"name": "x", "where": "/y"}, "bytes": "01", "many": [1, [2]]}
    assert json.loads(to_json(value)) == plain(value)
    assert "\n" not in to_json(value, lines=True)


def test_sizes_are_for_people() -> None:
    """One decimal from a KiB on."""
    assert [size(n) for n in (0, 1023, 1536, 5 << 20)] == ["0 B", "1023 B", "1.5 KiB", "5.0 MiB"]


def test_a_line_says_who_did_what_and_why_not() -> None:
    """Time, place in the log, type, key, principal, verb, code, and the policy that decided."""
    words = as_line(ROW).split()
    assert words[:6] == ["2026-01-31T12:00:00.000Z", "2/7", "command.denied", "key/…deadbeef", "alice", "Decrypt"]
    assert "AccessDenied" in words
    assert words[-1] == "registry/forbid#0"


def test_a_line_says_why_and_by_what_right() -> None:
    """The caller's reason and host, the grant or proposal, and that it was only tried."""
    row = replace(
        ROW,
        reason='the "audit"',
        source="host-1",
        grant_id="g",
        proposal_id="p",
        dry_run=True,
        code=None,
        policies=None,
    )
    assert as_line(row).endswith(' dry-run grant=g proposal=p from host-1 because "the \\"audit\\""')
    assert "because" not in as_line(ROW)


def test_an_event_without_a_principal_names_its_author() -> None:
    """Facts of the services themselves."""
    line = as_line(replace(ROW, principal=None, verb=None, policies=None, code=None, items=None, payload_bytes=None))
    assert line.split()[-1] == "policy"


def test_the_document_of_an_event_is_whole() -> None:
    """Programs get the signed event itself, parsed, and the contexts as data."""
    data = as_data(ROW)
    assert data["event"] == json.loads(ROW.value)
    assert data["contexts"] == [{"order": "4711"}]
    assert "value" not in data
