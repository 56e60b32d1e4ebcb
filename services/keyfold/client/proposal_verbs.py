"""Control verbs about proposals: commands that wait until enough principals have approved them.

What may be raised, and what `options` are, is in `control`. A proposed control command is carried out by the approval
that completes it. A proposed data-plane command is sent by its proposer once it is approved, with `proposal=<id>`.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal, Unpack, overload

from keyfold.client.arguments import When, arguments_text, command_of, moment
from keyfold.client.control import Control, Options, Sending
from keyfold.client.errors import InvalidArgument
from keyfold.client.results import Approval, Completed, DryRun, Proposal, approved, dry_run_of, proposed
from keyfold.client.settings import MAX_BODY_BYTES
from keyfold.events.proposals import NOT_PROPOSABLE

_A_DAY: Final = timedelta(days=1)


class _Proposed(Sending, total=False):
    arguments: Mapping[str, Any] | None
    contexts: Sequence[Mapping[str, str]] | None
    items: int | None
    size_bytes: int | None
    expires_at: When


class ProposalVerbs(Control):
    """Verbs about proposals."""

    @overload
    async def propose(
        self, verb: str, key: str | None = None, *, dry_run: Literal[False] = False, **proposed: Unpack[_Proposed]
    ) -> Proposal: ...

    @overload
    async def propose(
        self, verb: str, key: str | None = None, *, dry_run: Literal[True], **proposed: Unpack[_Proposed]
    ) -> DryRun: ...

    @overload
    async def propose(
        self, verb: str, key: str | None = None, *, dry_run: bool, **proposed: Unpack[_Proposed]
    ) -> Proposal | DryRun: ...

    async def propose(
        self,
        verb: str,
        key: str | None = None,
        *,
        arguments: Mapping[str, Any] | None = None,
        contexts: Sequence[Mapping[str, str]] | None = None,
        items: int | None = None,
        size_bytes: int | None = None,
        expires_at: When = _A_DAY,
        dry_run: bool = False,
        **sending: Unpack[Sending],
    ) -> Proposal | DryRun:
        """Propose a command by its verb and arguments, on a key or (without one) on the registry.

        For a data-plane verb, `contexts` (default: the empty one), `items` (1) and `size_bytes` (as many as a command
        holds) bound the one command that may be sent once it is approved. `CreateKey` may be given a fresh key id. The
        `reason` is the proposed command's. A proposal ends at `expires_at`, at the latest in 30 days.
        """
        self._open_lanes()
        command = command_of(verb)
        _check_verb(verb, command.scope, key)
        _check_bounds(verb, (contexts, items, size_bytes), data_plane=command.data_plane)
        arguments_text(verb, arguments or {})
        about: dict[str, Any] = {
            "verb": verb,
            "arguments": dict(arguments or {}),
            "expires_at": moment(expires_at, self._exchange.now_ms()),
        }
        if command.data_plane:
            about["contexts"] = [{}] if contexts is None else [dict(context) for context in contexts]
            about["items"] = 1 if items is None else items
            about["bytes"] = MAX_BODY_BYTES if size_bytes is None else size_bytes
        target = self._exchange.new_id() if key is None and verb == "CreateKey" else key
        intent, answer = await self._ask("ProposeCommand", target, about, {**sending, "dry_run": dry_run})
        return dry_run_of(intent, answer) if dry_run else proposed(answer)

    @overload
    async def approve_proposal(
        self, proposal: str, digest: str, *, key: str | None = None,
        dry_run: Literal[False] = False, **sending: Unpack[Sending],
    ) -> Approval: ...  # fmt: skip

    @overload
    async def approve_proposal(
        self, proposal: str, digest: str, *, key: str | None = None, dry_run: Literal[True], **sending: Unpack[Sending]
    ) -> DryRun: ...

    @overload
    async def approve_proposal(
        self, proposal: str, digest: str, *, key: str | None = None, dry_run: bool, **sending: Unpack[Sending]
    ) -> Approval | DryRun: ...

    async def approve_proposal(
        self,
        proposal: str,
        digest: str,
        *,
        key: str | None = None,
        dry_run: bool = False,
        **sending: Unpack[Sending],
    ) -> Approval | DryRun:
        """Agree to what has this digest: SHA-256 (hex) of the proposing command that was read, not of what is believed.

        `key` is the key whose stream the proposal is on; None for the registry. Raises `ProposalMismatch` where the
        digest is another, `SelfApproval`, `AlreadyApproved`, `ProposalClosed`.
        """
        arguments = {"proposal": proposal, "digest": digest}
        intent, answer = await self._ask("ApproveProposal", key, arguments, {**sending, "dry_run": dry_run})
        return dry_run_of(intent, answer) if dry_run else approved(proposal, answer)

    async def deny_proposal(
        self, proposal: str, digest: str, *, key: str | None = None, **options: Unpack[Options]
    ) -> Completed:
        """Refuse a proposal for good; see `approve_proposal`."""
        return await self._do("DenyProposal", key, {"proposal": proposal, "digest": digest}, **options)

    async def cancel_proposal(self, proposal: str, *, key: str | None = None, **options: Unpack[Options]) -> Completed:
        """Take back one's own proposal."""
        return await self._do("CancelProposal", key, {"proposal": proposal}, **options)


def _check_verb(verb: str, scope: str, key: str | None) -> None:
    if verb in NOT_PROPOSABLE:
        raise InvalidArgument(f"{verb} can't be proposed")
    if scope == "registry" and key is not None:
        raise InvalidArgument(f"{verb} is about the registry; name no key")
    if scope == "key" and key is None and verb != "CreateKey":
        raise InvalidArgument(f"{verb} is about a key; name it")


def _check_bounds(verb: str, bounds: tuple[object, ...], *, data_plane: bool) -> None:
    if not data_plane and any(bound is not None for bound in bounds):
        raise InvalidArgument(f"{verb} has no contexts, items or bytes; only data-plane verbs do")
