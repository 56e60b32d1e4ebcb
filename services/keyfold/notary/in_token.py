"""`NotaryToken` on a PKCS#11 token: heads are a private data object; of several, the largest counter counts."""

from collections.abc import Mapping
from typing import Final

from keyfold.custody import checkpoint_keys
from keyfold.notary.errors import HeadsMoved
from keyfold.notary.token import Heads, parse_heads
from keyfold.token import Token, TokenSigner, data_objects

HEADS_LABEL: Final = "keyfold tree heads"


class InToken:
    """The token `notary`, open. Raises when made what is missing in it."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._attach()

    def _attach(self) -> None:
        self._signer = TokenSigner(self._token)
        self._private = checkpoint_keys.load(self._token)
        self.public_key = self._signer.public_key
        self.checkpoint_key = self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Sign in the token."""
        return self._signer.sign(message)

    def sign_checkpoint(self, message: bytes) -> bytes:
        """Sign in memory."""
        return self._private.sign(message)

    def heads(self) -> Heads:
        """Return the heads of the largest counter."""
        with self._token.manager() as session:
            return _latest(data_objects.find(session, HEADS_LABEL))

    def keep(self, heads: Heads) -> None:
        """Create the new object, then destroy the older ones."""
        with self._token.manager() as session:
            older = data_objects.find(session, HEADS_LABEL)
            if _latest(older).counter >= heads.counter:
                raise HeadsMoved
            data_objects.create(session, HEADS_LABEL, heads.to_bytes())
            # If we crash here, both are there, and the new one has the larger counter.
            for handle in older:
                data_objects.destroy(session, handle)

    def recover(self) -> None:
        """Initialise the library anew, open the same token, and find its keys again."""
        if self._token.is_lost:
            self._token.module.reinitialize()
            self._token.reopen()
            self._attach()


def _latest(objects: Mapping[int, bytes]) -> Heads:
    return max(map(parse_heads, objects.values()), key=lambda heads: heads.counter, default=Heads())
