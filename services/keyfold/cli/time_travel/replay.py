"""`keyfold replay`: every logged decision made again by this code, in the world of its time, and compared.

State is held as policy holds it, the log never is: memory does not grow with the length of the log. What differs is
told as it is found, one line each; then comes the summary.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from keyfold.cli import exits, output
from keyfold.cli.exits import UsageError
from keyfold.cli.policy_simulate import Span
from keyfold.cli.policy_sources import Replaying, Source
from keyfold.cli.records import short_stream
from keyfold.cli.session import Session, of
from keyfold.cli.time_travel.other_python import run_elsewhere
from keyfold.cli.time_travel.reading import ArchiveDirectory, Trail, instant, opened
from keyfold.deciding.explaining import differing
from keyfold.deciding.remaking import Remade, check_signature, remake
from keyfold.deciding.replaying import Recorded
from keyfold.events import facts
from keyfold.events.errors import NotFound, Refusal
from keyfold.events.streams import key_stream, partition_of
from keyfold.projections.audit_commands import command_columns


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which decisions are made again; None stands for all. Those before them are replayed all the same."""

    span: Span = field(default_factory=Span)
    partition: int | None = None
    key: str | None = None
    signatures: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """One decision that does not come out as it was logged, or whose signature is not the principal's.

    `now` is None where nothing comes of it any more. `differing` are dotted paths in the event.
    """

    partition: int
    position: int
    command_offset: int
    event_id: str
    time: str
    stream: str
    command_id: str | None
    verb: str | None
    principal: str | None
    logged: str
    now: str | None
    why: str
    differing: tuple[str, ...] = ()


@dataclass(slots=True)
class Totals:
    """`decisions` were made again. `not_expected` are errors inside policy, which need not happen again.

    `not_replayed` are partitions whose decisions, from one on, knew more of the registry than there is to read: the
    projections or the archive lag, or the log's partition 0 was cut.
    """

    decisions: int = 0
    reproduced: int = 0
    differ: int = 0
    not_expected: int = 0
    bad_signatures: int = 0
    not_replayed: int = 0


