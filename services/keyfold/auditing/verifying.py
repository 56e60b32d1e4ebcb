"""Verifying a whole log: trust from root's statements, then partition 0, then all others, in one process or several.

The order matters: checkpoints are read before the log, so that the log has everything that they cover; all of root's
statements before anything else is believed; partition 0 before the others, whose decisions name how much of it they
knew. A log that goes on growing is read up to where it ended at the beginning: what is written meanwhile may know keys
and a registry that were read too early. The result says what was checked as well as what is wrong.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from keyfold.auditing.findings import Finding, Findings, first_of
from keyfold.auditing.heads import Heads, add_all
from keyfold.auditing.locating import locate
from keyfold.auditing.partition import WHOLE, Note, Task, Verified, Window, verify_partition
from keyfold.auditing.registry_history import RegistryHistory
from keyfold.auditing.rooted import Rooted, read_root
from keyfold.auditing.sources import Opener, PublishedSource, RecordSource
from keyfold.auditing.succession import succession
from keyfold.auditing.workers import Known, workers
from keyfold.collecting import collecting_rarely
from keyfold.events.checkpoints import parse_checkpoint
from keyfold.events.errors import RecordError
from keyfold.events.notes import NoteInvalid, VerifierKey, parse_note

_REGISTRY: Final = 0


class CheckpointUnusable(RecordError):
    """The checkpoint from which on is to be verified is not one that this deployment's notary signed."""

    code = "CheckpointUnusable"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be verified. `checkpoints` and `since` are documents with a name to tell them by.

    `since` are checkpoints of this auditor's own: what they cover was verified before. `only` is one partition, if the
    others are to be left alone; `processes` of 1 works in this process.
    """

    deployment: str
    checkpoints: Sequence[tuple[str, bytes]] = ()
    since: Sequence[tuple[str, bytes]] = ()
    witnesses: Sequence[VerifierKey] = ()
    window: Window = WHOLE
    only: int | None = None
    processes: int = 1


@dataclass(slots=True)
class Report:
    """The result: of each partition, of the checkpoints, and of `rows` of the database, which `compared` tells of."""

    deployment: str
    partitions: list[Verified]
    heads: Heads
    rooted: Rooted
    more: list[Finding] = field(default_factory=list)
    compared: Findings = field(default_factory=Findings)
    rows: int = 0

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, as far as it is kept: at most a hundred of each partition, and of the database."""
        kept = [finding for told in self.partitions for finding in told.findings.kept]
        return [*kept, *self.heads.findings.kept, *self.more, *self.compared.kept]

    @property
    def count(self) -> int:
        """How many things are wrong."""
        of_partitions = sum(told.findings.count for told in self.partitions)
        return of_partitions + self.heads.findings.count + len(self.more) + self.compared.count

    @property
    def first(self) -> Finding | None:
        """The first thing that is wrong."""
        return first_of(self.findings)


def nothing(_partition: int, _records: int) -> None:
    """Tell nobody."""


async def verify(source: RecordSource, wanted: Wanted, note: Note = nothing, opener: Opener | None = None) -> Report:
    """Verify a log. With an opener, partitions are divided among processes that open the source themselves.

    Raises `NotRooted`, `CheckpointUnusable`, and what the source raises where it cannot be read.
    """
    with collecting_rarely():
        return await _verify(source, wanted, note, opener)


async def _verify(source: RecordSource, wanted: Wanted, note: Note, opener: Opener | None) -> Report:
    published = await source.checkpoints()
    ends = await _ends(source)
    rooted = await read_root(source, wanted.deployment)
    heads = Heads(rooted.trust(), source.partitions, tuple(wanted.witnesses))
    add_all(heads, published, "published checkpoint")
    since = _since(heads, wanted)
    for name, document in wanted.checkpoints:
        heads.add(document, name)
    tasks = {each: _task(heads, wanted, each, since, ends.get(each)) for each in range(source.partitions)}
    rest = [tasks[each] for each in range(1, source.partitions) if wanted.only in {None, each}]
    if opener is None or wanted.processes < 2:
        first = await verify_partition(source, heads.trust, tasks[0], None, note)
        registry = first.registry or RegistryHistory()
        others = [await verify_partition(source, heads.trust, task, registry, note) for task in rest]
    else:
        async with workers(opener, source.partitions, wanted.processes) as several:
            first = await verify_partition(source, heads.trust, tasks[0], None, note, checker=several.checker)
            known = Known.of(rooted, first.registry or RegistryHistory(), heads.trust)
            others = await several.verify(source, known, rest, note)
    report = Report(wanted.deployment, [first, *others], heads, rooted)
    report.more += await _out_of_order(source, heads, wanted)
    for told in report.partitions:
        heads.require_witnesses(told.partition, told.leaves)
        report.more += await locate(source, told)
    return report


async def _ends(source: RecordSource) -> Mapping[int, int]:
    """Return where each partition ends. Partition 0 is asked last: it has all that records of the others knew of it."""
    ends = await source.ends()
    return {**ends, **{partition: end for partition, end in (await source.ends()).items() if partition == _REGISTRY}}


async def _out_of_order(source: RecordSource, heads: Heads, wanted: Wanted) -> list[Finding]:
    """Look whether checkpoints follow each other as they were published, and whether those that were kept are there."""
    if not isinstance(source, PublishedSource):
        return []
    order = succession([heads.origin(partition) for partition in range(source.partitions)])
    async for published in source.published():
        order.add(published)
    kept: list[tuple[str, str, str]] = []
    for name, document in (*wanted.checkpoints, *wanted.since):
        with suppress(NoteInvalid):  # what is wrong with it was noted before
            note = parse_note(document)
            kept.append((name, parse_checkpoint(note).origin, note.text))
    order.miss(kept)
    return order.findings


def _since(heads: Heads, wanted: Wanted) -> dict[int, int]:
    """Return by partition how many leaves were verified before, as signed checkpoints say."""
    sizes: dict[int, int] = {}
    for name, document in wanted.since:
        signed = heads.add(document, name)
        if signed is None:
            raise CheckpointUnusable(f"{name} is no checkpoint that a notary of this deployment signed; take another")
        partition = int(signed.checkpoint.origin.rpartition("/")[2])
        sizes[partition] = max(sizes.get(partition, 0), signed.checkpoint.size)
    return sizes


def _task(heads: Heads, wanted: Wanted, partition: int, since: dict[int, int], end_offset: int | None) -> Task:
    window = wanted.window
    first = max(window.first, since.get(partition, 0))
    narrowed = Window(first, window.end, window.since_ms, window.until_ms)
    return Task(partition, heads.roots.get(partition, {}), narrowed, end_offset)


def run(source: RecordSource, wanted: Wanted, note: Note = nothing) -> Report:
    """Verify in this process, for callers without an event loop."""
    return asyncio.run(verify(source, wanted, note))
