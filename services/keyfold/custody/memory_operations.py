"""SOFTWARE keys other than SYMMETRIC_DEFAULT: used in this process's memory with `cryptography`."""

import hmac
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA65PrivateKey, MLDSA87PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM1024PrivateKey

from keyfold.custody.operations import representatives, require_algorithm, require_message_type
from keyfold.custody.public_keys import load_peer
from keyfold.custody.references import Handle, MemoryHandle, PairHandle, PrivateKey
from keyfold.custody.schemes import PREHASHED, encryption_padding, signature_padding
from keyfold.events.errors import InvalidCiphertext, InvalidPublicKey, Refusal

_CIPHERTEXT_BYTES: Final = {"ML_KEM_768": 1088, "ML_KEM_1024": 1568}


class MemoryOperations:
    """The adapter for protection level SOFTWARE. It has no state."""

    def sign(
        self, handle: Handle, algorithm: str, message_type: str, messages: Sequence[bytes]
    ) -> list[bytes | Refusal]:
        """See `Operations.sign`."""
        private = _private(handle)
        require_algorithm(handle.reference, "SIGN_VERIFY", algorithm)
        require_message_type(algorithm, message_type)
        sign = _signer(private, algorithm, message_type)
        prepared = representatives(algorithm, message_type, messages)
        return [each if isinstance(each, Refusal) else sign(each) for each in prepared]

    def mac(self, handle: Handle, algorithm: str, messages: Sequence[bytes]) -> list[bytes]:
        """See `Operations.mac`."""
        if not isinstance(handle, MemoryHandle) or not handle.material:
            raise ValueError("the handle is not an open SOFTWARE key")
        require_algorithm(handle.reference, "GENERATE_VERIFY_MAC", algorithm)
        digest = algorithm.removeprefix("HMAC_").replace("_", "")
        return [hmac.digest(handle.material, message, digest) for message in messages]

    def decrypt(self, handle: Handle, algorithm: str, ciphertexts: Sequence[bytes]) -> list[bytes | InvalidCiphertext]:
        """See `Operations.decrypt`."""
        private = _private(handle)
        require_algorithm(handle.reference, "ENCRYPT_DECRYPT", algorithm)
        if not isinstance(private, rsa.RSAPrivateKey):
            raise TypeError("the handle's key does not fit its spec")
        scheme, opened = encryption_padding(algorithm), list[bytes | InvalidCiphertext]()
        for ciphertext in ciphertexts:
            try:
                opened.append(private.decrypt(ciphertext, scheme))
            except ValueError:
                opened.append(InvalidCiphertext())
        return opened

    def derive(self, handle: Handle, peer_public_keys: Sequence[bytes]) -> list[bytes | Refusal]:
        """See `Operations.derive`."""
        private = _private(handle)
        require_algorithm(handle.reference, "KEY_AGREEMENT", "ECDH")
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise TypeError("the handle's key does not fit its spec")
        agreed: list[bytes | Refusal] = []
        for peer in peer_public_keys:
            try:
                agreed.append(private.exchange(ec.ECDH(), load_peer(handle.reference.spec, peer)))
            except InvalidPublicKey as error:
                agreed.append(error)
        return agreed

    def decapsulate(self, handle: Handle, ciphertexts: Sequence[bytes]) -> list[bytes | InvalidCiphertext]:
        """See `Operations.decapsulate`."""
        private = _private(handle)
        require_algorithm(handle.reference, "KEY_ENCAPSULATION", "ML_KEM")
        if not isinstance(private, MLKEM768PrivateKey | MLKEM1024PrivateKey):
            raise TypeError("the handle's key does not fit its spec")
        size = _CIPHERTEXT_BYTES[handle.reference.spec]
        return [private.decapsulate(each) if len(each) == size else InvalidCiphertext() for each in ciphertexts]


def _private(handle: Handle) -> PrivateKey:
    if not isinstance(handle, PairHandle) or handle.private is None:
        raise ValueError("the handle is not an open SOFTWARE key pair")
    return handle.private


def _signer(private: PrivateKey, algorithm: str, message_type: str) -> Callable[[bytes], bytes]:
    """The function that signs a message's representative."""
    if isinstance(private, rsa.RSAPrivateKey):
        scheme, prehashed = signature_padding(algorithm), PREHASHED[algorithm]
        return lambda digest: private.sign(digest, scheme, prehashed)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return lambda digest: private.sign(digest, ec.ECDSA(PREHASHED[algorithm]))
    if isinstance(private, Ed25519PrivateKey):
        return private.sign
    if isinstance(private, MLDSA44PrivateKey | MLDSA65PrivateKey | MLDSA87PrivateKey):
        return private.sign_mu if message_type == "EXTERNAL_MU" else private.sign
    raise TypeError("the handle's key does not fit its spec")
