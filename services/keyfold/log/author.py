"""One service key signing as one role: turns entries into records that carry their statement.

The chain's head is the caller's: it promotes the returned head only after the transaction is committed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyfold.bus import Outbound
from keyfold.events.statements import Chain, ChainHead, Entry, sign_entries


def transactional_id(service: str, partition: int) -> str:
    """Return the id under which a service's owner of a partition writes: whoever starts it fences who did before."""
    return f"keyfold-{service}-{partition}"


@dataclass(frozen=True, slots=True)
class Author:
    """Who signs: deployment, role, the signing key's fingerprint and the act of signing (64 bytes, Ed25519).

    `check` is asked before each transaction is signed, and raises where readers would not believe it.
    """

    deployment: str
    role: str
    fingerprint: str
    sign: Callable[[bytes], bytes]
    check: Callable[[], None] = lambda: None

    def records(
        self, topic: str, partition: int, head: ChainHead, entries: Sequence[Entry]
    ) -> tuple[ChainHead, list[Outbound]]:
        """Sign one transaction's entries for one topic partition; none leave the chain as it is.

        Raises what `check` raises.
        """
        if not entries:
            return head, []
        self.check()
        chain = Chain(self.deployment, topic, self.role, partition)
        after, headers = sign_entries(chain, head, entries, self.fingerprint, self.sign)
        pairs = zip(entries, headers, strict=True)
        return after, [Outbound(topic, partition, entry.key, entry.value, signed) for entry, signed in pairs]
