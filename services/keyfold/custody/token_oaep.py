"""RSAES-OAEP with a private key in the token: by the token's own mechanism, or its raw RSA and `keyfold.custody.oaep`.

Which of the two a token needs is found out once for each hash, by asking it.
"""

from collections.abc import Sequence

from keyfold.custody.oaep import unpad
from keyfold.custody.schemes import encryption_padding
from keyfold.token import Session
from keyfold.token import cryptoki as ck
from keyfold.token.attributes import rsa_public_numbers
from keyfold.token.operations import KeyOperations, Prepared, oaep


class TokenOaep:
    """One token's way of decrypting. `sha` is "1" or "256"."""

    def __init__(self) -> None:
        self._native: dict[str, bool] = {}

    def is_native(self, session: Session, key: int, sha: str) -> bool:
        """Whether the token removes the padding itself."""
        if sha not in self._native:
            self._native[sha] = KeyOperations(session).can_decrypt(key, oaep(sha))
        return self._native[sha]

    def decrypt_many(self, session: Session, key: int, sha: str, items: Sequence[bytes]) -> list[bytes | None]:
        """Decrypt each item with the key; None for each that does not open. Raises `TokenUnavailable`."""
        numbers = rsa_public_numbers(session, key)
        size = (numbers.n.bit_length() + 7) // 8
        # What is no number below the modulus is refused here: tokens differ in how they say so.
        sound = [at for at, item in enumerate(items) if len(item) == size and int.from_bytes(item, "big") < numbers.n]
        run, chosen = KeyOperations(session, slow=True), [items[at] for at in sound]
        if self.is_native(session, key, sha):
            mask = encryption_padding(f"RSAES_OAEP_SHA_{sha}")
            found = run.decrypt_many(key, oaep(sha), chosen, lambda: numbers.public_key().encrypt(b"", mask))
        else:
            raw = run.decrypt_many(key, Prepared(ck.CKM_RSA_X_509), chosen, lambda: (2).to_bytes(size, "big"))
            found = [None if each is None else unpad(each.rjust(size, b"\0"), sha) for each in raw]
        opened: list[bytes | None] = [None] * len(items)
        for at, plaintext in zip(sound, found, strict=True):
            opened[at] = plaintext
        return opened
