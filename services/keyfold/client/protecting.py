"""Puts digests in the place of protected context values, in every verb that takes a context (`protected`).

It stands before the verbs: what they are given has no protected value any more. A context without one costs one look at
its values.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Unpack

from keyfold.client.answers import Answer
from keyfold.client.control import Options
from keyfold.client.control_verbs import ControlVerbs
from keyfold.client.core import NO_ARGUMENTS, Batched, BatchResult, Context
from keyfold.client.data_verbs import DataVerbs
from keyfold.client.errors import DeadlineExceeded, InvalidArgument
from keyfold.client.intents import Intent
from keyfold.client.parcels import Result
from keyfold.client.protected import ContextKeys, KeyfoldContextKeys, Protected, is_protected
from keyfold.client.results import DryRun
from keyfold.client.using import BatchUse, Use

_CONTEXTS: Final = ("encryption_context_equals", "encryption_context_subset")


class ProtectingVerbs(DataVerbs, ControlVerbs):
    """All verbs; contexts may have protected values. Tenant keys are this client's own, or what `context_keys` says."""

    _context_keys: ContextKeys | None = None

    @property
    def context_keys(self) -> ContextKeys:
        """What makes the digests of protected values."""
        if self._context_keys is None:
            self._context_keys = KeyfoldContextKeys(self)
        return self._context_keys

    async def context_as_logged(self, context: Context, *, timeout_s: float | None = None) -> dict[str, str]:
        """Return a context as it is signed and logged: digests in the place of protected values.

        Raises `DeadlineExceeded` after `timeout_s` (default: the client's), and what tenant keys raise.
        """
        if not is_protected(context):
            return dict(context)
        hidden = [(name, value) for name, value in context.items() if isinstance(value, Protected)]
        if not all(isinstance(name, str) for name, _ in hidden):
            raise InvalidArgument("an encryption context maps text to text")
        keys = self.context_keys
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                made = await asyncio.gather(*(keys.digest(value.tenant, name, value.value) for name, value in hidden))
        except TimeoutError:
            raise DeadlineExceeded("the digests of a context were not made in time; nothing was sent") from None
        return {**context, **dict(zip([name for name, _ in hidden], made, strict=True))}

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
        """See `ReEncryptionVerbs.re_encrypt`."""
        within = use.get("timeout_s")
        source, target = await self._logged(context, within), await self._logged(destination_context, within)
        return await super().re_encrypt(
            key, ciphertext, destination_key=destination_key, context=source, destination_context=target, **use
        )

    async def re_encrypt_batch(
        self,
        key: str,
        ciphertexts: Sequence[bytes],
        *,
        destination_key: str | None = None,
        destination_contexts: Iterable[Context] | None = None,
        **use: Unpack[BatchUse],
    ) -> BatchResult:
        """See `ReEncryptionVerbs.re_encrypt_batch`."""
        targets = await self._all_logged(destination_contexts, use.get("timeout_s"))
        return await super().re_encrypt_batch(
            key,
            ciphertexts,
            destination_key=destination_key,
            destination_contexts=targets,
            **await self._logged_use(use),
        )

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
        """See `DataVerbs.dry_run`."""
        within = use.get("timeout_s")
        about, each = await self._logged(context, within), await self._all_logged(contexts, within)
        return await super().dry_run(
            verb, key, context=about, contexts=each, items=items, size_bytes=size_bytes, arguments=arguments, **use
        )

    async def _one(
        self, verb: str, key: str, item: bytes, context: Context | None, use: Use, *, arguments: str = NO_ARGUMENTS
    ) -> Result:
        if context and is_protected(context):
            context = await self.context_as_logged(context, timeout_s=use.get("timeout_s"))
        return await super()._one(verb, key, item, context, use, arguments=arguments)

    async def _many(
        self, verb: str, key: str, items: Sequence[bytes], use: BatchUse, *, arguments: str = NO_ARGUMENTS
    ) -> Batched:
        return await super()._many(verb, key, items, await self._logged_use(use), arguments=arguments)

    async def _ask(
        self, verb: str, key: str | None, arguments: Mapping[str, Any], options: Options
    ) -> tuple[Intent, Answer]:
        """Grants name contexts, and so do proposed commands."""
        within = options.get("timeout_s")
        named = [name for name in _CONTEXTS if name in arguments]
        logged: dict[str, Any] = {name: await self._logged(arguments[name], within) for name in named}
        if verb == "ProposeCommand" and "contexts" in arguments:
            logged["contexts"] = await self._all_logged(arguments["contexts"], within)
        return await super()._ask(verb, key, {**arguments, **logged} if logged else arguments, options)

    async def _logged(self, context: Context | None, timeout_s: float | None) -> Context | None:
        if not context or not is_protected(context):
            return context
        return await self.context_as_logged(context, timeout_s=timeout_s)

    async def _all_logged(self, contexts: Iterable[Context] | None, timeout_s: float | None) -> list[Context] | None:
        if contexts is None:
            return None
        found = list(contexts)
        if not any(is_protected(context) for context in found):
            return found
        return list(await asyncio.gather(*(self.context_as_logged(each, timeout_s=timeout_s) for each in found)))

    async def _logged_use(self, use: BatchUse) -> BatchUse:
        logged, within = use.copy(), use.get("timeout_s")
        if use.get("context"):
            logged["context"] = await self._logged(use["context"], within)
        if use.get("contexts") is not None:
            logged["contexts"] = await self._all_logged(use["contexts"], within)
        return logged
