"""`keyfold alerts tail`: alerts straight from their topic, each verified from the pinned fingerprint.

What is not signed by certified analytics is counted and not shown. Alerts come at least once: those that were shown are
not shown again, as far back as a bounded memory goes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

import typer

from keyfold.bus import Inbound, Reader
from keyfold.cli.alerts.showing import as_data, as_line
from keyfold.cli.arguments import chosen
from keyfold.cli.session import Session, of
from keyfold.events import topics
from keyfold.events.alerts import Alert, FindingDetected, open_alert
from keyfold.events.errors import UnsupportedVersion
from keyfold.events.statements import UntrustedRecord
from keyfold.log import TrustKeeper
from keyfold.projections.alerts import SEVERITIES, rank

MAX_KNOWN: Final = 20_000
_POLL_S: Final = 0.5


def tail(
    context: typer.Context,
    *,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Begin with the oldest that is kept (90 days).")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until Ctrl-C.")] = True,
    severity: Annotated[
        str, typer.Option("--severity", metavar="LEVEL", help="At least low, medium, high or critical.")
    ] = "low",
    incidents: Annotated[bool, typer.Option("--incidents", help="Only incidents, no findings.")] = False,
) -> None:
    """Follow alerts as they are signed; each is verified before it is shown.

    Example: keyfold alerts tail --severity high

    Example: keyfold --json alerts tail --from-beginning --no-follow
    """
    session = of(context)
    (least,) = chosen([severity], SEVERITIES, "--severity")
    wanted = Wanted(rank(least), incidents)
    session.run(_tail(session, wanted, from_beginning=from_beginning, follow=follow))


class Wanted:
    """Which alerts are shown. Each is shown once."""

    def __init__(self, least: int, incidents: bool) -> None:
        self._least, self._incidents = least, incidents
        self._known: dict[str, None] = {}

    def takes(self, alert: Alert) -> bool:
        """Tell whether an alert is to be shown now."""
        if alert.id in self._known:
            return False
        self._known[alert.id] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        if self._incidents and isinstance(alert, FindingDetected):
            return False
        return rank(alert.data.severity) >= self._least


class Opening:
    """Opens records; a certificate that is not known yet is looked for once. Counts what cannot be believed."""

    def __init__(self, keeper: TrustKeeper) -> None:
        self._keeper = keeper
        self._looked_for: set[str] = set()
        self.refused = self.unknown = 0

    async def open(self, record: Inbound) -> Alert | None:
        """Return the alert of a record, or None."""
        try:
            return self._opened(record)
        except UntrustedRecord:
            pass
        signer = str(dict(record.headers).get("kf_signer"))
        if signer not in self._looked_for and len(self._looked_for) < 1_000:
            self._looked_for.add(signer)
            await self._keeper.catch_up()
            try:
                return self._opened(record)
            except UntrustedRecord:
                pass
        self.refused += 1
        return None

    def _opened(self, record: Inbound) -> Alert | None:
        try:
            return open_alert(self._keeper.trust, record.key, record.value, record.headers, record.timestamp_ms)
        except UnsupportedVersion:
            self.unknown += 1
            return None


async def _tail(session: Session, wanted: Wanted, *, from_beginning: bool, follow: bool) -> None:
    async with _opened(session) as (reader, opening):
        if not from_beginning:
            await reader.seek(await reader.end_offset())
        batches = _following(reader) if follow else reader.read_to_end()
        async for batch in batches:
            alerts = [await opening.open(record) for record in batch]
            session.show_lines((as_data(each), as_line(each)) for each in alerts if each and wanted.takes(each))
            if opening.refused or opening.unknown:
                session.say(
                    f"{opening.refused} records are not signed by analytics, {opening.unknown} are of a type that is "
                    "not known here; they were passed over"
                )
                opening.refused = opening.unknown = 0


async def _following(reader: Reader) -> AsyncIterator[list[Inbound]]:
    while True:
        yield await reader.poll(_POLL_S)


@asynccontextmanager
async def _opened(session: Session) -> AsyncIterator[tuple[Reader, Opening]]:
    config = session.config
    bus = session.bus(config)
    keeper = TrustKeeper(bus, config.deployment or "", config.partitions)
    reader = bus.reader(topics.ALERTS, 0, committed=True)
    try:
        await keeper.catch_up()
        await reader.start(None)
        yield reader, Opening(keeper)
    finally:
        await reader.stop()
        await keeper.stop()
