"""HSM keys other than SYMMETRIC_DEFAULT: used inside the kms token.

Messages are hashed and paddings that the token lacks are removed here; the private key never leaves the token. A batch
is spread over the pool's sessions (`keyfold.custody.spreading`).
"""

from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyfold.custody.operations import SHA_OF, representatives, require_algorithm, require_message_type
from keyfold.custody.public_keys import load_peer
from keyfold.custody.references import Handle, TokenHandle
from keyfold.custody.schemes import oaep_sha
from keyfold.custody.spreading import Spreader
from keyfold.custody.token_oaep import TokenOaep
from keyfold.events.errors import InvalidCiphertext, InvalidKeyUsage, InvalidPublicKey, Refusal
from keyfold.token import Session, Token
from keyfold.token import cryptoki as ck
from keyfold.token.operations import KeyOperations, Prepared, pss

# DER of DigestInfo up to the digest (RFC 8017, section 9.2, note 1).
_DIGEST_INFO: Final = {
    "256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_FIELD_BYTES: Final = {"ECC_NIST_P256": 32, "ECC_NIST_P384": 48, "ECC_NIST_P521": 66}
_FAST: Final = frozenset({"ECC_NIST_P256", "ECC_NIST_EDWARDS25519"})
"""Specs whose signature in a software token takes less than letting go of Python's lock and getting it back."""


class TokenOperations:
    """The adapter for protection level HSM, on the kms token."""

    def __init__(self, token: Token) -> None:
        self._spreader = Spreader(token)
        self._oaep = TokenOaep()

    def sign(
        self, handle: Handle, algorithm: str, message_type: str, messages: Sequence[bytes]
    ) -> list[bytes | Refusal]:
        """See `Operations.sign`."""
        in_token = _in_token(handle)
        require_algorithm(handle.reference, "SIGN_VERIFY", algorithm)
        require_message_type(algorithm, message_type)
        prepared = representatives(algorithm, message_type, messages)
        sound = [each for each in prepared if not isinstance(each, Refusal)]
        signatures = iter(self._sign(in_token, algorithm, sound))
        return [each if isinstance(each, Refusal) else next(signatures) for each in prepared]

    def _sign(self, handle: TokenHandle, algorithm: str, representations: list[bytes]) -> list[bytes]:
        prefix, mechanism, finish = _scheme(algorithm)
        slow = handle.reference.spec not in _FAST

        def work(session: Session, items: Sequence[bytes]) -> list[bytes]:
            made = KeyOperations(session, slow=slow).sign_many(
                handle.key, mechanism(), [prefix + each for each in items]
            )
            return [finish(signature) for signature in made]

        return self._spreader.run(representations, work, slow=slow)

    def mac(self, handle: Handle, algorithm: str, messages: Sequence[bytes]) -> list[bytes]:
        """See `Operations.mac`."""
        key = _in_token(handle).key
        require_algorithm(handle.reference, "GENERATE_VERIFY_MAC", algorithm)
        mechanism = ck.CKM_HMAC[algorithm.rpartition("_")[2]]

        def work(session: Session, items: Sequence[bytes]) -> list[bytes]:
            return KeyOperations(session).sign_many(key, Prepared(mechanism), items)

        return self._spreader.run(messages, work)

    def decrypt(self, handle: Handle, algorithm: str, ciphertexts: Sequence[bytes]) -> list[bytes | InvalidCiphertext]:
        """See `Operations.decrypt`."""
        key = _in_token(handle).key
        require_algorithm(handle.reference, "ENCRYPT_DECRYPT", algorithm)
        sha = oaep_sha(algorithm)

        def work(session: Session, items: Sequence[bytes]) -> list[bytes | None]:
            return self._oaep.decrypt_many(session, key, sha, items)

        opened = self._spreader.run(ciphertexts, work, slow=True)
        return [InvalidCiphertext() if each is None else each for each in opened]

    def derive(self, handle: Handle, peer_public_keys: Sequence[bytes]) -> list[bytes | Refusal]:
        """See `Operations.derive`."""
        key, spec = _in_token(handle).key, handle.reference.spec
        require_algorithm(handle.reference, "KEY_AGREEMENT", "ECDH")
        points = [_point(spec, peer) for peer in peer_public_keys]

        def work(session: Session, items: Sequence[bytes]) -> list[bytes | None]:
            return KeyOperations(session).derive_many(key, items, _FIELD_BYTES[spec])

        agreed = iter(self._spreader.run([each for each in points if isinstance(each, bytes)], work))
        return [next(agreed) or InvalidPublicKey() if isinstance(each, bytes) else each for each in points]

    def decapsulate(
        self,
        handle: Handle,
        ciphertexts: Sequence[bytes],  # noqa: ARG002
    ) -> list[bytes | InvalidCiphertext]:
        """No key of this level has the usage yet: `InvalidKeyUsage`. See `Operations.decapsulate`."""
        _in_token(handle)
        raise InvalidKeyUsage


def _in_token(handle: Handle) -> TokenHandle:
    if not isinstance(handle, TokenHandle) or not handle.key:
        raise ValueError("the handle is not an open HSM key")
    return handle


def _scheme(algorithm: str) -> tuple[bytes, Callable[[], Prepared], Callable[[bytes], bytes]]:
    """What goes before a representative, the mechanism (one for each session), and the signature's encoding."""
    if algorithm.startswith("RSASSA_PSS"):
        return b"", lambda: pss(SHA_OF[algorithm]), _as_it_is
    if algorithm.startswith("RSASSA_PKCS1"):
        return _DIGEST_INFO[SHA_OF[algorithm]], lambda: Prepared(ck.CKM_RSA_PKCS), _as_it_is
    if algorithm.startswith("ECDSA"):
        return b"", lambda: Prepared(ck.CKM_ECDSA), _der
    return b"", lambda: Prepared(ck.CKM_EDDSA), _as_it_is


def _as_it_is(signature: bytes) -> bytes:
    return signature


def _der(signature: bytes) -> bytes:
    """X9.62's DER of r and s, which PKCS #11 gives side by side (section 6.3.1)."""
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def _point(spec: str, public_key: bytes) -> bytes | Refusal:
    """The uncompressed point of a peer's public key (X9.62)."""
    try:
        return load_peer(spec, public_key).public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    except InvalidPublicKey as error:
        return error
