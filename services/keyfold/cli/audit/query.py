"""`keyfold audit query`: the audit trail in Postgres by what auditors ask for, as a table, as JSON lines or as CSV.

It shows what the projections say and verifies nothing; `keyfold audit verify` compares them with the log.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import typer

from keyfold.cli.arguments import identifier, pairs, time_of
from keyfold.cli.exits import UsageError
from keyfold.cli.output import plain, table
from keyfold.cli.projected import key_id_of
from keyfold.cli.records import as_data, as_line
from keyfold.cli.session import Session, of
from keyfold.events.facts import BY_TYPE
from keyfold.projections.ports import AuditFilter, AuditPage
from keyfold.projections.rows import AuditRow
from keyfold.projections.store import VIEWS, PostgresAuditViews, ViewFilter, ViewRows

_FORMATS: Final = ("table", "json", "csv")
_OUTCOMES: Final = ("authorized", "denied", "dry-run", "completed", "failed", "recorded")
_VIEWS: Final = {name.replace("_", "-"): name for name in VIEWS}
_PAGE: Final = 1000
_HIDDEN: Final = frozenset({"value"})
_COLUMNS: Final = tuple(name for name in AuditRow.__slots__ if name not in _HIDDEN)


Key = Annotated[str | None, typer.Option("--key", metavar="KEY", help="Only of this key (id or alias).")]
Principal = Annotated[str | None, typer.Option("--principal", metavar="NAME", help="Only what this principal asked.")]
Verb = Annotated[str | None, typer.Option("--verb", metavar="VERB", help="Only of this verb, like Decrypt.")]
Contexts = Annotated[
    list[str] | None,
    typer.Option("--context", "-c", metavar="NAME=VALUE", help="Only with a context that has it; may be repeated."),
]
Denied = Annotated[bool, typer.Option("--denied", help="Only what policy denied.")]
Administrators = Annotated[
    bool, typer.Option("--administrators", help="Only decisions that are no use of a key, and root's ceremonies.")
]
WithOutcome = Annotated[str | None, typer.Option("--outcome", metavar="OUTCOME", help=f"Only {', '.join(_OUTCOMES)}.")]
Code = Annotated[str | None, typer.Option("--code", metavar="CODE", help="Only with this error code.")]
Kind = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only of this type, like key.rotated.")]
CommandId = Annotated[str | None, typer.Option("--command", metavar="ID", help="Only of this command.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="From 2026-01-31T12:00:00.000Z on.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="At most so many rows.")]
After = Annotated[str | None, typer.Option("--after", metavar="CURSOR", help="Go on behind the last page.")]
OldestFirst = Annotated[bool, typer.Option("--oldest-first", help="Else the newest come first.")]
View = Annotated[str | None, typer.Option("--view", metavar="NAME", help=f"A view: {', '.join(_VIEWS)}.")]
Days = Annotated[
    int | None, typer.Option("--days", min=0, max=100_000, help="With keys-not-rotated: at least so many days old.")
]
Format = Annotated[str | None, typer.Option("--format", metavar="FORMAT", help="table, json (lines) or csv.")]


def query(
    context: typer.Context,
    *,
    key: Key = None,
    principal: Principal = None,
    verb: Verb = None,
    contexts: Contexts = None,
    denied: Denied = False,
    administrators: Administrators = False,
    outcome: WithOutcome = None,
    code: Code = None,
    kind: Kind = None,
    command: CommandId = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    after: After = None,
    oldest_first: OldestFirst = False,
    view: View = None,
    days: Days = None,
    shape: Format = None,
) -> None:
    """Ask the audit trail: which events pass all filters, newest first; or one of the auditors' views.

    Example: keyfold audit query --key alias/orders --context tenant=blue --since 2026-01-01T00:00:00.000Z

    Example: keyfold audit query --view keys-not-rotated --days 365 --format csv
    """
    session, flags = of(context), {"denied_only": denied, "administrators": administrators}
    more = {"contexts": contexts, "outcome": outcome, "code": code, "kind": kind, "command": command}
    wanted = _filter(since, until, principal=principal, verb=verb, **more, **flags)
    shown = _format(session, shape)
    if view is None:
        _show_events(session, wanted, Paging(key, limit, after, oldest_first, days), shown)
    else:
        _show_view(session, view, wanted, Paging(key, limit, after, oldest_first, days), shown)


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part is wanted, and of which key; it may still be an alias."""

    key: str | None
    limit: int
    after: str | None
    oldest_first: bool
    days: int | None

    async def key_id(self, session: Session) -> str | None:
        """Return the key's id. Raises `NotFound`, `UsageError`."""
        if self.key is None:
            return None
        async with session.queries(session.config) as queries:
            return identifier(await key_id_of(queries, self.key))


