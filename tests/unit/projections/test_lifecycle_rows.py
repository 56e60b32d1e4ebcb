"""What the audit and the evidence show of the whole life of keys."""

import json
from typing import Any

import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import PARTITIONS, START_MS, seeded
from tests.unit.projections.living import DAY_MS, Living, living

from keyfold.bus import MemoryBus, MemoryCluster
from keyfold.events import commands, facts, topics
from keyfold.events.directory import directory_names, directory_partition
from keyfold.events.entities import Key
from keyfold.events.times import to_text
from keyfold.projections.audit import audit_row
from keyfold.projections.audit_commands import command_columns, proposed_columns
from keyfold.projections.evidence import evidence_rows
from keyfold.projections.fold import Fold
from keyfold.projections.positions import Offsets
from keyfold.projections.rows import AuditRow, DirectoryRecord
from keyfold.projections.tables import Staged
from keyfold.projector.publisher import Publisher


def rows_of(events: list[facts.Event]) -> list[tuple[facts.Event, AuditRow]]:
    return [(event, audit_row(1, n, n, folding.leaf(event, n).accepted, event)) for n, event in enumerate(events)]


def text(verb: str, /, **arguments: Any) -> str:
    return json.dumps({"type": commands.type_of(verb), "data": {"arguments": arguments}})


EVENTS = [event for seed in range(8) for event in living(seeded(seed), 300)]
OUTCOMES = {
    facts.KeyVersionDisabled: "authorized",
    facts.KeyVersionEnabled: "authorized",
    facts.KeyVersionDestroyed: "authorized",
    facts.KeyCompromised: "authorized",
    facts.KeyValidityUpdated: "authorized",
    facts.KeyRotationEnabled: "authorized",
    facts.KeyRotationDisabled: "authorized",
    facts.ImportParametersIssued: "authorized",
    facts.ImportedKeyMaterialDeleted: "authorized",
    facts.StorageEpochBegun: "authorized",
    facts.ImportParametersCreated: "completed",
    facts.KeyMaterialImported: "completed",
    facts.TokenCapabilitiesFound: "recorded",
    facts.StorageEpochTurned: "recorded",
    facts.StorageEpochKeyDestroyed: "recorded",
    facts.KeyErased: "recorded",
}


@pytest.mark.parametrize("kind", OUTCOMES, ids=lambda kind: kind.__name__)
def test_every_fact_has_an_outcome(kind: type[facts.Event]) -> None:
    """What was decided has its author and verb, what was done names its command, what was found names nobody."""
    rows = [row for event, row in rows_of(EVENTS) if type(event) is kind]
    assert rows
    for row in rows:
        assert row.outcome == OUTCOMES[kind]
        named = (row.principal, row.verb is not None, row.command_id is not None)
        assert named == ((None, False, False) if row.outcome == "recorded" else ("alice", True, True))


def test_the_version_is_shown_where_there_is_one() -> None:
    """Of facts about one version, it; of facts about several, none in particular."""
    shown = set()
    for event, row in rows_of(EVENTS):
        data = event.data
        several = getattr(data, "erased_versions", getattr(data, "versions", None))
        if isinstance(event, facts.KeyCompromised | facts.KeyErased | facts.KeyUseCeased):
            assert row.key_version == (several[0] if several is not None and len(several) == 1 else None)
            shown.add((type(event), row.key_version is None))
        elif isinstance(getattr(data, "version", None), int):
            assert row.key_version == data.version
    assert {(facts.KeyCompromised, True), (facts.KeyCompromised, False), (facts.KeyErased, False)} <= shown


@pytest.mark.parametrize("verb", sorted(commands.BY_VERB))
def test_the_algorithm_is_the_one_that_policy_sees(verb: str) -> None:
    """Also where the caller names none: what holds then is shown."""
    arguments: Any = commands.BY_VERB[verb].model_fields["data"].annotation
    fields = arguments.model_fields["arguments"].annotation.model_fields
    names = [name for name in fields if name.endswith("_algorithm")]
    assert len(names) <= 1
    if not names:
        expected = "SYMMETRIC_DEFAULT" if verb in commands.SYMMETRIC_ONLY else None
        assert command_columns(text(verb))["algorithm"] == expected
        return
    default = None if fields[names[0]].is_required() else fields[names[0]].default
    assert command_columns(text(verb))["algorithm"] == default
    named = text(verb, **{names[0]: "SOMETHING_ELSE"})
    assert command_columns(named)["algorithm"] == "SOMETHING_ELSE"
    assert command_columns(text(verb, **{names[0]: 7}))["algorithm"] is None


