"""Folding one batch of a partition: from believed records to everything that they change. Pure.

`evolve` says how entities change; this module keeps the draft, and counts and collects what stands beside entities.
The view may be incomplete: an entity that was not loaded raises `NotLoaded`, and the same record can be folded again
when it was. Nothing is promoted here: a batch counts when the store has applied it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from keyfold.events import facts, topics
from keyfold.events.chains import Accepted, Place
from keyfold.events.directory import directory_names
from keyfold.events.entities import Entity, Key
from keyfold.events.evolve import evolve
from keyfold.events.statements import PATH_HEADER, SIGNATURE_HEADER, SIGNER_HEADER, STATEMENT_HEADER, Header
from keyfold.projections import tables
from keyfold.projections.audit import audit_row
from keyfold.projections.errors import StateMismatch
from keyfold.projections.evidence import evidence_rows
from keyfold.projections.positions import Offsets
from keyfold.projections.rows import AuditRow, DirectoryRecord, Report, Usage
from keyfold.projections.tables import Staged
from keyfold.projections.usage import UsageKey, add, usage_of
from keyfold.projections.uses import Authorized, Charges, Use

_WITHOUT_STATE: Final = (facts.KeyUsed, facts.CommandCompleted)  # they look at no entity and change none
_VERBATIM: Final = frozenset({SIGNER_HEADER, STATEMENT_HEADER, SIGNATURE_HEADER, PATH_HEADER})


class NotLoaded(Exception):
    """The view does not know whether an entity exists; load it and fold the record again."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A believed record: where it stands, and the event in it."""

    kafka_offset: int
    accepted: Accepted
    event: facts.Event
    headers: Sequence[Header]

    @property
    def time(self) -> str:
        """The event's."""
        return self.event.time

    @property
    def decides(self) -> bool:
        """Whether it is a decision of policy: those alone stand in the order of time."""
        return isinstance(self.event, facts.PolicyEvent)


@dataclass(frozen=True, slots=True)
class UseLeaf:
    """A believed record that is a plain use: where it stands, and what it says."""

    kafka_offset: int
    accepted: Accepted
    use: Use

    @property
    def time(self) -> str:
        """The event's."""
        return self.use.time

    @property
    def decides(self) -> bool:
        """Whether it is a decision of policy."""
        return isinstance(self.use, Authorized)


@dataclass(frozen=True, slots=True)
class Passed:
    """A believed record that is not to be folded: it keeps its place in the log, and says nothing here."""

    kafka_offset: int
    accepted: Accepted


@dataclass(frozen=True, slots=True)
class Batch:
    """All that one transaction writes: rows, audit, and the offsets that it moves from `before` to `after`."""

    before: Offsets
    after: Offsets
    rows: tuple[Staged, ...] = ()
    audit: tuple[AuditRow, ...] = ()
    entities: Mapping[str, Entity | None] = field(default_factory=lambda: MappingProxyType({}))
    directory: tuple[DirectoryRecord, ...] = ()
    reports: tuple[Report, ...] = ()


class View(Mapping[str, Entity]):
    """Entities as known: those that a draft changed, above those that were loaded (None: known to be absent)."""

    def __init__(self, loaded: Mapping[str, Entity | None]) -> None:
        self.loaded = loaded
        self.changed: dict[str, Entity | None] = {}

    def __getitem__(self, name: str) -> Entity:
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter({**self.loaded, **self.changed})

    def __len__(self) -> int:
        return len({**self.loaded, **self.changed})

    def _find(self, name: str) -> Entity | None:
        if name in self.changed:
            return self.changed[name]
        if name not in self.loaded:
            raise NotLoaded(name)
        return self.loaded[name]


def wanted(leaves: Iterable[Leaf | UseLeaf]) -> set[str]:
    """Name the entities that folding these records surely looks at; `NotLoaded` names the others.

    Who is registered counts as looked at: rows of a principal of that name, if there is one, are to be replaced.
    """
    names: set[str] = set()
    created: set[str] = set()
    for leaf in leaves:
        if isinstance(leaf, UseLeaf):
            if isinstance(leaf.use, Authorized) and leaf.use.protected and leaf.use.subject not in created:
                names.add(leaf.use.subject)
            continue
        event, subject = leaf.event, leaf.event.subject
        if isinstance(event, facts.KeyCreated):
            created.add(subject)
        elif subject.startswith("key/") and subject not in created:
            names.add(subject)
        if isinstance(event, facts.CommandAuthorized) and event.data.decision.grant is not None:
            names.add(f"grant/{event.data.decision.grant}")
        elif isinstance(event, facts.PrincipalRegistered):
            names.add(f"principal/{event.data.principal}")
    return names


