"""`evolve`: proposals, from the proposing command to its end."""

from hashlib import sha256
from typing import Any

import pytest
from tests.unit.events.book import LATER, Book

from keyfold.events import commands, facts
from keyfold.events.entities import Approval, Proposal
from keyfold.events.times import to_milliseconds

END = "2026-02-28T12:00:00.000Z"


@pytest.fixture
def proposal(examples: Any) -> str:
    """The proposal of the examples."""
    name: str = examples.command_id("ProposeCommand")
    return name


@pytest.fixture
def proposed(with_key: Book) -> Book:
    """A deployment with one key and a proposal to destroy it."""
    with_key.tell(facts.ProposalCreated)
    return with_key


@pytest.fixture
def carried(examples: Any) -> dict[str, Any]:
    """What a decision says that carries the proposal out."""
    event = examples.event_variants()["KeyDestroyed by a proposal"]
    return {"proposal": event.data.decision.proposal}


def approve(book: Book, status: str = "Pending", **data: Any) -> dict[str, Any]:
    return book.tell(facts.ProposalApproved, status=status, **data)


def test_created(proposed: Book, proposal: str, examples: Any) -> None:
    """A proposal is pending, and holds the proposing command as its author signed it."""
    made = proposed.proposal(proposal)
    assert (made.status, made.verb, made.proposer, made.stream) == (
        "Pending", "DestroyKeyNow", "alice", examples.KEY_STREAM,
    )  # fmt: skip
    example = examples.command_example("ProposeCommand")
    assert (made.command, made.digest, made.signature) == (
        example["value"], example["digest"], example["signature_hex"],
    )  # fmt: skip
    assert made.body_digest == sha256(examples.SEALED).hexdigest()
    assert commands.parse_command(made.command.encode()).id == proposal
    assert (made.created_at, made.expires_at, made.approvals) == (LATER, END, ())
    assert (made.closed_at, made.closed_by, made.code, made.open) == (None, None, None, True)


def test_expired(proposed: Book, proposal: str) -> None:
    """An open proposal is over from the instant of its end on; a closed one is not said to be."""
    end = to_milliseconds(END)
    assert [proposed.proposal(proposal).expired(now) for now in (end - 1, end)] == [False, True]
    proposed.tell(facts.ProposalCancelled)
    assert not proposed.proposal(proposal).expired(end)


def test_approved(proposed: Book, proposal: str, examples: Any) -> None:
    """Approvals are kept in order, each with its command; the proposal is pending still, and nothing else changes."""
    changes = approve(proposed)
    assert set(changes) == {f"proposal/{proposal}"}
    first = Approval(principal="carol", command_id=examples.command_id("ApproveProposal"), time=LATER)
    assert (proposed.proposal(proposal).approvals, proposed.proposal(proposal).status) == ((first,), "Pending")
    approve(proposed, approver="dave")
    assert [each.principal for each in proposed.proposal(proposal).approvals] == ["carol", "dave"]
    assert proposed.proposal(proposal).open


def test_approved_for_a_use(proposed: Book, proposal: str) -> None:
    """A use that was approved may be sent now: approved, open, not closed, and over when its time is."""
    approve(proposed, "Approved")
    made = proposed.proposal(proposal)
    assert (made.status, made.open, made.closed_at, made.closed_by) == ("Approved", True, None, None)
    assert made.expired(to_milliseconds(END))


def test_failed(proposed: Book, proposal: str) -> None:
    """Where what was proposed is refused at last, the proposal has failed with the code; the approval stays."""
    approve(proposed, "Failed", code="InvalidState")
    made = proposed.proposal(proposal)
    assert (made.status, made.code, made.closed_at, made.closed_by) == ("Failed", "InvalidState", LATER, "carol")
    assert [each.principal for each in made.approvals] == ["carol"]
    assert not made.open


def test_denied(proposed: Book, proposal: str) -> None:
    """One denial closes it, and says by whom."""
    approve(proposed)
    proposed.tell(facts.ProposalDenied, approver="dave")
    made = proposed.proposal(proposal)
    assert (made.status, made.closed_at, made.closed_by, made.open) == ("Denied", LATER, "dave", False)
    assert [each.principal for each in made.approvals] == ["carol"]


@pytest.mark.parametrize("before", ["Pending", "Approved"])
def test_cancelled(proposed: Book, proposal: str, before: str) -> None:
    """It can be cancelled while it is open, approved or not."""
    approve(proposed, before)
    proposed.tell(facts.ProposalCancelled)
    made = proposed.proposal(proposal)
    assert (made.status, made.closed_at, made.open) == ("Cancelled", LATER, False)


