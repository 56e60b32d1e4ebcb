"""Who could still repair the registry's policies: administrators who may, alone or with the approvals that exist."""

from collections.abc import Iterable
from typing import Any

import pytest
from tests.unit.deciding.cedar_requests import MONDAY_NINE, SIGNING_KEY, principal, registry

from keyfold.deciding.cedar import Authorizer, Request, Verdict
from keyfold.deciding.repair import repairers
from keyfold.events.entities import Deployment, Entity, Principal

HOUR = 3_600_000
PAST, FUTURE = "2026-01-05T09:00:00.000Z", "2026-01-05T09:00:00.001Z"  # MONDAY_NINE, when it is over, and a bit later
ADMINISTRATORS = 'permit(principal in Group::"administrators", action, resource);'
APPROVERS = 'permit(principal in Group::"approvers", action == Action::"ApproveProposal", resource);'
QUORUM = """forbid(principal, action in [Action::"PutPolicy", Action::"DeletePolicy"], resource)
unless { context.approvals.count >= 2 };"""


def admin(name: str, *groups: str, **changes: Any) -> Principal:
    return principal(name, ("administrators", *groups)).model_copy(update=changes)


def approver(name: str, **changes: Any) -> Principal:
    return principal(name, ("approvers",)).model_copy(update=changes)


ANN, BEN, CAT, DAN = (admin(name) for name in ("ann", "ben", "cat", "dan"))
XEN, YAN, ZOE = (approver(name) for name in ("xen", "yan", "zoe"))


def supposed(people: Iterable[Principal], *texts: str) -> dict[str, Entity]:
    deployment = Deployment(root_public_key="0" * 64, partitions=4, development=True, policies_revision=3)
    return registry(*texts, people=tuple(people)) | {"deployment": deployment}


def count(people: Iterable[Principal], *texts: str, enough: int = 100, now_ms: int = MONDAY_NINE) -> int:
    return repairers(Authorizer(), supposed(people, *texts), now_ms, enough)


class Asked(Authorizer):
    """Records who is asked for what, with how many approvals."""

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[tuple[str, str, int]] = []

    def supposing(self, registry: Any) -> "Asked":
        return self

    def authorize(self, request: Request, registry: Any, revision: int) -> Verdict:
        self.questions.append((request.principal.principal, request.action, len(request.approvals)))
        return super().authorize(request, registry, revision)


def test_administrators_who_may() -> None:
    """Each administrator whom the policies allow both verbs counts; nobody else does, whatever she may."""
    everything = "permit(principal, action, resource);"
    assert count([ANN, BEN, XEN], ADMINISTRATORS) == 2
    assert count([ANN, BEN, XEN], everything) == 2
    assert count([XEN, YAN], everything) == 0
    assert count([ANN, BEN]) == 0
    assert count([]) == 0


@pytest.mark.parametrize("verb", ["PutPolicy", "DeletePolicy"])
def test_both_verbs_are_needed(verb: str) -> None:
    """Who could only put policies, or only delete them, repairs nothing."""
    assert count([ANN, BEN], f'permit(principal, action == Action::"{verb}", resource);') == 0
    assert count([ANN, BEN], ADMINISTRATORS, f'forbid(principal, action == Action::"{verb}", resource);') == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "Suspended"},
        {"status": "Revoked"},
        {"expires_at": PAST},
        {"keys": ()},
        {"keys": (SIGNING_KEY.model_copy(update={"status": "Revoked"}),)},
        {"keys": (SIGNING_KEY.model_copy(update={"expires_at": PAST}),)},
    ],
    ids=["suspended", "revoked", "expired", "keyless", "key revoked", "key expired"],
)
def test_who_cannot_act_does_not_count(changes: dict[str, Any]) -> None:
    """Neither an administrator nor an approver counts who could not get a command accepted at this time."""
    assert count([ANN, admin("ben", **changes)], ADMINISTRATORS) == 1
    assert count([ANN, XEN, approver("yan", **changes)], ADMINISTRATORS, APPROVERS, QUORUM) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_at": FUTURE},
        {"keys": (SIGNING_KEY.model_copy(update={"expires_at": FUTURE}),)},
        {"principal_type": "federated"},
    ],
    ids=["expires", "key expires", "federated"],
)
def test_whose_rights_end_by_themselves_does_not_count(changes: dict[str, Any]) -> None:
    """Time passes without a command that could be refused: only who lasts is somebody to rely on."""
    assert count([ANN, admin("ben", **changes)], ADMINISTRATORS) == 1
    assert count([ANN, XEN, approver("yan", **changes)], ADMINISTRATORS, APPROVERS, QUORUM) == 0


def test_one_of_two_keys_is_enough() -> None:
    """A second key that is revoked, or that ends, takes nothing away."""
    for update in ({"status": "Revoked"}, {"expires_at": FUTURE}):
        keys = (SIGNING_KEY.model_copy(update=update), SIGNING_KEY)
        assert count([ANN, admin("ben", keys=keys)], ADMINISTRATORS) == 2


