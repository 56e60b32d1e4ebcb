"""Control commands under an id that the caller chose: for programs that may be restarted between sending and knowing.

All other verbs make fresh ids. Whoever makes an id of what a command is for can send it again after a crash without
doing it twice.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from keyfold.client.arguments import arguments_text, check_reason, command_of
from keyfold.client.control import Control
from keyfold.client.errors import InvalidArgument
from keyfold.client.intents import Intent
from keyfold.client.results import Completed, settled
from keyfold.events.streams import REGISTRY, UUID_PATTERN, key_stream

_UUID: Final = re.compile(UUID_PATTERN)


class Once(Control):
    """Sends under given ids."""

    async def once(
        self,
        command_id: str,
        verb: str,
        key: str | None = None,
        *,
        arguments: Mapping[str, Any] | None = None,
        reason: str | None = None,
        timeout_s: float | None = None,
    ) -> Completed:
        """Send a control verb by its name under this id (a UUID), on a key or (without one) on the registry.

        An id is decided once while it is remembered, which is as long as its first command was valid (minutes): sent
        again it raises `IdempotencyConflict`, whatever the decision was. What is named by its command's id, a proposal
        or a grant, is made once for good: afterwards it raises `AlreadyExists`. No refusal is asked again, not even a
        retriable one.
        """
        self._open_lanes()
        if _UUID.fullmatch(command_id) is None:
            raise InvalidArgument("a command id is a UUID in lower case")
        if command_of(verb).data_plane:
            raise InvalidArgument(f"{verb} uses a key on items; only control verbs are sent under a given id")
        text = arguments_text(verb, arguments or {})
        stream = REGISTRY if key is None else key_stream(await self.resolve(key))
        intent = Intent(verb, stream, text, reason=check_reason(reason), command_id=command_id)
        return settled(intent, await self._alone(intent, timeout_s))