class Fold:
    """The draft of one batch; add records in their order, then take the batch."""

    def __init__(self, offsets: Offsets, loaded: Mapping[str, Entity | None]) -> None:
        self._before = offsets
        self._view = View(loaded)
        self._position = offsets.position
        self._next = offsets.next
        self._time = offsets.last_time
        self._signers = dict(offsets.signers)
        self._audit: list[AuditRow] = []
        self._usage: dict[UsageKey, Usage] = {}
        self._rows: dict[tuple[object, ...], Staged] = {}
        self._directory: dict[str, Leaf] = {}
        self._reports: list[Report] = []
        self._charges = Charges()

    def add(self, leaf: Leaf) -> None:
        """Fold one record. Raises `NotLoaded` or `StateMismatch`; then nothing moved."""
        event = leaf.event
        if not isinstance(event, _WITHOUT_STATE):
            self._settle()
        self._evolve(event, leaf.kafka_offset)
        place = audit_row(self._before.partition, self._position, leaf.kafka_offset, leaf.accepted, event)
        self._audit.append(place)
        for usage in usage_of(event):
            add(self._usage, usage)
        for row in evidence_rows(event, place):
            self._merge(row)
        self._note_directory(leaf)
        self._time = event.time
        self._believe(leaf.accepted, leaf.kafka_offset)

    def use(self, leaf: UseLeaf) -> None:
        """Fold a plain use, as `add` folds its event. Raises `NotLoaded` or `StateMismatch`; then nothing moved."""
        use, offset = leaf.use, leaf.kafka_offset
        if isinstance(use, Authorized):
            self._require(use, offset)
            self._charges.add(use, offset)
        else:
            add(self._usage, use.usage())
        self._audit.append(use.row(self._before.partition, self._position, offset, leaf.accepted))
        self._time = use.time
        self._believe(leaf.accepted, offset)

    def pass_over(self, leaf: Passed) -> None:
        """Move on over a leaf of the log."""
        self._believe(leaf.accepted, leaf.kafka_offset)

    def strange(self, accepted: Accepted, report: Report) -> None:
        """Note a record that is a leaf of the log but no event that counts."""
        self._reports.append(report)
        self._believe(accepted, report.kafka_offset)

    def refuse(self, report: Report) -> None:
        """Note a record that is not even a leaf of the log."""
        self._reports.append(report)
        self._next = report.kafka_offset + 1

    def batch(self, places: Mapping[str, Place], next_offset: int | None = None) -> Batch:
        """Return the whole batch. `next_offset` moves on over places that no reader is given."""
        self._settle()
        after = replace(
            self._before,
            next=max(self._next, next_offset or 0),
            position=self._position,
            places=MappingProxyType(dict(places)),
            signers=MappingProxyType(self._signers),
            last_time=self._time,
        )
        directory = tuple(self._directory_records())
        return Batch(
            before=self._before,
            after=after,
            rows=tuple(self._all_rows(directory)),
            audit=tuple(self._audit),
            entities=MappingProxyType(self._view.changed),
            directory=directory,
            reports=tuple(self._reports),
        )

    def _evolve(self, event: facts.Event, kafka_offset: int) -> None:
        try:
            changes = evolve(self._view, event)
        except KeyError as error:
            raise StateMismatch(
                f"offset {kafka_offset} of {topics.EVENTS}-{self._before.partition} ({event.type}) does not "
                f"follow from the state: {error}; the log or the projection is wrong, compare them before a rebuild"
            ) from None
        self._view.changed.update(changes)

    def _require(self, use: Authorized, kafka_offset: int) -> None:
        """Raise now what would be raised when the use is settled."""
        version = use.protected
        if version is None:
            return
        key = self._view.get(use.subject)
        if not isinstance(key, Key) or version > len(key.versions):
            self._evolve(use.event(), kafka_offset)

    def _settle(self) -> None:
        """Let what uses have charged become state; before anything that may look at it."""
        for event, offset in self._charges.take():
            self._evolve(event, offset)

    def _believe(self, accepted: Accepted, kafka_offset: int) -> None:
        self._position += 1
        self._next = kafka_offset + 1
        self._signers[accepted.signer] = max(accepted.place.head.n, self._signers.get(accepted.signer, 0))

    def _note_directory(self, leaf: Leaf) -> None:
        for name in directory_names(leaf.event):
            self._directory.pop(name, None)  # the latest counts, in the order of the log
            self._directory[name] = leaf

    def _directory_records(self) -> Iterator[DirectoryRecord]:
        """Yield each event once, with the names for which it is the latest."""
        names: dict[int, list[str]] = {}
        for name, leaf in self._directory.items():
            names.setdefault(leaf.kafka_offset, []).append(name)
        latest = {leaf.kafka_offset: leaf for leaf in self._directory.values()}
        for offset in sorted(names):
            leaf = latest[offset]
            headers = tuple((key, value) for key, value in leaf.headers if key in _VERBATIM and value is not None)
            yield DirectoryRecord(tuple(sorted(names[offset])), offset, leaf.accepted.entry.value, headers)

    def _merge(self, row: Staged) -> None:
        place = (row.table, *row.key())
        known = self._rows.get(place)
        self._rows[place] = row if known is None else Staged(row.table, {**known.document, **row.document})

    def _all_rows(self, directory: Iterable[DirectoryRecord]) -> Iterator[Staged]:
        for name, new in self._view.changed.items():
            yield from tables.entity_rows(self._before.partition, name, self._view.loaded.get(name), new)
        yield from self._rows.values()
        yield from map(tables.usage_row, self._usage.values())
        yield from map(tables.report_row, self._reports)
        for record in directory:
            yield from tables.directory_rows(self._before.partition, record)
