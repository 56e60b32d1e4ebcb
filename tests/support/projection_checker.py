"""Replay equals projection: what the log says, folded here, against every row that readers of the projections get.

Entities come from `evolve` alone; audit, usage and directory from the pure functions beside it. It only reads. Also
compares the signed heads of the services' private states with where their chains end.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from tests.support.log_story import Story, everything

from keyfold.bus import Bus
from keyfold.events import facts, topics
from keyfold.events.chains import Place
from keyfold.events.directory import directory_names
from keyfold.events.entities import Alias, Deployment, Entity, Key, Principal, RegistryPolicy, SealingKey
from keyfold.events.errors import KeyfoldError
from keyfold.log import Author, StateTopic
from keyfold.projections.audit import audit_row
from keyfold.projections.ports import Queries
from keyfold.projections.rows import AuditRow, Usage, VersionRow
from keyfold.projections.usage import UsageKey, add, usage_of

Load = Callable[[Iterable[str]], Awaitable[dict[str, Entity | None]]]


async def check_projection(story: Story, queries: Queries, load: Load) -> None:
    """Compare everything; `load` gives the entities of the live schema by name."""
    loaded = await load(sorted(story.entities))
    for name, entity in story.entities.items():
        if loaded.get(name) != entity:
            story.find("projection", name, f"the log says {entity}, the projection {loaded.get(name)}")
    await _lists(story, queries)
    await _keys(story, queries)
    await _epochs(story, queries)
    await _audit(story, queries)
    await _usage(story, queries)
    _directory(story)
    for progress in await queries.progress():
        if progress.halted is not None:
            story.find("projection", f"partition {progress.partition}", f"halted: {progress.halted}")
    for report in await queries.reports():
        story.find("projection", f"partition {report.partition}@{report.kafka_offset}", f"reported {report.code}")


async def _lists(story: Story, queries: Queries) -> None:
    """What is listed is what there is: neither more nor less."""
    _same(story, "aliases", _of(story, Alias, "alias"), {a.alias: a for a in await queries.aliases()})
    principals = {each.principal: each for each in await queries.principals()}
    _same(story, "principals", _of(story, Principal, "principal"), principals)
    sealing = {each.sealing_key: each for each in await queries.sealing_keys()}
    _same(story, "sealing keys", _of(story, SealingKey, "sealing_key"), sealing)
    levels = {(row.partition, row.bucket): (row.level, row.updated_at) for row in await queries.buckets()}
    _same(story, "buckets", {at: (each.level, each.updated_at) for at, each in story.buckets.items()}, levels)
    deployment = await queries.deployment()
    _same(story, "deployment", _of(story, Deployment, "kind"), {"deployment": deployment})
    policies = {(row.stream, row.policy): row.text for row in await queries.policies()}
    expected = {("registry", p.policy): p.text for p in story.entities.values() if isinstance(p, RegistryPolicy)}
    for key in (entity for entity in story.entities.values() if isinstance(entity, Key)):
        expected |= {(f"key/{key.key_id}", policy.policy): policy.text for policy in key.policies}
    _same(story, "policies", expected, policies)


async def _keys(story: Story, queries: Queries) -> None:
    keys = _of(story, Key, "key_id")
    listed, after = [], None
    while True:
        page = await queries.list_keys(after=after)
        listed += [summary.key_id for summary in page.keys]
        if (after := page.next) is None:
            break
    if listed != sorted(keys):
        story.find("projection", "keys", f"lists {len(listed)} keys, the log has {len(keys)}")
    evidence = _evidence(story)
    for key_id, key in keys.items():
        if await queries.describe_key(key_id) != key:
            story.find("projection", f"key/{key_id}", "is described differently than the log says")
        rows = {row.version: _shown(row) for row in await queries.key_versions(key_id)}
        expected = {v.version: evidence.get((key_id, v.version), Evidence()) for v in key.versions}
        _same(story, f"versions of {key_id}", expected, rows)


@dataclass(frozen=True, slots=True)
class Evidence:
    """When a version's material was made, came in, was erased, and when that was certified."""

    generated_at: str | None = None
    imported_at: str | None = None
    erased_at: str | None = None
    certified_at: str | None = None


def _shown(row: VersionRow) -> Evidence:
    return Evidence(row.generated_at, row.imported_at, row.erased_at, row.certified_at)


def _evidence(story: Story) -> dict[tuple[str, int], Evidence]:
    found: dict[tuple[str, int], Evidence] = {}

    def note(key_id: str, versions: Iterable[int], **told: str | None) -> None:
        for version in versions:
            found[key_id, version] = replace(found.get((key_id, version), Evidence()), **told)

    for _, event in story.all_events():
        match event:
            case facts.KeyMaterialGenerated(data=data):
                note(data.key_id, [data.version], generated_at=event.time)
            case facts.KeyMaterialImported(data=data):
                note(data.key_id, [data.version], imported_at=event.time, erased_at=None)
            case facts.KeyUseCeased(data=data):
                note(data.key_id, data.erased_versions, erased_at=event.time)
            case facts.KeyErased(data=data):
                note(data.key_id, data.versions, certified_at=event.time)
    return found


