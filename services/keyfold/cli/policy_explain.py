"""`keyfold policy explain`: why a command was answered as it was, and whether that follows from the log."""

import re
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from keyfold.cli import exits
from keyfold.cli.exits import Differs, NotReady, UsageError
from keyfold.cli.policy_sources import Replaying, Source, source
from keyfold.cli.policy_words import as_data, as_words
from keyfold.cli.session import Session, of
from keyfold.deciding.explaining import Explanation, explain
from keyfold.deciding.replaying import Recorded
from keyfold.events.errors import NotFound, Refusal
from keyfold.events.streams import UUID_PATTERN
from keyfold.projections.ports import AuditFilter

_EVENT: Final = re.compile(r"(\d{1,5})\.(\d{1,19})\.[a-z0-9-]+")
_COMMAND: Final = re.compile(UUID_PATTERN)

FromLog = Annotated[bool, typer.Option("--log", help="Read and verify the log itself, not the projections.")]


@dataclass(frozen=True, slots=True)
class Target:
    """Which decision is meant, and where it may be; no partition stands for all."""

    partition: int | None
    meant: Callable[[Recorded], bool]

    @classmethod
    def of_event(cls, partition: int, offset: int) -> "Target":
        """Name the decision about the command at an offset."""
        return cls(partition, lambda recorded: recorded.decision.offset == offset)


def policy_explain(
    context: typer.Context,
    decision: Annotated[
        str, typer.Argument(metavar="ID", help="The id of an event (2.17.decision) or of a command (a UUID).")
    ],
    *,
    log: FromLog = False,
) -> None:
    """Say why a command was answered as it was: who asked what, by which policies, grants and limits.

    The decision is made again from the log alone; exit code 4 if it does not come out the same.

    Example: keyfold policy explain 2.17.decision

    Example: keyfold policy explain 01890a5d-ac96-774b-bcce-b302099a8057 --log
    """
    session = of(context)
    found = session.run(_explained(session, decision, log=log))
    session.show(as_data(found), as_words(found))
    if found.remade.verdict == "differs" or found.signature is not None:
        raise typer.Exit(exits.INTEGRITY)


async def _explained(session: Session, name: str, *, log: bool) -> Explanation:
    target = _named(name)
    if target is None:
        target = _by_command(name) if log else await _looked_up(session, name)
    async with source(session, log=log) as opened:
        return await explained(opened, target, name)


def _named(name: str) -> Target | None:
    """Read an event's id; None for a command's. Raises `UsageError`."""
    event = _EVENT.fullmatch(name)
    if event is not None:
        return Target.of_event(int(event[1]), int(event[2]))
    if _COMMAND.fullmatch(name) is None:
        raise UsageError(f"{name} is neither the id of a decision (like 2.17.decision) nor of a command (a UUID)")
    return None


def _by_command(name: str) -> Target:
    return Target(None, lambda recorded: recorded.command.id == name)


async def _looked_up(session: Session, command_id: str) -> Target:
    """Find a command's decision in the audit trail. Of several under one id, the first is meant."""
    config = session.config
    async with session.queries(config) as queries:
        page = await queries.audit(AuditFilter(command_id=command_id), oldest_first=True)
    decisions = [row for row in page.rows if row.role == "policy" and row.command_offset is not None]
    if not decisions:
        raise NotFound(f"the projections know no decision about command {command_id}")
    if len(decisions) > 1:
        others = ", ".join(row.event_id for row in decisions[1:])
        session.say(f"there are other decisions about commands with this id: {others}")
    return Target.of_event(decisions[0].partition, decisions[0].command_offset or 0)


async def explained(opened: Source, target: Target, name: str) -> Explanation:
    """Replay up to the decision and explain it. Raises `NotFound`, `NotReady`, `Differs`."""
    if target.partition is not None and target.partition >= opened.partitions:
        raise NotFound(f"there is no partition {target.partition}")
    partitions = range(opened.partitions) if target.partition is None else (target.partition,)
    replaying = Replaying(opened, partitions)
    async with aclosing(replaying.decisions()) as decisions:
        async for recorded in decisions:
            if _is_meant(target, recorded):
                return _explain(recorded)
    if replaying.waiting:
        raise NotReady("the projections do not hold yet what that decision knew of the registry; try again")
    raise NotFound(f"there is no decision {name}")


def _is_meant(target: Target, recorded: Recorded) -> bool:
    try:
        return target.meant(recorded)
    except Refusal:
        return False


def _explain(recorded: Recorded) -> Explanation:
    try:
        return explain(recorded)
    except (Refusal, KeyError) as error:
        raise Differs(f"{recorded.event.id} does not follow from the log before it: {error}") from None