@pytest.mark.parametrize(("approvers", "expected"), [(0, 0), (1, 0), (2, 2), (3, 2)])
def test_a_quorum_of_two(approvers: int, expected: int) -> None:
    """A quorum can be met if enough others may approve, however few administrators there are."""
    approve = 'forbid(principal in Group::"administrators", action == Action::"ApproveProposal", resource);'
    assert count([ANN, BEN, *[XEN, YAN, ZOE][:approvers]], ADMINISTRATORS, APPROVERS, QUORUM, approve) == expected


@pytest.mark.parametrize(("administrators", "expected"), [(1, 0), (2, 0), (3, 3), (4, 4)])
def test_nobody_approves_what_she_proposes(administrators: int, expected: int) -> None:
    """Administrators may approve each other's proposals, so a quorum of two needs three of them."""
    assert count([ANN, BEN, CAT, DAN][:administrators], ADMINISTRATORS, QUORUM) == expected


def test_approvals_by_name() -> None:
    """A named approver is needed as long as the policy says so: if she cannot approve, nothing can be repaired."""
    named = QUORUM.replace("context.approvals.count >= 2", 'context.approvals.principals.contains(Principal::"xen")')
    assert count([ANN, BEN, XEN], ADMINISTRATORS, APPROVERS, named) == 2
    assert count([ANN, BEN, YAN], ADMINISTRATORS, APPROVERS, named) == 0
    assert count([ANN, BEN, approver("xen", status="Suspended")], ADMINISTRATORS, APPROVERS, named) == 0


def test_who_may_approve_whom() -> None:
    """Approvers are asked about proposals of this very administrator, with what is known of her."""
    apart = """forbid(principal, action == Action::"ApproveProposal", resource)
    unless { context has target && context.target in Group::"trusted" };"""
    trusted = admin("cat", "trusted")
    assert count([ANN, BEN, trusted], ADMINISTRATORS, QUORUM, apart) == 1
    assert count([ANN, BEN, CAT], ADMINISTRATORS, QUORUM, apart) == 0


def test_approvals_need_a_proposal() -> None:
    """With a quorum, who may not propose counts only if she needs no approvals."""
    forbid = 'forbid(principal == Principal::"ann", action == Action::"ProposeCommand", resource);'
    assert count([ANN, BEN, CAT], ADMINISTRATORS, QUORUM, forbid) == 2
    assert count([ANN, BEN, CAT], ADMINISTRATORS, forbid) == 3


def test_a_quorum_on_one_verb() -> None:
    """Each verb may be open by its own way: putting at once, deleting by a proposal."""
    quorum = QUORUM.replace('Action::"PutPolicy", ', "")
    never = 'forbid(principal, action == Action::"PutPolicy", resource) when { context.approvals.count > 0 };'
    assert count([ANN, BEN, CAT], ADMINISTRATORS, quorum, never) == 3
    assert count([ANN, BEN], ADMINISTRATORS, quorum, never) == 0


def test_a_larger_quorum_on_one_verb() -> None:
    """Both verbs must be within reach of those who may approve."""
    larger = QUORUM.replace('Action::"PutPolicy", ', "").replace(">= 2", ">= 3")
    assert count([ANN, BEN, CAT], ADMINISTRATORS, QUORUM, larger) == 0
    assert count([ANN, BEN, CAT, DAN], ADMINISTRATORS, QUORUM, larger) == 4


def test_a_quorum_on_approving() -> None:
    """Who could approve only with approvals of her own cannot approve the first proposal."""
    assert count([ANN, BEN, CAT], ADMINISTRATORS, QUORUM.replace('"DeletePolicy"', '"ApproveProposal"')) == 0


def test_a_forbid_on_administrators() -> None:
    """A policy that takes the administrators' verbs away locks out, as does one that cannot be evaluated or read."""
    forbid = 'forbid(principal in Group::"administrators", action, resource is Registry);'
    assert count([ANN, BEN], ADMINISTRATORS, forbid) == 0
    assert count([ANN, admin("ben", "exempt")], ADMINISTRATORS, forbid.replace(
        ";", ' unless { principal in Group::"exempt" };'
    )) == 1  # fmt: skip
    assert count([ANN, BEN], ADMINISTRATORS, "permit(") == 0
    erring = "forbid(principal, action, resource) when { (context.items + 2) * 9223372036854775807 > 1 };"
    assert count([ANN, BEN], ADMINISTRATORS, erring) == 0


def test_a_forbid_on_one() -> None:
    """Who is forbidden by name is the only one who does not count."""
    assert count([ANN, BEN, CAT], ADMINISTRATORS, 'forbid(principal == Principal::"ben", action, resource);') == 2


def test_time() -> None:
    """A policy about time is judged at the time of asking."""
    daytime = "forbid(principal, action, resource) unless { context.time.hour == 9 };"
    assert count([ANN, BEN], ADMINISTRATORS, daytime) == 2
    assert count([ANN, BEN], ADMINISTRATORS, daytime, now_ms=MONDAY_NINE + HOUR) == 0


