"""Data-plane verbs: single calls, which are coalesced, and batches.

Every verb may raise `AccessDenied`, `NotFound`, `InvalidState` (`KeyDisabled`, `KeyPendingDeletion`, …), `Unavailable`
(`DeadlineExceeded`) and `InvalidArgument`. `key` is a key id or an alias; `context` is the encryption context, which
is public, authenticated, and needed again to decrypt. `timeout_s` replaces the client's call timeout. `reason` is the
caller's word for why: signed, recorded, and there for policies to ask; only calls with the same one share a command.

`proposal` names an approved proposal, which the call carries out: as one command of its own, that is never coalesced,
divided, or asked again under another id. It must be what was proposed: arguments, contexts and reason. Whether a use
would be authorized is tried with `dry_run`.
"""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypedDict, Unpack

from keyfold.client.arguments import arguments_text, command_of
from keyfold.client.contexts import EMPTY
from keyfold.client.core import NO_ARGUMENTS, BatchResult, Context, Core, check_names, item_bytes
from keyfold.client.errors import InvalidArgument
from keyfold.client.identifiers import check_proposal
from keyfold.client.intents import Intent
from keyfold.client.results import DryRun, dry_run_of
from keyfold.client.settings import MAX_BODY_BYTES
from keyfold.events.arguments import MAX_ITEMS
from keyfold.events.errors import InternalError, KeyfoldError

_LENGTH: Final = struct.Struct(">H")
_DEFAULT_DATA_KEY: Final = '{"number_of_bytes":32}'


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key: `plaintext` to use and forget, `ciphertext` to keep; `decrypt` gives the plaintext back."""

    plaintext: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


class Use(TypedDict, total=False):
    """What every data-plane verb takes beside its own arguments; the module's docstring says what it means."""

    reason: str | None
    proposal: str | None
    timeout_s: float | None


class BatchUse(Use, total=False):
    """The same for batches: one context for all items, or one each."""

    context: Context | None
    contexts: Iterable[Context] | None


_NAMES: Final = Use.__optional_keys__


