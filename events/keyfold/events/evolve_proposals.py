"""How events about proposals change them. Part of `evolve`, which says what all handlers promise."""

from collections.abc import Callable
from typing import Any, Final

from keyfold.events import facts
from keyfold.events.entities import Approval, Proposal, ProposalStatus
from keyfold.events.strictjson import loads
from keyfold.events.view import Changes, View, get


def _proposal_created(_view: View, event: facts.ProposalCreated) -> Changes:
    data, decision = event.data, event.data.decision
    proposal = Proposal(
        proposal=data.proposal,
        stream=event.subject,
        digest=data.digest,
        command=decision.command,
        body_digest=decision.body_digest,
        signature=decision.signature,
        verb=data.verb,
        proposer=data.proposer,
        created_at=event.time,
        expires_at=data.expires_at,
    )
    return {f"proposal/{data.proposal}": proposal}


def _proposal_approved(view: View, event: facts.ProposalApproved) -> Changes:
    data = event.data
    name = f"proposal/{data.proposal}"
    proposal = get(view, name, Proposal)
    approval = Approval(principal=data.approver, command_id=_command_id(event), time=event.time)
    changed = proposal.model_copy(update={"approvals": (*proposal.approvals, approval)})
    closed = {"code": data.code, "closed_at": event.time, "closed_by": data.approver} if data.status == "Failed" else {}
    return {name: changed.model_copy(update={"status": data.status, **closed})}


def _sender(event: facts.PolicyEvent) -> str:
    return str(loads(event.data.decision.command.encode())["data"]["principal"])


def _command_id(event: facts.PolicyEvent) -> str:
    return str(loads(event.data.decision.command.encode())["id"])


def _proposal_closed(status: ProposalStatus) -> Callable[[View, Any], Changes]:
    def handler(view: View, event: facts.ProposalDenied | facts.ProposalCancelled) -> Changes:
        name = f"proposal/{event.data.proposal}"
        denier = event.data.approver if isinstance(event, facts.ProposalDenied) else None
        update = {"status": status, "closed_at": event.time, "closed_by": denier or _sender(event)}
        return {name: get(view, name, Proposal).model_copy(update=update)}

    return handler


def executed(view: View, event: facts.PolicyEvent, use: facts.ProposalUse) -> Changes:
    """Return the proposal that a decision executed: the approval that does it has no event of its own."""
    name = f"proposal/{use.proposal}"
    proposal = get(view, name, Proposal)
    principal, approvals = _sender(event), proposal.approvals
    if principal != proposal.proposer:
        approvals = (*approvals, Approval(principal=principal, command_id=_command_id(event), time=event.time))
    update = {"status": "Executed", "approvals": approvals, "closed_at": event.time, "closed_by": principal}
    return {name: proposal.model_copy(update=update)}


HANDLERS: Final[dict[type[facts.Event], Callable[[View, Any], Changes]]] = {
    facts.ProposalCreated: _proposal_created,
    facts.ProposalApproved: _proposal_approved,
    facts.ProposalDenied: _proposal_closed("Denied"),
    facts.ProposalCancelled: _proposal_closed("Cancelled"),
}
