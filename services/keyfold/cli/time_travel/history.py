"""`keyfold history`: what happened to a key, in the order of the log, with its use summarised between."""

import heapq
import json
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any, Final, Protocol

import typer

from keyfold.cli import output
from keyfold.cli.arguments import KeyName
from keyfold.cli.policy_sources import Source
from keyfold.cli.session import of
from keyfold.cli.time_travel.reading import ArchiveDirectory, Trail, instant, milliseconds, opened, prefix
from keyfold.cli.time_travel.timeline import Entry, Names, Timeline
from keyfold.deciding.replaying import REGISTRY_PARTITION, Leaf
from keyfold.events.errors import NotFound
from keyfold.events.streams import key_stream, partition_of

_LONGEST: Final = 160
_FORM: Final = frozenset({"offset", "command_id", "text", "created_by", "blob_digest", "digest", "mac"})
_HIDDEN: Final = _FORM | {"verb", "key_spec", "key_usage", "protection", "origin"}
"""What is in the documents only: forms, and what the line of the key's creation says."""


class Fold(Protocol):
    """What takes leaves in."""

    def add(self, leaf: Leaf) -> None: ...


def command(
    context: typer.Context,
    key: KeyName,
    *,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="From a time (UTC) on, or 30d, 12h ago.")] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="Up to a time, or 30d, 12h ago. Else now.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every use, denial and dry run by itself.")] = False,
    trail: Trail = False,
    archive: ArchiveDirectory = None,
) -> None:
    """Tell the life of a key: versions, states, policies, grants, names, proposals, denials, compromise, and its use.

    Between facts, uses, denials and dry runs are counted by day, principal and verb. Policies of the registry, which
    are about all keys, are not in it: keyfold who-could tells what they permitted when.

    Example: keyfold history alias/orders --since 30d

    Example: keyfold --json history alias/orders --all
    """
    session, start, end = of(context), instant(since, "--since"), instant(until, "--until")

    async def work() -> tuple[str, list[Entry]]:
        async with opened(session, trail=trail, archive=archive) as log:
            key_id = await log.key_id(key)
            return key_id, await history(log, key_id, start, end, single=everything)

    key_id, entries = session.run(work())
    session.show({"key_id": key_id, "entries": [_as_data(entry) for entry in entries]}, _words(key_id, entries))


async def history(log: Source, key_id: str, since: str | None, until: str | None, *, single: bool) -> list[Entry]:
    """Read the entries of a key between two times. Raises `NotFound` for one that there never was."""
    names, timeline = Names(key_id, since), Timeline(key_id, since, single=single)
    partition = partition_of(key_stream(key_id), log.partitions)
    await _read(log, REGISTRY_PARTITION, until, names)
    await _read(log, partition, until, timeline)
    if timeline.key is None:
        raise NotFound(f"there was no key {key_id} {'by ' + until if until else 'so far'}")
    entries = timeline.finish(milliseconds(until), partition)
    return list(heapq.merge(entries, names.entries, key=lambda entry: entry.order))


async def _read(log: Source, partition: int, until: str | None, fold: Fold) -> None:
    async with aclosing(prefix(log, partition, until)) as leaves:
        async for leaf in leaves:
            fold.add(leaf)


def _as_data(entry: Entry) -> dict[str, Any]:
    told = asdict(entry) | {"versions": sorted(entry.versions)}
    del told["order"]
    if entry.kind in {"fact", "time"}:
        for name in ("commands", "items", "failed_items", "failed", "open", "versions"):
            del told[name]
    return told


def _words(key_id: str, entries: list[Entry]) -> str:
    rows = [(_when(each), each.state, _what(each), each.principal, _details(each)) for each in entries]
    table = output.table(("TIME", "STATE", "WHAT", "BY", "DETAILS"), rows, empty="nothing happened in this time")
    return f"key {key_id}\n\n{table}"


def _when(entry: Entry) -> str:
    if entry.commands > 1 and entry.last != entry.time:
        return f"{entry.time[:19]}…{entry.last[11:19]}"
    return entry.time


def _what(entry: Entry) -> str:
    return {"denial": f"{entry.what} denied", "dry run": f"{entry.what} tried"}.get(entry.kind, entry.what)


def _details(entry: Entry) -> str:
    counted = [
        f"{entry.commands} commands" if entry.commands > 1 else "",
        _number(entry.items, "item"),
        f"{entry.failed_items} of them failed" if entry.failed_items else "",
        f"{_number(entry.failed, 'command')} failed" if entry.failed else "",
        f"{entry.open} without an outcome" if entry.open else "",
        f"version {', '.join(map(str, sorted(entry.versions)))}" if entry.versions else "",
    ]
    hidden = _HIDDEN if entry.what != "key.created" else _FORM
    said = [f"{name}={_short(value)}" for name, value in entry.details.items() if name not in hidden]
    return ", ".join(word for word in [*counted, *said] if word)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}" if count else ""


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
