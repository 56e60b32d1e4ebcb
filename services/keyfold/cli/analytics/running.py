"""What `backtest` and `report` share: where history is read from, and which times are wanted."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from keyfold.analytics.backtest import Backtest
from keyfold.analytics.detectors import all_detectors
from keyfold.analytics.incidents import Changed
from keyfold.analytics.observations import Observation
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.auditing.sources import KafkaSource
from keyfold.bus import Bus, Inbound
from keyfold.cli.arguments import past
from keyfold.cli.exits import UsageError
from keyfold.cli.session import Session, now_ms
from keyfold.client.arguments import moment
from keyfold.events import topics
from keyfold.events.times import to_milliseconds

Since = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="From a time (UTC) on, or 30d, 12h, 15m ago.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Before a time, or 30d, 12h ago.")]
Archive = Annotated[
    Path | None,
    typer.Option("--archive", metavar="DIR", help="Read an exported archive instead, without a deployment."),
]


@dataclass(frozen=True, slots=True)
class History:
    """A log to be run over: whose it is, from where on findings count, and where it ends."""

    deployment: str
    backtest: Backtest
    since_ms: int | None
    until_ms: int | None

    def run(self) -> AsyncGenerator[Changed, None]:
        """Yield what changes, from the beginning of the log on."""
        return self.backtest.run(self.deployment, self.until_ms)

    def counts(self, time_ms: int) -> bool:
        """Tell whether what ended at a time is to be told."""
        return self.since_ms is None or time_ms >= self.since_ms


def span(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    """Read a span of time, in ms. Raises `UsageError`."""
    now = now_ms()
    first, end = (
        None if text is None else to_milliseconds(moment(past(text, option), now))
        for text, option in ((since, "--since"), (until, "--until"))
    )
    if first is not None and end is not None and first >= end:
        raise UsageError("--until is not behind --since")
    return first, end


@asynccontextmanager
async def history(
    session: Session,
    archive: Path | None,
    bounds: tuple[int | None, int | None],
    see: Callable[[Observation], None] | None = None,
) -> AsyncIterator[History]:
    """Open the log, and tell afterwards what of it was passed over."""
    detectors, settings = all_detectors(), AnalyticsSettings()
    if archive is not None:
        from keyfold.auditing.archive_reader import ArchiveSource  # its formats take a second to import

        stored = ArchiveSource(archive)
        session.say(f"reading an archive of deployment {stored.deployment}; it has no dead letters")
        made = History(stored.deployment, Backtest(stored, detectors, settings, see=see), *bounds)
    else:
        config = session.config
        bus, deployment = session.bus(config), config.deployment or ""
        source = KafkaSource(bus, deployment, config.partitions)
        made = History(deployment, Backtest(source, detectors, settings, _letters(bus), see), *bounds)
    yield made
    told = made.backtest.told
    session.say(f"{told.observations:,} observations of {sum(told.outcomes.values()):,} records")
    strange = {outcome: number for outcome, number in sorted(told.outcomes.items()) if outcome != "read"}
    if strange:
        session.say("passed over: " + ", ".join(f"{number:,} {outcome}" for outcome, number in strange.items()))


async def _letters(bus: Bus) -> AsyncIterator[list[Inbound]]:
    """Yield the dead letters that are there now."""
    reader = bus.reader(topics.DEAD_LETTERS, 0, committed=True)
    try:
        await reader.start(None)
        async for batch in reader.read_to_end():
            yield batch
    finally:
        await reader.stop()
