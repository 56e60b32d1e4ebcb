"""`keyfold audit checkpoints`: the latest signed tree heads, with their cosignatures, to look at and to keep."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keyfold.auditing.checkpoints import checkpoint_topics
from keyfold.cli.exits import UsageError
from keyfold.cli.output import table
from keyfold.cli.session import Session, of
from keyfold.events.checkpoints import SignedCheckpoint, log_pairs, open_log_checkpoint, origin_of, partition_of_origin
from keyfold.events.times import to_text
from keyfold.events.trust import Trust
from keyfold.log import TrustKeeper


def checkpoints(
    context: typer.Context,
    *,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Of this partition only.")] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Save the signed note; of several, one file for each partition."),
    ] = None,
) -> None:
    """Show the latest checkpoint of each partition; the log's signatures are checked, cosignatures are named.

    Example: keyfold audit checkpoints --partition 2 --save partition-2.checkpoint
    """
    session = of(context)
    partitions = session.config.partitions
    if partition is not None and partition >= partitions:
        raise UsageError(f"there is no partition {partition}: the deployment has {partitions}")
    found = session.run(_read(session, range(partitions) if partition is None else range(partition, partition + 1)))
    deployment = session.config.deployment or ""
    rows = [_data(one, partition_of_origin(deployment, one.checkpoint.origin)) for one in found]
    if save is not None:
        for row in rows:
            target = save if partition is not None else save.with_name(f"{save.name}.{row['partition']}")
            target.write_text(row["note"])
    shown = [(r["partition"], r["size"], r["root"][:16], r["signed_at"], r["cosigned_by"]) for r in rows]
    session.show(rows, table(("partition", "size", "root", "signed at", "cosigned by"), shown, empty="no checkpoints"))


async def _read(session: Session, partitions: range) -> list[SignedCheckpoint]:
    config = session.config
    bus, deployment = session.bus(config), config.deployment or ""
    keeper = TrustKeeper(bus, deployment, config.partitions)
    try:
        trust = await keeper.catch_up()
    finally:
        await keeper.stop()
    async with checkpoint_topics(bus) as published:
        latest = await published.latest(origin_of(deployment, number) for number in partitions)
    return [_opened(trust, one.note.to_bytes(), origin) for origin, one in latest.items()]


def _opened(trust: Trust, note: bytes, origin: str) -> SignedCheckpoint:
    return open_log_checkpoint(note, log_pairs(trust.notary_keys(), origin))


def _data(signed: SignedCheckpoint, partition: int) -> dict[str, Any]:
    of_log = {(key.name, key.key_id) for key in signed.signed_at}
    times = [at for at in signed.signed_at.values() if at]
    others = [line for line in signed.note.signatures if (line.name, line.key_id) not in of_log]
    return {
        "partition": partition,
        "origin": signed.checkpoint.origin,
        "size": signed.checkpoint.size,
        "root": signed.checkpoint.root.hex(),
        "signed_at": to_text(max(times) * 1000) if times else None,
        "cosigned_by": sorted({line.name for line in others}),
        "note": signed.note.to_bytes().decode(),
    }
