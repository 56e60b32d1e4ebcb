"""Folding what others wrote on this partition's events: outcomes of the HSM worker, and root's on partition 0.

Policy never reacts to its own events: they are skipped by their signer. What cannot be believed is reported and
ignored, a gap stops the partition. An own event that the state does not know of means that the state is not the
latest: another owner has written since, or somebody put an older state back.
"""

from collections.abc import Awaitable, Callable

from keyfold.bus import Inbound
from keyfold.events import facts, topics
from keyfold.events.chains import ChainGap, ChainReader, ChainRepeat, Place, read_event, single_header
from keyfold.events.errors import Unavailable
from keyfold.events.evolve import Changes, evolve
from keyfold.events.statements import SIGNER_HEADER, STATEMENT_HEADER, UntrustedRecord, parse_statement
from keyfold.log import RegistryFollower
from keyfold.logging import get_logger
from keyfold.policy.batch import summary_of
from keyfold.policy.memory import Summary
from keyfold.policy.state import State

ROLE = "policy"
Report = Callable[[Inbound, str], Awaitable[None]]
_log = get_logger()


class StateBehind(Unavailable):
    """The log has decisions that the state does not know of; the partition must be taken over anew."""

    code = "StateBehind"


class FactsReader:
    """Continues the chains at the places that the state's head holds."""

    def __init__(
        self, partition: int, partitions: int, state: State, follower: RegistryFollower, report: Report
    ) -> None:
        self._partition, self._partitions = partition, partitions
        self._state, self._follower, self._report = state, follower, report
        self._chains = ChainReader(topics.EVENTS, partition, partitions, dict(state.head.places))
        self._seen_own = b""

    @property
    def whole(self) -> bool:
        """Tell whether every statement begun was read to its last leaf: only then `facts_n` says what was folded."""
        return all(place.leaf + 1 == place.leaves for place in self._chains.places.values())

    async def fold(self, records: list[Inbound], position: int) -> None:
        """Fold records and move the position. Raises `ChainGap` and `StateBehind`."""
        outcomes: dict[int, Summary] = {}
        caught_up = False
        for record in records:
            if self._own(record):
                continue
            if not caught_up and not self._signer_known(record):
                # Whoever may write was certified before: one look at partition 0 serves the whole batch.
                await self._follower.catch_up()
                caught_up = True
            event = await self._believed(record)
            if event is None:
                continue
            self._state.apply(self._changes(event))
            if isinstance(event, facts.Outcome):
                outcomes[event.data.offset] = summary_of(event)
        if outcomes:
            self._state.finish(outcomes)
        if position != self._state.head.events:
            self._state.move(events=position, places=dict(self._chains.places))

    def _own(self, record: Inbound) -> bool:
        signer = _signer(record)
        if not any(licence.service == ROLE for licence in self._follower.trust.certificates.get(signer, ())):
            return False
        document = single_header(record.headers, STATEMENT_HEADER) or b""
        if document != self._seen_own:
            self._check_known(record, document)
            self._seen_own = document
        return True

    def _check_known(self, record: Inbound, document: bytes) -> None:
        head = self._state.head.events_head
        try:
            if parse_statement(document).n <= head.n:
                return
            chains = ChainReader(topics.EVENTS, self._partition, self._partitions, {ROLE: Place(head, 0, 1)})
            chains.accept(self._follower.trust, record.key, record.value, record.headers, record.timestamp_ms)
        except UntrustedRecord as error:  # a stranger's, under our name
            _log.warning("record-not-believed", offset=record.offset, reason=str(error))
            return
        except ChainGap:
            pass
        raise StateBehind(f"events {self._partition} has decisions after statement {head.n}, the last of this state")

    def _signer_known(self, record: Inbound) -> bool:
        trust = self._follower.trust
        signer = _signer(record)
        licences = trust.certificates.get(signer, ())
        return signer == trust.root.fingerprint or any(each.not_after_ms >= record.timestamp_ms for each in licences)

    async def _believed(self, record: Inbound) -> facts.Event | None:
        trust = self._follower.trust
        try:
            accepted = self._chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
            return read_event(accepted, topics.EVENTS)
        except (UntrustedRecord, ChainRepeat) as error:
            await self._report(record, f"{error.code}: {error}")
            return None

    def _changes(self, event: facts.Event) -> Changes:
        try:
            return evolve(self._state.entities, event)
        except KeyError as error:
            _log.error("fact-without-entity", event_id=event.id, entity=str(error))
            return {}


def _signer(record: Inbound) -> str:
    return (single_header(record.headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
