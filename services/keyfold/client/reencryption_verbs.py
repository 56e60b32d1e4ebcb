"""Verbs that encrypt again inside the service: the plaintext reaches nobody. `using` says what `use` is.

To another key it takes two commands: `ReEncryptFrom` on the source's stream gives parcels that only the HSM worker can
open, for the same principal, source and destination; `ReEncryptTo` on the destination's stream makes ciphertexts of
them. Aliases are looked up once, so that both commands are about the same two keys.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Unpack

from keyfold.client.contexts import EMPTY
from keyfold.client.core import BatchResult, Context, item_bytes
from keyfold.client.errors import DeadlineExceeded, InvalidArgument
from keyfold.client.using import BatchUse, Use, Using, use_arguments
from keyfold.events.errors import KeyfoldError

_TO_THE_OTHER: Final = '{"destination":[1,1]}'


class ReEncryptionVerbs(Using):
    """ReEncrypt, under the same key or another."""

    async def re_encrypt(
        self,
        key: str,
        ciphertext: bytes,
        *,
        destination_key: str | None = None,
        context: Context | None = None,
        destination_context: Context | None = None,
        **use: Unpack[Use],
    ) -> bytes:
        """Encrypt again under the newest version of the key, or of `destination_key`, inside the service.

        The context stays as it is unless `destination_context` names another (`{}` for none). Another key takes two
        commands, so it takes no `proposal`.
        """
        target = context if destination_context is None else destination_context
        ends = await self._ends(key, destination_key, use)
        if ends is not None:
            return await self._move(*ends, item_bytes(ciphertext), (context, target), use)
        text = self._contexts.text(context) if context else EMPTY
        if self._contexts.text(target) == text:
            return (await self._one("ReEncrypt", key, item_bytes(ciphertext), context, use))[0]
        # A change of context is a record of its own: the command maps contexts, and here there are two of them.
        intent = await self._use("ReEncrypt", key, _TO_THE_OTHER, use)
        contexts = [text, self._contexts.text(target)]
        answer = await self._alone(intent, use.get("timeout_s"), [(0, item_bytes(ciphertext))], contexts)
        return answer.items[0].data

    async def re_encrypt_batch(
        self,
        key: str,
        ciphertexts: Sequence[bytes],
        *,
        destination_key: str | None = None,
        destination_contexts: Iterable[Context] | None = None,
        **use: Unpack[BatchUse],
    ) -> BatchResult:
        """Encrypt many items again under the newest version of the key, or of `destination_key`; see `encrypt_batch`.

        They keep their contexts; with another key, `destination_contexts` may name one each.
        """
        ends = await self._ends(key, destination_key, {"proposal": use.get("proposal")})
        if ends is None:
            if destination_contexts is not None:
                raise InvalidArgument("contexts of a batch are changed on the way to another key only")
            return (await self._many("ReEncrypt", key, ciphertexts, use)).results
        texts = self._batch_contexts(len(ciphertexts), use.get("context"), use.get("contexts"))
        targets = texts
        if destination_contexts is not None:
            targets = self._batch_contexts(len(ciphertexts), None, destination_contexts)
        rest: Use = {"reason": use.get("reason"), "timeout_s": use.get("timeout_s")}
        return await self._move_batch(*ends, [item_bytes(item) for item in ciphertexts], (texts, targets), rest)

    async def _move(
        self, source: str, destination: str, data: bytes, contexts: tuple[Context | None, Context | None], use: Use
    ) -> bytes:
        deadline = self._deadline(use)
        there = use_arguments("ReEncryptFrom", destination_key_id=destination)
        parcel, _ = await self._one("ReEncryptFrom", source, data, contexts[0], use, arguments=there)
        back, left = use_arguments("ReEncryptTo", source_key_id=source), _left(use, deadline)
        return (await self._one("ReEncryptTo", destination, parcel, contexts[1], left, arguments=back))[0]

    async def _move_batch(
        self, source: str, destination: str, items: list[bytes], texts: tuple[list[str], list[str]], use: Use
    ) -> BatchResult:
        """An item that does not open keeps its error; the others go on."""
        deadline = self._deadline(use)
        there = use_arguments("ReEncryptFrom", destination_key_id=destination)
        intent = await self._use("ReEncryptFrom", source, there, use)
        results = (await self._batch(intent, items, texts[0], use.get("timeout_s"))).results
        opened = [(at, found) for at, found in enumerate(results) if not isinstance(found, KeyfoldError)]
        left_s = _left(use, deadline).get("timeout_s")
        intent = await self._use("ReEncryptTo", destination, use_arguments("ReEncryptTo", source_key_id=source), use)
        parcels, targets = [parcel for _, parcel in opened], [texts[1][at] for at, _ in opened]
        moved = await self._batch(intent, parcels, targets, left_s)
        for (at, _), result in zip(opened, moved.results, strict=True):
            results[at] = result
        return results

    async def _ends(self, key: str, destination: str | None, use: Use) -> tuple[str, str] | None:
        """Return the ids of source and destination; None where they are one key."""
        if destination is None or destination == key:
            return None
        ends = await self.resolve(key), await self.resolve(destination)
        if ends[0] == ends[1]:
            return None
        if use.get("proposal") is not None:
            raise InvalidArgument("re-encryption to another key takes two commands; a proposal is carried out by one")
        return ends

    def _deadline(self, use: Use) -> float:
        return asyncio.get_running_loop().time() + (use.get("timeout_s") or self._timeout_s)


def _left(use: Use, deadline: float) -> Use:
    """Return the same use with the time that is left. Raises `DeadlineExceeded` where none is."""
    left_s = deadline - asyncio.get_running_loop().time()
    if left_s <= 0:
        raise DeadlineExceeded("re-encryption ended half-way at its deadline: nothing was kept; call again")
    found = use.copy()
    found["timeout_s"] = left_s
    return found