def command(
    context: typer.Context,
    *,
    since: Annotated[
        str | None, typer.Option("--from", metavar="WHEN", help="From a time (UTC) on, or 30d, 12h ago.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="WHEN", help="Before a time, or 30d, 12h ago.")] = None,
    partition: Annotated[
        int | None, typer.Option("--partition", min=0, metavar="N", help="Only of this partition.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="Only about this key (id or alias).")] = None,
    signatures: Annotated[
        bool, typer.Option("--signatures", help="Check the principals' signatures of the commands, too.")
    ] = False,
    python: Annotated[
        Path | None,
        typer.Option("--python", metavar="PATH", help="Decide with the code that this Python interpreter imports."),
    ] = None,
    trail: Trail = False,
    archive: ArchiveDirectory = None,
) -> None:
    """Decide every logged command again, in the world of its time, and report each decision that differs.

    Exit code 4 if any does. A difference means that this version decides otherwise than the one that wrote the log, or
    that the log is not what policy wrote. With --json: one document a line, the summary last. Exit code 3: what is read
    ends before some of the decisions knew it to end, so these were not made again.

    Example: keyfold replay --from 30d --signatures

    Example: keyfold replay --python /opt/keyfold-next/bin/python
    """
    session = of(context)
    if partition is not None and key is not None:
        raise UsageError("a key is on one partition already: give --partition or --key")
    span = Span(instant(since, "--from"), instant(until, "--to"))
    wanted = Wanted(span, partition, key, signatures)
    if python is not None:
        raise typer.Exit(run_elsewhere(session, python, _arguments(wanted, trail=trail, archive=archive)))
    totals = session.run(_replayed(session, wanted, trail=trail, archive=archive))
    session.show_lines([({"summary": totals}, _summary(totals))])
    verified = not trail and archive is None
    if totals.differ or totals.bad_signatures or (totals.not_replayed and verified):
        raise typer.Exit(exits.INTEGRITY)
    if totals.not_replayed:
        raise typer.Exit(exits.UNAVAILABLE)


def _arguments(wanted: Wanted, *, trail: bool, archive: Path | None) -> list[str]:
    """Return the same arguments for another installation: spans as the times that they mean here."""
    span = wanted.span
    valued: dict[str, Any] = {
        "--from": span.since,
        "--to": span.until,
        "--partition": wanted.partition,
        "--key": wanted.key,
    }
    valued["--archive"] = archive.absolute() if archive is not None else None
    words = [word for name, value in valued.items() if value is not None for word in (name, str(value))]
    return [*words, *(["--signatures"] * wanted.signatures), *(["--trail"] * trail)]


async def _replayed(session: Session, wanted: Wanted, *, trail: bool, archive: Path | None) -> Totals:
    totals = Totals()
    async with (
        opened(session, trail=trail, archive=archive) as log,
        aclosing(differences(log, wanted, totals, session.say)) as found,
    ):
        async for each in found:
            session.show_lines([({"difference": each}, _line(each))])
    return totals


async def differences(
    log: Source, wanted: Wanted, totals: Totals, say: Callable[[str], None] | None = None
) -> AsyncGenerator[Difference, None]:
    """Yield what does not come out as it was logged, and count. Raises `NotFound`, `LogContradicts`, `ChainGap`."""
    stream = None if wanted.key is None else key_stream(await log.key_id(wanted.key))
    partition = wanted.partition if stream is None else partition_of(stream, log.partitions)
    if partition is not None and partition >= log.partitions:
        raise NotFound(f"there is no partition {partition}; the log has {log.partitions}")
    replaying = Replaying(log, range(log.partitions) if partition is None else (partition,), progress=say)
    async with aclosing(replaying.decisions()) as decisions:
        async for recorded in decisions:
            if wanted.span.holds(recorded.event.time) and stream in {None, recorded.event.subject}:
                for found in _looked_at(recorded, totals, signatures=wanted.signatures):
                    yield found
    for leaf in replaying.waiting:
        totals.not_replayed += 1
        if say is not None:
            say(f"partition {leaf.partition} from {leaf.event.time} on knew more of the registry than there is to read")


def _looked_at(recorded: Recorded, totals: Totals, *, signatures: bool) -> list[Difference]:
    """Make a decision again while its world is live."""
    totals.decisions += 1
    found = []
    remade = remake(recorded)
    if remade.verdict == "reproduced":
        totals.reproduced += 1
    elif remade.verdict == "not expected":
        totals.not_expected += 1
    else:
        totals.differ += 1
        found.append(_difference(recorded, remade.why, remade))
    if signatures and (wrong := _signature(recorded)) is not None:
        totals.bad_signatures += 1
        found.append(_difference(recorded, f"the signature is not the principal's: {wrong}"))
    return found


def _signature(recorded: Recorded) -> str | None:
    try:
        check_signature(recorded)
    except (Refusal, KeyError) as error:
        return str(error)
    return None


def _difference(recorded: Recorded, why: str, remade: Remade | None = None) -> Difference:
    event, leaf = recorded.event, recorded.leaf
    asked = command_columns(recorded.decision.command)
    made = remade.event if remade is not None else None
    return Difference(
        partition=leaf.partition,
        position=leaf.position,
        command_offset=recorded.decision.offset,
        event_id=event.id,
        time=event.time,
        stream=event.subject,
        command_id=asked["command_id"],
        verb=asked["verb"],
        principal=asked["principal"],
        logged=_said(event),
        now=_said(made) if made is not None else None,
        why=why,
        differing=tuple(differing(event, made)) if made is not None else (),
    )


def _said(event: facts.PolicyEvent) -> str:
    """Return a decision in a word: the type of its event, and why a command was denied."""
    return f"{event.type} {event.data.code}" if isinstance(event, facts.CommandDenied) else event.type


def _line(each: Difference) -> str:
    now = f"would be {each.now}" if each.now is not None else each.why
    where = f" (differs in {', '.join(each.differing)})" if each.differing else ""
    return (
        f"{each.time} {each.partition}/{each.position} {each.principal} {each.verb} on {short_stream(each.stream)}, "
        f"command {each.command_id}: was {each.logged}, {now}{where}"
    )


def _summary(totals: Totals) -> str:
    told: list[tuple[str, Any]] = [
        ("decisions made again", totals.decisions),
        ("the same, bit for bit", totals.reproduced),
        ("differ", totals.differ),
        ("not expected to be the same", totals.not_expected),
        ("signatures that are not the principal's", totals.bad_signatures),
        ("not replayed: partitions that are ahead of the registry", totals.not_replayed),
    ]
    return output.pairs(told)
