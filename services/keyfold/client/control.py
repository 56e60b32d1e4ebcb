"""What control verbs have in common: one command on one stream, without items, and what came of it.

A control verb returns when the HSM worker has passed it. It may raise `AccessDenied`, `NotFound`, `AlreadyExists`,
`InvalidState`, `Unavailable` (`DeadlineExceeded`) and `InvalidArgument`. Sending is safe to repeat inside a call; a
*call* that ended with `DeadlineExceeded` may have been executed.
"""

from collections.abc import Mapping
from typing import Any, Final, TypedDict, Unpack

from keyfold.client.answers import Answer
from keyfold.client.arguments import arguments_text, check_reason
from keyfold.client.core import Core, check_names
from keyfold.client.intents import Intent
from keyfold.client.receipts import COLLECTING
from keyfold.client.results import Completed, settled
from keyfold.events.streams import REGISTRY, key_stream


class Sending(TypedDict, total=False):
    """How a command is sent. `reason` is the caller's word for why: signed, recorded, and there for policies to ask.

    `timeout_s` replaces the client's call timeout.
    """

    reason: str | None
    timeout_s: float | None


class Options(Sending, total=False):
    """What every control verb takes beside its own arguments.

    With `dry_run=True` the command is decided and recorded, but never executed. Where it would have been authorized
    the verb returns a `DryRun` in place of its own result; where not, it raises as it would otherwise. Data verbs are
    tried with `kms.dry_run(verb, key, …)`.
    """

    dry_run: bool


_NAMES: Final = Options.__optional_keys__


class Control(Core):
    """Sends control commands."""

    async def _ask(
        self, verb: str, key: str | None, arguments: Mapping[str, Any], options: Options
    ) -> tuple[Intent, Answer]:
        """Send a command on a key's stream, or on the registry where no key is named."""
        self._open_lanes()
        check_names(options, _NAMES)
        text, reason = arguments_text(verb, arguments), check_reason(options.get("reason"))
        stream = REGISTRY if key is None else key_stream(await self.resolve(key))
        dry_run, collector = options.get("dry_run", False), COLLECTING.get()
        intent = Intent(verb, stream, text, reason=reason, dry_run=dry_run, collector=collector)
        return intent, await self._alone(intent, options.get("timeout_s"))

    async def _do(
        self, verb: str, key: str | None, arguments: Mapping[str, Any], **options: Unpack[Options]
    ) -> Completed:
        """Send a command whose result is what every verb has."""
        return settled(*await self._ask(verb, key, arguments, options))
