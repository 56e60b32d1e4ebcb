"""Root's statements on events partition 0, and the trust that follows from them: before anything else is believed.

All of them are read first, since a revocation reaches back. Only root's chain counts here, whoever else writes to the
partition. Where it breaks, what root said up to there is what is known; that it breaks is `partition`'s to say.
"""

from dataclasses import dataclass

from keyfold.auditing.sources import RecordSource
from keyfold.events import facts
from keyfold.events.chains import ChainGap, ChainRepeat
from keyfold.events.errors import RecordError
from keyfold.events.statements import Statement, UntrustedRecord
from keyfold.events.trust import Trust
from keyfold.log.root_chain import PartitionsDiffer, RootChain


class NotRooted(RecordError):
    """The log does not begin with the genesis of the pinned deployment."""

    code = "NotRooted"


@dataclass(frozen=True, slots=True)
class Rooted:
    """What root said, as values that can be sent to another process: its events' exact bytes, genesis first."""

    deployment: str
    values: tuple[bytes, ...]

    def trust(self) -> Trust:
        """Return the trust after all of it."""
        genesis, *events = map(facts.parse_event, self.values)
        trust = Trust.pin(self.deployment, bytes.fromhex(genesis.data.root_public_key))
        for event in events:
            trust = trust.with_event(event)
        return trust


async def read_root(source: RecordSource, deployment: str) -> Rooted:
    """Read partition 0 to its end. Raises `NotRooted`."""
    chain, values, broken = RootChain(deployment, source.partitions), list[bytes](), False
    async for batch in source.records(0):
        for record in batch:
            if broken or not chain.claims(record):
                continue
            try:
                values.append(chain.accept(record).entry.value)
            except PartitionsDiffer as error:
                raise NotRooted(str(error)) from None
            except ChainGap:
                broken = True
            except (UntrustedRecord, ChainRepeat):
                continue  # what is not root's by its signature is left to whoever verifies the partition
    if not values:
        raise NotRooted(
            f"the log has no genesis of deployment {deployment[:16]}; check the fingerprint and where the log is read"
        )
    return Rooted(deployment, tuple(values))


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
