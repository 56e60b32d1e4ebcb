"""`keyfold policy simulate`: what proposed policies would have answered to the commands that are in the log."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from keyfold.cli import output
from keyfold.cli.exits import UsageError
from keyfold.cli.policy_explain import FromLog
from keyfold.cli.policy_files import PolicyFiles, read_policies
from keyfold.cli.policy_sources import Replaying, Source, source
from keyfold.cli.records import short_stream
from keyfold.cli.session import Session, of
from keyfold.deciding.simulating import Changed, Simulation, Totals
from keyfold.deciding.supposing import Proposed
from keyfold.events.errors import InvalidCommand
from keyfold.events.times import to_milliseconds

Since = Annotated[str | None, typer.Option(metavar="TIME", help="From 2026-01-31T12:00:00.000Z on.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")]


@dataclass(frozen=True, slots=True)
class Span:
    """A time, from `since` on and before `until`; None is no bound."""

    since: str | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        for time in (self.since, self.until):
            try:
                to_milliseconds(time) if time is not None else None
            except InvalidCommand as error:
                raise UsageError(str(error)) from None

    def holds(self, time: str) -> bool:
        """Tell whether an instant lies in it."""
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


def policy_simulate(
    context: typer.Context,
    *,
    policies: Annotated[
        Path, typer.Option(metavar="DIR", help="NAME.cedar for all, keys/KEY/NAME.cedar for keys (id or alias).")
    ],
    since: Since = None,
    until: Until = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="They are all the policies there are, not beside those in force.")
    ] = False,
    log: FromLog = False,
) -> None:
    """Ask proposed policies about every command in the log: what would be denied, what would be allowed.

    Policies of the same name are replaced, others stay (as they were at the time of each command). Grants, approvals
    and the state of keys are those of the time; states, limits and form are not asked again.

    Example: keyfold policy simulate --policies drafts --since 2026-01-01T00:00:00.000Z
    """
    session, span = of(context), Span(since, until)
    files = read_policies(policies.expanduser())
    found = session.run(_simulated(session, files, span, replace=replace, log=log))
    session.show({"totals": found.totals, "changed": [_as_data(each) for each in found.changed]}, _words(found))


async def _simulated(session: Session, files: PolicyFiles, span: Span, *, replace: bool, log: bool) -> Simulation:
    async with source(session, log=log) as opened:
        return await simulated(opened, await proposed(opened, files, replace=replace), span, session.say)


async def proposed(opened: Source, files: PolicyFiles, *, replace: bool) -> Proposed:
    """Find the keys that are named. Raises `NotFound`, `InvalidArgument`, and `UsageError` for one named twice."""
    keys = {await opened.key_id(name): texts for name, texts in files.keys.items()}
    if len(keys) < len(files.keys):
        raise UsageError("two directories of keys are about the same key")
    return Proposed(files.registry, keys, replace)


async def simulated(opened: Source, policies: Proposed, span: Span, say: Callable[[str], None]) -> Simulation:
    """Replay everything and ask about what lies in the span."""
    simulation = Simulation(policies)
    replaying = Replaying(opened, range(opened.partitions), progress=say)
    async with aclosing(replaying.decisions()) as decisions:
        async for recorded in decisions:
            if span.holds(recorded.event.time):
                simulation.consider(recorded)
    for leaf in replaying.waiting:
        say(f"what follows {leaf.event.time} on partition {leaf.partition} is not in the projections yet; left out")
    return simulation


def _as_data(changed: Changed) -> dict[str, Any]:
    return {**asdict(changed), "policies": sorted(changed.policies), "codes": sorted(changed.codes)}


def _words(found: Simulation) -> str:
    headers = ("CHANGE", "PRINCIPAL", "VERB", "ON", "COUNT", "FIRST", "LAST", "EXAMPLE", "BY")
    rows = [
        (c.change, c.principal, c.verb, short_stream(c.stream), c.count, c.first, c.last, c.example, _by(c))
        for c in found.changed
    ]
    table = output.table(headers, rows, empty="nothing would change")
    return f"{table}\n\n{output.pairs(_totals(found.totals))}"


def _by(changed: Changed) -> list[str]:
    return sorted(changed.policies) or [*sorted(changed.codes), "(no policy permits it)"]


def _totals(totals: Totals) -> list[tuple[str, Any]]:
    return [
        ("decisions", totals.decisions),
        ("authorizations asked again", totals.authorizations),
        ("newly denied", totals.newly_denied),
        ("newly allowed", totals.newly_allowed),
        ("not asked: dry runs", totals.dry_runs),
        ("not asked: refused before", dict(sorted(totals.refused.items()))),
        ("not asked: errors", totals.unreadable),
    ]