async def _epochs(story: Story, queries: Queries) -> None:
    """The current epoch, and who has turned to it, are the log's."""
    shown, deployment = await queries.storage_epoch(), story.entities.get("deployment")
    if shown is None or not isinstance(deployment, Deployment):
        return
    expected = {
        partition: each.record.offset
        for partition, believed in story.events.items()
        for each in believed
        if isinstance(each.event, facts.StorageEpochTurned) and each.event.data.epoch == deployment.storage_epoch
    }
    _same(story, "turns", expected, {turn.partition: turn.kafka_offset for turn in shown.turned})
    ends = (deployment.storage_epoch, deployment.storage_epoch_ended)
    if (shown.epoch, shown.ended) != ends:
        story.find("projection", "epochs", f"the log says {ends}, found {(shown.epoch, shown.ended)}")


async def _audit(story: Story, queries: Queries) -> None:
    """Exactly one audit row per event, at its place in the log, saying what the event says."""
    for partition, believed in story.events.items():
        expected = [
            _plain(audit_row(partition, position, each.record.offset, each.accepted, each.event))
            for position, each in enumerate(believed)
        ]
        rows = [_plain(row) async for row in _audit_rows(queries, partition)]
        if len(rows) != len(expected):
            story.find("audit", f"partition {partition}", f"{len(rows)} rows for {len(expected)} events")
        for row, wanted in zip(rows, expected, strict=False):
            if row != wanted:
                story.find("audit", f"partition {partition} position {wanted.position}", _difference(row, wanted))
                break


async def _audit_rows(queries: Queries, partition: int) -> AsyncIterator[AuditRow]:
    position = 0
    while rows := await queries.audit_log(partition, position):
        for row in rows:
            yield row
        position = rows[-1].position + 1


def _difference(row: AuditRow, wanted: AuditRow) -> str:
    names = [name for name in AuditRow.__slots__ if getattr(row, name) != getattr(wanted, name)]
    return f"differs from the event in {', '.join(names)}"


def _plain(row: AuditRow) -> AuditRow:
    """Compare contexts by meaning: a database does not keep their spelling."""
    if row.contexts is None:
        return row
    return replace(row, contexts=json.dumps(json.loads(row.contexts), sort_keys=True))


async def _usage(story: Story, queries: Queries) -> None:
    totals: dict[UsageKey, Usage] = {}
    for _, event in story.all_events():
        for usage in usage_of(event):
            add(totals, usage)
    found = {(row.stream, row.version, row.principal, row.verb): row for row in await queries.usage()}
    for name in totals.keys() | found.keys():
        if totals.get(name) != found.get(name):
            story.find("usage", name, f"the log says {totals.get(name)}, the projection {found.get(name)}")


def _directory(story: Story) -> None:
    """The latest directory record of every name is the latest event that answers for it."""
    expected: dict[str, bytes] = {}
    for believed in story.events.values():
        for each in believed:
            for name in directory_names(each.event):
                expected[name] = each.accepted.entry.value
    found = {(record.key or b"").decode(): record.value for record in everything(story.logs, topics.DIRECTORY)}
    for name in expected.keys() | found.keys():
        if expected.get(name) != found.get(name):
            story.find("directory", name, "the latest record is not the latest event")


async def check_states(story: Story, bus: Bus) -> None:
    """The services' states verify, and know exactly the chains that are in the log."""
    for partition in range(story.partitions):
        policy = await _head(story, bus, "policy", topics.POLICY_STATE, partition)
        worker = await _head(story, bus, "hsm", topics.HSM_STATE, partition)
        chains = worker.get("ends") or worker.get("chains", {})
        ends = {
            ("policy", topics.EVENTS): policy.get("events_head", [0])[0],
            ("policy", topics.AUTHORIZED): policy.get("authorized_head", [0])[0],
            ("hsm", topics.EVENTS): chains.get(topics.EVENTS, {"n": 0})["n"],
            ("hsm", topics.KEYSTORE): chains.get(topics.KEYSTORE, {"n": 0})["n"],
        }
        for (role, topic), number in ends.items():
            end = story.places[topic, partition].get(role, Place()).head.n
            if end != number:
                story.find("state", f"{role} {topic}-{partition}", f"knows {number} statements, the log has {end}")
        turns = (b.event for b in story.events[partition] if isinstance(b.event, facts.StorageEpochTurned))
        turned = max((event.data.epoch for event in turns), default=1)
        if worker.get("epoch", 1) != turned:
            story.find(
                "state", f"hsm {partition}", f"knows epoch {worker.get('epoch')}, the log has turned to {turned}"
            )


async def _head(story: Story, bus: Bus, role: str, topic: str, partition: int) -> dict[str, Any]:
    reader = bus.reader(topic, partition, committed=True)
    try:
        if story.trust is None:
            return {}
        state = StateTopic(Author(story.deployment, role, "", lambda _message: b""), topic, partition)
        return (await state.restore(reader, story.trust)).head or {}
    except KeyfoldError as error:
        story.find("state", f"{topic}-{partition}", f"{error.code}: {error}")
        return {}
    finally:
        await reader.stop()


def _of(story: Story, kind: type[Any], name: str) -> dict[Any, Any]:
    return {getattr(entity, name): entity for entity in story.entities.values() if isinstance(entity, kind)}


def _same(story: Story, what: str, expected: dict[Any, Any], found: dict[Any, Any]) -> None:
    for name in expected.keys() | found.keys():
        if expected.get(name) != found.get(name):
            story.find("projection", f"{what} {name}", f"the log says {expected.get(name)}, found {found.get(name)}")
