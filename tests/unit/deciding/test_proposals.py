"""Proposals: who proposes, who approves, what is executed by which approval, exactly once, and what closes one."""

from hashlib import sha256
from typing import Any

import pytest
from tests.support.office import KEY, WEEK, bare
from tests.support.people import START_MS, command, uuid
from tests.unit.deciding.council import DELETION, OTHER, PEOPLE, RULES, approve, code_of, council, decide, propose

from keyfold.events import facts
from keyfold.events.streams import REGISTRY
from keyfold.events.times import DAY_MS, HOUR_MS, to_text


def test_a_verb_that_needs_approvals_is_refused_without() -> None:
    """The denial says that approvals are what is missing, and by which policy."""
    made = council()
    event = made.ask("ScheduleKeyDeletion", arguments=DELETION["arguments"])
    assert code_of(event) == "ApprovalRequired"
    assert event.data.decision.policies == ["registry/rules#2"]


def test_executed_by_the_last_approval() -> None:
    """Two of three approve; the second approval is the deletion, with the proposal and both names in its decision."""
    made = council()
    proposal = propose(made)
    first = approve(made, proposal, "ann")
    assert isinstance(first, facts.ProposalApproved)
    assert (first.data.status, first.data.approvals) == ("Pending", 1)
    assert made.key().status == "Enabled"
    second = approve(made, proposal, "ben")
    assert isinstance(second, facts.KeyDeletionScheduled)
    assert made.key().status == "PendingDeletion"
    use = second.data.decision.proposal
    assert use is not None
    assert (use.proposal, use.approvers) == (proposal, ["ann", "ben"])
    assert sha256(use.command.encode()).hexdigest() == made.proposal(proposal).digest
    assert second.data.decision.command.startswith("{")
    assert '"principal": "ben"' in second.data.decision.command
    done = made.proposal(proposal)
    assert (done.status, done.closed_at, done.closed_by) == ("Executed", second.time, "ben")
    assert [approval.principal for approval in done.approvals] == ["ann", "ben"]


def test_executed_exactly_once() -> None:
    """Approvals behind the one that executed it, in the same batch or later, change nothing."""
    made = council()
    proposal = propose(made)
    digest = {"proposal": proposal, "digest": made.proposal(proposal).digest}
    made.decide(
        *(command("ApproveProposal", KEY, 900 + n, principal=p, arguments=digest) for n, p in enumerate(PEOPLE))
    )
    kinds = [type(event) for event in made.events[-3:]]
    assert kinds == [facts.ProposalApproved, facts.KeyDeletionScheduled, facts.CommandDenied]
    assert code_of(approve(made, proposal, "cem")) == "ProposalClosed"
    made.ask("CancelKeyDeletion")
    assert code_of(approve(made, proposal, "ben")) == "ProposalClosed"
    assert made.key().status == "Disabled"


def test_who_may_not_approve() -> None:
    """Not the proposer, not who has approved, not who no policy permits."""
    made = bare(RULES.replace('Group::"approvers"', 'Group::"administrators"'))
    proposal = propose(made)
    assert code_of(approve(made, proposal, "alice")) == "SelfApproval"
    assert code_of(approve(made, proposal, "bob")) is None
    assert code_of(approve(made, proposal, "bob")) == "AlreadyApproved"
    made.register("carol")
    assert code_of(approve(made, proposal, "carol")) == "AccessDenied"
    assert made.proposal(proposal).status == "Pending"


def test_an_approval_is_of_what_was_read() -> None:
    """An approval names the digest of the proposal; another one is refused."""
    made = council()
    proposal = propose(made)
    assert code_of(approve(made, proposal, "ann", digest="0" * 64)) == "ProposalMismatch"
    assert code_of(decide(made, "DenyProposal", proposal, "ann", digest="0" * 64)) == "ProposalMismatch"


def test_an_approval_counts_while_its_author_may_act() -> None:
    """The approval of somebody who was revoked meanwhile does not count."""
    made = council()
    proposal = propose(made)
    approve(made, proposal, "ann")
    assert made.code("RevokePrincipal", REGISTRY, arguments={"principal": "ann"}) is None
    third = approve(made, proposal, "ben")
    assert isinstance(third, facts.ProposalApproved)
    assert third.data.status == "Pending"
    last = approve(made, proposal, "cem")
    assert isinstance(last, facts.KeyDeletionScheduled)
    assert last.data.decision.proposal is not None
    assert last.data.decision.proposal.approvers == ["ben", "cem"]