def _show_events(session: Session, wanted: AuditFilter, paging: Paging, shown: str) -> None:
    if paging.days is not None:
        raise UsageError("--days goes with --view keys-not-rotated")
    page = session.run(_events(session, wanted, paging))
    if shown == "table":
        _write("\n".join(map(as_line, page.rows)) + "\n" if page.rows else "no such events\n")
    elif shown == "json":
        _write("".join(json.dumps(as_data(row), ensure_ascii=False) + "\n" for row in page.rows))
    else:
        _write(_rows(_COLUMNS, [[getattr(row, name) for name in _COLUMNS] for row in page.rows], shown))
    if page.next is not None:
        session.say(f"there may be more: --after {page.next}")


def _show_view(session: Session, view: str, wanted: AuditFilter, paging: Paging, shown: str) -> None:
    name = _VIEWS[_one_of(view, tuple(_VIEWS), "--view") or ""]
    others = replace(wanted, principal=None, since=None, until=None) != AuditFilter()
    if others or paging.after is not None or paging.oldest_first:
        raise UsageError("a view takes --key, --principal, --since, --until, --limit and --days only")
    if paging.days is not None and name != "keys_not_rotated":
        raise UsageError("--days goes with --view keys-not-rotated")
    found = session.run(_view(session, name, wanted, paging))
    _write(_rows(found.columns, found.rows, shown))


async def _events(session: Session, wanted: AuditFilter, paging: Paging) -> AuditPage:
    wanted = replace(wanted, key_id=await paging.key_id(session))
    rows: list[AuditRow] = []
    after = paging.after
    async with session.queries(session.config) as queries:
        while True:
            size = min(_PAGE, paging.limit - len(rows))
            page = await queries.audit(wanted, limit=size, after=after, oldest_first=paging.oldest_first)
            rows += page.rows
            after = page.next
            if after is None or len(rows) >= paging.limit:
                return AuditPage(tuple(rows), after)


async def _view(session: Session, view: str, wanted: AuditFilter, paging: Paging) -> ViewRows:
    asked = ViewFilter(await paging.key_id(session), wanted.principal, wanted.since, wanted.until, paging.days)
    views = PostgresAuditViews(session.config.postgres_reader_dsn)
    try:
        return await views.rows(view, asked, limit=paging.limit)
    finally:
        await views.close()


def _filter(since: str | None, until: str | None, **words: Any) -> AuditFilter:
    command = words.pop("command")
    outcome = _one_of(words.pop("outcome"), _OUTCOMES, "--outcome")
    return AuditFilter(
        since=_time(since, "--since"),
        until=_time(until, "--until"),
        event_type=_full_type(words.pop("kind")),
        command_id=None if command is None else identifier(command),
        contexts=tuple(sorted(pairs(words.pop("contexts")).items())),
        outcome=outcome,
        **words,
    )


def _rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], shown: str) -> str:
    """Return rows with their columns' names. A list in CSV is JSON, and nothing is an empty cell."""
    if shown == "table":
        return table([name.upper() for name in columns], [[_cell(value) for value in row] for row in rows]) + "\n"
    if shown == "json":
        documents = (dict(zip(columns, map(plain, row), strict=True)) for row in rows)
        return "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple | dict) else value


def _write(text: str) -> None:
    typer.echo(text, nl=False)


def _format(session: Session, shape: str | None) -> str:
    if shape is None:
        return "json" if session.as_json else "table"
    return _one_of(shape, _FORMATS, "--format") or ""


def _one_of(word: str | None, known: Sequence[str], option: str) -> str | None:
    if word is not None and word not in known:
        raise UsageError(f"{option} {word} is not known; choose from {', '.join(known)}")
    return word


def _full_type(kind: str | None) -> str | None:
    known = {name.removeprefix("keyfold.").removesuffix(".v1"): name for name in BY_TYPE}
    if kind is None or kind in BY_TYPE:
        return kind
    return known[_one_of(kind, sorted(known), "--type") or ""]


def _time(text: str | None, option: str) -> str | None:
    return None if text is None else time_of(text, option)
