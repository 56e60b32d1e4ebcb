"""The third stage: one worker makes incidents of findings and acts, and tells them.

1. Take in findings and acts, in the order in which they stand; what is known already changes nothing.
2. Publish the signed alerts. If we crash here, they are published again: the same ids, the same bytes.
3. Write them for queries; then act on the incidents that were opened or grew. Both know what they have done before.
4. Write what is remembered, then acknowledge. What one batch changes is there as a whole or not at all, see
   `incident_rows`.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from keyfold.analytics import metrics
from keyfold.analytics.acts import Act
from keyfold.analytics.alerts import AlertAuthor, Signed, alert_of
from keyfold.analytics.incident_rows import Rows, batch_rows, remembered
from keyfold.analytics.incidents import Changed, Incident, Incidents
from keyfold.analytics.observing import Parts
from keyfold.analytics.packing import Unreadable, unpack_found
from keyfold.analytics.sending import Inbox, Message
from keyfold.analytics.tables import SealedTable
from keyfold.events import topics
from keyfold.events.alerts import parse_alert
from keyfold.events.errors import InvalidCommand
from keyfold.logging import get_logger

_MESSAGES: Final = 100
_WAIT_S: Final = 0.2
_log = get_logger()


class AlertWriter(Protocol):
    """Keeps alerts where they can be asked for."""

    async def write(self, changes: Sequence[Changed], acts: Sequence[Act]) -> None:
        """Write; idempotent. Returns when it is durable; waits where the store is away. Raises what nothing cures."""


class Actor(Protocol):
    """Does something about incidents."""

    async def act(self, incident: Incident) -> None:
        """Act once, if this incident asks for it. Bounded in time; never raises for a refusal."""


class Alerting:
    """Works while the one partition of findings is assigned to this worker."""

    def __init__(
        self,
        parts: Parts,
        table: SealedTable,
        author: AlertAuthor,
        writer: AlertWriter | None = None,
        actor: Actor | None = None,
    ) -> None:
        self._parts, self._table, self._author = parts, table, author
        self._writer, self._actor = writer, actor
        self._inbox = Inbox(parts.app, topics.ANALYTICS_FINDINGS, acks=True)
        self.lock = asyncio.Lock()
        self._incidents: Incidents | None = None
        self._unwritten: Rows = {}

    def begin(self, assigned: frozenset[tuple[str, int]]) -> None:
        """Remember incidents, if their partition is assigned."""
        self._inbox.turn()
        self._incidents = self._restored() if (topics.ANALYTICS_FINDINGS, 0) in assigned else None

    def release(self) -> None:
        """Give up what is assigned; nothing of it is under way while the lock is held."""
        self._inbox.turn()
        self._incidents = None

    async def run(self) -> None:
        """Work until cancelled. Raises what ends the process."""
        while True:
            messages = await self._inbox.gather(_MESSAGES, _WAIT_S)
            turns = self._inbox.turns
            async with self.lock:
                incidents = self._incidents
                if messages and incidents is not None and turns == self._inbox.turns:
                    await self._work(incidents, messages)

    async def _work(self, incidents: Incidents, messages: list[Message]) -> None:
        changes, acts = self._taken(incidents, messages)
        signed = self._author.records(changes)
        await self._publish(signed)
        if self._writer is not None:
            await self._writer.write(changes, acts)
        if self._actor is not None:
            for incident in _grown(changes):
                await self._actor.act(incident)
        # If we crash before this is written, all of it is done again, to no other effect.
        await self._write(incidents)
        await self._inbox.done(messages)
        for each in changes:
            metrics.ALERTS.labels(each.change).inc()

    def _taken(self, incidents: Incidents, messages: list[Message]) -> tuple[list[Changed], list[Act]]:
        changes: list[Changed] = []
        acts: list[Act] = []
        refused: list[str] = []
        for message in messages:
            record = message.record
            try:
                found = unpack_found(
                    self._parts.seal.open(record.topic, record.partition, record.key or b"", record.value)
                )
                if not isinstance(found, Act):
                    # What nobody could read is found out before it is part of an incident, whose alerts it would spoil.
                    parse_alert(alert_of(Changed("detected", found, None)).to_value())
            except (Unreadable, InvalidCommand, ValueError) as error:
                refused.append(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
                continue
            if isinstance(found, Act):
                acts.append(found)
                changes += incidents.act(found)
            else:
                changes += incidents.take(found)
        if refused:
            _log.warning("findings-passed-over", records=len(refused), last=refused[-1])
        return changes, acts

    async def _write(self, incidents: Incidents) -> None:
        """Write what changed; first of all what was left unwritten by a crash, of which only the journal tells."""
        sending = self._parts.sending
        if self._unwritten:
            await self._table.write(sending, 0, self._unwritten)
            self._unwritten = {}
        documents = incidents.changed_documents()
        if documents:
            await self._table.write(sending, 0, batch_rows(documents))

    async def _publish(self, signed: Sequence[Signed]) -> None:
        records = ((topics.ALERTS, 0, each.key, each.value) for each in signed)
        await self._parts.sending.send(records, [each.headers for each in signed])

    def _restored(self) -> Incidents:
        self._unwritten = {}
        try:
            found = remembered(self._table.rows(0))
            incidents = Incidents.of_documents(found.documents)
        except ValueError as error:
            _log.warning("incidents-begin-anew", reason=type(error).__name__)
            return Incidents()
        self._unwritten = found.unwritten
        return incidents


def _grown(changes: Sequence[Changed]) -> list[Incident]:
    """Return incidents that a finding opened or raised, each as it is at last."""
    found = {
        each.incident.id: each.incident
        for each in changes
        if each.incident is not None and each.finding is not None and each.change != "detected"
    }
    return list(found.values())
