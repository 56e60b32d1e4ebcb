"""Every row of the projections is compared with the log: each one that is changed, taken away or invented is named."""

import asyncio
import copy
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tests.support.audited_log import AuditedLog, honest
from tests.support.people import DEPLOYMENT, PARTITIONS

from keyfold.auditing.database import Compared, compare
from keyfold.auditing.rooted import read_root
from keyfold.auditing.sources import KafkaSource
from keyfold.bus import MemoryBus, MemoryCluster
from keyfold.projections import tables
from keyfold.projections.fold import Fold, Leaf
from keyfold.projections.memory import MemorySchemas, MemorySnapshots
from keyfold.projections.memory.schemas import Schema
from keyfold.projections.positions import Offsets
from keyfold.projections.replay import Replay
from keyfold.projections.rows import AuditRow

LOG = (14, 90)


async def projected(log: AuditedLog) -> MemorySchemas:
    """What a projector makes of the log, one record at a time."""
    schemas = MemorySchemas()
    await schemas.prepare(PARTITIONS)
    schema = schemas.schema("blue")
    trust = (await read_root(log, DEPLOYMENT)).trust()
    for partition in range(PARTITIONS):
        reading = Replay(PARTITIONS, Offsets(partition))
        for record in log.kept[partition]:
            item = reading.read(trust, record)
            assert isinstance(item, Leaf)
            fold = Fold(schema.offsets[partition], AllOf(schema.entities))
            fold.add(item)
            schema.write(fold.batch(reading.chains.places))
    return schemas


class AllOf(dict[str, Any]):
    """Entities, of which an absent one is known to be absent."""

    def __contains__(self, _name: object) -> bool:
        return True

    def __missing__(self, _name: str) -> None:
        return None


@pytest.fixture(scope="module")
def filled() -> Schema:
    return asyncio.run(projected(honest(*LOG))).schema("blue")


@pytest.fixture
def schemas(filled: Schema) -> MemorySchemas:
    """A copy of the projections, to be spoiled."""
    made = MemorySchemas()
    asyncio.run(made.prepare(PARTITIONS))
    schema = made.schema("blue")
    schema.rows, schema.audit = copy.deepcopy(filled.rows), list(filled.audit)
    schema.offsets, schema.entities = dict(filled.offsets), dict(filled.entities)
    return made


def compared(schemas: MemorySchemas, log: AuditedLog | None = None) -> Compared:
    async def scene() -> Compared:
        source = log or honest(*LOG)
        trust = (await read_root(source, DEPLOYMENT)).trust()
        return await compare(source, trust, MemorySnapshots(schemas))

    return asyncio.run(scene())


def test_projections_of_the_log_are_as_the_log_says(schemas: MemorySchemas) -> None:
    """Nothing is found, and every row of every table was compared."""
    told = compared(schemas)
    schema = schemas.schema("blue")
    assert told.findings.kept == []
    assert told.rows == len(schema.audit) + sum(map(len, schema.rows.values()))
    assert sum(1 for rows in schema.rows.values() if rows) > 10