class DataVerbs(Core):
    """Verbs that use a key's material."""

    async def encrypt(self, key: str, plaintext: bytes, *, context: Context | None = None, **use: Unpack[Use]) -> bytes:
        """Encrypt up to 900,000 bytes under the key's current version; return the ciphertext."""
        return await self._one("Encrypt", key, item_bytes(plaintext), context, use)

    async def decrypt(
        self, key: str, ciphertext: bytes, *, context: Context | None = None, **use: Unpack[Use]
    ) -> bytes:
        """Decrypt. Raises `InvalidCiphertext` for whatever is wrong with ciphertext, key or context."""
        return await self._one("Decrypt", key, item_bytes(ciphertext), context, use)

    async def re_encrypt(
        self,
        key: str,
        ciphertext: bytes,
        *,
        context: Context | None = None,
        destination_context: Context | None = None,
        **use: Unpack[Use],
    ) -> bytes:
        """Encrypt again under the key's newest version, inside the service.

        The context stays as it is unless `destination_context` names another (`{}` for none).
        """
        text = self._contexts.text(context) if context else EMPTY
        if destination_context is None or self._contexts.text(destination_context) == text:
            return await self._one("ReEncrypt", key, item_bytes(ciphertext), context, use)
        # A change of context is a record of its own: the command maps contexts, and here there are two of them.
        contexts = [text, self._contexts.text(destination_context)]
        intent = await self._use("ReEncrypt", key, '{"destination":[1,1]}', use)
        answer = await self._alone(intent, use.get("timeout_s"), [(0, item_bytes(ciphertext))], contexts)
        return answer.items[0].data

    async def generate_data_key(
        self, key: str, *, number_of_bytes: int = 32, context: Context | None = None, **use: Unpack[Use]
    ) -> DataKey:
        """Make a random data key of 1 to 1024 bytes, in clear and encrypted under the key."""
        arguments = _data_key_arguments(number_of_bytes)
        return _data_key(await self._one("GenerateDataKey", key, b"", context, use, arguments=arguments))

    async def generate_data_key_without_plaintext(
        self, key: str, *, number_of_bytes: int = 32, context: Context | None = None, **use: Unpack[Use]
    ) -> bytes:
        """Make a data key and return it encrypted only; whoever needs it decrypts it."""
        arguments = _data_key_arguments(number_of_bytes)
        return await self._one("GenerateDataKeyWithoutPlaintext", key, b"", context, use, arguments=arguments)

    async def generate_random(self, number_of_bytes: int, **use: Unpack[Use]) -> bytes:
        """Return 1 to 1024 random bytes from the token."""
        arguments = _data_key_arguments(number_of_bytes)
        return await self._one("GenerateRandom", "", b"", None, use, arguments=arguments)

    async def encrypt_batch(self, key: str, plaintexts: Sequence[bytes], **use: Unpack[BatchUse]) -> BatchResult:
        """Encrypt many items, under one `context` or `contexts` for each; an item's place holds ciphertext or error.

        What strikes every item (the key is disabled, access is denied) is raised.
        """
        return await self._many("Encrypt", key, plaintexts, use)

    async def decrypt_batch(self, key: str, ciphertexts: Sequence[bytes], **use: Unpack[BatchUse]) -> BatchResult:
        """Decrypt many items; see `encrypt_batch`."""
        return await self._many("Decrypt", key, ciphertexts, use)

    async def re_encrypt_batch(self, key: str, ciphertexts: Sequence[bytes], **use: Unpack[BatchUse]) -> BatchResult:
        """Encrypt many items again under the key's newest version and their own contexts; see `encrypt_batch`."""
        return await self._many("ReEncrypt", key, ciphertexts, use)

    async def generate_data_key_batch(
        self, key: str, count: int, *, number_of_bytes: int = 32, **use: Unpack[BatchUse]
    ) -> list[DataKey | KeyfoldError]:
        """Make many data keys, each of its own randomness; see `encrypt_batch`."""
        arguments = _data_key_arguments(number_of_bytes)
        results = await self._many("GenerateDataKey", key, [b""] * count, use, arguments=arguments)
        return [found if isinstance(found, KeyfoldError) else _data_key(found) for found in results]

    async def dry_run(
        self,
        verb: str,
        key: str = "",
        *,
        context: Context | None = None,
        contexts: Sequence[Context] | None = None,
        items: int = 1,
        size_bytes: int = 0,
        arguments: Mapping[str, Any] | None = None,
        **use: Unpack[Use],
    ) -> DryRun:
        """Try whether a data-plane command would be authorized: decided and recorded, but never executed.

        The command has `items` items of `size_bytes` in all, under `context` or all of `contexts`. A denial is raised,
        as the use itself would raise it. Control verbs are tried with their own argument `dry_run=True`.
        """
        if not command_of(verb).data_plane:
            raise InvalidArgument(f"{verb} is a control verb: try it with its own method and dry_run=True")
        count = 1 if contexts is None else len(contexts)
        texts = list(dict.fromkeys(self._batch_contexts(count, context, contexts)))
        if not 1 <= len(texts) <= items <= MAX_ITEMS or not 0 <= size_bytes <= MAX_BODY_BYTES:
            bounds = f"1 to {MAX_ITEMS} items, at least one for each context, of at most {MAX_BODY_BYTES} bytes"
            raise InvalidArgument(f"a command has {bounds}")
        sizes = [size_bytes, *[0] * (items - 1)]
        intent = await self._use(verb, key, arguments_text(verb, arguments or {}), use)
        zeros = [(at % len(texts), bytes(size)) for at, size in enumerate(sizes)]
        trial = replace(intent, dry_run=True)
        return dry_run_of(trial, await self._alone(trial, use.get("timeout_s"), zeros, texts))

    async def _one(
        self, verb: str, key: str, item: bytes, context: Context | None, use: Use, *, arguments: str = NO_ARGUMENTS
    ) -> bytes:
        """Send a single item: together with others, or alone where it carries out a proposal."""
        text = self._contexts.text(context) if context else EMPTY
        if use:
            check_names(use, _NAMES)
        if use.get("proposal") is not None:
            intent = await self._use(verb, key, arguments, use)
            return (await self._alone(intent, use.get("timeout_s"), [(0, item)], [text])).items[0].data
        reason = use.get("reason")
        lane = self._lanes_by_name.get((verb, key, arguments, reason)) or await self._lane(verb, key, arguments, reason)
        return await lane.submit(item, text, use.get("timeout_s") or self._timeout_s)

    async def _many(
        self, verb: str, key: str, items: Sequence[bytes], use: BatchUse, *, arguments: str = NO_ARGUMENTS
    ) -> BatchResult:
        rest = use.copy()
        texts = self._batch_contexts(len(items), rest.pop("context", None), rest.pop("contexts", None))
        intent = await self._use(verb, key, arguments, rest)
        return await self._batch(intent, [item_bytes(item) for item in items], texts, use.get("timeout_s"))

    async def _use(self, verb: str, key: str, arguments: str, use: Use) -> Intent:
        check_names(use, _NAMES)
        intent = await self._intent(verb, key, arguments, use.get("reason"))
        proposal = use.get("proposal")
        return intent if proposal is None else replace(intent, proposal=check_proposal(proposal))


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
