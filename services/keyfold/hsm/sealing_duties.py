"""What the owner of partition 0 does about sealing keys when it starts: tidy up, and make the first one.

Rotation and erasure afterwards are commands like any other.
"""

from collections.abc import Callable
from uuid import UUID

from keyfold.custody import InvalidBlob
from keyfold.events.errors import SealingKeyRetired
from keyfold.events.times import to_text
from keyfold.hsm.engine import Work
from keyfold.hsm.keystore import Index
from keyfold.hsm.token_verbs import SealingCustody, TokenVerbs
from keyfold.logging import get_logger

_log = get_logger()


class SealingDuties:
    """Synchronous, because it asks the token: callers keep it off the event loop."""

    def __init__(self, sealing: SealingCustody, verbs: TokenVerbs, clock_ms: Callable[[], int]) -> None:
        self._sealing, self._verbs, self._clock_ms = sealing, verbs, clock_ms

    def reconcile(self, index: Index) -> None:
        """Erase token keys that the log does not know: of a rotation, or an erasure, that a crash cut off.

        To be called when the keystore was read to its end after fencing: then no other owner can still add one.
        """
        live = {UUID(name).bytes for name in index.sealing}
        for orphan in self._sealing.list_ids():
            if orphan not in live:
                _log.warning("sealing-key-orphan-erased", sealing_key=orphan.hex())
                self._sealing.erase(orphan)

    def first(self, index: Index) -> Work | None:
        """Make a sealing key where the current one cannot be opened, as work to be committed; else None.

        There is none at first, and none after the token was lost or made anew: then no command could ask for one,
        since commands are sealed.
        """
        if self._opens(index):
            return None
        now = self._clock_ms()
        published, stored = self._verbs.new_sealing_key(f"0.{now}.first-sealing-key", to_text(now))
        return Work((published,), (stored,))

    def _opens(self, index: Index) -> bool:
        current = next(reversed(index.sealing), None)
        if current is None:
            return False
        try:
            self._sealing.load(UUID(current).bytes, index.sealing[current])
        except (SealingKeyRetired, InvalidBlob) as error:
            _log.error("sealing-key-lost", sealing_key=current, code=error.code)
            return False
        return True
