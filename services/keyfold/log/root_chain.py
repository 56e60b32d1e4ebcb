"""Root's chain on events partition 0, believed record by record from one pinned fingerprint. No I/O.

Only root's records count here, whoever else writes to the partition. What a reader does where the chain breaks is its
own business.
"""

from typing import Final

from keyfold.bus import Inbound
from keyfold.events import facts, topics
from keyfold.events.chains import Accepted, ChainReader, read_event
from keyfold.events.errors import KeyfoldError, RecordError
from keyfold.events.statements import STATEMENT_HEADER, UntrustedRecord, parse_statement
from keyfold.events.trust import Trust

_REGISTRY: Final = 0


class PartitionsDiffer(RecordError):
    """Genesis fixed another number of partitions than the reader was told."""

    code = "PartitionsDiffer"

    def __init__(self, fixed: int, told: int) -> None:
        self.fixed, self.told = fixed, told
        super().__init__(f"genesis fixed {fixed} partitions, not {told}; read the log of this deployment")


class RootChain:
    """What root has said so far. `trust` is None before genesis. Not for use by two tasks."""

    def __init__(self, deployment: str, partitions: int) -> None:
        self._deployment, self._partitions = deployment, partitions
        self._chains = ChainReader(topics.EVENTS, _REGISTRY, partitions)
        self._last = (b"", False)
        self.trust: Trust | None = None

    def claims(self, record: Inbound) -> bool:
        """Tell whether a record says that it is root's; others are to be passed over."""
        document = record.header(STATEMENT_HEADER) or b""
        if document != self._last[0]:
            try:
                self._last = (document, parse_statement(document).role == "root")
            except UntrustedRecord:
                self._last = (document, False)
        return self._last[1]

    def accept(self, record: Inbound) -> Accepted:
        """Believe a record of root's, and fold it into `trust`.

        Raises `UntrustedRecord`, `ChainRepeat`, `ChainGap`, and `PartitionsDiffer` for genesis.
        """
        trust = self.trust or self._pinned(record)
        accepted = self._chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
        self.trust = trust  # the chain has moved, also where what it says is refused
        self.trust = trust.with_event(read_event(accepted, topics.EVENTS))
        return accepted

    def _pinned(self, record: Inbound) -> Trust:
        """Take the root key from genesis, which must have the pinned fingerprint, before anything is believed."""
        try:
            event = facts.parse_event(record.value or b"")
        except KeyfoldError:
            raise UntrustedRecord("root's first record is no event") from None
        if not isinstance(event, facts.Genesis):
            raise UntrustedRecord("root's first record is no genesis")
        trust = Trust.pin(self._deployment, bytes.fromhex(event.data.root_public_key))
        if event.data.partitions != self._partitions:
            raise PartitionsDiffer(event.data.partitions, self._partitions)
        return trust
