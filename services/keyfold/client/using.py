"""What data-plane verbs have in common: single calls, which are coalesced, and batches.

Every verb may raise `AccessDenied`, `NotFound`, `InvalidKeyUsage`, `InvalidState` (`KeyDisabled`, `KeyExpired`,
`KeyVersionUnusable`, …), `Unavailable` (`DeadlineExceeded`) and `InvalidArgument`. `key` is a key id or an alias;
`context` is the encryption context, which is public, authenticated, and needed again to decrypt. `timeout_s` replaces
the client's call timeout. `reason` is the caller's word for why: signed, recorded, and there for policies to ask; only
calls with the same one share a command.

`proposal` names an approved proposal, which the call carries out: as one command of its own, that is never coalesced,
divided, or asked again under another id. It must be what was proposed: arguments, contexts and reason. Whether a use
would be authorized is tried with `dry_run`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, TypedDict

from keyfold.client.arguments import arguments_text
from keyfold.client.contexts import EMPTY
from keyfold.client.core import NO_ARGUMENTS, Batched, Context, Core, check_names, item_bytes
from keyfold.client.identifiers import check_proposal
from keyfold.client.intents import Intent
from keyfold.client.parcels import Result
from keyfold.client.receipts import COLLECTING


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


class Using(Core):
    """Sends data-plane commands."""

    async def _one(
        self, verb: str, key: str, item: bytes, context: Context | None, use: Use, *, arguments: str = NO_ARGUMENTS
    ) -> Result:
        """Send a single item: together with others, or alone where it carries out a proposal."""
        text = self._contexts.text(context) if context else EMPTY
        if use:
            check_names(use, _NAMES)
        if use.get("proposal") is not None:
            intent = await self._use(verb, key, arguments, use)
            answer = await self._alone(intent, use.get("timeout_s"), [(0, item)], [text])
            return answer.items[0].data, answer.data.version
        reason = use.get("reason")
        name = (verb, key, arguments, reason, COLLECTING.get())
        lane = self._lanes_by_name.get(name) or await self._lane(verb, key, arguments, reason)
        return await lane.submit(item, text, use.get("timeout_s") or self._timeout_s)

    async def _many(
        self, verb: str, key: str, items: Sequence[bytes], use: BatchUse, *, arguments: str = NO_ARGUMENTS
    ) -> Batched:
        rest = use.copy()
        texts = self._batch_contexts(len(items), rest.pop("context", None), rest.pop("contexts", None))
        intent = await self._use(verb, key, arguments, rest)
        return await self._batch(intent, [item_bytes(item) for item in items], texts, use.get("timeout_s"))

    async def _many_plain(self, verb: str, key: str, items: Sequence[bytes], use: Use, arguments: str) -> Batched:
        """Send a batch of a verb that binds no encryption context."""
        intent = await self._use(verb, key, arguments, use)
        data = [item_bytes(item) for item in items]
        return await self._batch(intent, data, [EMPTY] * len(data), use.get("timeout_s"))

    async def _use(self, verb: str, key: str, arguments: str, use: Use) -> Intent:
        check_names(use, _NAMES)
        intent = await self._intent(verb, key, arguments, use.get("reason"))
        proposal = use.get("proposal")
        return intent if proposal is None else replace(intent, proposal=check_proposal(proposal))


@lru_cache(maxsize=1024, typed=True)
def use_arguments(verb: str, **arguments: str | int | None) -> str:
    """Return a verb's arguments as JSON text, without those that are None. Raises `InvalidArgument`.

    They are checked once: calls whose arguments are equal share their commands.
    """
    return arguments_text(verb, {name: value for name, value in arguments.items() if value is not None})
