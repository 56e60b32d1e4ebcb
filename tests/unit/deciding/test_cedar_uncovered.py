"""What a grant may still add: contexts that no policy permits, where nothing is forbidden or in error."""

from typing import Any

import pytest
from tests.unit.deciding.cedar_requests import K1, decide, key, registry, request

from keyfold.deciding.cedar import Authorizer, Request, Verdict

ALL = "permit(principal, action, resource);"
NONE = "forbid(principal, action, resource);"
ACME = (
    'permit(principal, action, resource) when { context.encryption_context.hasTag("tenant") && '
    'context.encryption_context.getTag("tenant") == "acme" };'
)
NOT_GLOBEX = ACME.replace("permit", "forbid").replace("acme", "globex")
ERRING_FORBID = (
    'forbid(principal, action, resource) when { context.encryption_context.hasTag("n") && '
    "context.items * 9223372036854775807 > 1 };"
)
ERRING_PERMIT = ERRING_FORBID.replace("forbid", "permit")
QUORUM = "permit(principal, action, resource) when { context.approvals.count >= 2 };"
QUORUM_ELSEWHERE = QUORUM.replace("action,", 'action == Action::"DisableKey",')
KEY = key()
A, B, G, N = {"tenant": "acme"}, {"tenant": "initech"}, {"tenant": "globex"}, {"n": "1"}


def on(*contexts: dict[str, str], **changes: Any) -> Request:
    return request("Encrypt", KEY, contexts=contexts, items=2, **changes)


@pytest.mark.parametrize(
    ("asked", "texts", "expected"),
    [
        (on(), [], Verdict(False, (), (0,))),
        (on(A), [], Verdict(False, (), (0,))),
        (on(A, B, N), [], Verdict(False, (), (0, 1, 2))),
        (on(), [ACME], Verdict(False, (), (0,))),
        (on(A, B, N), [ACME], Verdict(False, (), (1, 2))),
        (on(B, A, N), [ACME], Verdict(False, (), (0, 2))),
        (on(A, A), [ACME], Verdict(True, ("registry/p0#0",))),
        (on(A, B), [ALL], Verdict(True, ("registry/p0#0",))),
        # what does not depend on the command
        (on(A, B, N), ['permit(principal, action, resource) when { principal.hasTag("x") };'],
         Verdict(False, (), (0, 1, 2))),
        (on(A, B), [NONE], Verdict(False, ("registry/p0#0",))),
        (on(A, B), ["permit("], Verdict(False, ("error:registry/p0",))),
        # a forbid or an error in a later context
        (on(B, A, G), [ACME, NOT_GLOBEX], Verdict(False, ("registry/p1#0",))),
        (on(G, A, B), [ACME, NOT_GLOBEX], Verdict(False, ("registry/p1#0",))),
        (on(B, A, N), [ACME, ERRING_FORBID], Verdict(False, ("error:registry/p1#0",))),
        (on(B, A, N), [ACME, ERRING_PERMIT], Verdict(False, ("error:registry/p1#0",))),
        (on(N), [ERRING_FORBID], Verdict(False, ("error:registry/p0#0",))),
        (on(B, N, G), [NOT_GLOBEX, ERRING_FORBID], Verdict(False, ("error:registry/p1#0",))),
        (on(B, G, N), [NOT_GLOBEX, ERRING_FORBID], Verdict(False, ("registry/p0#0",))),
        (on(B, bytes=2**63), ["permit(principal, action, resource) when { context.bytes < 9 };"],
         Verdict(False, ("error:request",))),
        (on(B, {"tenant": "\ud800"}), [ACME], Verdict(False, ("error:request",))),
    ],
)  # fmt: skip
def test_uncovered(asked: Request, texts: list[str], expected: Verdict) -> None:
    """The contexts that no policy permits are named by number, unless one is forbidden or in error: that is final."""
    authorizer = Authorizer()
    for _ in range(2):
        assert authorizer.authorize(asked, registry(*texts), 1) == expected


def test_a_key_to_be_created_is_uncovered() -> None:
    """Without contexts the command itself is what is uncovered."""
    assert decide(request("CreateKey", is_key=True, resource_id=K1, contexts=[])).uncovered == (0,)
    assert decide(request("CreateAlias", contexts=[])).uncovered == (0,)


@pytest.mark.parametrize(
    ("texts", "contexts", "missing"),
    [
        ([QUORUM], [A], True),
        ([QUORUM], [A, B], True),
        ([QUORUM, NONE], [A], True),
        ([QUORUM, "permit("], [A], True),
        ([QUORUM.replace("permit", "forbid").replace(">=", "<"), ALL], [A, B], True),
        ([QUORUM.replace("permit(principal", 'permit(principal == Principal::"bob"')], [A, B], False),
        ([QUORUM_ELSEWHERE], [A], False),
        ([ACME, QUORUM_ELSEWHERE], [B, B], False),
        ([NONE], [A], False),
        (["permit("], [A], False),
        ([QUORUM, ACME], [{"tenant": "\ud800"}], True),
        ([ACME], [{"tenant": "\ud800"}], False),
    ],
)
def test_approvals_may_be_missing(texts: list[str], contexts: list[dict[str, str]], missing: bool) -> None:
    """A denial tells whether a policy that could apply asks for approvals."""
    verdict = decide(on(*contexts), *texts)
    assert not verdict.allowed
    assert verdict.approvals is missing


def test_an_allowance_misses_no_approvals() -> None:
    """What is allowed says nothing of approvals, though policies asked for them."""
    assert decide(on(A, B, approvals=("bob", "carol")), QUORUM) == Verdict(True, ("registry/p0#0",))
