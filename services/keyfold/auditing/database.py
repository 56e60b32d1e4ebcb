"""Every row of the projections against what the log says: one snapshot, and the same prefix of the log folded again.

The fold is the projector's own (`projections.fold`), from the start of each partition to where the snapshot says that
it was folded. Audit rows are compared as they come, in constant memory; the other tables are compared at the end, so
what is held is the current state, never the history.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keyfold.auditing.findings import Finding, Findings
from keyfold.auditing.rooted import read_root
from keyfold.auditing.sources import RecordSource
from keyfold.bus import Inbound
from keyfold.events.chains import ChainGap
from keyfold.events.entities import Entity
from keyfold.events.trust import Trust
from keyfold.log.believing import Believer
from keyfold.projections import tables
from keyfold.projections.errors import StateMismatch
from keyfold.projections.fold import Batch, Fold, Leaf
from keyfold.projections.memory.schemas import Schema
from keyfold.projections.positions import Offsets
from keyfold.projections.replay import Replay, Strange
from keyfold.projections.rows import AuditRow, Report
from keyfold.projections.snapshots import Document, Snapshot, Snapshots

_SHOWN: Final = 120
_END: Final = 1 << 62


@dataclass(slots=True)
class Compared:
    """How many rows were compared, and what is wrong with them."""

    rows: int = 0
    findings: Findings = field(default_factory=Findings)


async def compare(source: RecordSource, trust: Trust, snapshots: Snapshots) -> Compared:
    """Compare all tables of the live projections. Raises what source and store raise where they cannot be read.

    Of `trust` only the deployment counts: what root said since then may stand in the snapshot, so it is read again.
    """
    told = Compared()
    schema = Schema(source.partitions)
    async with snapshots.open() as snapshot:
        trust = (await read_root(source, trust.deployment)).trust()
        for partition in range(source.partitions):
            await _Partition(source, trust, schema, told, partition).compare(snapshot)
        for stranger in sorted(await snapshot.audit_partitions() - set(range(source.partitions))):
            _note(told, "RowInvented", "no audit rows of a partition that is not there", f"rows of {stranger}")
        for table in tables.PRIMARY_KEYS:
            await _compare_table(snapshot, table, schema.rows[table], told)
    return told


async def fold_all(source: RecordSource, trust: Trust) -> int:
    """Fold a whole log into rows, as a rebuild of the projections does, without a store; return how many events."""
    schema, told = Schema(source.partitions), Compared()
    events = 0
    for partition in range(source.partitions):
        folding = _Partition(source, trust, schema, told, partition)
        async for batch in folding.batches(_END):
            events += len(batch.audit)
    return events


class _Everything(Mapping[str, Entity | None]):
    """All entities, as a store would load them: one that is not there is known to be absent."""

    def __init__(self, entities: Mapping[str, Entity]) -> None:
        self._entities = entities

    def __getitem__(self, name: str) -> Entity | None:
        return self._entities.get(name)

    def __contains__(self, _name: object) -> bool:
        return True

    def get(self, name: str, default: Any = None) -> Any:
        return self._entities.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entities)

    def __len__(self) -> int:
        return len(self._entities)


class _Partition:
    """One partition, folded as far as the snapshot says."""

    def __init__(self, source: RecordSource, trust: Trust, schema: Schema, told: Compared, partition: int) -> None:
        self._source, self._trust, self._schema, self._told = source, trust, schema, told
        self._partition = partition
        self._offsets = Offsets(partition)
        self._replay = Replay(source.partitions, self._offsets)
        self._replay.chains = Believer(partition, source.partitions)

    async def compare(self, snapshot: Snapshot) -> None:
        stored = snapshot.offsets.get(self._partition)
        if stored is None:
            _note(self._told, "RowMissing", f"progress of partition {self._partition}", "none")
            return
        rows = _Rows(snapshot.audit(self._partition))
        async for batch in self.batches(stored.next):
            for expected in batch.audit:
                while (row := await rows.look()) is not None and row.position < expected.position:
                    self._invented(await rows.next())
                same = row is not None and row.position == expected.position
                self._compare_row(expected, await rows.next() if same else None)
        while await rows.look() is not None:
            self._invented(await rows.next())
        self._compare_progress(stored)

    async def batches(self, end: int) -> AsyncIterator[Batch]:
        """Fold the records below an offset, and put what they change into the schema."""
        async for records in self._source.records(self._partition):
            within = [record for record in records if record.offset < end]
            batch, whole = self._folded(within)
            self._offsets = batch.after
            self._schema.write(replace(batch, audit=()))
            yield batch
            if len(within) < len(records) or not whole:
                return

    def _folded(self, records: list[Inbound]) -> tuple[Batch, bool]:
        fold = Fold(self._offsets, _Everything(self._schema.entities))
        whole = True
        for record in records:
            try:
                item = self._replay.read(self._trust, record)
                match item:
                    case Leaf():
                        fold.add(item)
                    case Strange():
                        fold.strange(item.accepted, item.report)
                    case Report():
                        fold.refuse(item)
            except (ChainGap, StateMismatch) as error:
                found = f"a record at offset {record.offset} that cannot be folded: {error}"
                _note(self._told, error.code, "a log that can be folded as far as the projections say", found)
                whole = False
                break
        return fold.batch(self._replay.chains.places), whole

    def _invented(self, row: AuditRow | None) -> None:
        self._told.rows += 1
        if row is not None:
            self._add(row, "RowInvented", "no such audit row", f"one at position {row.position}: {row.event_type}")

    def _compare_row(self, expected: AuditRow, found: AuditRow | None) -> None:
        self._told.rows += 1
        if found is None:
            self._add(expected, "RowMissing", f"the audit row of position {expected.position}", "none")
            return
        for column in AuditRow.__slots__:
            wanted, there = _shown(expected, column), _shown(found, column)
            if wanted != there:
                what = f"audit[position {expected.position}].{column}"
                self._add(expected, "RowDiffers", f"{what} {_short(wanted)}", _short(there))

    def _compare_progress(self, stored: Offsets) -> None:
        folded = self._offsets
        for name in ("position", "places", "signers", "last_time"):
            wanted, there = getattr(folded, name), getattr(stored, name)
            if wanted != there:
                what = f"offsets[partition {self._partition}].{name}"
                _note(self._told, "RowDiffers", f"{what} {_short(wanted)}", _short(there))

    def _add(self, row: AuditRow, code: str, expected: str, found: str) -> None:
        place = (self._partition, None, row.kafka_offset, row.time)
        self._told.findings.add(Finding(*place, code, expected, found))


class _Rows:
    """Audit rows one by one."""

    def __init__(self, pages: AsyncIterator[Any]) -> None:
        self._pages = pages
        self._page: Iterator[AuditRow] = iter(())
        self._ahead: AuditRow | None = None

    async def look(self) -> AuditRow | None:
        """Return the next row without taking it; None at the end."""
        while self._ahead is None:
            self._ahead = next(self._page, None)
            if self._ahead is None:
                page = await anext(self._pages, None)
                if page is None:
                    return None
                self._page = iter(page)
        return self._ahead

    async def next(self) -> AuditRow | None:
        """Take the next row; None at the end."""
        row, self._ahead = await self.look(), None
        return row


async def _compare_table(
    snapshot: Snapshot, table: str, expected: dict[tuple[Any, ...], dict[str, Any]], told: Compared
) -> None:
    missing = set(expected)
    async for page in snapshot.rows(table):
        for row in page:
            told.rows += 1
            key = tuple(row[column] for column in tables.PRIMARY_KEYS[table])
            missing.discard(key)
            if key not in expected:
                _note(told, "RowInvented", f"no row {_named(table, key)}", _short(row))
            else:
                _compare_columns(_named(table, key), expected[key], row, told)
    for key in sorted(missing, key=str):
        _note(told, "RowMissing", _named(table, key), "none")


def _compare_columns(name: str, expected: dict[str, Any], row: Document, told: Compared) -> None:
    for column, there in row.items():
        wanted = _plain(expected.get(column))
        if wanted != _plain(there):
            _note(told, "RowDiffers", f"{name}.{column} {_short(wanted)}", _short(there))


def _named(table: str, key: tuple[Any, ...]) -> str:
    values = ", ".join(f"{c} {value}" for c, value in zip(tables.PRIMARY_KEYS[table], key, strict=True))
    return f"{table}[{values}]"


def _note(told: Compared, code: str, expected: str, found: str) -> None:
    told.findings.add(Finding(None, None, None, "", code, expected, found))


def _shown(row: AuditRow, column: str) -> Any:
    """Contexts are compared by meaning: a database does not keep their spelling."""
    value = getattr(row, column)
    return json.loads(value) if column == "contexts" and value is not None else value


def _plain(value: Any) -> Any:
    """Return what JSON would give back."""
    return json.loads(json.dumps(value)) if isinstance(value, dict | list | tuple) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
