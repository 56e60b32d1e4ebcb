"""What is signed, and how: over DSSE's pre-authentication encoding (PAE), with Ed25519 or ML-DSA-65 (FIPS 204).

Signatures cover exact bytes, never a re-serialisation. A key is named by its fingerprint, SHA-256 of its raw public
bytes (32 of Ed25519, 1,952 of ML-DSA-65). Services sign with Ed25519 only; a principal's registration names its
algorithm. Verification raises; it never answers with a bool.
"""

from hashlib import sha256
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from keyfold.events.errors import SignatureInvalid

COMMAND: Final = "application/vnd.keyfold.command.v1+json"
STATEMENT: Final = "application/vnd.keyfold.statement.v1+json"
REPLY: Final = "application/vnd.keyfold.reply.v1+json"
HEAD: Final = "application/vnd.keyfold.head.v1+json"
SignatureAlgorithm = Literal["Ed25519", "ML-DSA-65"]
PUBLIC_KEY_BYTES: Final[dict[SignatureAlgorithm, int]] = {"Ed25519": 32, "ML-DSA-65": 1952}
EMPTY_DIGEST: Final = sha256(b"").digest()

# y-coordinates of the points of small order, and their encodings beyond p: everybody can sign for such a key.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)

# FIPS 204, algorithm 22: a public key is a seed and the vector t1. Where t1 is zero, everybody can sign for the key.
_SEED_BYTES: Final = 32


def pae(payload_type: str, *fields: bytes) -> bytes:
    """Encode a type and byte fields unambiguously: every part is preceded by its length (DSSE v1, PAE)."""
    kind = payload_type.encode()
    parts = [b"DSSEv1 %d %s" % (len(kind), kind)]
    parts += [b" %d %s" % (len(item), item) for item in fields]
    return b"".join(parts)


def command_message(deployment: str, record_key: bytes, value: bytes, sealed: bytes) -> bytes:
    """What a producer signs: the command bound to its deployment, its record key and its sealed body."""
    return pae(COMMAND, bytes.fromhex(deployment), record_key, value, sha256(sealed).digest())


def command_message_of_digest(deployment: str, record_key: bytes, value: bytes, body_digest: bytes) -> bytes:
    """The same, for whom only the body's digest is at hand (auditors)."""
    return pae(COMMAND, bytes.fromhex(deployment), record_key, value, body_digest)


def reply_message(deployment: str, record_key: bytes, value: bytes) -> bytes:
    """What a service signs in a clear error reply."""
    return pae(REPLY, bytes.fromhex(deployment), record_key, value)


def fingerprint(public_key: bytes) -> str:
    """Return the name of a public key: lower-case hex of SHA-256 over its raw bytes."""
    return sha256(public_key).hexdigest()


def check_public_key(public_key: bytes, algorithm: SignatureAlgorithm = "Ed25519") -> None:
    """Raise ValueError unless these are raw bytes of a key that nobody can sign for without a private key."""
    if len(public_key) != PUBLIC_KEY_BYTES[algorithm]:
        raise ValueError(f"not a usable {algorithm} public key: it has {PUBLIC_KEY_BYTES[algorithm]} raw bytes")
    if algorithm == "Ed25519" and public_key[:31] + bytes([public_key[31] & 0x7F]) in _SMALL_ORDER:
        raise ValueError("not a usable Ed25519 public key")
    if algorithm == "ML-DSA-65" and not any(public_key[_SEED_BYTES:]):
        raise ValueError("not a usable ML-DSA-65 public key")


class Verifier:
    """A public key, parsed once."""

    __slots__ = ("_key", "fingerprint")

    def __init__(self, public_key: bytes, algorithm: SignatureAlgorithm = "Ed25519") -> None:
        self._key: Ed25519PublicKey | MLDSA65PublicKey
        if algorithm == "Ed25519":
            self._key = Ed25519PublicKey.from_public_bytes(public_key)
        else:
            self._key = MLDSA65PublicKey.from_public_bytes(public_key)
        self.fingerprint = fingerprint(public_key)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raise `SignatureInvalid` unless the signature is this key's over the message."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise SignatureInvalid from None


class Signer:
    """A private signing key held in memory, as services and producers have it: a seed of 32 bytes."""

    __slots__ = ("_key", "algorithm", "fingerprint", "public_key")

    def __init__(self, private_key: bytes, algorithm: SignatureAlgorithm = "Ed25519") -> None:
        self._key: Ed25519PrivateKey | MLDSA65PrivateKey
        if algorithm == "Ed25519":
            self._key = Ed25519PrivateKey.from_private_bytes(private_key)
        else:
            self._key = MLDSA65PrivateKey.from_seed_bytes(private_key)
        self.algorithm: SignatureAlgorithm = algorithm
        self.public_key = self._key.public_key().public_bytes_raw()
        self.fingerprint = fingerprint(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes of Ed25519, which is deterministic, or 3,309 of ML-DSA-65, which is hedged."""
        return self._key.sign(message)
