"""Folding what others wrote on this partition's events: outcomes of the HSM worker, and root's on partition 0.

Policy never reacts to its own events: they are skipped by their signer. What cannot be believed is reported and
ignored, a gap stops the partition.
"""

from keyfold.bus import Inbound
from keyfold.events import facts, topics
from keyfold.events.chains import ChainReader, ChainRepeat, read_event, single_header
from keyfold.events.evolve import Changes, evolve
from keyfold.events.statements import SIGNER_HEADER, UntrustedRecord
from keyfold.log import RegistryFollower
from keyfold.logging import get_logger
from keyfold.policy.batch import summary_of
from keyfold.policy.memory import Summary
from keyfold.policy.state import State

_log = get_logger()


class FactsReader:
    """Continues the chains at the places that the state's head holds."""

    def __init__(self, partition: int, partitions: int, state: State, follower: RegistryFollower) -> None:
        self._state, self._follower = state, follower
        self._chains = ChainReader(topics.EVENTS, partition, partitions, dict(state.head.places))

    async def fold(self, records: list[Inbound], position: int) -> None:
        """Fold records and move the position. Raises `ChainGap`."""
        outcomes: dict[int, Summary] = {}
        for record in records:
            if self._own(record):
                continue
            event = await self._believed(record)
            if event is None:
                continue
            self._state.apply(self._changes(event))
            if isinstance(event, facts.Outcome):
                outcomes[event.data.offset] = summary_of(event)
        if outcomes:
            self._state.finish(outcomes)
        head = self._state.head
        if position != head.events:
            self._state.move(events=position, places=dict(self._chains.places))

    def _own(self, record: Inbound) -> bool:
        signer = (single_header(record.headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
        return any(licence.service == "policy" for licence in self._follower.trust.certificates.get(signer, ()))

    async def _believed(self, record: Inbound) -> facts.Event | None:
        try:
            return self._read(record)
        except UntrustedRecord:
            await self._follower.catch_up()
        except ChainRepeat as error:
            _log.warning("record-repeated", offset=record.offset, reason=str(error))
            return None
        try:
            return self._read(record)
        except (UntrustedRecord, ChainRepeat) as error:
            _log.warning("record-not-believed", offset=record.offset, reason=str(error))
            return None

    def _read(self, record: Inbound) -> facts.Event:
        trust = self._follower.trust
        accepted = self._chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
        return read_event(accepted, topics.EVENTS)

    def _changes(self, event: facts.Event) -> Changes:
        try:
            return evolve(self._state.entities, event)
        except KeyError as error:
            _log.error("fact-without-entity", event_id=event.id, entity=str(error))
            return {}
