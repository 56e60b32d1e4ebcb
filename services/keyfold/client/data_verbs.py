"""Data-plane verbs: single calls, which are coalesced, and batches.

Every verb may raise `AccessDenied`, `NotFound`, `InvalidState` (`KeyDisabled`, `KeyPendingDeletion`, …), `Unavailable`
(`DeadlineExceeded`) and `InvalidArgument`. `key` is a key id or an alias; `context` is the encryption context, which
is public, authenticated, and needed again to decrypt; `timeout_s` replaces the client's call timeout.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from keyfold.client.contexts import EMPTY
from keyfold.client.core import NO_ARGUMENTS, BatchResult, Context, Core, item_bytes
from keyfold.client.errors import InvalidArgument
from keyfold.events.errors import InternalError, KeyfoldError

_LENGTH: Final = struct.Struct(">H")
_DEFAULT_DATA_KEY: Final = '{"number_of_bytes":32}'


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key: `plaintext` to use and forget, `ciphertext` to keep; `decrypt` gives the plaintext back."""

    plaintext: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


class DataVerbs(Core):
    """Verbs that use a key's material."""

    async def encrypt(
        self, key: str, plaintext: bytes, *, context: Context | None = None, timeout_s: float | None = None
    ) -> bytes:
        """Encrypt up to 900,000 bytes under the key's current version; return the ciphertext."""
        lane = self._lanes_by_name.get(("Encrypt", key, NO_ARGUMENTS)) or await self._lane("Encrypt", key)
        text = self._contexts.text(context) if context else EMPTY
        return await lane.submit(item_bytes(plaintext), text, timeout_s or self._timeout_s)

    async def decrypt(
        self, key: str, ciphertext: bytes, *, context: Context | None = None, timeout_s: float | None = None
    ) -> bytes:
        """Decrypt. Raises `InvalidCiphertext` for whatever is wrong with ciphertext, key or context."""
        lane = self._lanes_by_name.get(("Decrypt", key, NO_ARGUMENTS)) or await self._lane("Decrypt", key)
        text = self._contexts.text(context) if context else EMPTY
        return await lane.submit(item_bytes(ciphertext), text, timeout_s or self._timeout_s)

    async def re_encrypt(
        self,
        key: str,
        ciphertext: bytes,
        *,
        context: Context | None = None,
        destination_context: Context | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Encrypt again under the key's newest version, inside the service.

        The context stays as it is unless `destination_context` names another (`{}` for none).
        """
        text = self._contexts.text(context) if context else EMPTY
        if destination_context is None or self._contexts.text(destination_context) == text:
            lane = await self._lane("ReEncrypt", key)
            return await lane.submit(item_bytes(ciphertext), text, timeout_s or self._timeout_s)
        # A change of context is a record of its own: the command maps contexts, and here there are two of them.
        contexts = [text, self._contexts.text(destination_context)]
        intent = await self._intent("ReEncrypt", key, '{"destination":[1,1]}')
        answer = await self._alone(intent, timeout_s, [(0, item_bytes(ciphertext))], contexts)
        return answer.items[0].data

    async def generate_data_key(
        self,
        key: str,
        *,
        number_of_bytes: int = 32,
        context: Context | None = None,
        timeout_s: float | None = None,
    ) -> DataKey:
        """Make a random data key of 1 to 1024 bytes, in clear and encrypted under the key."""
        lane = await self._lane("GenerateDataKey", key, _data_key_arguments(number_of_bytes))
        text = self._contexts.text(context) if context else EMPTY
        return _data_key(await lane.submit(b"", text, timeout_s or self._timeout_s))

    async def generate_data_key_without_plaintext(
        self,
        key: str,
        *,
        number_of_bytes: int = 32,
        context: Context | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Make a data key and return it encrypted only; whoever needs it decrypts it."""
        lane = await self._lane("GenerateDataKeyWithoutPlaintext", key, _data_key_arguments(number_of_bytes))
        text = self._contexts.text(context) if context else EMPTY
        return await lane.submit(b"", text, timeout_s or self._timeout_s)

    async def generate_random(self, number_of_bytes: int, *, timeout_s: float | None = None) -> bytes:
        """Return 1 to 1024 random bytes from the token."""
        lane = await self._lane("GenerateRandom", "", _data_key_arguments(number_of_bytes))
        return await lane.submit(b"", EMPTY, timeout_s or self._timeout_s)

    async def encrypt_batch(
        self,
        key: str,
        plaintexts: Sequence[bytes],
        *,
        context: Context | None = None,
        contexts: Iterable[Context] | None = None,
        timeout_s: float | None = None,
    ) -> BatchResult:
        """Encrypt many items, under one context or one each; an item's place holds its ciphertext or its error.

        What strikes every item (the key is disabled, access is denied) is raised.
        """
        return await self._many(
            "Encrypt", key, plaintexts, self._batch_contexts(len(plaintexts), context, contexts), timeout_s
        )

    async def decrypt_batch(
        self,
        key: str,
        ciphertexts: Sequence[bytes],
        *,
        context: Context | None = None,
        contexts: Iterable[Context] | None = None,
        timeout_s: float | None = None,
    ) -> BatchResult:
        """Decrypt many items; see `encrypt_batch`."""
        return await self._many(
            "Decrypt", key, ciphertexts, self._batch_contexts(len(ciphertexts), context, contexts), timeout_s
        )

    async def re_encrypt_batch(
        self,
        key: str,
        ciphertexts: Sequence[bytes],
        *,
        context: Context | None = None,
        contexts: Iterable[Context] | None = None,
        timeout_s: float | None = None,
    ) -> BatchResult:
        """Encrypt many items again under the key's newest version and their own contexts; see `encrypt_batch`."""
        return await self._many(
            "ReEncrypt", key, ciphertexts, self._batch_contexts(len(ciphertexts), context, contexts), timeout_s
        )

    async def generate_data_key_batch(
        self,
        key: str,
        count: int,
        *,
        number_of_bytes: int = 32,
        context: Context | None = None,
        contexts: Iterable[Context] | None = None,
        timeout_s: float | None = None,
    ) -> list[DataKey | KeyfoldError]:
        """Make many data keys, each of its own randomness; see `encrypt_batch`."""
        intent = await self._intent("GenerateDataKey", key, _data_key_arguments(number_of_bytes))
        texts = self._batch_contexts(count, context, contexts)
        results = await self._batch(intent, [b""] * count, texts, timeout_s)
        return [found if isinstance(found, KeyfoldError) else _data_key(found) for found in results]

    async def _many(
        self,
        verb: str,
        key: str,
        items: Sequence[bytes],
        texts: Sequence[str],
        timeout_s: float | None,
    ) -> BatchResult:
        intent = await self._intent(verb, key, NO_ARGUMENTS)
        return await self._batch(intent, [item_bytes(item) for item in items], texts, timeout_s)


def unwrap(results: BatchResult) -> list[bytes]:
    """Return a batch's data, or raise the first item's error."""
    found: list[bytes] = []
    for result in results:
        if isinstance(result, KeyfoldError):
            raise result
        found.append(result)
    return found


def _data_key_arguments(number_of_bytes: int) -> str:
    if number_of_bytes == 32:
        return _DEFAULT_DATA_KEY
    if not isinstance(number_of_bytes, int) or not 1 <= number_of_bytes <= 1024:
        raise InvalidArgument("number_of_bytes is 1 to 1024")
    return json.dumps({"number_of_bytes": number_of_bytes}, separators=(",", ":"))


def _data_key(layout: bytes) -> DataKey:
    """Parse u16 length of the plaintext, plaintext, ciphertext."""
    if len(layout) < _LENGTH.size:
        raise InternalError("the service answered with a malformed data key; see its logs")
    end = _LENGTH.size + _LENGTH.unpack_from(layout)[0]
    return DataKey(layout[_LENGTH.size : end], layout[end:])
