"""The notary's token in memory: durable over the processes of a test, and failing when it is told to.

`rewind` puts an older copy in its place, as whoever exchanges the token's directory does.
"""

from collections.abc import Callable

from tests.support.notary_log import NotaryKeys

from keyfold.events.errors import TokenUnavailable
from keyfold.notary.errors import HeadsMoved
from keyfold.notary.token import Heads


class Died(BaseException):
    """The process ends within this call."""


class MemoryToken:
    """`NotaryToken`. `fail` is called with "before" and "after" each change, and may raise."""

    def __init__(self, keys: NotaryKeys | None = None) -> None:
        self._keys = keys or NotaryKeys()
        self.public_key = self._keys.ed25519.public_key
        self.checkpoint_key = self._keys.checkpoint_key
        self.kept: list[Heads] = []
        self.fail: Callable[[str], None] = lambda _when: None

    def sign(self, message: bytes) -> bytes:
        """Sign with Ed25519."""
        return self._keys.ed25519.sign(message)

    def sign_checkpoint(self, message: bytes) -> bytes:
        """Sign with ML-DSA-44."""
        return self._keys._ml_dsa.sign(message)

    def heads(self) -> Heads:
        """The last ones."""
        return self.kept[-1] if self.kept else Heads()

    def keep(self, heads: Heads) -> None:
        """Append."""
        if heads.counter <= self.heads().counter:
            raise HeadsMoved
        self.fail("before")
        self.kept.append(heads)
        self.fail("after")

    def recover(self) -> None:
        """Nothing is ever lost."""

    def rewind(self, to: int) -> None:
        """Be as it was after so many changes."""
        del self.kept[to:]


def failing(at: int, when: str, error: BaseException | None = None) -> Callable[[str], None]:
    """Raise in the change with this number, from 0: before it has happened, or after."""
    seen = 0

    def fail(now: str) -> None:
        nonlocal seen
        if now == when:
            seen += 1
            if seen == at + 1:
                raise error or TokenUnavailable("the token does not answer; look at it, then try again")

    return fail
