"""`keyfold audit verify`: replay the whole log, recompute its trees, and name the first record that is not so."""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from keyfold.auditing import verifying
from keyfold.auditing.archive_reader import ArchiveSource
from keyfold.auditing.database import compare
from keyfold.auditing.partition import Window
from keyfold.auditing.reports import as_data, as_text
from keyfold.auditing.sources import KafkaOpener, KafkaSource, Opener
from keyfold.bus import BusSettings
from keyfold.cli.arguments import time_of
from keyfold.cli.audit.progress import Progress
from keyfold.cli.exits import INTEGRITY, NotReady, UsageError
from keyfold.cli.session import Session, of
from keyfold.events.notes import NoteInvalid, VerifierKey, parse_vkey
from keyfold.events.times import to_milliseconds
from keyfold.projections.store import PostgresSnapshots

_PROCESSES: Final = 2
_WORTH_PROCESSES: Final = 20_000
"""Starting processes takes longer than verifying fewer records than these."""


def verify(
    context: typer.Context,
    *,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME|LEAF", help="Check in full from this time or leaf on.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME|LEAF", help="Check in full before this.")] = None,
    since_checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--since-checkpoint", metavar="FILE", help="A checkpoint of yours: what it covers was verified."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", metavar="FILE", help="A checkpoint that you have kept.")
    ] = None,
    witness: Annotated[
        list[str] | None, typer.Option("--witness", metavar="VKEY", help="Verify the cosignatures of this witness.")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="DIR", help="Verify an exported archive, offline.")
    ] = None,
    database: Annotated[bool, typer.Option("--database", help="Compare every row of the projections too.")] = False,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Only this one (and 0).")] = None,
    deployment: Annotated[
        str | None, typer.Option("--deployment", metavar="FINGERPRINT", help="The pinned fingerprint of the root key.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="How many processes share the work.")] = _PROCESSES,
) -> None:
    """Verify the log from the pinned fingerprint: trees, signatures, chains, decisions, outcomes.

    Exit code 4 where anything is wrong. Nothing that a service says is believed.

    Example: keyfold audit verify --database

    Example: keyfold audit verify --archive backup/log --deployment 3f9a… --checkpoint kept/partition-2.checkpoint
    """
    session = of(context)
    wanted = verifying.Wanted(
        deployment=_pinned(session, deployment, archive),
        checkpoints=_files(checkpoint),
        since=_files(since_checkpoint),
        witnesses=_witnesses(witness),
        window=_window(start, end),
        only=partition,
        processes=min(processes, os.cpu_count() or 1),
    )
    if database and (archive is not None or partition is not None):
        raise UsageError(
            "--database compares all partitions of the running deployment; leave --archive and --partition"
        )
    report = session.run(_verify(session, wanted, archive, database=database))
    session.show(as_data(report), as_text(report))
    if report.count:
        raise typer.Exit(INTEGRITY)


async def _verify(
    session: Session, wanted: verifying.Wanted, archive: Path | None, *, database: bool
) -> verifying.Report:
    if archive is not None:
        stored = ArchiveSource(archive)
        _check_partition(wanted.only, stored.partitions)
        sizes = {number: stored.manifest.size(number) for number in range(stored.partitions)}
        return await _run(stored, wanted, partial(ArchiveSource, archive), sizes)
    config = session.config
    settings = BusSettings.of(config, "keyfold-audit")
    opener = KafkaOpener(settings, wanted.deployment, config.partitions)
    source = opener()
    _check_partition(wanted.only, source.partitions)
    report = await _run(source, wanted, opener, await source.ends())
    if database:
        snapshots = PostgresSnapshots(config.postgres_reader_dsn)
        compared = await compare(source, report.heads.trust, snapshots)
        report.rows, report.compared = compared.rows, compared.findings
    return report


def _check_partition(only: int | None, partitions: int) -> None:
    if only is not None and only >= partitions:
        raise UsageError(f"there is no partition {only}: the deployment has {partitions}")


async def _run(
    source: KafkaSource | ArchiveSource, wanted: verifying.Wanted, opener: Opener, sizes: dict[int, int]
) -> verifying.Report:
    worth = sum(sizes.values()) >= _WORTH_PROCESSES
    progress = Progress(sizes)
    try:
        return await verifying.verify(source, wanted, progress, opener if worth else None)
    finally:
        progress.end()


def _pinned(session: Session, deployment: str | None, archive: Path | None) -> str:
    """What is to be believed is said by who asks, never by what is read."""
    if deployment is not None:
        return deployment
    if archive is not None and not session.settings_file.exists():
        raise UsageError("say whose log it is meant to be: --deployment FINGERPRINT (from `keyfold init`)")
    pinned = session.config.deployment
    if pinned is None:
        raise NotReady("this deployment was not initialised; run `keyfold init` (or `keyfold up`)")
    return pinned


def _files(paths: Iterable[Path] | None) -> tuple[tuple[str, bytes], ...]:
    return tuple((str(path), path.read_bytes()) for path in paths or ())


def _witnesses(keys: Iterable[str] | None) -> tuple[VerifierKey, ...]:
    try:
        return tuple(map(parse_vkey, keys or ()))
    except NoteInvalid as error:
        raise UsageError(f"--witness takes a verifier key (NAME+HASH+KEY): {error}") from None


def _window(start: str | None, end: str | None) -> Window:
    first, since_ms = _place(start)
    last, until_ms = _place(end)
    return Window(first or 0, last, since_ms, until_ms)


def _place(text: str | None) -> tuple[int | None, int | None]:
    """Read a leaf index or a time."""
    if text is None:
        return None, None
    if text.isascii() and text.isdecimal():
        return int(text), None
    return None, to_milliseconds(time_of(text, f"{text} is no leaf: this option"))
