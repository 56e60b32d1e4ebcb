"""`keyfold key blast-radius`: what versions of a key were used for since they were compromised, from the log itself."""

from contextlib import aclosing
from typing import Annotated, Any, Final, Protocol

import typer

from keyfold.cli import output
from keyfold.cli.arguments import KeyName, past
from keyfold.cli.exits import UsageError
from keyfold.cli.policy_sources import Source, source
from keyfold.cli.session import Session, now_ms, of
from keyfold.cli.uses import DEEDS, Marks, Radius
from keyfold.client.arguments import moment
from keyfold.events import facts
from keyfold.events.streams import key_stream, partition_of
from keyfold.events.times import to_milliseconds

app = typer.Typer()

_SHOWN: Final = 100


class Fold(Protocol):
    """What counts events."""

    def add(self, event: facts.Event) -> None: ...


@app.command("blast-radius")
def blast_radius(
    context: typer.Context,
    key: KeyName,
    *,
    version: Annotated[
        list[int] | None,
        typer.Option("--version", min=1, metavar="N", help="Which; may be repeated. Else those that are compromised."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="A time (UTC), or 30d, 12h ago. Else when the compromise occurred."),
    ] = None,
    trail: Annotated[
        bool, typer.Option("--trail", help="Read the audit trail in Postgres instead of the verified log.")
    ] = False,
) -> None:
    """Tell who used versions of a key since a time, for what, from where and under which contexts.

    Without --since and --version: the versions that are marked as compromised, since their compromise occurred.

    Example: keyfold key blast-radius alias/orders

    Example: keyfold --json key blast-radius alias/orders --version 1 --since 2026-01-31T12:00:00.000Z
    """
    session = of(context)
    start = None if since is None else moment(past(since, "--since"), now_ms())
    facts_ = session.run(_found(session, key, version or [], start, log=not trail))
    session.show(facts_, _human(facts_))


async def _found(session: Session, key: str, versions: list[int], since: str | None, *, log: bool) -> dict[str, Any]:
    async with source(session, log=log) as opened:
        key_id = await opened.key_id(key)
        if since is None or not versions:
            marks = Marks(key_id)
            await _fold(opened, key_id, marks)
            versions, since = chosen(marks, versions, since)
        radius = Radius(key_id, versions, to_milliseconds(since))
        await _fold(opened, key_id, radius)
    return {
        "key_id": key_id,
        "versions": sorted(versions),
        "since": since,
        "uses": [use.as_data() for use in radius.uses],
        "moved_to": output.plain(radius.moved),
        "unsettled": radius.unsettled,
    }


def chosen(marks: Marks, versions: list[int], since: str | None) -> tuple[list[int], str]:
    """Return which versions since when: what was not said follows from the marks. Raises `UsageError`."""
    wanted = versions or sorted(marks.occurred_at)
    if since is not None:
        return wanted, since
    times = [marks.occurred_at[version] for version in wanted if version in marks.occurred_at]
    if not times or len(times) < len(wanted):
        raise UsageError("these versions are not marked as compromised; say with --since from when on")
    return wanted, min(times)


async def _fold(opened: Source, key_id: str, fold: Fold) -> None:
    stream = key_stream(key_id)
    async with aclosing(opened.read(partition_of(stream, opened.partitions))) as leaves:
        async for leaf in leaves:
            if leaf.event.subject == stream:
                fold.add(leaf.event)


def _human(found: dict[str, Any]) -> str:
    versions = ", ".join(map(str, found["versions"])) or "all"
    uses = found["uses"]
    table = output.table(
        ("VERSION", "DID", "VERB", "PRINCIPAL", "HOST", "COMMANDS", "ITEMS", "FIRST", "LAST"),
        [
            (u["version"], DEEDS[u["verb"]], u["verb"], u["principal"], u["host"], u["commands"], u["items"],
             u["first"], u["last"])
            for u in uses
        ],
        empty="not used since then",
    )  # fmt: skip
    parts = [f"key {found['key_id']}, versions {versions}, since {found['since']}", table, _contexts(uses)]
    if found["moved_to"]:
        rows = [(m["destination"], m["commands"], m["items"], m["last"]) for m in found["moved_to"]]
        parts.append(output.table(("ENCRYPTED AGAIN UNDER", "COMMANDS", "ITEMS", "LAST"), rows))
    if found["unsettled"]:
        parts.append(f"{len(found['unsettled'])} uses were authorized and have no outcome yet")
    return "\n\n".join(part for part in parts if part)


def _contexts(uses: list[dict[str, Any]]) -> str:
    rows = [
        (named["context"], use["version"], use["verb"], use["principal"], named["commands"])
        for use in uses
        for named in use["contexts"]
    ]
    if not rows:
        return ""
    table = output.table(("CONTEXT", "VERSION", "VERB", "PRINCIPAL", "COMMANDS"), rows[:_SHOWN])
    return table + (f"\n… and {len(rows) - _SHOWN} more; --json shows all" if len(rows) > _SHOWN else "")
