"""Control verbs about who may do what and how much: policies, grants and limits.

What may be raised, and what `options` are, is in `control`.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal, Required, Unpack, overload

from keyfold.client.arguments import When, moment
from keyfold.client.control import Control, Options, Sending
from keyfold.client.results import Completed, DryRun, dry_run_of
from keyfold.events.arguments import GrantAlgorithm, GrantVerb, LimitKind, LimitScope, LimitUnit


class GrantTerms(Sending, total=False):
    """The terms of a grant, as `create_grant` takes them; `keyfold.events.arguments.CreateGrantArguments` explains."""

    expires_at: Required[When]
    encryption_context_equals: Mapping[str, str] | None
    encryption_context_subset: Mapping[str, str] | None
    algorithms: Sequence[GrantAlgorithm] | None
    max_operations: int | None
    max_items: int | None
    delegable: bool
    retiring_principal: str | None
    parent: str | None


class GovernanceVerbs(Control):
    """Verbs about policies, grants and limits."""

    async def put_policy(
        self, policy: str, text: str, *, key: str | None = None, **options: Unpack[Options]
    ) -> Completed:
        """Put a Cedar policy under a name: on one key, or on the registry, where it is for all."""
        return await self._do("PutPolicy", key, {"policy": policy, "text": text}, **options)

    async def delete_policy(self, policy: str, *, key: str | None = None, **options: Unpack[Options]) -> Completed:
        """Remove a policy from a key or from the registry."""
        return await self._do("DeletePolicy", key, {"policy": policy}, **options)

    @overload
    async def create_grant(
        self, key: str, grantee: str, verbs: Sequence[GrantVerb],
        *, dry_run: Literal[False] = False, **terms: Unpack[GrantTerms],
    ) -> str: ...  # fmt: skip

    @overload
    async def create_grant(
        self, key: str, grantee: str, verbs: Sequence[GrantVerb], *, dry_run: Literal[True], **terms: Unpack[GrantTerms]
    ) -> DryRun: ...

    @overload
    async def create_grant(
        self, key: str, grantee: str, verbs: Sequence[GrantVerb], *, dry_run: bool, **terms: Unpack[GrantTerms]
    ) -> str | DryRun: ...

    async def create_grant(
        self,
        key: str,
        grantee: str,
        verbs: Sequence[GrantVerb],
        *,
        expires_at: When,
        encryption_context_equals: Mapping[str, str] | None = None,
        encryption_context_subset: Mapping[str, str] | None = None,
        algorithms: Sequence[GrantAlgorithm] | None = None,
        max_operations: int | None = None,
        max_items: int | None = None,
        delegable: bool = False,
        retiring_principal: str | None = None,
        parent: str | None = None,
        dry_run: bool = False,
        **sending: Unpack[Sending],
    ) -> str | DryRun:
        """Let one principal do this with a key, beyond what policies permit; return the grant's id.

        The id is that of the command. What the terms mean is in `keyfold.events.arguments.CreateGrantArguments`.
        """
        self._open_lanes()
        equals, subset = encryption_context_equals, encryption_context_subset
        arguments = {
            "grantee": grantee,
            "verbs": list(verbs),
            "expires_at": moment(expires_at, self._exchange.now_ms()),
            "encryption_context_equals": None if equals is None else dict(equals),
            "encryption_context_subset": None if subset is None else dict(subset),
            "algorithms": None if algorithms is None else list(algorithms),
            "max_operations": max_operations,
            "max_items": max_items,
            "delegable": delegable,
            "retiring_principal": retiring_principal,
            "parent": parent,
        }
        intent, answer = await self._ask("CreateGrant", key, arguments, {**sending, "dry_run": dry_run})
        return dry_run_of(intent, answer) if dry_run else answer.data.command_id

    async def retire_grant(self, key: str, grant: str, **options: Unpack[Options]) -> Completed:
        """End a grant that is not needed any more: by its grantee, its retiring principal, or whom a policy permits."""
        return await self._do("RetireGrant", key, {"grant": grant}, **options)

    async def revoke_grant(self, key: str, grant: str, **options: Unpack[Options]) -> Completed:
        """End a grant against its grantee's will: no command that comes after this one is covered by it."""
        return await self._do("RevokeGrant", key, {"grant": grant}, **options)

    async def put_limit(
        self,
        limit: str,
        kind: LimitKind,
        amount: int,
        period: timedelta | int,
        *,
        unit: LimitUnit = "commands",
        burst: int | None = None,
        per: LimitScope = "principal",
        principal: str | None = None,
        group: str | None = None,
        key: str | None = None,
        verbs: Sequence[str] = (),
        **options: Unpack[Options],
    ) -> Completed:
        """Put a rate limit or quota under a name: `amount` in each `period` (a number counts seconds).

        What the rest means is in `keyfold.events.arguments.PutLimitArguments`. A `rate` of items must let a whole
        command through at once: a client's `max_batch_items` should not be above its `burst`.
        """
        seconds = round(period.total_seconds()) if isinstance(period, timedelta) else period
        arguments = {
            "limit": limit, "kind": kind, "unit": unit, "amount": amount, "period_seconds": seconds, "burst": burst,
            "per": per, "principal": principal, "group": group, "verbs": list(verbs),
            "key_id": None if key is None else await self.resolve(key),
        }  # fmt: skip
        return await self._do("PutLimit", None, arguments, **options)

    async def delete_limit(self, limit: str, **options: Unpack[Options]) -> Completed:
        """Remove a limit."""
        return await self._do("DeleteLimit", None, {"limit": limit}, **options)