def test_a_proposal_of_somebody_who_was_revoked_fails() -> None:
    """Nothing is executed for who may not act any more."""
    made = council()
    made.register("carl", "administrators")
    proposal = propose(made, by="carl")
    approve(made, proposal, "ann")
    assert made.code("RevokePrincipal", REGISTRY, arguments={"principal": "carl"}) is None
    event = approve(made, proposal, "ben")
    assert isinstance(event, facts.ProposalApproved)
    assert (event.data.status, event.data.code) == ("Failed", "PrincipalRevoked")
    assert made.key().status == "Enabled"


def test_a_proposal_of_somebody_who_is_suspended_waits() -> None:
    """A suspension may be taken back: until then approvals are counted and nothing is executed."""
    made = council()
    made.register("carl", "administrators")
    proposal = propose(made, by="carl")
    assert made.code("SuspendPrincipal", REGISTRY, arguments={"principal": "carl"}) is None
    for name in ("ann", "ben"):
        event = approve(made, proposal, name)
        assert isinstance(event, facts.ProposalApproved)
        assert event.data.status == "Pending"
    assert made.code("ResumePrincipal", REGISTRY, arguments={"principal": "carl"}) is None
    assert isinstance(approve(made, proposal, "cem"), facts.KeyDeletionScheduled)


def test_a_refusal_of_state_closes_the_proposal() -> None:
    """What cannot be carried out when its last approval comes has failed, with the reason, once and for all."""
    made = council()
    first, second = propose(made), propose(made)
    for proposal in (first, second):
        approve(made, proposal, "ann")
    assert isinstance(approve(made, first, "ben"), facts.KeyDeletionScheduled)
    event = approve(made, second, "ben")
    assert isinstance(event, facts.ProposalApproved)
    assert (event.data.status, event.data.code) == ("Failed", "KeyPendingDeletion")
    assert (made.proposal(second).status, made.proposal(second).code) == ("Failed", "KeyPendingDeletion")
    assert code_of(approve(made, second, "cem")) == "ProposalClosed"


# Closing


def test_expiry_to_the_millisecond() -> None:
    """An approval that comes at the proposal's end is too late; one before is not."""
    made = council()
    early, late = propose(made), propose(made)
    for proposal in (early, late):
        approve(made, proposal, "ann")
    made.now_ms += DAY_MS - 1
    assert isinstance(approve(made, early, "ben"), facts.KeyDeletionScheduled)
    made.now_ms += 1
    assert code_of(approve(made, late, "ben")) == "ProposalExpired"
    assert code_of(made.ask("CancelProposal", arguments={"proposal": late})) == "ProposalExpired"


def test_one_denial_closes_it() -> None:
    """Who may approve may deny: then no approval helps."""
    made = council()
    proposal = propose(made)
    approve(made, proposal, "ann")
    assert isinstance(decide(made, "DenyProposal", proposal, "ben"), facts.ProposalDenied)
    assert code_of(approve(made, proposal, "cem")) == "ProposalClosed"
    assert (made.proposal(proposal).status, made.proposal(proposal).closed_by) == ("Denied", "ben")


def test_the_proposer_cancels_without_a_policy() -> None:
    """A proposal is taken back by who made it, or whom a policy permits; by nobody else."""
    made = council()
    proposal = propose(made, by="greta", reason="fire", verb="Decrypt", contexts=[{}], items=1, bytes=100)
    assert code_of(made.ask("CancelProposal", by="ann", arguments={"proposal": proposal})) == "AccessDenied"
    event = made.ask("CancelProposal", by="greta", arguments={"proposal": proposal})
    assert isinstance(event, facts.ProposalCancelled)
    assert event.data.decision.policies == [f"proposal/{proposal}"]
    assert code_of(approve(made, proposal, "ann")) == "ProposalClosed"


# What is proposed


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"verb": "ScheduleKeyDeletion"}, "InvalidCommand"),
        ({"verb": "ScheduleKeyDeletion", "arguments": {"pending_window_seconds": 0}}, "InvalidCommand"),
        ({"verb": "ScheduleKeyDeletion", "arguments": {"pending_window_seconds": WEEK, "x": 1}}, "InvalidCommand"),
        ({"verb": "NoSuchVerb"}, "InvalidCommand"),
        ({"verb": "ApproveProposal", "arguments": {}}, "InvalidCommand"),
        ({"verb": "ProposeCommand", "arguments": {}}, "InvalidCommand"),
        ({"verb": "GenerateRandom", "contexts": [{}], "items": 1, "bytes": 0}, "InvalidCommand"),
        ({"verb": "CreateAlias", "arguments": {"alias": "alias/a", "key_id": uuid(1)}}, "InvalidCommand"),
        ({"verb": "Decrypt"}, "InvalidCommand"),
        ({"verb": "Decrypt", "contexts": [{}], "items": 1}, "InvalidCommand"),
        ({"verb": "EnableKey", "contexts": [{}], "items": 1, "bytes": 1}, "InvalidCommand"),
        ({"verb": "Decrypt", "contexts": [{"a": "x" * 9000}], "items": 1, "bytes": 1}, "BatchTooLarge"),
        ({"verb": "Decrypt", "contexts": [{}, {}], "items": 2, "bytes": 1}, "InvalidCommand"),
        ({"expires_at": to_text(START_MS), **DELETION}, "InvalidCommand"),
        ({"expires_at": to_text(START_MS + 30 * DAY_MS), **DELETION}, None),
        ({"expires_at": to_text(START_MS + 30 * DAY_MS + 1), **DELETION}, "InvalidCommand"),
    ],
)
def test_what_can_be_proposed(wish: dict[str, Any], code: str | None) -> None:
    """What could never be carried out is refused when it is proposed, not when it is approved."""
    arguments = {"expires_at": to_text(START_MS + HOUR_MS)} | wish
    assert council().code("ProposeCommand", arguments=arguments) == code


