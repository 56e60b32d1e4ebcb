"""Verbs that come to a shared secret: key agreement (SP 800-56A) and key encapsulation (FIPS 203).

What may be raised, and what `use` is, is in `using`. What comes out is a secret to derive keys from, not a key.
"""

from collections.abc import Sequence
from typing import Final, Unpack

from keyfold.client.core import BatchResult, item_bytes
from keyfold.client.using import Use, Using, use_arguments
from keyfold.client.values import Encapsulation, SharedSecret, each, encapsulation
from keyfold.events.errors import KeyfoldError
from keyfold.events.specs import KeyAgreementAlgorithm, KeyEncapsulationAlgorithm

_ECDH: Final[KeyAgreementAlgorithm] = "ECDH"
_ML_KEM: Final[KeyEncapsulationAlgorithm] = "ML_KEM"


class AgreementVerbs(Using):
    """DeriveSharedSecret, Encapsulate and Decapsulate."""

    async def derive_shared_secret(
        self, key: str, public_key: bytes, *, key_version: int | None = None, **use: Unpack[Use]
    ) -> SharedSecret:
        """Agree on a secret with the owner of a public key (SubjectPublicKeyInfo, DER) on this key's curve.

        Raises `InvalidPublicKey` for one that does not parse or is no point of the curve.
        """
        arguments = _derive_arguments(key_version)
        item = item_bytes(public_key)
        return SharedSecret(*await self._one("DeriveSharedSecret", key, item, None, use, arguments=arguments))

    async def derive_shared_secret_batch(
        self, key: str, public_keys: Sequence[bytes], *, key_version: int | None = None, **use: Unpack[Use]
    ) -> list[SharedSecret | KeyfoldError]:
        """Agree with many others; see `encrypt_batch`."""
        arguments = _derive_arguments(key_version)
        return each(await self._many_plain("DeriveSharedSecret", key, public_keys, use, arguments), SharedSecret)

    async def encapsulate(self, key: str, **use: Unpack[Use]) -> Encapsulation:
        """Make a shared secret and its ciphertext for the key's current version: keep its `key_version` with it."""
        return encapsulation(*await self._one("Encapsulate", key, b"", None, use, arguments=_encapsulate_arguments()))

    async def encapsulate_batch(self, key: str, count: int, **use: Unpack[Use]) -> list[Encapsulation | KeyfoldError]:
        """Make many shared secrets; see `encrypt_batch`."""
        batch = await self._many_plain("Encapsulate", key, [b""] * count, use, _encapsulate_arguments())
        return each(batch, encapsulation)

    async def decapsulate(
        self, key: str, ciphertext: bytes, *, key_version: int | None = None, **use: Unpack[Use]
    ) -> bytes:
        """Return the shared secret of a ciphertext for `key_version` (None: the current one).

        A ciphertext of another key, or a changed one, gives another secret (implicit rejection, FIPS 203), no error;
        one of the wrong length raises `InvalidCiphertext`.
        """
        arguments = _decapsulate_arguments(key_version)
        return (await self._one("Decapsulate", key, item_bytes(ciphertext), None, use, arguments=arguments))[0]

    async def decapsulate_batch(
        self, key: str, ciphertexts: Sequence[bytes], *, key_version: int | None = None, **use: Unpack[Use]
    ) -> BatchResult:
        """Return the shared secrets of many ciphertexts; see `decapsulate` and `encrypt_batch`."""
        arguments = _decapsulate_arguments(key_version)
        return (await self._many_plain("Decapsulate", key, ciphertexts, use, arguments)).results


def _derive_arguments(key_version: int | None) -> str:
    return use_arguments("DeriveSharedSecret", key_agreement_algorithm=_ECDH, key_version=key_version)


def _encapsulate_arguments() -> str:
    return use_arguments("Encapsulate", key_encapsulation_algorithm=_ML_KEM)


def _decapsulate_arguments(key_version: int | None) -> str:
    return use_arguments("Decapsulate", key_encapsulation_algorithm=_ML_KEM, key_version=key_version)