def test_a_reason_is_given() -> None:
    """A policy that demands some reason of everybody locks nobody out; one that demands a source is not met."""
    assert count([ANN, BEN], ADMINISTRATORS, 'forbid(principal, action, resource) when { context.reason == "" };') == 2
    assert count([ANN, BEN], ADMINISTRATORS, 'forbid(principal, action, resource) when { context.source == "" };') == 0


@pytest.mark.parametrize(("enough", "expected"), [(0, 0), (1, 1), (2, 2), (3, 3), (9, 4)])
def test_it_stops_when_it_has_enough(enough: int, expected: int) -> None:
    """Administrators are looked at in order of their names, and not one more than needed."""
    asked = Asked()
    assert repairers(asked, supposed([DAN, CAT, BEN, ANN], ADMINISTRATORS), MONDAY_NINE, enough) == expected
    assert [name for name, verb, _ in asked.questions if verb == "PutPolicy"] == ["ann", "ben", "cat", "dan"][:expected]


def test_approvers_are_looked_for_only_if_needed() -> None:
    """Nobody is asked about approving where no approvals are needed or none could help; else everybody else is."""
    hopeless = 'forbid(principal, action == Action::"PutPolicy", resource);'
    for texts in ([ADMINISTRATORS], [ADMINISTRATORS, hopeless]):
        asked = Asked()
        repairers(asked, supposed([ANN, BEN, XEN], *texts), MONDAY_NINE)
        assert not [verb for _, verb, _ in asked.questions if verb == "ApproveProposal"]
    asked = Asked()
    assert repairers(asked, supposed([ANN, BEN, CAT, XEN], ADMINISTRATORS, QUORUM), MONDAY_NINE) == 2
    assert [name for name, verb, _ in asked.questions if verb == "ApproveProposal"] == [
        "xen", "ben", "cat",
        "xen", "ann", "cat",
    ]  # fmt: skip
    assert [number for name, verb, number in asked.questions if verb == "PutPolicy"] == [0, 2, 0, 2]


def test_approvers_are_bounded() -> None:
    """Of the others who may act, a thousand are asked, approvers by group first; one beyond them is not seen."""
    crowd = [principal(f"p{n:03}") for n in range(998)]
    quorum = QUORUM.replace(">= 2", ">= 1")
    lonely = 'forbid(principal in Group::"administrators", action == Action::"ApproveProposal", resource);'
    texts = (ADMINISTRATORS, lonely, APPROVERS, quorum)
    asked = Asked()
    assert repairers(asked, supposed([ANN, BEN, *crowd, XEN, YAN], *texts), MONDAY_NINE, 1) == 1
    assert len([verb for _, verb, _ in asked.questions if verb == "ApproveProposal"]) == 1000
    early = principal("o")
    assert count([ANN, BEN, early, *crowd, XEN, YAN], *texts) == 2
    by_name = 'permit(principal == Principal::"zed", action == Action::"ApproveProposal", resource);'
    texts = (ADMINISTRATORS, lonely, by_name, quorum)
    assert count([ANN, BEN, early, *crowd, principal("p998"), principal("zed")], *texts) == 0
    idle = early.model_copy(update={"status": "Suspended"})
    assert count([ANN, BEN, idle, *crowd, principal("zed")], *texts) == 2


def test_proposers_are_bounded() -> None:
    """Of the administrators who would need approvals, ten are looked at; who needs none counts wherever she stands."""
    crowd = [admin(f"a{n}") for n in range(10)]
    people = [admin("lu", "lucky"), admin("xe", "exempt")]
    quorum = QUORUM.replace(
        "context.approvals.count >= 2",
        """principal in Group::"exempt" || context.approvals.count >= 1000 ||
        (principal in Group::"lucky" && context.approvals.count >= 2)""",
    )
    assert count([*crowd[:9], *people], ADMINISTRATORS, quorum) == 2
    assert count([*crowd, *people], ADMINISTRATORS, quorum) == 1
    silent = 'forbid(principal == Principal::"a3", action == Action::"ProposeCommand", resource);'
    assert count([*crowd, *people], ADMINISTRATORS, quorum, silent) == 2


def test_the_authorizer_goes_on_as_before() -> None:
    """Asking about a registry that may never be changes no answer about the one that is."""
    authorizer, now = Authorizer(), supposed([ANN, BEN], ADMINISTRATORS)
    asked = Request(ANN, "PutPolicy", None, "registry", False, None, (), 0, 0, MONDAY_NINE)
    assert authorizer.authorize(asked, now, 3).allowed
    locked = supposed([ANN, BEN], ADMINISTRATORS, "forbid(principal, action, resource);")
    assert repairers(authorizer, locked, MONDAY_NINE) == 0
    assert authorizer.authorize(asked, now, 3).allowed


def test_before_genesis() -> None:
    """A registry without a deployment has nobody to ask about."""
    with pytest.raises(KeyError):
        repairers(Authorizer(), registry(ADMINISTRATORS, people=(ANN,)), MONDAY_NINE)
