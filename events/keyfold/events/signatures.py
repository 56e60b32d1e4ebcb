"""What is signed, and how: Ed25519 over DSSE's pre-authentication encoding (PAE).

Signatures cover exact bytes, never a re-serialisation. A key is named by its fingerprint, SHA-256 of its 32 public
bytes. Verification raises; it never answers with a bool.
"""

from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keyfold.events.errors import SignatureInvalid

COMMAND: Final = "application/vnd.keyfold.command.v1+json"
STATEMENT: Final = "application/vnd.keyfold.statement.v1+json"
REPLY: Final = "application/vnd.keyfold.reply.v1+json"
HEAD: Final = "application/vnd.keyfold.head.v1+json"
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


def check_public_key(public_key: bytes) -> None:
    """Raise ValueError unless these are 32 bytes that nobody can sign for without a private key."""
    if len(public_key) != 32 or public_key[:31] + bytes([public_key[31] & 0x7F]) in _SMALL_ORDER:
        raise ValueError("not a usable Ed25519 public key")


class Verifier:
    """A public key, parsed once."""

    __slots__ = ("_key", "fingerprint")

    def __init__(self, public_key: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(public_key)
        self.fingerprint = fingerprint(public_key)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raise `SignatureInvalid` unless the signature is this key's over the message."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise SignatureInvalid from None


class Signer:
    """A private signing key held in memory, as services and producers have it."""

    __slots__ = ("_key", "fingerprint", "public_key")

    def __init__(self, private_key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private_key)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.fingerprint = fingerprint(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes; Ed25519 is deterministic."""
        return self._key.sign(message)
