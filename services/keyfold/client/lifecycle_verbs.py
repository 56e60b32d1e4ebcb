"""Control verbs about the life of keys after creation: validity, rotation by period, versions, compromise.

What may be raised, and what `options` are, is in `control`.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Literal, Unpack, overload

from keyfold.client.arguments import When, moment, period_seconds
from keyfold.client.control import Control, Options, Sending
from keyfold.client.public_keys import PublicKey
from keyfold.client.results import Completed, Compromise, DryRun, completed, dry_run_of, public_key_of
from keyfold.events.errors import KeyfoldError

NEVER: Final = "never"


class _Mark(Sending, total=False):
    versions: Sequence[int] | None
    rotate: bool


class LifecycleVerbs(Control):
    """Verbs about validity, rotation by period, versions and compromise of keys."""

    async def update_key_validity(
        self, key: str, *, not_before: When | None = None, not_after: When | None = None, **options: Unpack[Options]
    ) -> Completed:
        """Say from when to when a key protects. What is left out stays; the text `never` takes a bound away.

        After `not_after` the key still opens and verifies.
        """
        arguments = {"not_before": self._bound(not_before), "not_after": self._bound(not_after)}
        return await self._do("UpdateKeyValidity", key, arguments, **options)

    async def enable_key_rotation(self, key: str, period: timedelta | int, **options: Unpack[Options]) -> Completed:
        """Rotate a key every 90 to 2560 days (a number counts days), from now on."""
        arguments = {"rotation_period_seconds": period_seconds(period)}
        return await self._do("EnableKeyRotation", key, arguments, **options)

    async def disable_key_rotation(self, key: str, **options: Unpack[Options]) -> Completed:
        """Rotate a key by its age no more."""
        return await self._do("DisableKeyRotation", key, {}, **options)

    async def disable_key_version(self, key: str, version: int, **options: Unpack[Options]) -> Completed:
        """Let a version that is not the current one open and verify no more. A `reason` is kept with it."""
        return await self._version("DisableKeyVersion", key, version, **options)

    async def enable_key_version(self, key: str, version: int, **options: Unpack[Options]) -> Completed:
        """Let a disabled version open and verify again."""
        return await self._version("EnableKeyVersion", key, version, **options)

    async def destroy_key_version(self, key: str, version: int, **options: Unpack[Options]) -> Completed:
        """Destroy a version, for good. It is not the current one, and was disabled or compromised for 7 days."""
        return await self._version("DestroyKeyVersion", key, version, **options)

    @overload
    async def mark_key_compromised(
        self, key: str, occurred_at: When, *, dry_run: Literal[False] = False, **mark: Unpack[_Mark]
    ) -> Compromise: ...

    @overload
    async def mark_key_compromised(
        self, key: str, occurred_at: When, *, dry_run: Literal[True], **mark: Unpack[_Mark]
    ) -> DryRun: ...

    @overload
    async def mark_key_compromised(
        self, key: str, occurred_at: When, *, dry_run: bool, **mark: Unpack[_Mark]
    ) -> Compromise | DryRun: ...

    async def mark_key_compromised(
        self,
        key: str,
        occurred_at: When,
        *,
        versions: Sequence[int] | None = None,
        rotate: bool = True,
        dry_run: bool = False,
        **sending: Unpack[Sending],
    ) -> Compromise | DryRun:
        """Mark versions (None: all) as compromised since `occurred_at`, then rotate the key.

        They protect and open no more, but for whom a policy permits it. Where the rotation right behind is refused or
        not answered, the key is marked all the same: `rotation` holds that error, and the scheduler will try again. It
        is refused where the current version is none of those that are marked: then nothing needs to be replaced.
        """
        self._open_lanes()
        arguments = {
            "occurred_at": moment(occurred_at, self._exchange.now_ms()),
            "versions": None if versions is None else list(versions),
            "reason": sending.get("reason") or "",
        }
        intent, answer = await self._ask("MarkKeyCompromised", key, arguments, {**sending, "dry_run": dry_run})
        if dry_run:
            return dry_run_of(intent, answer)
        done = completed(answer)
        rotation = await self._replace(key, sending) if rotate else None
        return Compromise(
            done.command_id, done.key_id, done.version, done.registry_revision, done.summary, rotation=rotation
        )

    @overload
    async def get_public_key(
        self, key: str, version: int | None = None, *, dry_run: Literal[False] = False, **sending: Unpack[Sending]
    ) -> PublicKey: ...

    @overload
    async def get_public_key(
        self, key: str, version: int | None = None, *, dry_run: Literal[True], **sending: Unpack[Sending]
    ) -> DryRun: ...

    @overload
    async def get_public_key(
        self, key: str, version: int | None = None, *, dry_run: bool, **sending: Unpack[Sending]
    ) -> PublicKey | DryRun: ...

    async def get_public_key(
        self, key: str, version: int | None = None, *, dry_run: bool = False, **sending: Unpack[Sending]
    ) -> PublicKey | DryRun:
        """Ask the service for the public half of a version (None: the current one). `public_key` needs no command."""
        arguments = {"key_version": version}
        intent, answer = await self._ask("GetPublicKey", key, arguments, {**sending, "dry_run": dry_run})
        return dry_run_of(intent, answer) if dry_run else public_key_of(answer)

    async def _version(self, verb: str, key: str, version: int, **options: Unpack[Options]) -> Completed:
        arguments = {"version": version, "reason": options.get("reason") or ""}
        return await self._do(verb, key, arguments, **options)

    async def _replace(self, key: str, sending: Sending) -> Completed | KeyfoldError:
        try:
            return await self._do("RotateKey", key, {"cause": "compromise"}, **sending)
        except KeyfoldError as error:
            return error

    def _bound(self, when: When | None) -> str | None:
        self._open_lanes()
        if when is None or when == NEVER:
            return None if when is None else NEVER
        return moment(when, self._exchange.now_ms())
