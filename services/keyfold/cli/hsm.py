"""`keyfold hsm …`: storage epochs, the token's health, and the inventory.

A new storage epoch makes every wrapped key anew and destroys the key around the old ones: what was destroyed before
opens no more, from any copy. It is asked for here; the workers turn their partitions, the scheduler ends the old epoch.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, Final

import typer

from keyfold.cli import exits, hsm_inventory, output
from keyfold.cli.arguments import Reason, Trial, how
from keyfold.cli.exits import NotReady
from keyfold.cli.projected import settled
from keyfold.cli.session import Session, now_ms, of
from keyfold.cli.token_health import token_states, troubles
from keyfold.cli.writing import tell_dry_run
from keyfold.client import DryRun, Keyfold, Proposal
from keyfold.events.errors import ApprovalRequired, InvalidState, Refusal
from keyfold.events.times import to_milliseconds, to_text
from keyfold.projections.ports import Queries
from keyfold.projections.rows import StorageEpoch

app = typer.Typer(name="hsm", help="Storage epochs and the HSM worker's token.", no_args_is_help=True)
app.command()(hsm_inventory.inventory)

_PAUSE_S: Final = 0.5
_APPROVED_WITHIN: Final = timedelta(days=1)
_VERB: Final = "BeginStorageEpoch"


@app.command("new-epoch")
def new_epoch(
    context: typer.Context,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Until the old epoch's key is destroyed.")] = False,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long to wait.")] = 3600,
    reason: Reason = None,
    dry_run: Trial = False,
) -> None:
    """Begin the next storage epoch: afterwards no copy of an older, destroyed key opens with this token.

    Where policies ask for approvals, it is proposed. The sealing key is rotated too, so that the ones which carried
    commands about destroyed keys are erased. With --wait the turn of each partition is told as it happens.

    Example: keyfold hsm new-epoch --wait --reason "keys of 2025 are destroyed"
    """
    session = of(context)
    if dry_run:
        session.run(_try(session, reason))
        return
    done = session.run(_begin(session, reason))
    if wait:
        epoch = session.run(_follow(session, done, timeout))
        done |= {"epoch": epoch.epoch, "ended": epoch.ended, "answer": epoch.answer}
    session.show(done, _told(done))


@app.command()
def status(context: typer.Context) -> None:
    """Show the storage epoch, how far a turn is, the sealing keys, and the token's health. Exit code 3 if it is down.

    Example: keyfold hsm status
    """
    session = of(context)
    config = session.config

    async def work(queries: Queries) -> tuple[StorageEpoch | None, dict[str, Any]]:
        return await queries.storage_epoch(), await _sealing(queries)

    epoch, sealing = session.ask(work)
    states = token_states(config)
    down = troubles(states)
    facts = {"storage_epoch": epoch, "sealing_keys": sealing, "tokens": states, "serving": down is None}
    session.show(facts, _human(epoch, sealing, states))
    if down is not None:
        raise typer.Exit(exits.UNAVAILABLE)


async def _try(session: Session, reason: str | None) -> None:
    async with session.client(session.config) as kms:
        done = await kms.begin_storage_epoch(**how(reason, dry_run=True))
    if isinstance(done, DryRun):
        tell_dry_run(session, done)


async def _begin(session: Session, reason: str | None) -> dict[str, Any]:
    """Begin an epoch, or propose it, or find that one has begun; then rotate the sealing key."""
    async with session.client(session.config) as kms:
        try:
            begun = await kms.begin_storage_epoch(**how(reason, dry_run=False))
        except ApprovalRequired:
            made = await _proposed(kms, reason)
            return {"status": "Proposed", "proposal": made.id, "digest": made.digest, "command_id": made.command_id}
        except InvalidState:
            return {"status": "UnderWay"}
        await rotate_sealing_key(session, kms, reason)
    return {"status": "Begun", "command_id": begun.command_id, "registry_revision": begun.registry_revision}


async def _proposed(kms: Keyfold, reason: str | None) -> Proposal:
    made = await kms.propose(_VERB, None, expires_at=_APPROVED_WITHIN, reason=reason)
    if isinstance(made, DryRun):
        raise TypeError("a proposal was only tried")
    return made


async def rotate_sealing_key(session: Session, kms: Keyfold, reason: str | None) -> None:
    """Let the present sealing key retire. The scheduler does it too, so that a refusal only costs time."""
    try:
        await kms.rotate_sealing_key(**how(reason, dry_run=False))
    except Refusal as error:
        session.say(f"the sealing key is left to the scheduler ({error.code})")


async def _follow(session: Session, done: dict[str, Any], timeout_s: float) -> StorageEpoch:
    """Tell each step until the old epoch's key is destroyed. Raises `NotReady` when the time is over.

    The projections must show first that an epoch has begun: until then the end of the one before is all they know.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    told: set[str] = set()

    def tell(line: str) -> None:
        if line not in told:
            told.add(line)
            session.say(line)

    async with session.queries(session.config) as queries:
        if "proposal" in done:
            await _approved(queries, done["proposal"], deadline, tell)
        elif "command_id" in done and not await settled(queries, done["command_id"], timeout_s):
            raise NotReady("the projections do not show yet that an epoch has begun; see `keyfold hsm status`")
        while True:
            epoch = await queries.storage_epoch()
            if epoch is not None:
                for turn in sorted(epoch.turned, key=lambda turn: turn.turned_at):
                    tell(f"partition {turn.partition} has turned to epoch {epoch.epoch} ({turn.versions} versions)")
                if epoch.ended == epoch.epoch - 1 and epoch.epoch > 1 and len(epoch.turned) == epoch.partitions:
                    return epoch
            if loop.time() > deadline:
                raise NotReady("the turn is not over; `keyfold hsm status` shows what is missing")
            await asyncio.sleep(_PAUSE_S)