EXECUTES: list[tuple[type[facts.Event], dict[str, Any]]] = [
    (facts.KeyDestroyed, {}),
    (facts.KeyDisabled, {}),
    (facts.KeyTagged, {}),
    (facts.GrantCreated, {}),
    (facts.PolicyPut, {}),
    (facts.CommandAuthorized, {"verb": "Decrypt", "key_version": None}),
    (facts.PrincipalRegistered, {}),
    (facts.LimitPut, {}),
    (facts.SuppressionPut, {}),
]


@pytest.mark.parametrize(("kind", "data"), EXECUTES, ids=lambda value: getattr(value, "__name__", ""))
def test_executed(
    proposed: Book, proposal: str, carried: dict[str, Any], kind: type[facts.Event], data: dict[str, Any]
) -> None:
    """Whatever fact the proposed command becomes, it executes the proposal beside its own changes."""
    approve(proposed, "Approved")
    before = dict(proposed.view)
    plain = set(proposed.tell(kind, **data))
    proposed.view = before
    changes = proposed.tell(kind, why=carried, **data)
    assert set(changes) == {*plain, f"proposal/{proposal}"}
    made = proposed.proposal(proposal)
    assert (made.status, made.closed_at, made.closed_by, made.open) == ("Executed", LATER, "alice", False)
    assert [each.principal for each in made.approvals] == ["carol"]


def test_executed_by_the_last_approval(proposed: Book, proposal: str, examples: Any) -> None:
    """The approval that executes a control verb is in that verb's own fact: it stands last, and closes the proposal."""
    approve(proposed, approver="dave")
    proposed.fold(examples.event_variants()["KeyDestroyed by a proposal"])
    made = proposed.proposal(proposal)
    assert (made.status, made.closed_at, made.closed_by) == ("Executed", examples.TIME, "carol")
    assert [each.principal for each in made.approvals] == ["dave", "carol"]
    last = Approval(principal="carol", command_id=examples.command_id("ApproveProposal"), time=examples.TIME)
    assert made.approvals[-1] == last
    assert proposed.key().status == "Destroyed"


def test_executed_by_its_proposer(with_key: Book, examples: Any) -> None:
    """A use that was approved is executed by its proposer's own command, which is no approval."""
    use = examples.command_id("ProposeCommand of a use")
    with_key.tell(facts.GrantCreated, grant=examples.command_id("CreateGrant"))
    with_key.tell(facts.ProposalCreated, proposal=use)
    with_key.fold(examples.event_variants()["ProposalApproved for a use"])
    assert with_key.proposal(use).open
    changes = with_key.fold(examples.event_variants()["CommandAuthorized as proposed, under a grant and a limit"])
    made = with_key.proposal(use)
    assert (made.status, made.closed_by) == ("Executed", "alice")
    assert [each.principal for each in made.approvals] == ["carol"]
    levels = {"bucket/rate/readers-rate/alice", f"bucket/quota/alice-quota/alice/{examples.KEY_ID}"}
    assert set(changes) == {f"proposal/{use}", f"grant/{examples.command_id('CreateGrant')}", *levels}


@pytest.mark.parametrize("kind", [facts.CommandDenied, facts.DryRunSucceeded])
def test_not_executed(proposed: Book, carried: dict[str, Any], kind: type[facts.Event]) -> None:
    """A denial or a dry run executes nothing, whatever it says of a proposal."""
    assert proposed.tell(kind, why=carried) == {}


def test_executed_on_the_registry(book: Book, carried: dict[str, Any], proposal: str) -> None:
    """On the registry the executing fact counts once; work for the worker that changes nothing else counts not."""
    book.tell(facts.ProposalCreated, "registry")
    book.tell(facts.PolicyPut, "registry", why=carried)
    assert book.deployment().revision == 2
    assert book.proposal(proposal).status == "Executed"
    book.tell(facts.CommandAuthorized, "registry", why=carried, verb="RotateSealingKey", key_version=None)
    assert book.deployment().revision == 2


def test_unknown_proposal(with_key: Book, carried: dict[str, Any]) -> None:
    """The execution of a proposal that does not exist cannot follow."""
    with pytest.raises(KeyError):
        with_key.tell(facts.KeyDisabled, why=carried)


def test_statuses_are_all_reached() -> None:
    """The tests above reach every status that a proposal can have."""
    reached = {"Pending", "Approved", "Executed", "Failed", "Denied", "Cancelled"}
    assert set(Proposal.model_fields["status"].annotation.__args__) == reached  # type: ignore[union-attr]
