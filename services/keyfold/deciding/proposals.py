"""Proposals: commands that wait until enough others have agreed. Pure.

How many must agree, and who, is a policy's business: it asks for `context.approvals`. A proposal is decided again, for
its author, at each approval. A control verb is executed by the approval with which policy permits it; a data-plane verb
is then sent by its author, once, because its result needs a reply key that is alive. An approval counts while its
author may act at all; the author of a proposal never approves it.
"""

from collections.abc import Callable
from typing import Any, Final

from keyfold.deciding.authorizing import Permission, authorize
from keyfold.deciding.rules import NotYet, Rule
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.commands import AnyCommand, ProposeCommand
from keyfold.events.entities import Principal, Proposal
from keyfold.events.proposals import proposed_command, proposed_in
from keyfold.events.times import DAY_MS, to_milliseconds

MAX_LIFETIME_MS: Final = 30 * DAY_MS


def open_proposal(name: str, stream: str, world: World) -> Proposal:
    """Return a proposal that waits on this stream. Raises `NotFound`, `ProposalClosed`, `ProposalExpired`."""
    proposal = world.entities.get(f"proposal/{name}")
    if not isinstance(proposal, Proposal) or proposal.stream != stream:
        raise errors.NotFound
    if not proposal.open:
        raise errors.ProposalClosed
    if proposal.expired(world.now_ms):
        raise errors.ProposalExpired
    return proposal


def approvers(proposal: Proposal, world: World) -> tuple[str, ...]:
    """Return whose approvals count now, in the order in which they were given."""
    return tuple(each.principal for each in proposal.approvals if _may_act(each.principal, world))


def use_of(proposal: Proposal, approved_by: tuple[str, ...]) -> facts.ProposalUse:
    """Return what a decision says of the proposal that it carries out."""
    return facts.ProposalUse(
        proposal=proposal.proposal,
        command=proposal.command,
        body_digest=proposal.body_digest,
        signature=proposal.signature,
        approvers=list(approved_by),
    )


def carried_out(command: AnyCommand, world: World) -> Proposal | None:
    """Return the proposal that a data-plane command names, if it is what was proposed.

    Raises what `open_proposal` does, `AccessDenied` for somebody else's and `ProposalMismatch` for another command.
    """
    data = command.data
    if not isinstance(data, DataPlaneData) or data.proposal is None:
        return None
    proposal = open_proposal(data.proposal, command.subject, world)
    if proposal.proposer != data.principal:
        raise errors.AccessDenied("a proposal is carried out by who made it")
    wanted = proposed_in(proposal.command.encode())
    agreed = wanted.data
    if not isinstance(agreed, DataPlaneData) or not _same(command, data, wanted, agreed):
        raise errors.ProposalMismatch
    return proposal


def _same(command: AnyCommand, data: Any, wanted: AnyCommand, agreed: Any) -> bool:
    """A reason that was agreed to is the reason; policies may have asked for it."""
    return (
        command.verb == wanted.verb
        and data.contexts == agreed.contexts
        and data.items <= agreed.items
        and data.bytes <= agreed.bytes
        and data.arguments == agreed.arguments
        and data.reason == agreed.reason
    )


def propose(command: ProposeCommand, digest: str, world: World) -> tuple[Rule, AnyCommand]:
    """Return `ProposalCreated`, and the command that is proposed, for whoever checks its form."""
    arguments = command.data.arguments
    if f"proposal/{command.id}" in world.entities:
        raise errors.AlreadyExists
    if not world.now_ms < to_milliseconds(arguments.expires_at) <= world.now_ms + MAX_LIFETIME_MS:
        raise errors.InvalidCommand("a proposal ends in the future, within 30 days")
    wanted = proposed_command(command)
    fact = {
        "proposal": command.id,
        "digest": digest,
        "verb": arguments.verb,
        "proposer": command.data.principal,
        "expires_at": arguments.expires_at,
    }
    return (facts.ProposalCreated, fact), wanted


def agreed_upon(command: Any, world: World) -> Proposal:
    """Return the proposal that an approval or denial is about. Raises what forbids this principal to decide it."""
    proposal = open_proposal(command.data.arguments.proposal, command.subject, world)
    if command.data.arguments.digest != proposal.digest:
        raise errors.ProposalMismatch
    if proposal.proposer == command.data.principal:
        raise errors.SelfApproval
    return proposal


CarryOut = Callable[[AnyCommand, Permission], Rule]


def approve(command: Any, world: World, carry_out: CarryOut) -> tuple[Rule, Proposal | None]:
    """Return the fact that one more approval makes, and the proposal if it is executed by it.

    `carry_out` states what the proposed command becomes. A refusal of it closes the proposal as failed; a denial
    leaves it waiting for more approvals; what is no decision yet leaves all as it is (`NotYet`).
    """
    proposal = agreed_upon(command, world)
    approver = command.data.principal
    if any(each.principal == approver for each in proposal.approvals):
        raise errors.AlreadyApproved
    wanted = proposed_in(proposal.command.encode())
    try:
        author = _author(proposal, world)
        permission = authorize(wanted, author, world, (*approvers(proposal, world), approver))
        if wanted.data_plane:
            return _counted(proposal, approver, "Approved", None), None
        return carry_out(wanted, permission), proposal
    except NotYet:
        raise
    except errors.AccessDenied:
        return _counted(proposal, approver, "Pending", None), None
    except errors.Refusal as refusal:
        return _counted(proposal, approver, "Failed", refusal.code), None


def _author(proposal: Proposal, world: World) -> Principal:
    """Return who proposed it. Raises `PrincipalRevoked`, and `AccessDenied` where that may be mended."""
    author = world.principal(proposal.proposer)
    if author is None or author.status == "Revoked":
        raise errors.PrincipalRevoked
    if not author.may_act(world.now_ms):
        raise errors.AccessDenied("the proposer is suspended, or out of time")
    return author


def _counted(proposal: Proposal, approver: str, status: str, code: str | None) -> Rule:
    return facts.ProposalApproved, {
        "proposal": proposal.proposal,
        "digest": proposal.digest,
        "approver": approver,
        "approvals": len(proposal.approvals) + 1,
        "status": status,
        "code": code,
    }


def _deny(command: Any, world: World) -> Rule:
    proposal = agreed_upon(command, world)
    return facts.ProposalDenied, {"proposal": proposal.proposal, "approver": command.data.principal}


def _cancel(command: Any, world: World) -> Rule:
    proposal = open_proposal(command.data.arguments.proposal, command.subject, world)
    return facts.ProposalCancelled, {"proposal": proposal.proposal}


def _may_act(name: str, world: World) -> bool:
    principal = world.principal(name)
    return isinstance(principal, Principal) and principal.may_act(world.now_ms)


RULES: Final[dict[str, Callable[[Any, World], Rule]]] = {"DenyProposal": _deny, "CancelProposal": _cancel}
