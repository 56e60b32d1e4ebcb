"""`encrypt` and `decrypt` with RSA keys: one item of at most what RSAES-OAEP of the key's size holds, no envelope.

An RSA ciphertext names neither key nor version: both must be kept beside it, and are said when it is made.
"""

import asyncio
from dataclasses import dataclass
from typing import BinaryIO, Final

from keyfold.cli.exits import UsageError
from keyfold.cli.session import Session
from keyfold.cli.transfer import convert, read_item
from keyfold.client import Keyfold
from keyfold.client.data_verbs import Use
from keyfold.client.encryption_verbs import RsaEncryptionAlgorithm

_HINT: Final = "RSA encrypts keys, not files: encrypt with a symmetric key"


@dataclass(frozen=True, slots=True)
class Rsa:
    """An RSA key, how it is used, and by whom."""

    session: Session
    key: str
    algorithm: RsaEncryptionAlgorithm
    use: Use

    def encrypt(self, source: str, target: str) -> None:
        """Encrypt one item under the current version, and tell which that is."""

        async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
            plaintext = await asyncio.to_thread(read_item, reading, _HINT)
            made = await kms.encrypt(self.key, plaintext, encryption_algorithm=self.algorithm, **self.use)
            writing.write(made.ciphertext)
            version = made.key_version
            self.session.say(f"encrypted under version {version}; decrypt it with --key-version {version}")
            return len(plaintext)

        convert(self.session, source, target, work, "encrypted")

    def decrypt(self, source: str, target: str, version: int | None) -> None:
        """Decrypt one item with a version of the key; without one, with the current."""

        async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
            ciphertext = await asyncio.to_thread(read_item, reading, _HINT)
            plaintext = await kms.decrypt(
                self.key, ciphertext, encryption_algorithm=self.algorithm, key_version=version, **self.use
            )
            writing.write(plaintext)
            return len(plaintext)

        convert(self.session, source, target, work, "decrypted")


def required(key: str | None) -> str:
    """Return the key that was named. Raises `UsageError`."""
    if key is None:
        raise UsageError("an RSA ciphertext does not say which key it needs; name it with --key")
    return key
