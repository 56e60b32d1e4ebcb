"""`keyfold audit keys`: the public keys by which checkpoints are believed, for an auditor to keep elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from keyfold.auditing.root_records import read_root_records, to_document
from keyfold.cli.exits import UsageError
from keyfold.cli.session import Session, of
from keyfold.events.checkpoints import log_keys, origin_of
from keyfold.events.errors import NotFound
from keyfold.events.log_records import LogRecord
from keyfold.events.trust import Trust
from keyfold.log import TrustKeeper


def keys(
    context: typer.Context,
    *,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Of this partition's log only.")] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Save root's certificates for check-proof.")
    ] = None,
) -> None:
    """Print the verifier keys (vkeys) of the log, from root's certificates as the verified log has them.

    Each partition is a log of its own, and a vkey names its log. Witnesses print their own: `keyfold witness show`.

    Example: keyfold audit keys > log.keys

    Example: keyfold audit keys --save root.json
    """
    session = of(context)
    config = session.config
    if partition is not None and partition >= config.partitions:
        raise UsageError(f"there is no partition {partition}: the deployment has {config.partitions}")
    trust, records = session.run(_read(session))
    wanted = range(config.partitions) if partition is None else [partition]
    origins = [origin_of(trust.deployment, number) for number in wanted]
    found = [str(key) for origin in origins for key in log_keys(trust, origin)]
    if not found:
        raise NotFound("root has certified no notary yet; hold `keyfold ceremony renew`")
    if save is not None:
        save.write_text(to_document(records) + "\n")
        session.say(f"root's records are in {save}; check them against the fingerprint {trust.deployment}")
    session.show({"deployment": trust.deployment, "keys": found}, "\n".join(found))


async def _read(session: Session) -> tuple[Trust, list[LogRecord]]:
    config = session.config
    bus = session.bus(config)
    keeper = TrustKeeper(bus, config.deployment or "", config.partitions)
    try:
        trust = await keeper.catch_up()
    finally:
        await keeper.stop()
    return trust, await read_root_records(bus, trust)
