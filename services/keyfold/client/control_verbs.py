"""Control verbs: keys' lifecycle, aliases, principals, policies, and what the scheduler sends.

A control verb returns when the HSM worker has passed it. It may raise `AccessDenied`, `NotFound`, `AlreadyExists`,
`InvalidState`, `Unavailable` (`DeadlineExceeded`) and `InvalidArgument`; `timeout_s` replaces the client's call
timeout. Sending is safe to repeat inside a call; a *call* that ended with `DeadlineExceeded` may have been executed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from keyfold.client.core import NO_ARGUMENTS, Core
from keyfold.client.errors import InvalidArgument
from keyfold.client.identifiers import check_alias, check_key_id, check_name
from keyfold.client.intents import Intent
from keyfold.client.results import Completed, KeyMetadata, completed
from keyfold.events.arguments import Protection
from keyfold.events.signatures import check_public_key
from keyfold.events.streams import REGISTRY, key_stream


class ControlVerbs(Core):
    """Verbs that change what exists and who may use it."""

    def new_key_id(self) -> str:
        """Return a fresh key id, for callers who pipeline: create and use a key without waiting in between."""
        return self._exchange.new_id()

    async def create_key(
        self,
        *,
        protection: Protection = "HSM",
        description: str = "",
        tags: Mapping[str, str] | None = None,
        key_id: str | None = None,
        timeout_s: float | None = None,
    ) -> KeyMetadata:
        """Create an AES-256-GCM key whose material is in the token (`HSM`) or the worker's memory (`SOFTWARE`)."""
        self._open_lanes()
        key_id = check_key_id(key_id or self.new_key_id())
        arguments = {"protection": protection, "description": description, "tags": dict(tags or {})}
        done = await self._on_key("CreateKey", key_id, arguments, timeout_s)
        return KeyMetadata(key_id, done.version, "SYMMETRIC_DEFAULT", protection, done.command_id)

    async def rotate_key(self, key: str, *, timeout_s: float | None = None) -> Completed:
        """Make a new version: it protects from now on, the older ones still decrypt."""
        return await self._on_key("RotateKey", await self.resolve(key), {}, timeout_s)

    async def enable_key(self, key: str, *, timeout_s: float | None = None) -> Completed:
        """Let a disabled key be used again."""
        return await self._on_key("EnableKey", await self.resolve(key), {}, timeout_s)

    async def disable_key(self, key: str, *, reason: str = "", timeout_s: float | None = None) -> Completed:
        """Stop all use of a key: no command that comes after this one is served."""
        return await self._on_key("DisableKey", await self.resolve(key), {"reason": reason}, timeout_s)

    async def schedule_key_deletion(
        self, key: str, window: timedelta | int, *, timeout_s: float | None = None
    ) -> Completed:
        """Destroy a key after a waiting period of 7 to 30 days (a number counts days)."""
        seconds = int((window if isinstance(window, timedelta) else timedelta(days=window)).total_seconds())
        if not 1 <= seconds <= 30 * 86_400:
            raise InvalidArgument("the waiting period is 7 to 30 days (shorter only in development)")
        arguments = {"pending_window_seconds": seconds}
        return await self._on_key("ScheduleKeyDeletion", await self.resolve(key), arguments, timeout_s)

    async def cancel_key_deletion(self, key: str, *, timeout_s: float | None = None) -> Completed:
        """Take a scheduled deletion back; the key is disabled then."""
        return await self._on_key("CancelKeyDeletion", await self.resolve(key), {}, timeout_s)

    async def create_alias(self, alias: str, key_id: str, *, timeout_s: float | None = None) -> Completed:
        """Give a key a name, like `alias/orders`."""
        return await self._point("CreateAlias", alias, key_id, timeout_s)

    async def update_alias(self, alias: str, key_id: str, *, timeout_s: float | None = None) -> Completed:
        """Let an alias name another key."""
        return await self._point("UpdateAlias", alias, key_id, timeout_s)

    async def delete_alias(self, alias: str, *, timeout_s: float | None = None) -> Completed:
        """Remove an alias; its key stays."""
        done = await self._on_registry("DeleteAlias", {"alias": check_alias(alias)}, timeout_s)
        self._directory.view.hint(alias, None)
        return done

    async def register_principal(
        self,
        principal: str,
        public_key: bytes,
        *,
        groups: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Completed:
        """Let somebody sign commands with this Ed25519 key (32 raw bytes)."""
        try:
            check_public_key(public_key)
        except ValueError as error:
            raise InvalidArgument(f"{error}: 32 raw bytes of a key that was generated") from None
        arguments = {
            "principal": check_name(principal),
            "public_key": public_key.hex(),
            "groups": [check_name(group) for group in groups],
            "tags": dict(tags or {}),
        }
        return await self._on_registry("RegisterPrincipal", arguments, timeout_s)

    async def revoke_principal(self, principal: str, *, timeout_s: float | None = None) -> Completed:
        """Refuse everything that this principal signs from now on; its name is not used again."""
        return await self._on_registry("RevokePrincipal", {"principal": check_name(principal)}, timeout_s)

    async def put_policy(
        self, policy: str, text: str, *, key: str | None = None, timeout_s: float | None = None
    ) -> Completed:
        """Put a Cedar policy under a name: on one key, or on the registry, where it is for all."""
        arguments = {"policy": check_name(policy), "text": text}
        return await self._on_either("PutPolicy", arguments, key, timeout_s)

    async def delete_policy(self, policy: str, *, key: str | None = None, timeout_s: float | None = None) -> Completed:
        """Remove a policy from a key or from the registry."""
        return await self._on_either("DeletePolicy", {"policy": check_name(policy)}, key, timeout_s)

    async def destroy_key(self, key_id: str, *, timeout_s: float | None = None) -> Completed:
        """Destroy a key whose waiting period is over; the scheduler sends this."""
        return await self._on_key("DestroyKey", check_key_id(key_id), {}, timeout_s)

    async def rotate_sealing_key(self, *, timeout_s: float | None = None) -> Completed:
        """Publish a new sealing key; the scheduler sends this once a day."""
        return await self._on_registry("RotateSealingKey", {}, timeout_s)

    async def erase_sealing_key(self, sealing_key: str, *, timeout_s: float | None = None) -> Completed:
        """Erase a retired sealing key: what was sealed to it can't be opened any more. The scheduler sends this."""
        return await self._on_registry("EraseSealingKey", {"sealing_key": check_key_id(sealing_key)}, timeout_s)

    async def _point(self, verb: str, alias: str, key_id: str, timeout_s: float | None) -> Completed:
        arguments = {"alias": check_alias(alias), "key_id": check_key_id(key_id)}
        done = await self._on_registry(verb, arguments, timeout_s)
        self._directory.view.hint(alias, key_id)
        return done

    async def _on_key(self, verb: str, key_id: str, arguments: Mapping[str, Any], timeout_s: float | None) -> Completed:
        return completed(await self._alone(Intent(verb, key_stream(key_id), _json(arguments)), timeout_s))

    async def _on_registry(self, verb: str, arguments: Mapping[str, Any], timeout_s: float | None) -> Completed:
        return completed(await self._alone(Intent(verb, REGISTRY, _json(arguments)), timeout_s))

    async def _on_either(
        self, verb: str, arguments: Mapping[str, Any], key: str | None, timeout_s: float | None
    ) -> Completed:
        if key is None:
            return await self._on_registry(verb, arguments, timeout_s)
        return await self._on_key(verb, await self.resolve(key), arguments, timeout_s)


def _json(arguments: Mapping[str, Any]) -> str:
    if not arguments:
        return NO_ARGUMENTS
    try:
        text = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError):
        raise InvalidArgument("an argument can't be written as JSON text") from None
    if any("\0" in part for part in _texts(arguments)):
        raise InvalidArgument("text can't hold U+0000")
    return text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)
