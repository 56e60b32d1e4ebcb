"""Data-plane verbs under quorum: what was approved is sent by its proposer, once, within what was agreed to."""

from typing import Any

import pytest
from tests.support.office import KEY, Office
from tests.support.people import command, uuid
from tests.unit.deciding.council import approve, council, propose

from keyfold.events import facts


def glass(made: Office, items: int = 2, size: int = 100) -> str:
    return propose(made, by="greta", reason="fire", verb="Decrypt", contexts=[{"t": "1"}], items=items, bytes=size)


def test_break_glass() -> None:
    """A decrypt that was approved by two is sent by its proposer, once, within what was agreed to."""
    made = council()
    options = {"by": "greta", "reason": "fire", "contexts": [{"t": "1"}]}
    assert made.code("Decrypt", **options) == "ApprovalRequired"
    proposal = glass(made)
    first = approve(made, proposal, "ann")
    assert isinstance(first, facts.ProposalApproved)
    assert first.data.status == "Pending"
    assert made.code("Decrypt", proposal=proposal, **options) == "ApprovalRequired"
    second = approve(made, proposal, "ben")
    assert isinstance(second, facts.ProposalApproved)
    assert second.data.status == "Approved"
    event = made.ask("Decrypt", proposal=proposal, items=2, size=100, **options)
    assert isinstance(event, facts.CommandAuthorized)
    assert event.data.decision.proposal is not None
    assert event.data.decision.proposal.approvers == ["ann", "ben"]
    assert made.code("Decrypt", proposal=proposal, **options) == "ProposalClosed"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"items": 3}, "ProposalMismatch"),
        ({"size": 101}, "ProposalMismatch"),
        ({"contexts": [{"t": "2"}]}, "ProposalMismatch"),
        ({"reason": "curious"}, "ProposalMismatch"),
        ({"by": "alice"}, "AccessDenied"),
        ({"proposal": uuid(0xABC)}, "NotFound"),
        ({}, None),
    ],
)
def test_only_what_was_agreed_to(more: dict[str, Any], code: str | None) -> None:
    """More items or bytes, another context, reason or principal is not what was approved."""
    made = council()
    proposal = glass(made)
    for name in ("ann", "ben"):
        approve(made, proposal, name)
    options = {"by": "greta", "reason": "fire", "contexts": [{"t": "1"}], "proposal": proposal, "items": 2, "size": 100}
    assert made.code("Decrypt", **(options | more)) == code


def test_two_commands_for_one_proposal() -> None:
    """Of two commands in one batch that name the same proposal, the first is executed."""
    made = council()
    proposal = glass(made)
    for name in ("ann", "ben"):
        approve(made, proposal, name)
    options = {"principal": "greta", "reason": "fire", "contexts": [{"t": "1"}], "proposal": proposal}
    made.decide(*(command("Decrypt", KEY, 900 + n, **options) for n in range(2)))
    assert [getattr(event.data, "code", None) for event in made.events[-2:]] == [None, "ProposalClosed"]
