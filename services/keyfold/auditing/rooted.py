"""Root's statements on events partition 0, and the trust that follows from them: before anything else is believed.

All of them are read first, since a revocation reaches back. Only root's chain counts here, whoever else writes to the
partition. Where it breaks, what root said up to there is what is known; that it breaks is `partition`'s to say.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from keyfold.auditing.sources import RecordSource
from keyfold.bus import Inbound
from keyfold.events import facts, topics
from keyfold.events.chains import ChainGap, ChainReader, ChainRepeat, read_event
from keyfold.events.errors import KeyfoldError, RecordError
from keyfold.events.statements import STATEMENT_HEADER, Statement, UntrustedRecord, parse_statement
from keyfold.events.trust import Trust


class NotRooted(RecordError):
    """The log does not begin with the genesis of the pinned deployment."""

    code = "NotRooted"


@dataclass(frozen=True, slots=True)
class Rooted:
    """What root said, as values that can be sent to another process. `values` are its events' exact bytes."""

    deployment: str
    root_public_key: bytes
    values: tuple[bytes, ...]

    def trust(self) -> Trust:
        """Return the trust after all of it."""
        trust = Trust.pin(self.deployment, self.root_public_key)
        for value in self.values:
            trust = trust.with_event(facts.parse_event(value))
        return trust


async def read_root(source: RecordSource, deployment: str) -> Rooted:
    """Read partition 0 to its end. Raises `NotRooted`."""
    reading = _RootReader(deployment, source.partitions)
    async for batch in source.records(0):
        reading.read_all(batch)
    if reading.rooted is None:
        raise NotRooted(
            f"the log has no genesis of deployment {deployment[:16]}; check the fingerprint and where the log is read"
        )
    return reading.rooted


class _RootReader:
    def __init__(self, deployment: str, partitions: int) -> None:
        self._deployment, self._partitions = deployment, partitions
        self._chains = ChainReader(topics.EVENTS, 0, partitions)
        self._trust: Trust | None = None
        self._last = (b"", False)
        self._broken = False
        self.rooted: Rooted | None = None

    def read_all(self, records: Iterable[Inbound]) -> None:
        for record in records:
            if not self._broken and self._claims_root(record):
                self._fold(record)

    def _fold(self, record: Inbound) -> None:
        """What is not root's by its signature is left to whoever verifies the partition."""
        try:
            trust = self._trust or self._pinned(record)
            accepted = self._chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
            self._trust = trust.with_event(read_event(accepted, topics.EVENTS))
        except (UntrustedRecord, ChainRepeat):
            return
        except ChainGap:
            self._broken = True
            return
        before = self.rooted or Rooted(self._deployment, self._root_key(record), ())
        self.rooted = Rooted(before.deployment, before.root_public_key, (*before.values, accepted.entry.value))

    def _claims_root(self, record: Inbound) -> bool:
        document = record.header(STATEMENT_HEADER) or b""
        if document != self._last[0]:
            try:
                self._last = (document, parse_statement(document).role == "root")
            except UntrustedRecord:
                self._last = (document, False)
        return self._last[1]

    def _pinned(self, record: Inbound) -> Trust:
        event = _genesis(record)
        if event.data.partitions != self._partitions:
            raise NotRooted(f"genesis fixed {event.data.partitions} partitions, the source has {self._partitions}")
        return Trust.pin(self._deployment, bytes.fromhex(event.data.root_public_key))

    def _root_key(self, record: Inbound) -> bytes:
        return bytes.fromhex(_genesis(record).data.root_public_key)


def _genesis(record: Inbound) -> facts.Genesis:
    try:
        event = facts.parse_event(record.value or b"")
    except KeyfoldError:
        raise UntrustedRecord("root's first record is no event") from None
    if not isinstance(event, facts.Genesis):
        raise UntrustedRecord("root's first record is no genesis")
    return event


class Assumed(Trust):
    """Trust for what was verified before: who may sign is asked, the signature itself is not verified again."""

    __slots__ = ()

    @classmethod
    def of(cls, trust: Trust) -> "Assumed":
        """Return the same certificates and revocations, assumed."""
        return cls(trust.deployment, trust.root, trust.certificates, trust.revocations)

    def verify_statement(
        self,
        statement: Statement,
        document: bytes,  # noqa: ARG002 - what was signed, and
        signature: bytes,  # noqa: ARG002 - by what, was verified before
        signer: str,
        timestamp_ms: int,
    ) -> None:
        """Apply the rules of `Trust` but for the signature. Raises `UntrustedRecord`."""
        if statement.deployment != self.deployment:
            raise UntrustedRecord("the statement belongs to another deployment")
        self._licensed(statement, signer, timestamp_ms)
