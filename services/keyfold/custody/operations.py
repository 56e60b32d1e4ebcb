"""The port: signing, MACs, decryption, key agreement and decapsulation with one key, wherever its material is.

Two adapters implement it: `TokenOperations` (protection level HSM) and `MemoryOperations` (SOFTWARE). One contract
suite runs on both. What needs the public key only is in `keyfold.custody.public`; batches of SYMMETRIC_DEFAULT keys
are `keyfold.custody.material`'s.
"""

from collections.abc import Sequence
from hashlib import sha256, sha384, sha512
from typing import Any, Final, Protocol

from keyfold.custody.references import Handle, KeyReference
from keyfold.events.errors import InvalidCiphertext, InvalidCommand, InvalidKeyUsage, Refusal
from keyfold.events.specs import ALGORITHMS, DIGEST_BYTES, MU_BYTES, message_types

SHA_OF: Final = {algorithm: str(8 * size) for algorithm, size in DIGEST_BYTES.items()}
"""The hash of each signing algorithm that has one by itself: "256", "384" or "512"."""
_HASHES: Final[dict[str, Any]] = {"256": sha256, "384": sha384, "512": sha512}


class Operations(Protocol):
    """What every adapter guarantees.

    All calls are all or nothing towards the token: `TokenUnavailable` leaves no partial result and can be retried.
    Results stand in the order of the items; a refusal stands in the place of its item and costs no other. An algorithm
    or message type that the handle's spec and usage do not have is `InvalidKeyUsage` for the whole call. A handle that
    is not open, or of the other adapter, is a ValueError. Safe to call from several threads.
    """

    def sign(
        self, handle: Handle, algorithm: str, message_type: str, messages: Sequence[bytes]
    ) -> list[bytes | Refusal]:
        """Return one signature per message, or `InvalidCommand` for a digest of another length than the algorithm's.

        RAW messages are hashed in this process, if the algorithm hashes. ECDSA signatures are DER (X9.62); PSS has a
        salt as long as the digest and MGF1 with the same hash.
        """

    def mac(self, handle: Handle, algorithm: str, messages: Sequence[bytes]) -> list[bytes]:
        """Return the HMAC (FIPS 198-1) of each message, not truncated."""

    def decrypt(self, handle: Handle, algorithm: str, ciphertexts: Sequence[bytes]) -> list[bytes | InvalidCiphertext]:
        """Return the plaintext of each RSAES-OAEP ciphertext, or `InvalidCiphertext`, the same for every cause."""

    def derive(self, handle: Handle, peer_public_keys: Sequence[bytes]) -> list[bytes | Refusal]:
        """Return the shared secret (ECDH, SP 800-56A, section 5.7.1.2: the x-coordinate, as long as the field's
        elements) with each peer's SubjectPublicKeyInfo (DER), or `InvalidPublicKey`."""

    def decapsulate(self, handle: Handle, ciphertexts: Sequence[bytes]) -> list[bytes | InvalidCiphertext]:
        """Return the shared secret of each ML-KEM ciphertext, or `InvalidCiphertext` for one of another length.

        Any other ciphertext gives a secret: ML-KEM rejects implicitly (FIPS 203, section 6.3).
        """


def require_algorithm(reference: KeyReference, usage: str, algorithm: str) -> None:
    """Raise `InvalidKeyUsage` unless keys of this spec have the usage and the algorithm."""
    if reference.usage != usage or algorithm not in ALGORITHMS.get((reference.spec, usage), ()):
        raise InvalidKeyUsage


def require_message_type(algorithm: str, message_type: str) -> None:
    """Raise `InvalidKeyUsage` unless the algorithm takes such messages."""
    if message_type not in message_types(algorithm):
        raise InvalidKeyUsage(f"{algorithm} takes messages of type {' or '.join(message_types(algorithm))}")


def representative(algorithm: str, message_type: str, message: bytes) -> bytes:
    """Return what is signed or verified: a digest, or the message itself. Raises `InvalidCommand`."""
    sha = SHA_OF.get(algorithm)
    if message_type == "RAW":
        digest: bytes = message if sha is None else _HASHES[sha](message).digest()
        return digest
    wanted = MU_BYTES if message_type == "EXTERNAL_MU" else DIGEST_BYTES[algorithm]
    if len(message) != wanted:
        raise InvalidCommand(f"for {algorithm}, a {message_type} has {wanted} bytes")
    return message


def representatives(algorithm: str, message_type: str, messages: Sequence[bytes]) -> list[bytes | Refusal]:
    """The same for a batch; the refusal in its place."""
    prepared: list[bytes | Refusal] = []
    for message in messages:
        try:
            prepared.append(representative(algorithm, message_type, message))
        except InvalidCommand as error:
            prepared.append(error)
    return prepared