def test_a_proposals_algorithm_is_the_proposed_ones() -> None:
    """An approval itself uses no key."""
    wish = text("ProposeCommand", verb="Sign", arguments={"signing_algorithm": "ECDSA_SHA_256"})
    assert proposed_columns(wish)["algorithm"] == "ECDSA_SHA_256"
    assert command_columns(wish)["algorithm"] is None


def staged(event: facts.Event, partition: int = 1) -> list[Staged]:
    return list(evidence_rows(event, audit_row(partition, 5, 12, folding.leaf(event, 12).accepted, event)))


def test_material_that_was_imported_again_is_there() -> None:
    """The row says so explicitly: what was erased before is not any more."""
    event = next(event for event in EVENTS if isinstance(event, facts.KeyMaterialImported))
    (row,) = staged(event)
    assert (row.table, row.document["erased_at"], row.document["imported_at"]) == ("key_materials", None, event.time)
    generated = next(event for event in EVENTS if isinstance(event, facts.KeyMaterialGenerated))
    assert "erased_at" not in staged(generated)[0].document


def test_a_batch_keeps_what_was_said_before() -> None:
    """Generated and erased in one batch is one row with both, in whichever order."""
    life = Living(seeded(2), 10)
    key_id = life.create("KEYFOLD", ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"))
    life.disable(life.key(key_id))
    erased = {"key_id": key_id, "erased_versions": [1]}
    life.outcome(facts.KeyUseCeased, f"key/{key_id}", "DestroyKey", **erased)
    fold = Fold(Offsets(1), dict.fromkeys([f"key/{key_id}", "deployment"]))
    for number, event in enumerate(event for event in life.events if event.subject == f"key/{key_id}"):
        fold.add(folding.leaf(event, number))
    (row,) = [row for row in fold.batch({}).rows if row.table == "key_materials"]
    assert row.document["generated_at"] is not None
    assert row.document["erased_at"] == life.events[-1].time


def test_a_key_row_is_written_for_what_a_key_shows() -> None:
    """A command about one version writes that version; a command about the key writes the key."""
    life = Living(seeded(2), 10)
    key = life.key(life.create("KEYFOLD", ("RSA_2048", "SIGN_VERIFY"), not_before=None, not_after=None))
    for step, expected in ((life.compromise, ["key_versions"]), (life.rotate_for, ["keys", "key_versions"])):
        before = len(life.events)
        step(life.key(key.key_id))
        stream = f"key/{key.key_id}"
        entities = folding.evolved(life.events[:before])
        fold = Fold(Offsets(1), {stream: entities[stream]})
        fold.add(folding.leaf(life.events[before], 0))
        assert [row.table for row in fold.batch({}).rows] == expected


async def test_a_record_is_published_under_all_its_names() -> None:
    """Each name in its own partition, with the same bytes and signature headers."""
    cluster = MemoryCluster(PARTITIONS, clock_ms=lambda: START_MS)
    sender = MemoryBus(cluster).sender()
    await sender.start()
    life = Living(seeded(2), 10)
    life.create("KEYFOLD", ("RSA_2048", "SIGN_VERIFY"))
    event = life.events[-1]
    record = DirectoryRecord(directory_names(event), 3, event.to_value(), folding.HEADERS[:4])
    assert len(record.names) == 2
    await Publisher(sender, PARTITIONS, deadline_s=1, dead_letters_per_s=1).publish([record])
    await sender.stop()
    for name in record.names:
        log = cluster.log(topics.DIRECTORY, directory_partition(name, PARTITIONS))
        found, _ = log.read(0, committed=True, max_records=10)
        assert [(r.value, r.headers) for r in found if r.key == name.encode()] == [(record.value, record.headers)]


def test_the_generator_makes_keys_in_every_state() -> None:
    """Otherwise the properties that it feeds would say little."""
    keys = [e for seed in range(8) for e in folding.evolved(living(seeded(seed), 300)).values() if isinstance(e, Key)]
    assert {key.status for key in keys} == {"Enabled", "Disabled", "PendingDeletion", "Destroyed", "Failed"}
    versions = [version for key in keys for version in key.versions]
    assert {version.status for version in versions} == {"Active", "Disabled", "Destroyed", "Failed"}
    assert {(version.compromised, version.material) for version in versions} >= {(True, True), (False, False)}
    assert any(version.erased_at for version in versions)
    assert any(version.has_material(START_MS + 4000 * DAY_MS) is not version.material for version in versions)
    assert any(key.import_parameters for key in keys)
    assert to_text(START_MS) < max(key.changed_at or "" for key in keys)
