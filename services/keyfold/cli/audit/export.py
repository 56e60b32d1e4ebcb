"""`keyfold audit export`: a copy of the log that proves itself, for auditors, for SQL, and for after a disaster."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from keyfold.auditing.archive import Format
from keyfold.auditing.archive_checkpoints import Head, believed
from keyfold.auditing.archive_export import SEGMENT_ROWS, Exported, Wanted
from keyfold.auditing.archive_export import export as export_log
from keyfold.auditing.archive_heads import heads_to_archive
from keyfold.auditing.archive_parquet import require_parquet
from keyfold.auditing.checkpoints import NoCheckpoint, checkpoint_topics
from keyfold.auditing.sources import KafkaSource
from keyfold.cli.output import table
from keyfold.cli.session import Session, of
from keyfold.events.trust import Trust
from keyfold.log import TrustKeeper

_CHECKPOINT_S: Final = 30.0
_FORMATS: Final[dict[str, tuple[Format, ...]]] = {
    "parquet": ("parquet",),
    "jsonl": ("jsonl",),
    "both": ("parquet", "jsonl"),
}


def export(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The archive: a new directory, or one to go on with.")
    ],
    *,
    form: Annotated[
        Literal["parquet", "jsonl", "both"] | None,
        typer.Option("--format", help="How records are written; by default as the archive has them, else parquet."),
    ] = None,
    from_checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--from-checkpoint", metavar="FILE", help="A checkpoint that you have kept: to be extended."),
    ] = None,
    segment_rows: Annotated[
        int, typer.Option("--segment-rows", min=1, max=10_000_000, help="How many records a file holds at most.")
    ] = SEGMENT_ROWS,
) -> None:
    """Write the log into an archive, up to the newest checkpoint of each partition, or go on with one.

    The records are compared with the checkpoints before they count; exit code 4 where they differ. What is kept proves
    itself without this deployment: keyfold audit verify --archive DIR --deployment FINGERPRINT

    Example: keyfold audit export backup/log --from-checkpoint kept/partition-2.checkpoint
    """
    session = of(context)
    wanted = Wanted(_FORMATS[form] if form else (), segment_rows)
    if "parquet" in wanted.formats:
        require_parquet()
    kept = [path.read_bytes() for path in from_checkpoint or ()]
    done = session.run(_export(session, directory.expanduser(), wanted, kept))
    left = sum(each.left for each in done)
    if left:
        session.say(f"{left} records are behind the newest checkpoints; the next run takes them")
    session.show([_data(each) for each in done], _table(done))


async def _export(session: Session, directory: Path, wanted: Wanted, kept: Iterable[bytes]) -> list[Exported]:
    config = session.config
    bus, deployment = session.bus(config), config.deployment or ""
    # The checkpoints are read before root's statements: whoever signed them is certified there.
    source = KafkaSource(bus, deployment, config.partitions)
    async with checkpoint_topics(bus) as published:
        latest = await heads_to_archive(published, source, timeout_s=_CHECKPOINT_S)
    keeper = TrustKeeper(bus, deployment, config.partitions)
    try:
        trust = await keeper.catch_up()
    finally:
        await keeper.stop()
    heads = _heads(trust, [*(one.note.to_bytes() for one in latest), *kept])
    if not latest:
        raise NoCheckpoint("the notary has not published a checkpoint yet; see that it runs (`keyfold status`)")

    def report(done: Exported) -> None:
        session.say(f"partition {done.partition}: {done.added} records more, {done.size} in all")

    return await export_log(source, trust, heads, directory, wanted=wanted, report=report)


def _heads(trust: Trust, documents: Iterable[bytes]) -> list[Head]:
    return [believed(document, trust) for document in documents]


def _data(done: Exported) -> dict[str, Any]:
    return {"partition": done.partition, "records": done.size, "added": done.added, "left": done.left}


def _table(done: Iterable[Exported]) -> str:
    rows = [(each.partition, each.size, each.added, each.left) for each in done]
    return table(("partition", "records", "added", "left for the next run"), rows)
