"""Control verbs about keys: their lifecycle, tags and budgets, aliases, and sealing keys.

What may be raised, and what `options` are, is in `control`.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal, Unpack, cast, overload

from keyfold.client.arguments import When, moment, period_seconds
from keyfold.client.control import Control, Options, Sending
from keyfold.client.errors import InvalidArgument
from keyfold.client.identifiers import check_alias, check_key_id
from keyfold.client.results import Completed, DryRun, KeyMetadata, completed, dry_run_of
from keyfold.events.arguments import MAX_PROTECTED_ITEMS, Origin, Protection, RotationCause
from keyfold.events.specs import KeySpec, KeyUsage, default_usage


class _NewKey(Sending, total=False):
    key_spec: KeySpec
    key_usage: KeyUsage | None
    origin: Origin
    protection: Protection
    not_before: When | None
    not_after: When | None
    rotation_period: timedelta | int | None
    description: str
    tags: Mapping[str, str] | None
    usage_budget: int
    rotate_at_percent: int | None
    key_id: str | None


class KeyVerbs(Control):
    """Verbs about keys and their names."""

    def new_key_id(self) -> str:
        """Return a fresh key id, for callers who pipeline: create and use a key without waiting in between."""
        return self._exchange.new_id()

    @overload
    async def create_key(self, *, dry_run: Literal[False] = False, **key: Unpack[_NewKey]) -> KeyMetadata: ...

    @overload
    async def create_key(self, *, dry_run: Literal[True], **key: Unpack[_NewKey]) -> DryRun: ...

    @overload
    async def create_key(self, *, dry_run: bool, **key: Unpack[_NewKey]) -> KeyMetadata | DryRun: ...

    async def create_key(
        self,
        *,
        key_spec: KeySpec = "SYMMETRIC_DEFAULT",
        key_usage: KeyUsage | None = None,
        origin: Origin = "KEYFOLD",
        protection: Protection = "HSM",
        not_before: When | None = None,
        not_after: When | None = None,
        rotation_period: timedelta | int | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        usage_budget: int = MAX_PROTECTED_ITEMS,
        rotate_at_percent: int | None = 95,
        key_id: str | None = None,
        dry_run: bool = False,
        **sending: Unpack[Sending],
    ) -> KeyMetadata | DryRun:
        """Create a key whose material is in the token (`HSM`) or the worker's memory (`SOFTWARE`).

        `key_usage` may be left out where the spec has one only. A key of origin EXTERNAL waits for imported material
        (`import_key`). It protects from `not_before` to `not_after`, and is rotated every `rotation_period` (a number
        counts days). A version protects at most `usage_budget` items; the key is rotated at `rotate_at_percent` of it
        (None: never). Raises `InvalidKeyUsage`, and `Unsupported` for what this deployment's token does not offer.
        """
        self._open_lanes()
        key_id = check_key_id(key_id or self.new_key_id())
        now_ms = self._exchange.now_ms()
        arguments = {
            "key_spec": key_spec,
            "key_usage": key_usage,
            "origin": origin,
            "protection": protection,
            "not_before": None if not_before is None else moment(not_before, now_ms),
            "not_after": None if not_after is None else moment(not_after, now_ms),
            "rotation_period_seconds": None if rotation_period is None else period_seconds(rotation_period),
            "description": description,
            "tags": dict(tags or {}),
            "usage_budget": usage_budget,
            "rotate_at_percent": rotate_at_percent,
        }
        intent, answer = await self._ask("CreateKey", key_id, arguments, {**sending, "dry_run": dry_run})
        if dry_run:
            return dry_run_of(intent, answer)
        done = completed(answer)
        usage = key_usage or cast("KeyUsage | None", default_usage(key_spec))
        return KeyMetadata(key_id, done.version, key_spec, protection, done.command_id, usage, origin)

    async def rotate_key(
        self, key: str, *, cause: RotationCause = "requested", **options: Unpack[Options]
    ) -> Completed:
        """Make a new version: it protects from now on, the older ones still open and verify.

        A new version of an EXTERNAL key waits for its material, and the present one protects until that is imported.
        Causes other than `requested` are the scheduler's, and refused unless they hold.
        """
        return await self._do("RotateKey", key, {"cause": cause}, **options)

    async def enable_key(self, key: str, **options: Unpack[Options]) -> Completed:
        """Let a disabled key be used again."""
        return await self._do("EnableKey", key, {}, **options)

    async def disable_key(self, key: str, **options: Unpack[Options]) -> Completed:
        """Stop all use of a key: no command that comes after this one is served. A `reason` is kept with the key."""
        return await self._do("DisableKey", key, {"reason": options.get("reason") or ""}, **options)

    async def schedule_key_deletion(self, key: str, window: timedelta | int, **options: Unpack[Options]) -> Completed:
        """Destroy a key after a waiting period of 7 to 30 days (a number counts days)."""
        seconds = int((window if isinstance(window, timedelta) else timedelta(days=window)).total_seconds())
        if not 1 <= seconds <= 30 * 86_400:
            raise InvalidArgument("the waiting period is 7 to 30 days (shorter only in development)")
        return await self._do("ScheduleKeyDeletion", key, {"pending_window_seconds": seconds}, **options)

    async def cancel_key_deletion(self, key: str, **options: Unpack[Options]) -> Completed:
        """Take a scheduled deletion back; the key is disabled then."""
        return await self._do("CancelKeyDeletion", key, {}, **options)

    async def destroy_key(self, key_id: str, **options: Unpack[Options]) -> Completed:
        """Destroy a key whose waiting period is over; the scheduler sends this."""
        return await self._do("DestroyKey", check_key_id(key_id), {}, **options)

    async def destroy_key_now(self, key: str, **options: Unpack[Options]) -> Completed:
        """Destroy a key without a waiting period: for good, so policies should ask for approvals (`propose`)."""
        return await self._do("DestroyKeyNow", key, {}, **options)

    async def tag_key(self, key: str, tags: Mapping[str, str], **options: Unpack[Options]) -> Completed:
        """Give a key tags, which policies may mention; those of the same name are replaced."""
        return await self._do("TagResource", key, {"tags": dict(tags)}, **options)

    async def untag_key(self, key: str, tag_keys: Sequence[str], **options: Unpack[Options]) -> Completed:
        """Take tags away from a key, by their names."""
        return await self._do("UntagResource", key, {"tag_keys": list(tag_keys)}, **options)

    async def update_usage_budget(
        self, key: str, items: int, *, rotate_at_percent: int | None = None, **options: Unpack[Options]
    ) -> Completed:
        """Say how many items each version may protect, and at which percentage the key is rotated (None: never)."""
        arguments = {"items": items, "rotate_at_percent": rotate_at_percent}
        return await self._do("UpdateUsageBudget", key, arguments, **options)

    async def create_alias(self, alias: str, key_id: str, **options: Unpack[Options]) -> Completed:
        """Give a key a name, like `alias/orders`."""
        return await self._point("CreateAlias", alias, key_id, **options)

    async def update_alias(self, alias: str, key_id: str, **options: Unpack[Options]) -> Completed:
        """Let an alias name another key."""
        return await self._point("UpdateAlias", alias, key_id, **options)

    async def delete_alias(self, alias: str, **options: Unpack[Options]) -> Completed:
        """Remove an alias; its key stays."""
        done = await self._do("DeleteAlias", None, {"alias": check_alias(alias)}, **options)
        return self._hinted(alias, None, done)

    async def rotate_sealing_key(self, **options: Unpack[Options]) -> Completed:
        """Publish a new sealing key; the scheduler sends this once a day."""
        return await self._do("RotateSealingKey", None, {}, **options)

    async def erase_sealing_key(self, sealing_key: str, **options: Unpack[Options]) -> Completed:
        """Erase a retired sealing key: what was sealed to it can't be opened any more. The scheduler sends this."""
        return await self._do("EraseSealingKey", None, {"sealing_key": sealing_key}, **options)

    async def _point(self, verb: str, alias: str, key_id: str, **options: Unpack[Options]) -> Completed:
        arguments = {"alias": check_alias(alias), "key_id": check_key_id(key_id)}
        return self._hinted(alias, key_id, await self._do(verb, None, arguments, **options))

    def _hinted(self, alias: str, key_id: str | None, done: Completed) -> Completed:
        if not isinstance(done, DryRun):
            self._directory.view.hint(alias, key_id)
        return done
