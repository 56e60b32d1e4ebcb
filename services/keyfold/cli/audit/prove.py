"""`keyfold audit prove`: a file by which anybody can check offline that an event is in the log."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from keyfold.auditing.checkpoints import CheckpointTopics, checkpoint_topics
from keyfold.auditing.proving import Proven, check_proof, make_proof
from keyfold.auditing.trees import NotPublished, StoredTree, stored_tree
from keyfold.bus import Bus
from keyfold.cli.audit.finding import Place, check_partition, place_named, place_of, record_at
from keyfold.cli.audit.showing import proven_data, proven_text
from keyfold.cli.session import Session, of
from keyfold.config import Config
from keyfold.events.checkpoints import origin_of
from keyfold.events.log_records import record_of
from keyfold.events.notes import Note, parse_note
from keyfold.log import TrustKeeper

_PAUSE_S: Final = 0.2


def prove(
    context: typer.Context,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Event id, command id, or partition/offset.")],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where the proof goes.")] = None,
    decision: Annotated[bool, typer.Option("--decision", help="Of a command: its decision, not its outcome.")] = False,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="Prove against this saved checkpoint.")
    ] = None,
    cosignatures: Annotated[
        int, typer.Option("--cosignatures", min=0, help="Wait for a checkpoint with at least so many.")
    ] = 0,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for a checkpoint.")] = 10.0,
) -> None:
    """Prove that an event is in the log: writes a C2SP tlog-proof, which holds the event and its checkpoint.

    Example: keyfold audit prove 01890a5d-ac96-774b-bcce-b302099a8057 --out outcome.tlog-proof

    Example: keyfold audit prove 2/1234 --cosignatures 1 --out event.tlog-proof
    """
    session = of(context)
    note = None if checkpoint is None else parse_note(checkpoint.read_bytes())
    wanted = _Wanted(event, decision, note, cosignatures, timeout)
    document, proven = session.run(_prove(session, wanted))
    if out is None:
        session.show({"proof": document.decode(), **proven_data(proven)}, document.decode().rstrip("\n"))
        return
    out.write_bytes(document)
    session.show({"file": str(out), **proven_data(proven)}, f"{out}\n{proven_text(proven)}")


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    decision: bool
    note: Note | None
    cosignatures: int
    timeout_s: float


async def _prove(session: Session, wanted: _Wanted) -> tuple[bytes, Proven]:
    config = session.config
    bus, deployment = session.bus(config), config.deployment or ""
    place = await _place(session, config, wanted)
    found = await record_at(bus, place)
    record = record_of(found.key, found.value, found.headers)
    deadline = asyncio.get_running_loop().time() + wanted.timeout_s
    async with stored_tree(bus, place.partition) as tree, checkpoint_topics(bus) as published:
        index = await _leaf(tree, place.offset, deadline)
        note = wanted.note or await _covering(published, origin_of(deployment, place.partition), index, wanted)
        proof = await make_proof(tree, record, index, note)
    document = proof.to_bytes()
    return document, await _checked(bus, config, document)


async def _place(session: Session, config: Config, wanted: _Wanted) -> Place:
    place = place_named(wanted.name)
    if place is None:
        async with session.queries(config) as queries:
            place = await place_of(queries, wanted.name, decision=wanted.decision)
    check_partition(place, config.partitions)
    return place


async def _leaf(tree: StoredTree, offset: int, deadline: float) -> int:
    """Return the leaf index of a record; the notary may be a moment behind it."""
    while True:
        try:
            return await tree.leaf_of_offset(offset)
        except NotPublished:
            if asyncio.get_running_loop().time() >= deadline:
                raise
        await asyncio.sleep(_PAUSE_S)


async def _covering(published: CheckpointTopics, origin: str, index: int, wanted: _Wanted) -> Note:
    least = wanted.cosignatures
    return (await published.wait_covering(origin, index, cosignatures=least, timeout_s=wanted.timeout_s)).note


async def _checked(bus: Bus, config: Config, document: bytes) -> Proven:
    """Check a proof as its readers will, before it is written: by what root certified, as the log says."""
    keeper = TrustKeeper(bus, config.deployment or "", config.partitions)
    try:
        return check_proof(document, trust=await keeper.catch_up())
    finally:
        await keeper.stop()
