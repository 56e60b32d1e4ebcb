"""Data-plane verbs: what uses a key's material. `using` says what they have in common and what they raise."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from keyfold.client.agreement_verbs import AgreementVerbs
from keyfold.client.arguments import arguments_text, command_of
from keyfold.client.core import Context
from keyfold.client.data_key_verbs import DataKeyVerbs
from keyfold.client.encryption_verbs import EncryptionVerbs
from keyfold.client.errors import InvalidArgument
from keyfold.client.reencryption_verbs import ReEncryptionVerbs
from keyfold.client.results import DryRun, dry_run_of
from keyfold.client.settings import MAX_BODY_BYTES
from keyfold.client.signing_verbs import SigningVerbs
from keyfold.client.using import Use
from keyfold.client.values import DataKey, unwrap
from keyfold.events.arguments import MAX_ITEMS

__all__ = ["DataKey", "DataVerbs", "Use", "unwrap"]


class DataVerbs(EncryptionVerbs, ReEncryptionVerbs, DataKeyVerbs, SigningVerbs, AgreementVerbs):
    """All data-plane verbs of a client."""

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
