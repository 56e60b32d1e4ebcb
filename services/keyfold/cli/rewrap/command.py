"""The command `keyfold rewrap`: reads what is to be moved, does it batch by batch, and reports."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from keyfold.cli import exits, output
from keyfold.cli.arguments import KeyName, Pairs, Reason, pairs, seconds
from keyfold.cli.exits import UsageError
from keyfold.cli.projected import key_of
from keyfold.cli.rewrap.campaign import Plan, Rewrapper
from keyfold.cli.rewrap.items import Item, Reference, Result, Tally
from keyfold.cli.rewrap.journal import Journal
from keyfold.cli.rewrap.lists import Lines, ListOutput
from keyfold.cli.rewrap.topics import Places, Records, topic_output
from keyfold.cli.session import Session, of
from keyfold.client import Keyfold
from keyfold.events.errors import KeyfoldError

_EVERY_S: Final = 2.0
_SHOWN: Final = 20


@dataclass(slots=True)
class Wanted:
    """A campaign as it was typed."""

    key: str
    to: str | None
    context: dict[str, str]
    batch: int
    retry_s: float
    reason: str | None


@dataclass(slots=True)
class Progress:
    """Tells now and then how far it is."""

    say: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)
    done: int = 0

    def step(self, tally: Tally, count: int) -> None:
        """Note a batch."""
        self.done += count
        now = time.monotonic()
        if now - self.told >= _EVERY_S:
            self.told = now
            rate = self.done / max(now - self.began, 0.001)
            self.say(f"{tally.items} items, {tally.outcomes['failed']} failed, {rate:.0f}/s")


def rewrap(
    context: typer.Context,
    key: KeyName,
    source: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Lines: base64, or JSON with ciphertext and context.")
    ] = None,
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="KEY", help="Under this key, instead of KEY's newest version.")
    ] = None,
    target: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where the lines go.")] = None,
    topic: Annotated[str | None, typer.Option(help="Read this topic instead of a file.")] = None,
    output_topic: Annotated[str | None, typer.Option(help="Where its records go.")] = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of a topic's campaign. Else OUTPUT-TOPIC.rewrap.journal in this directory."),
    ] = None,
    context_pairs: Pairs = None,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Items that are asked for at once.")] = 500,
    retry_for: Annotated[str, typer.Option(metavar="SPAN", help="How long one batch is tried: 90s, 10m, 1h.")] = "10m",
    report_only: Annotated[bool, typer.Option("--report-only", help="Only count which versions are needed.")] = False,
    reason: Reason = None,
) -> None:
    """Encrypt many ciphertexts again, under the key's newest version or another key; nobody sees a plaintext.

    Broken off at any point, the same line goes on where it was. What fails stays as it is and is listed; then the exit
    code is 1. --report-only answers: may this version be deleted?

    Example: keyfold --as alice rewrap alias/orders tokens.txt -o tokens.new --context table=orders

    Example: keyfold --as alice rewrap alias/orders --topic orders --output-topic orders.rewrapped

    Example: keyfold rewrap alias/orders tokens.txt --report-only
    """
    session = of(context)
    wanted = Wanted(key, to, pairs(context_pairs), batch, seconds(retry_for, "--retry-for"), reason)
    _check_form(source, target, topic, output_topic, report_only=report_only)
    if report_only:
        _report_references(session, wanted, source, topic)
    elif source is not None and target is not None:
        _rewrap_list(session, wanted, source, target)
    else:
        _rewrap_topic(session, wanted, topic or "", output_topic or "", journal)


def _check_form(
    source: Path | None, target: Path | None, topic: str | None, output_topic: str | None, *, report_only: bool
) -> None:
    if (source is None) == (topic is None):
        raise UsageError("name a file, or a topic with --topic")
    if report_only:
        return
    if source is not None and (target is None or source.resolve() == target.resolve()):
        raise UsageError("say with --output into which other file the lines go")
    if topic is not None and output_topic in {None, topic}:
        raise UsageError("say with --output-topic into which other topic the records go")


def _rewrap_list(session: Session, wanted: Wanted, source: Path, target: Path) -> None:
    lines = Lines(source, wanted.context, wanted.batch)
    beside = target.with_name(f"{target.name}.journal")
    if target.exists() and not beside.exists():
        raise UsageError(f"{target} exists; remove it, or name another output")
    plan, tally, failed = session.run(_over_list(session, wanted, lines, target, beside))
    _tell(session, plan, tally, {"output": target, "failures": failed})


async def _over_list(
    session: Session, wanted: Wanted, lines: Lines, target: Path, beside: Path
) -> tuple[Plan, Tally, Path | None]:
    async with session.client(session.config) as kms:
        plan = await _plan(session, kms, wanted)
        about = {"of": lines.identity(), **_about(plan, wanted)}
        kept = ListOutput(target, Journal.open(beside, about))
        rewrapper, progress = Rewrapper(kms, plan, session.say), Progress(session.say)
        try:
            for batch in () if kept.over else lines.read(kept.at, kept.line_number):
                kept.keep(batch, await rewrapper.rewrap(batch.items))
                progress.step(kept.tally, len(batch.items))
            kept.finish()
        finally:
            kept.close()
    return plan, kept.tally, kept.failures if kept.tally.outcomes["failed"] else None


def _rewrap_topic(session: Session, wanted: Wanted, topic: str, target: str, journal: Path | None) -> None:
    path = journal or Path(f"{target}.rewrap.journal")
    plan, tally, failed = session.run(_over_topic(session, wanted, topic, target, path))
    _tell(session, plan, tally, {"output_topic": target, "failures": failed, "journal": path})


async def _over_topic(
    session: Session, wanted: Wanted, topic: str, target: str, path: Path
) -> tuple[Plan, Tally, Path | None]:
    bus = session.bus(session.config)
    async with session.client(session.config) as kms:
        plan = await _plan(session, kms, wanted)
        places = await Places.find(bus, topic, target)
        about = {"of": {"topic": topic, "output": target}, **_about(plan, wanted)}
        campaign = sha256(output.to_json(about, lines=True).encode()).hexdigest()[:16]
        rewrapper, progress = Rewrapper(kms, plan, session.say), Progress(session.say)
        records = Records(bus, topic, wanted.context, wanted.batch)
        async with topic_output(bus, places, Journal.open(path, about), campaign) as kept:
            for partition, end in sorted(places.ends.items()):
                async for batch in records.read(partition, kept.positions.get(partition), end):
                    await kept.keep(batch, await rewrapper.rewrap(batch.items))
                    progress.step(kept.tally, len(batch.items))
    return plan, kept.tally, kept.failures if kept.tally.outcomes["failed"] else None


async def _plan(session: Session, kms: Keyfold, wanted: Wanted) -> Plan:
    """Look the keys up once: what an alias names later is another campaign."""
    key_id = await kms.resolve(wanted.key)
    destination = None if wanted.to is None else await kms.resolve(wanted.to)
    if destination == key_id:
        destination = None
    current = None
    if destination is None:
        try:
            async with session.queries(session.config) as queries:
                current = (await key_of(queries, key_id)).current_version
        except KeyfoldError:
            session.say("the projections do not say which version is the current one: everything is encrypted again")
    return Plan(key_id, destination, current, wanted.reason, wanted.retry_s)


def _about(plan: Plan, wanted: Wanted) -> dict[str, Any]:
    """Return what must be the same for a campaign to go on; the newest version may be another by then."""
    return {"key": plan.key_id, "to": plan.destination, "context": wanted.context}


def _report_references(session: Session, wanted: Wanted, source: Path | None, topic: str | None) -> None:
    tally = Tally()

    def look(items: list[Item]) -> None:
        for item in items:
            tally.count(item, Result(item.ciphertext, "kept" if item.reference or item.empty else "failed"))

    if source is not None:
        for batch in Lines(source, wanted.context, wanted.batch).read():
            look(batch.items)
    else:
        session.run(_look_at_topic(session, topic or "", wanted, look))
    key_id, versions = session.run(_versions(session, wanted.key))
    needed = {version: tally.before[key_id, version] for version in versions}
    needed |= {version: count for (key, version), count in tally.before.items() if key == key_id}
    rows = [(version, count, "yes" if count else "no") for version, count in sorted(needed.items())]
    unreadable = tally.outcomes["failed"]
    others = sum(count for (key, _), count in tally.before.items() if key != key_id)
    told = output.table(("VERSION", "REFERENCES", "NEEDED"), rows)
    session.show(
        {
            "key_id": key_id,
            "references": {str(version): count for version, count in sorted(needed.items())},
            "other_keys": others,
            "unreadable": unreadable,
        },
        f"{told}\n\n{output.pairs([('of other keys', others), ('unreadable', unreadable)])}",
    )


async def _look_at_topic(session: Session, topic: str, wanted: Wanted, look: Callable[[list[Item]], None]) -> None:
    bus = session.bus(session.config)
    places = await Places.find(bus, topic, topic)
    records = Records(bus, topic, wanted.context, wanted.batch)
    for partition, end in sorted(places.ends.items()):
        async for batch in records.read(partition, None, end):
            look(batch.items)


async def _versions(session: Session, key: str) -> tuple[str, list[int]]:
    async with session.queries(session.config) as queries:
        found = await key_of(queries, key)
    return found.key_id, [version.version for version in found.versions if version.status != "Destroyed"]


def _tell(session: Session, plan: Plan, tally: Tally, more: dict[str, Any]) -> None:
    outcomes = {name: tally.outcomes[name] for name in ("moved", "kept", "failed")}
    facts = {"key_id": plan.key_id, "to": plan.destination, **outcomes, **more, **_references(tally)}
    about = output.pairs([*outcomes.items(), *((name, value) for name, value in more.items() if value)])
    rows = [
        (key, version, tally.before[key, version], tally.after[key, version])
        for key, version in sorted({*tally.before, *tally.after})
    ]
    table = output.table(("KEY", "VERSION", "BEFORE", "AFTER"), rows[:_SHOWN], empty="no ciphertexts")
    session.show(facts, f"{about}\n\n{table}")
    if outcomes["failed"]:
        raise typer.Exit(exits.REFUSED)


def _references(tally: Tally) -> dict[str, Any]:
    def listed(found: Counter[Reference]) -> list[dict[str, Any]]:
        return [{"key_id": key, "version": version, "count": count} for (key, version), count in sorted(found.items())]

    return {"before": listed(tally.before), "after": listed(tally.after)}