def test_projections_that_are_behind_are_compared_as_far_as_they_are(schemas: MemorySchemas) -> None:
    """The snapshot says how far each partition was folded; what comes later in the log is not expected."""
    log = honest(*LOG)
    behind = log.copy()
    behind.kept = {partition: kept[: len(kept) // 2] for partition, kept in log.kept.items()}
    half = asyncio.run(projected(behind))
    assert compared(half, log).findings.kept == []


def test_each_column_of_an_audit_row_counts(schemas: MemorySchemas) -> None:
    """Table, position, column, what was expected and what is there."""
    schema = schemas.schema("blue")
    at = next(place for place, row in enumerate(schema.audit) if row.partition == 1 and row.outcome == "authorized")
    honest_row = schema.audit[at]
    columns = [column for column in AuditRow.__slots__ if column not in {"partition", "position"}]
    schema.audit[at] = replace(honest_row, **{c: other(getattr(honest_row, c), c) for c in columns})
    found = compared(schemas).findings.kept
    assert {(each.code, each.partition, each.kafka_offset) for each in found} == {
        ("RowDiffers", 1, honest_row.kafka_offset)
    }
    assert [each.expected.split("].")[1].split()[0] for each in found] == columns


def other(value: Any, column: str) -> Any:
    """Another value of the same kind."""
    if column == "contexts":
        return '[{"tenant": "red"}]'
    if isinstance(value, bytes | tuple):
        return value * 2
    return value + 1 if isinstance(value, int) else f"{value}x"


def test_missing_and_invented_audit_rows_are_found(schemas: MemorySchemas) -> None:
    """At the end of a partition, in the middle, and of a partition that is not there."""
    schema = schemas.schema("blue")
    last = max((row for row in schema.audit if row.partition == 1), key=lambda row: row.position)
    schema.audit.remove(last)
    (found,) = compared(schemas).findings.kept
    assert (found.code, found.kafka_offset) == ("RowMissing", last.kafka_offset)
    schema.audit += [last, replace(last, position=last.position + 1)]
    (found,) = compared(schemas).findings.kept
    assert found.code == "RowInvented"
    schema.audit[-1] = replace(last, partition=77)
    (found,) = compared(schemas).findings.kept
    assert (found.code, found.found) == ("RowInvented", "rows of 77")


def test_each_column_of_each_table_counts(schemas: MemorySchemas) -> None:
    """One row of each table is spoiled, in all columns but its key."""
    expected = set()
    for table, rows in schemas.schema("blue").rows.items():
        for key, row in list(rows.items())[:1]:
            columns = [column for column in row if column not in tables.PRIMARY_KEYS[table]]
            rows[key] = row | {column: [row[column], "x"] for column in columns}
            expected |= {(table, column) for column in columns}
    found = compared(schemas).findings
    named = {match for each in found.kept for match in re.findall(r"^(\w+)\[.*\]\.(\w+) ", each.expected, re.DOTALL)}
    assert {(each.partition, each.code) for each in found.kept} == {(None, "RowDiffers")}
    assert found.count == len(expected)
    assert named <= expected
    assert len({table for table, _ in expected}) > 12


def test_missing_and_invented_rows_are_found(schemas: MemorySchemas) -> None:
    """A row under another key is one that is missing and one too many, in each table."""
    moved = 0
    for table, rows in schemas.schema("blue").rows.items():
        for key in list(rows)[:1]:
            row = rows.pop(key)
            rows[tuple("x" for _ in key)] = row | dict.fromkeys(tables.PRIMARY_KEYS[table], "x")
            moved += 1
    found = compared(schemas).findings
    assert Counter(each.code for each in found.kept) == {"RowMissing": moved, "RowInvented": moved}


def test_progress_counts_too(schemas: MemorySchemas) -> None:
    """Places of chains, signers and times are what a projector goes on from."""
    schema = schemas.schema("blue")
    schema.offsets[1] = replace(schema.offsets[1], signers={})
    (found,) = compared(schemas).findings.kept
    assert "offsets[partition 1].signers" in found.expected


def test_a_log_that_ends_before_the_projections_is_found(schemas: MemorySchemas) -> None:
    """Rows without records: the log was cut off, or the rows are of another one."""
    log = honest(*LOG).copy()
    log.kept[1] = log.kept[1][:-1]
    codes = {each.code for each in compared(schemas, log).findings.kept}
    assert {"RowInvented", "RowDiffers"} <= codes


def test_a_log_on_a_bus_is_compared_alike(schemas: MemorySchemas) -> None:
    """Kafka's markers take offsets, and change nothing else."""

    async def scene() -> Compared:
        log = honest(*LOG)
        bus = MemoryBus(MemoryCluster(PARTITIONS, clock_ms=lambda: 1_790_000_000_000))
        await log.written_to(bus)
        source = KafkaSource(bus, DEPLOYMENT, PARTITIONS)
        trust = (await read_root(source, DEPLOYMENT)).trust()
        return await compare(source, trust, MemorySnapshots(schemas))

    assert asyncio.run(scene()).findings.kept == []
