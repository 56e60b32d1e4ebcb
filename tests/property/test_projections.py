"""replay == projection: whatever the history and however it is cut into batches, tables equal the fold of events.

The generators are pluggable: every entry of `HISTORIES` runs through the same properties.
"""

import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.histories import decided
from tests.unit.projections import folding
from tests.unit.projections.histories import HISTORIES, PARTITIONS, seeded
from tests.unit.projections.living import living

from keyfold.events import facts
from keyfold.events.entities import (
    Capabilities,
    Deployment,
    Entity,
    Grant,
    Grants,
    Issuer,
    Key,
    Limit,
    Principal,
    Proposal,
    SigningKey,
    grants_name,
)
from keyfold.projections.memory import MemoryQueries, MemorySchemas
from keyfold.projections.memory.schemas import Schema
from keyfold.projections.rows import AuditRow

Made = TypeVar("Made", Principal, Issuer, Limit, Grant, Proposal, Deployment, Capabilities)

MANY = settings(max_examples=700, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SEEDS = st.integers(0, 2**32 - 1)
STEPS = st.integers(0, 40)


async def projected(events: Sequence[facts.Event], cuts: random.Random) -> tuple[Schema, MemoryQueries]:
    schemas = MemorySchemas()
    await schemas.prepare(PARTITIONS)
    await folding.feed_all(schemas.partition_store("blue"), events, cuts)
    return schemas.schemas["blue"], MemoryQueries(schemas)


@pytest.mark.parametrize("generator", HISTORIES)
@MANY
@given(seed=SEEDS, steps=STEPS, cuts=SEEDS)
async def test_replay_equals_projection(generator: str, seed: int, steps: int, cuts: int) -> None:
    """Entities are exactly evolve's; rows rebuild them; every event has one audit row at its place."""
    await check_replay(HISTORIES[generator](seeded(seed), steps), cuts)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, steps=st.integers(60, 160), cuts=SEEDS)
async def test_replay_equals_projection_of_decided_commands(seed: int, steps: int, cuts: int) -> None:
    """The same over thousands of generated commands, which the policy processor's own `decide` answered."""
    await check_replay(decided(seeded(seed), steps), cuts)


async def check_replay(events: Sequence[facts.Event], cuts: int) -> None:
    schema, _ = await projected(events, seeded(cuts))
    truth = folding.evolved(events)
    assert schema.entities == truth
    assert _rebuilt_keys(schema) == {entity.key_id: entity for entity in truth.values() if isinstance(entity, Key)}
    kinds = Principal | SigningKey | Issuer | Limit | Grant | Grants | Proposal | Deployment | Capabilities
    assert _rebuilt_governance(schema) == {n: entity for n, entity in truth.items() if isinstance(entity, kinds)}
    levels = {place: (bucket.level, bucket.updated_at) for place, bucket in folding.levels(events).items()}
    assert {place: (row["level"], row["updated_at"]) for place, row in schema.rows["buckets"].items()} == levels
    assert Counter(row.value for row in schema.audit) == Counter(event.to_value() for event in events)
    for partition, leaves in folding.by_partition(events).items():
        rows = [row for row in schema.audit if row.partition == partition]
        assert [row.position for row in rows] == list(range(len(leaves)))
        assert schema.offsets[partition].position == len(leaves)


@pytest.mark.parametrize("generator", HISTORIES)
@MANY
@given(seed=SEEDS, steps=STEPS, cuts=st.tuples(SEEDS, SEEDS))
async def test_batches_do_not_matter(generator: str, seed: int, steps: int, cuts: tuple[int, int]) -> None:
    """Two projectors that cut the same log differently end with equal tables, row by row."""
    events = HISTORIES[generator](seeded(seed), steps)
    one, _ = await projected(events, seeded(cuts[0]))
    two, _ = await projected(events, seeded(cuts[1]))
    assert one.rows == two.rows
    assert sorted(one.audit, key=_place) == sorted(two.audit, key=_place)
    assert one.offsets == two.offsets
    assert one.directory == two.directory


@pytest.mark.parametrize("generator", HISTORIES)
@MANY
@given(seed=SEEDS, steps=STEPS, cuts=SEEDS)
async def test_usage_counts_every_outcome_once(generator: str, seed: int, steps: int, cuts: int) -> None:
    """Sums over versions are exact for commands, items, bytes and failures of each stream, principal and verb."""
    events = HISTORIES[generator](seeded(seed), steps)
    _, queries = await projected(events, seeded(cuts))
    expected: Counter[tuple[str, str, str, str]] = Counter()
    for event in events:
        if isinstance(event, facts.KeyUsed):
            place = (event.subject, event.data.principal, event.data.verb)
            expected[*place, "commands"] += 1
            expected[*place, "items"] += sum(event.data.versions.values())
            expected[*place, "bytes"] += event.data.bytes
            expected[*place, "failed"] += sum(map(len, event.data.failures.values()))
        elif isinstance(event, facts.CommandCompleted) and event.data.verb == "GenerateRandom":
            place = (event.subject, event.data.principal, event.data.verb)
            expected[*place, "commands"] += 1
            expected[*place, "items"] += event.data.items
            expected[*place, "bytes"] += event.data.bytes
    found: Counter[tuple[str, str, str, str]] = Counter()
    for row in await queries.usage():
        place = (row.stream, row.principal, row.verb)
        found[*place, "commands"] += row.commands
        found[*place, "items"] += row.items
        found[*place, "bytes"] += row.bytes
        found[*place, "failed"] += row.failed_items
    assert +found == +expected