async def _approved(queries: Queries, proposal: str, deadline: float, tell: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        found = await queries.proposal(proposal)
        if found is not None and found.status == "Executed":
            return
        if found is not None and found.status not in {"Pending", "Approved"}:
            raise NotReady(f"proposal {proposal} is {found.status}; no epoch was begun")
        tell(f"waiting for approvals: keyfold proposal approve {proposal}")
        if loop.time() > deadline:
            raise NotReady(f"proposal {proposal} was not approved in time")
        await asyncio.sleep(_PAUSE_S)


async def _sealing(queries: Queries) -> dict[str, Any]:
    keys = [key for key in await queries.sealing_keys() if key.erased_at is None]
    current = max((key.published_at for key in keys if key.retired_at is None), default=None)
    age_s = None if current is None else (now_ms() - to_milliseconds(current)) // 1000
    return {"open": len(keys), "current_since": current, "age_s": age_s}


def _told(done: dict[str, Any]) -> str:
    if "epoch" in done:
        return f"storage epoch {done['epoch']}: the key of epoch {done['ended']} is destroyed ({done['answer']})"
    match done["status"]:
        case "Proposed":
            return f"approvals are needed\nproposal {done['proposal']}\ndigest   {done['digest']}"
        case "UnderWay":
            return "a turn is under way already; `keyfold hsm status` shows how far it is"
        case _:
            return "a storage epoch has begun; `keyfold hsm status` shows how far the turn is"


def _human(epoch: StorageEpoch | None, sealing: dict[str, Any], states: list[dict[str, Any]]) -> str:
    about: list[tuple[str, Any]] = [("sealing key", f"since {sealing['current_since']}, {sealing['open']} not erased")]
    if epoch is not None:
        about += [
            ("storage epoch", epoch.epoch),
            ("begun", f"{epoch.begun_at} by {epoch.begun_by}" if epoch.begun_at else None),
            ("turned", f"{len(epoch.turned)} of {epoch.partitions} partitions" if epoch.epoch > 1 else None),
            ("last key destroyed", f"epoch {epoch.ended}, {epoch.destroyed_at}" if epoch.ended else None),
        ]
    rows = [
        (s["instance"], s["state"], s["code"], s["sessions"], s["sessions_wished"], _since(s["since_ms"]), s["reason"])
        for s in states
    ]
    headers = ("WORKER", "TOKEN", "CODE", "SESSIONS", "WISHED", "SINCE", "REASON")
    table = output.table(headers, rows, empty="no HSM worker on this machine says how its token is")
    return f"{output.pairs(about)}\n\n{table}"


def _since(since_ms: Any) -> str | None:
    return to_text(since_ms) if isinstance(since_ms, int) else None
