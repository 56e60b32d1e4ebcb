"""The keys by which a witness believes the log's signatures: those it pinned, and those that root certified since.

A pinned key counts until root revokes it. A new one needs root's certificate, read from events partition 0 under the
pinned fingerprint; then it is pinned too, and told.
"""

from keyfold.bus import Bus
from keyfold.events.checkpoints import LogPair, log_pairs
from keyfold.events.signatures import fingerprint
from keyfold.log import TrustKeeper
from keyfold.logging import get_logger
from keyfold.witness.home import Home, NotaryKey

_log = get_logger()


class NotaryKeys:
    """The notary's keys as one witness knows them."""

    def __init__(self, bus: Bus, home: Home) -> None:
        self._home = home
        self._keeper = TrustKeeper(bus, home.pins.deployment, home.pins.partitions)

    async def refresh(self) -> None:
        """Read what root said up to now, and pin it. Raises `TrustBroken`, `BusUnavailable`."""
        trust = await self._keeper.catch_up()
        pinned = self._home.pins.notary_keys
        kept = [pair for pair in pinned if fingerprint(pair[0]) not in trust.revocations]
        known: tuple[NotaryKey, ...] = tuple(dict.fromkeys([*kept, *trust.notary_keys()]))
        if known == pinned:
            return
        new = [fingerprint(pair[0]) for pair in known if pair not in pinned]
        gone = [fingerprint(pair[0]) for pair in pinned if pair not in known]
        _log.warning("notary-keys-changed", certified=new, revoked=gone)
        self._home.pin(known)

    def of(self, origin: str) -> tuple[LogPair, ...]:
        """Return the keys of a log, notary by notary."""
        return log_pairs(self._home.pins.notary_keys, origin)

    async def stop(self) -> None:
        """Release the reader. It may be refreshed again afterwards."""
        await self._keeper.stop()