def test_a_proposal_on_another_stream_is_not_found() -> None:
    """Approvals count on the proposal's own stream only, which orders them."""
    made = council()
    made.ask("CreateKey", OTHER)
    proposal = propose(made)
    digest = made.proposal(proposal).digest
    wrong = made.ask("ApproveProposal", OTHER, by="ann", arguments={"proposal": proposal, "digest": digest})
    assert code_of(wrong) == "NotFound"


def test_registry_verbs_under_quorum() -> None:
    """A policy change needs two approvals, and is one registry revision when it comes."""
    made = council()
    text = "permit (principal, action, resource);"
    wish = {"verb": "PutPolicy", "arguments": {"policy": "p", "text": text}}
    assert made.code("PutPolicy", REGISTRY, arguments=wish["arguments"]) == "ApprovalRequired"
    proposal = propose(made, REGISTRY, **wish)
    approve(made, proposal, "ann", REGISTRY)
    event = approve(made, proposal, "ben", REGISTRY)
    assert isinstance(event, facts.PolicyPut)
    assert event.data.text == text
    made.ask("CreateKey", OTHER)
    assert made.code("Encrypt", OTHER, by="ann") is None


def test_a_key_is_created_by_its_proposer() -> None:
    """What a proposal executes is its author's doing, also when another one's approval executes it."""
    made = council()
    made.ask(
        "PutPolicy",
        arguments={"policy": "none", "text": 'forbid (principal, action == Action::"EnableKey", resource);'},
    )
    rule = 'forbid (principal, action == Action::"CreateKey", resource) unless { context.approvals.count >= 1 };'
    wish = {"verb": "PutPolicy", "arguments": {"policy": "create", "text": rule}}
    proposal = propose(made, REGISTRY, **wish)
    for name in ("ann", "ben"):
        approve(made, proposal, name, REGISTRY)
    assert made.code("CreateKey", OTHER) == "ApprovalRequired"
    creation = propose(made, OTHER, verb="CreateKey", arguments={"protection": "SOFTWARE"})
    event = approve(made, creation, "cem", OTHER)
    assert isinstance(event, facts.KeyCreated)
    assert (event.data.created_by, event.data.protection) == ("alice", "SOFTWARE")


def test_a_dry_run_of_an_approval_executes_nothing() -> None:
    """A dry run says what the approval would become."""
    made = council()
    proposal = propose(made)
    approve(made, proposal, "ann")
    arguments = {"proposal": proposal, "digest": made.proposal(proposal).digest}
    event = made.ask("ApproveProposal", by="ben", arguments=arguments, dry_run=True)
    assert isinstance(event, facts.DryRunSucceeded)
    assert event.data.would_be == facts.KeyDeletionScheduled.type_name
    assert made.proposal(proposal).status == "Pending"
    assert isinstance(approve(made, proposal, "ben"), facts.KeyDeletionScheduled)


def test_what_is_no_decision_yet_closes_no_proposal() -> None:
    """While an import is under way, the approval can be sent again."""
    made = council()
    made.ask("CreateKey", OTHER, arguments={"origin": "EXTERNAL"})
    issued = made.ask("GetParametersForImport", OTHER)
    assert isinstance(issued, facts.ImportParametersIssued)
    made.ask("ImportKeyMaterial", OTHER, arguments={"import_token": issued.data.import_token}, items=1, size=300)
    proposal = propose(made, OTHER, verb="RotateKey", arguments={})
    with pytest.raises(IndexError):
        approve(made, proposal, "ann", OTHER)
    assert (made.reply(OTHER), made.proposal(proposal, OTHER).status) == ("RegistryBehind", "Pending")
