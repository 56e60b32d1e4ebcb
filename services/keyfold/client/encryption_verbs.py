"""Verbs that encrypt and decrypt. What may be raised, and what `use` is, is in `using`.

SYMMETRIC_DEFAULT ciphertexts name their key version and bind an encryption context. RSA ciphertexts do neither: their
result names the version, and no context is taken.
"""

from collections.abc import Sequence
from typing import Final, Literal, Unpack, overload

from keyfold.client.core import NO_ARGUMENTS, BatchResult, Context, item_bytes
from keyfold.client.errors import InvalidArgument
from keyfold.client.using import BatchUse, Use, Using, use_arguments
from keyfold.client.values import Encrypted, each
from keyfold.events.errors import KeyfoldError
from keyfold.events.specs import EncryptionAlgorithm

RsaEncryptionAlgorithm = Literal["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]
_SYMMETRIC: Final = "SYMMETRIC_DEFAULT"


class EncryptionVerbs(Using):
    """Encrypt and Decrypt."""

    @overload
    async def encrypt(
        self, key: str, plaintext: bytes, *, context: Context | None = None,
        encryption_algorithm: Literal["SYMMETRIC_DEFAULT"] = "SYMMETRIC_DEFAULT", **use: Unpack[Use],
    ) -> bytes: ...  # fmt: skip

    @overload
    async def encrypt(
        self, key: str, plaintext: bytes, *, encryption_algorithm: RsaEncryptionAlgorithm, **use: Unpack[Use]
    ) -> Encrypted: ...

    @overload
    async def encrypt(
        self, key: str, plaintext: bytes, *, context: Context | None = None,
        encryption_algorithm: EncryptionAlgorithm, **use: Unpack[Use],
    ) -> bytes | Encrypted: ...  # fmt: skip

    async def encrypt(
        self,
        key: str,
        plaintext: bytes,
        *,
        context: Context | None = None,
        encryption_algorithm: EncryptionAlgorithm = "SYMMETRIC_DEFAULT",
        **use: Unpack[Use],
    ) -> bytes | Encrypted:
        """Encrypt under the key's current version: up to 900,000 bytes, or what RSAES-OAEP of the key's size holds.

        A symmetric key returns the ciphertext, an RSA key `Encrypted`: keep its `key_version` for `decrypt`.
        """
        if encryption_algorithm == _SYMMETRIC:
            return (await self._one("Encrypt", key, item_bytes(plaintext), context, use))[0]
        arguments = _rsa_arguments("Encrypt", encryption_algorithm, context=context)
        return Encrypted(*await self._one("Encrypt", key, item_bytes(plaintext), None, use, arguments=arguments))

    async def decrypt(
        self,
        key: str,
        ciphertext: bytes,
        *,
        context: Context | None = None,
        encryption_algorithm: EncryptionAlgorithm = "SYMMETRIC_DEFAULT",
        key_version: int | None = None,
        **use: Unpack[Use],
    ) -> bytes:
        """Decrypt. Raises `InvalidCiphertext` for whatever is wrong with ciphertext, key or context.

        `key_version` is for RSA keys only, by default the current version.
        """
        arguments = _decrypt_arguments(encryption_algorithm, key_version, context=context)
        return (await self._one("Decrypt", key, item_bytes(ciphertext), context, use, arguments=arguments))[0]

    @overload
    async def encrypt_batch(
        self, key: str, plaintexts: Sequence[bytes], *,
        encryption_algorithm: Literal["SYMMETRIC_DEFAULT"] = "SYMMETRIC_DEFAULT", **use: Unpack[BatchUse],
    ) -> BatchResult: ...  # fmt: skip

    @overload
    async def encrypt_batch(
        self, key: str, plaintexts: Sequence[bytes], *, encryption_algorithm: RsaEncryptionAlgorithm, **use: Unpack[Use]
    ) -> list[Encrypted | KeyfoldError]: ...

    async def encrypt_batch(
        self,
        key: str,
        plaintexts: Sequence[bytes],
        *,
        encryption_algorithm: EncryptionAlgorithm = "SYMMETRIC_DEFAULT",
        **use: Unpack[BatchUse],
    ) -> BatchResult | list[Encrypted | KeyfoldError]:
        """Encrypt many items, under one `context` or `contexts` for each; an item's place holds its result or error.

        What strikes every item (the key is disabled, access is denied) is raised.
        """
        if encryption_algorithm == _SYMMETRIC:
            return (await self._many("Encrypt", key, plaintexts, use)).results
        arguments = _rsa_arguments("Encrypt", encryption_algorithm, context=use.get("context") or use.get("contexts"))
        return each(await self._many("Encrypt", key, plaintexts, use, arguments=arguments), Encrypted)

    async def decrypt_batch(
        self,
        key: str,
        ciphertexts: Sequence[bytes],
        *,
        encryption_algorithm: EncryptionAlgorithm = "SYMMETRIC_DEFAULT",
        key_version: int | None = None,
        **use: Unpack[BatchUse],
    ) -> BatchResult:
        """Decrypt many items; see `decrypt` and `encrypt_batch`."""
        given = use.get("context") or use.get("contexts")
        arguments = _decrypt_arguments(encryption_algorithm, key_version, context=given)
        return (await self._many("Decrypt", key, ciphertexts, use, arguments=arguments)).results


def _decrypt_arguments(algorithm: EncryptionAlgorithm, key_version: int | None, *, context: object) -> str:
    if algorithm != _SYMMETRIC:
        return _rsa_arguments("Decrypt", algorithm, key_version, context=context)
    if key_version is not None:
        raise InvalidArgument("a symmetric ciphertext names its key version itself; name none")
    return NO_ARGUMENTS


def _rsa_arguments(
    verb: str, algorithm: EncryptionAlgorithm, key_version: int | None = None, *, context: object
) -> str:
    if context:
        raise InvalidArgument("RSA keys bind no encryption context; name none")
    return use_arguments(verb, encryption_algorithm=algorithm, key_version=key_version)
