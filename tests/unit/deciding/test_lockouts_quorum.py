"""Lockouts where approvals are needed: policies stay repairable by those who are left, and keys stay open."""

import pytest
from tests.support.office import bare
from tests.support.people import signer
from tests.unit.deciding.council import approve, propose

from keyfold.events import facts
from keyfold.events.streams import REGISTRY
from keyfold.events.times import HOUR_MS


def test_policies_stay_repairable() -> None:
    """A change that would leave fewer than two who could repair the policies is refused, also under quorum."""
    made = bare(
        'permit (principal in Group::"approvers", action == Action::"ApproveProposal", resource);'
        'forbid (principal in Group::"administrators", action == Action::"ApproveProposal", resource);'
    )
    assert made.code("UpdatePrincipal", REGISTRY, arguments={"principal": "scheduler", "groups": []}) is None
    everybody = 'forbid (principal, action == Action::"PutPolicy", resource);'
    quorum = everybody.replace(";", " unless { context.approvals.count >= 2 };")

    def put(text: str) -> str | None:
        return made.code("PutPolicy", REGISTRY, arguments={"policy": "p", "text": text})

    assert put(everybody) == "AdministratorsNeeded"
    assert put(quorum) == "AdministratorsNeeded"
    made.register("ann", "approvers")
    assert put(quorum) == "AdministratorsNeeded"
    made.register("ben", "approvers")
    assert put(quorum) is None
    assert made.code("RevokePrincipal", REGISTRY, arguments={"principal": "ben"}) == "AdministratorsNeeded"
    assert made.code("RevokePrincipal", REGISTRY, arguments={"principal": "bob"}) == "AdministratorsNeeded"
    only_key = {"principal": "bob", "signing_key": signer("bob").fingerprint}
    assert made.code("RevokeSigningKey", REGISTRY, arguments=only_key) == "AdministratorsNeeded"
    assert made.code("SuspendPrincipal", REGISTRY, arguments={"principal": "bob"}) == "AdministratorsNeeded"
    no_group = {"principal": "bob", "groups": []}
    assert made.code("UpdatePrincipal", REGISTRY, arguments=no_group) == "AdministratorsNeeded"


def test_what_makes_it_no_worse_is_not_refused() -> None:
    """At a time when nobody can repair the policies anyway, a stranger can still be suspended, not an administrator."""
    made = bare('permit (principal in Group::"operators", action == Action::"SuspendPrincipal", resource);')
    assert made.code("UpdatePrincipal", REGISTRY, arguments={"principal": "scheduler", "groups": []}) is None
    made.register("oli", "operators")
    made.register("eve")
    hour = made.now_ms // HOUR_MS % 24
    closed = 'forbid (principal, action in [Action::"PutPolicy", Action::"DeletePolicy"], resource)'
    night = f"{closed} when {{ context.time.hour != {hour} }};"
    assert made.code("PutPolicy", REGISTRY, arguments={"policy": "night", "text": night}) is None
    made.now_ms += HOUR_MS
    assert made.code("SuspendPrincipal", REGISTRY, by="oli", arguments={"principal": "eve"}) is None
    assert made.code("SuspendPrincipal", REGISTRY, by="oli", arguments={"principal": "bob"}) == "AdministratorsNeeded"


@pytest.mark.parametrize("status", ["Enabled", "Disabled", "PendingDeletion"])
def test_a_key_is_not_closed_in_another_state(status: str) -> None:
    """A key's own policy must not close its policies in a state that the key can come into."""
    made = bare("")
    closing = f'forbid (principal, action, resource is Key) when {{ resource.status == "{status}" }};'
    assert made.code("PutPolicy", arguments={"policy": "p", "text": closing}) == "AdministratorsNeeded"


def test_a_key_is_not_closed_by_a_tag() -> None:
    """Neither by a tag that its policy asks for."""
    made = bare("")
    closing = 'forbid (principal, action, resource) when { resource.hasTag("closed") };'
    assert made.code("PutPolicy", arguments={"policy": "p", "text": closing}) is None
    assert made.code("TagResource", arguments={"tags": {"closed": "yes"}}) == "AdministratorsNeeded"
    assert made.code("TagResource", arguments={"tags": {"open": "yes"}}) is None


def test_an_approval_that_would_lock_out_closes_the_proposal() -> None:
    """What cannot be done has failed, with the reason, instead of waiting for a better day."""
    made = bare('forbid (principal, action == Action::"PutPolicy", resource) unless { context.approvals.count >= 1 };')
    text = 'forbid (principal, action in [Action::"PutPolicy", Action::"DeletePolicy"], resource);'
    proposal = propose(made, REGISTRY, verb="PutPolicy", arguments={"policy": "p", "text": text})
    event = approve(made, proposal, "bob", REGISTRY)
    assert isinstance(event, facts.ProposalApproved)
    assert (event.data.status, event.data.code) == ("Failed", "AdministratorsNeeded")
