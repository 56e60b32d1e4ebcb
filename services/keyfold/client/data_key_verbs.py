"""Verbs that make data keys and data key pairs for use outside. What `use` is, is in `using`.

Only symmetric keys protect data keys. The plaintext is there once, in the result.
"""

from typing import Final, Unpack

from keyfold.client.core import Context
from keyfold.client.errors import InvalidArgument
from keyfold.client.using import BatchUse, Use, Using, use_arguments
from keyfold.client.values import (
    DataKey,
    DataKeyPair,
    EncryptedDataKeyPair,
    data_key,
    data_key_pair,
    each,
    encrypted_data_key_pair,
)
from keyfold.events.errors import KeyfoldError
from keyfold.events.specs import KeyPairSpec

_DEFAULT_DATA_KEY: Final = '{"number_of_bytes":32}'


class DataKeyVerbs(Using):
    """GenerateDataKey, GenerateDataKeyPair, both without plaintext, and GenerateRandom."""

    async def generate_data_key(
        self, key: str, *, number_of_bytes: int = 32, context: Context | None = None, **use: Unpack[Use]
    ) -> DataKey:
        """Make a random data key of 1 to 1024 bytes, in clear and encrypted under the key."""
        arguments = _data_key_arguments(number_of_bytes)
        return data_key(*await self._one("GenerateDataKey", key, b"", context, use, arguments=arguments))

    async def generate_data_key_without_plaintext(
        self, key: str, *, number_of_bytes: int = 32, context: Context | None = None, **use: Unpack[Use]
    ) -> bytes:
        """Make a data key and return it encrypted only; whoever needs it decrypts it."""
        arguments = _data_key_arguments(number_of_bytes)
        return (await self._one("GenerateDataKeyWithoutPlaintext", key, b"", context, use, arguments=arguments))[0]

    async def generate_data_key_batch(
        self, key: str, count: int, *, number_of_bytes: int = 32, **use: Unpack[BatchUse]
    ) -> list[DataKey | KeyfoldError]:
        """Make many data keys, each of its own randomness; see `encrypt_batch`."""
        arguments = _data_key_arguments(number_of_bytes)
        return each(await self._many("GenerateDataKey", key, [b""] * count, use, arguments=arguments), data_key)

    async def generate_data_key_pair(
        self, key: str, key_pair_spec: KeyPairSpec, *, context: Context | None = None, **use: Unpack[Use]
    ) -> DataKeyPair:
        """Make a key pair in the worker: the public key, and the private one in clear and encrypted under the key."""
        verb = "GenerateDataKeyPair"
        arguments = use_arguments(verb, key_pair_spec=key_pair_spec)
        return data_key_pair(*await self._one(verb, key, b"", context, use, arguments=arguments))

    async def generate_data_key_pair_without_plaintext(
        self, key: str, key_pair_spec: KeyPairSpec, *, context: Context | None = None, **use: Unpack[Use]
    ) -> EncryptedDataKeyPair:
        """Make a key pair and return the private key encrypted only; whoever needs it decrypts it."""
        verb = "GenerateDataKeyPairWithoutPlaintext"
        arguments = use_arguments(verb, key_pair_spec=key_pair_spec)
        return encrypted_data_key_pair(*await self._one(verb, key, b"", context, use, arguments=arguments))

    async def generate_data_key_pair_batch(
        self, key: str, key_pair_spec: KeyPairSpec, count: int, **use: Unpack[BatchUse]
    ) -> list[DataKeyPair | KeyfoldError]:
        """Make many key pairs; of RSA, a command makes few, as each takes the worker long. See `encrypt_batch`."""
        verb = "GenerateDataKeyPair"
        arguments = use_arguments(verb, key_pair_spec=key_pair_spec)
        return each(await self._many(verb, key, [b""] * count, use, arguments=arguments), data_key_pair)

    async def generate_random(self, number_of_bytes: int, **use: Unpack[Use]) -> bytes:
        """Return 1 to 1024 random bytes from the token."""
        arguments = _data_key_arguments(number_of_bytes)
        return (await self._one("GenerateRandom", "", b"", None, use, arguments=arguments))[0]


def _data_key_arguments(number_of_bytes: int) -> str:
    if number_of_bytes == 32:
        return _DEFAULT_DATA_KEY
    if not isinstance(number_of_bytes, int) or not 1 <= number_of_bytes <= 1024:
        raise InvalidArgument("number_of_bytes is 1 to 1024")
    return f'{{"number_of_bytes":{number_of_bytes:d}}}'
