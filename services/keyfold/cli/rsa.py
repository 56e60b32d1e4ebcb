"""`encrypt` and `decrypt` with RSA keys: one item of at most what RSAES-OAEP of the key's size holds, no envelope.

An RSA ciphertext names neither key nor version: both must be kept beside it, and are said when it is made.
"""

import asyncio
from typing import BinaryIO, Final

from keyfold.cli.exits import UsageError
from keyfold.cli.session import Session
from keyfold.cli.transfer import convert, read_item
from keyfold.client import Keyfold
from keyfold.client.data_verbs import Use
from keyfold.client.encryption_verbs import RsaEncryptionAlgorithm

HINT: Final = "RSA encrypts keys, not files: encrypt with a symmetric key"


def encrypt_rsa(
    session: Session, key: str, source: str, target: str, algorithm: RsaEncryptionAlgorithm, use: Use
) -> None:
    """Encrypt one item under the current version, and tell which that is."""

    async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
        plaintext = await asyncio.to_thread(read_item, reading, HINT)
        made = await kms.encrypt(key, plaintext, encryption_algorithm=algorithm, **use)
        writing.write(made.ciphertext)
        session.say(f"encrypted under version {made.key_version}; keep that: decrypt --key-version {made.key_version}")
        return len(plaintext)

    convert(session, source, target, work, "encrypted")


def decrypt_rsa(
    session: Session,
    key: str | None,
    source: str,
    target: str,
    algorithm: RsaEncryptionAlgorithm,
    version: int | None,
    use: Use,
) -> None:
    """Decrypt one item with a version of the key; without one, with the current."""
    name = required(key)

    async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
        ciphertext = await asyncio.to_thread(read_item, reading, HINT)
        plaintext = await kms.decrypt(
            name, ciphertext, encryption_algorithm=algorithm, key_version=version, **use
        )
        writing.write(plaintext)
        return len(plaintext)

    convert(session, source, target, work, "decrypted")


def required(key: str | None) -> str:
    """Return the key that was named. Raises `UsageError`."""
    if key is None:
        raise UsageError("an RSA ciphertext does not say which key it needs; name it with --key")
    return key
