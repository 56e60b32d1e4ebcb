"""Administrators, approvers and the rules that make them needed: for tests about proposals."""

from typing import Any

from tests.support.office import KEY, WEEK, Office, bare
from tests.support.people import key_on

from keyfold.events import facts
from keyfold.events.times import DAY_MS, to_text

OTHER = key_on(2, 500)
RULES = """
permit (principal in Group::"approvers", action in [Action::"ApproveProposal", Action::"DenyProposal"], resource);
forbid (principal, action in [Action::"ScheduleKeyDeletion", Action::"DestroyKeyNow"], resource)
    unless { context.approvals.count >= 2 };
permit (principal in Group::"break-glass", action in [Action::"Decrypt", Action::"ProposeCommand"], resource)
    when { context.reason != "" };
forbid (principal, action == Action::"Decrypt", resource)
    unless { context.approvals.count >= 2 && context.reason != "" };
forbid (principal, action in [Action::"PutPolicy", Action::"DeletePolicy"], resource is Registry)
    unless { context.approvals.count >= 2 };
"""
DELETION = {"verb": "ScheduleKeyDeletion", "arguments": {"pending_window_seconds": WEEK}}
PEOPLE = ("ann", "ben", "cem")


def council() -> Office:
    """Two administrators, three approvers, and one who may break the glass."""
    made = bare(RULES)
    for name in PEOPLE:
        made.register(name, "approvers")
    made.register("greta", "break-glass")
    return made


def propose(made: Office, stream: str = KEY, by: str = "alice", reason: str | None = None, **wish: Any) -> str:
    """Propose and return the proposal's id."""
    arguments = {"expires_at": to_text(made.now_ms + DAY_MS)} | (wish or DELETION)
    event = made.ask("ProposeCommand", stream, by=by, arguments=arguments, reason=reason)
    assert isinstance(event, facts.ProposalCreated), event
    return event.data.proposal


def decide(made: Office, verb: str, proposal: str, by: str, stream: str = KEY, **more: Any) -> facts.PolicyEvent:
    """Approve or deny a proposal, by its digest unless told otherwise; returns what became of that."""
    digest = made.proposal(proposal, stream).digest
    return made.ask(verb, stream, by=by, arguments={"proposal": proposal, "digest": digest} | more)


def approve(made: Office, proposal: str, by: str, stream: str = KEY, **more: Any) -> facts.PolicyEvent:
    """Approve a proposal; returns what became of that."""
    return decide(made, "ApproveProposal", proposal, by, stream, **more)


def code_of(event: facts.PolicyEvent) -> str | None:
    """Why it was denied; None if it was not."""
    return event.data.code if isinstance(event, facts.CommandDenied) else None