@MANY
@given(seed=SEEDS, steps=STEPS, stop=st.floats(0, 1), cuts=SEEDS)
async def test_folding_can_stop_and_go_on_anywhere(seed: int, steps: int, stop: float, cuts: int) -> None:
    """A projector that stops in the middle, and another that goes on from what is stored, lose and double nothing."""
    events = HISTORIES["simulated"](seeded(seed), steps)
    schemas = MemorySchemas()
    await schemas.prepare(PARTITIONS)
    for partition, leaves in folding.by_partition(events).items():
        sizes = seeded(cuts)
        await folding.feed(schemas.partition_store("blue"), leaves[: int(len(leaves) * stop)], sizes, partition)
        await folding.feed(schemas.partition_store("blue"), leaves, sizes, partition)
    whole, _ = await projected(events, seeded(cuts + 1))
    assert schemas.schemas["blue"].rows == whole.rows
    assert sorted(schemas.schemas["blue"].audit, key=_place) == sorted(whole.audit, key=_place)


@MANY
@given(seed=SEEDS, steps=STEPS, cuts=SEEDS)
async def test_evidence_is_what_the_worker_said_last(seed: int, steps: int, cuts: int) -> None:
    """Of material, its erasure and its certificate; of the beginning and the end of epochs, and of each turn."""
    events = living(seeded(seed), steps)
    schema, _ = await projected(events, seeded(cuts))
    materials: dict[tuple[str, int], dict[str, Any]] = {}
    turns: dict[tuple[int, int], str] = {}
    for event in events:
        match event:
            case facts.KeyMaterialGenerated(data=data):
                materials[data.key_id, data.version] = {"generated_at": event.time, "public_key": data.public_key}
            case facts.KeyMaterialImported(data=data):
                known = {"imported_at": event.time, "public_key": data.public_key, "erased_at": None}
                materials[data.key_id, data.version] = materials.get((data.key_id, data.version), {}) | known
            case facts.KeyUseCeased(data=data):
                for version in data.erased_versions:
                    materials.setdefault((data.key_id, version), {})["erased_at"] = event.time
            case facts.KeyErased(data=data):
                for version in data.versions:
                    materials[data.key_id, version]["certificate"] = data.model_dump(mode="json")
            case facts.StorageEpochTurned(data=data):
                turns[data.epoch, data.partition] = event.time
    rows = schema.rows["key_materials"]
    assert {at: {name: row[name] for name in materials[at]} for at, row in rows.items()} == materials
    assert {at: row["turned_at"] for at, row in schema.rows["storage_epoch_turns"].items()} == turns


def _place(row: AuditRow) -> tuple[int, int]:
    return row.partition, row.position


def _rebuilt_keys(schema: Schema) -> dict[str, Key]:
    """Keys put together from their rows alone, as the view `key_entities` does."""
    found = {}
    for (key_id,), row in schema.rows["keys"].items():
        versions = sorted((r for r in schema.rows["key_versions"].values() if r["key_id"] == key_id), key=_version)
        policies = sorted(
            (r for r in schema.rows["policies"].values() if r["stream"] == f"key/{key_id}"), key=lambda r: r["ordinal"]
        )
        documents = [
            {k: v for k, v in r.items() if k not in {"key_id", "command_offset"}} | {"offset": r["command_offset"]}
            for r in versions
        ]
        attached = [{"policy": r["policy"], "text": r["text"]} for r in policies]
        found[key_id] = Key.model_validate({**row, "versions": documents, "policies": attached}, strict=False)
    return found


def _version(row: dict[str, int]) -> int:
    return row["version"]


def _rebuilt_governance(schema: Schema) -> dict[str, Entity]:
    """Who may do what, put together from rows alone, as the views of entities do."""
    rows = schema.rows
    held: dict[str, list[dict[str, Any]]] = {name: [] for (name,) in rows["principals"]}
    for row in sorted(rows["signing_keys"].values(), key=lambda row: int(row["ordinal"])):
        held[row["principal"]].append({name: row[name] for name in row if name not in {"principal", "ordinal"}})
    found: dict[str, Entity] = {}
    for (name,), row in rows["principals"].items():
        found[f"principal/{name}"] = _made(Principal, row, keys=held[name])
    for (fingerprint,), row in rows["signing_key_index"].items():
        found[f"signing-key/{fingerprint}"] = SigningKey(principal=row["principal"])
    for (key_id, grantee), row in rows["grant_index"].items():
        found[grants_name(key_id, grantee)] = Grants(grants=tuple(row["grants"]))
    for (name,), row in rows["issuers"].items():
        found[f"issuer/{name}"] = _made(Issuer, row)
    for (name,), row in rows["limits"].items():
        found[f"limit/{name}"] = _made(Limit, row, limit_name="limit", group_name="group")
    for (name,), row in rows["grants"].items():
        found[f"grant/{name}"] = _made(Grant, row, grant_id="grant")
    for (name,), row in rows["proposals"].items():
        found[f"proposal/{name}"] = _made(Proposal, row, proposal_id="proposal")
    for row in rows["deployment"].values():
        found["deployment"] = _made(Deployment, {name: value for name, value in row.items() if name != "id"})
    for row in rows["capabilities"].values():
        found["capabilities"] = _made(Capabilities, {name: value for name, value in row.items() if name != "id"})
    return found


def _made(kind: type[Made], row: dict[str, Any], keys: list[dict[str, Any]] | None = None, **renamed: str) -> Made:
    document = {renamed.get(name, name): value for name, value in row.items()}
    return kind.model_validate_json(json.dumps(document if keys is None else document | {"keys": keys}))
