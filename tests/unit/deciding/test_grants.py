"""Grants: what they cover, how exactly they are charged, who may give parts of them on, and how they end."""

from typing import Any

import pytest
from tests.support.office import KEY, Office, bare
from tests.support.people import START_MS, command, key_on, uuid

from keyfold.events import facts
from keyfold.events.entities import Grants, grants_name
from keyfold.events.times import DAY_MS, to_text

END = to_text(START_MS + DAY_MS)
OTHER = key_on(2, 500)


def lab(rules: str = "") -> Office:
    """An office without policies for users; carol and dave exist and may do nothing."""
    made = bare(rules)
    for name in ("carol", "dave", "erin"):
        made.register(name)
    return made


def grant(made: Office, **arguments: Any) -> str:
    """Give carol a grant and return its id."""
    known = {"grantee": "carol", "verbs": ["Encrypt", "Decrypt"], "expires_at": END} | arguments
    event = made.ask("CreateGrant", arguments=known)
    assert isinstance(event, facts.GrantCreated), event
    return event.data.grant


def test_a_grant_covers_what_no_policy_permits() -> None:
    """Exactly the granted verbs, for exactly the grantee, on exactly this key; the decision names the grant."""
    made = lab()
    made.ask("CreateKey", OTHER)
    assert made.code("Encrypt", by="carol") == "AccessDenied"
    given = grant(made)
    event = made.ask("Encrypt", by="carol", items=3)
    assert isinstance(event, facts.CommandAuthorized)
    assert (event.data.decision.grant, event.data.decision.policies) == (given, [f"grant/{given}"])
    assert made.code("Decrypt", by="carol") is None
    assert made.code("GenerateDataKey", by="carol") == "AccessDenied"
    assert made.code("Encrypt", by="dave") == "AccessDenied"
    assert made.code("Encrypt", OTHER, by="carol") == "AccessDenied"
    assert (made.grant(given).used_operations, made.grant(given).used_items) == (2, 4)


def test_a_forbid_stands_above_a_grant() -> None:
    """A grant never overrides a `forbid`, nor a policy in error."""
    made = lab('forbid (principal == Principal::"carol", action == Action::"Decrypt", resource);')
    grant(made)
    assert made.code("Decrypt", by="carol") == "AccessDenied"
    erring = (
        'forbid (principal, action == Action::"Encrypt", resource) when { context.items * 9223372036854775807 > 1 };'
    )
    made.ask("PutPolicy", arguments={"policy": "erring", "text": erring})
    assert made.code("Encrypt", by="carol", items=2) == "AccessDenied"


def test_what_a_policy_permits_is_not_charged_to_a_grant() -> None:
    """A grant's allowance is used for what needs it only."""
    made = lab('permit (principal == Principal::"carol", action == Action::"Encrypt", resource);')
    given = grant(made, max_operations=1)
    assert made.code("Encrypt", by="carol") is None
    assert made.grant(given).used_operations == 0
    assert made.code("Decrypt", by="carol") is None
    assert made.code("Decrypt", by="carol") == "GrantExhausted"


@pytest.mark.parametrize(
    ("constraint", "contexts", "code"),
    [
        ({"encryption_context_equals": {"a": "1"}}, [{"a": "1"}], None),
        ({"encryption_context_equals": {"a": "1"}}, [{"a": "1", "b": "2"}], "AccessDenied"),
        ({"encryption_context_equals": {}}, [{}], None),
        ({"encryption_context_equals": {}}, [{"a": "1"}], "AccessDenied"),
        ({"encryption_context_subset": {"a": "1"}}, [{"a": "1", "b": "2"}], None),
        ({"encryption_context_subset": {"a": "1"}}, [{"b": "2"}], "AccessDenied"),
        ({"encryption_context_subset": {"a": "1"}}, [{"a": "1"}, {"a": "2"}], "AccessDenied"),
        ({"encryption_context_subset": {"a": "1"}}, [{"a": "1"}, {"a": "1", "b": "2"}], None),
        ({"algorithms": ["SYMMETRIC_DEFAULT"]}, [{}], None),
    ],
)
def test_constraints(constraint: dict[str, Any], contexts: list[dict[str, str]], code: str | None) -> None:
    """Every context of a command must satisfy the grant's constraint."""
    made = lab()
    grant(made, **constraint)
    assert made.code("Encrypt", by="carol", contexts=contexts, items=2) == code


def test_a_grant_adds_to_policies_context_by_context() -> None:
    """Contexts that a policy permits need no grant; the others must all be covered by one."""
    made = lab(
        'permit (principal == Principal::"carol", action, resource) when { context.encryption_context.hasTag("own") };'
    )
    grant(made, encryption_context_subset={"tenant": "7"})
    assert made.code("Encrypt", by="carol", contexts=[{"own": "x"}, {"tenant": "7"}], items=2) is None
    assert made.code("Encrypt", by="carol", contexts=[{"own": "x"}, {"tenant": "8"}], items=2) == "AccessDenied"


def test_expiry_to_the_millisecond() -> None:
    """A grant holds until its end and not at it."""
    made = lab()
    grant(made)
    made.now_ms = START_MS + DAY_MS - 1
    assert made.code("Encrypt", by="carol") is None
    made.now_ms += 1
    assert made.code("Encrypt", by="carol") == "AccessDenied"


def test_the_last_allowance_has_one_taker() -> None:
    """Of commands in one batch, and of those behind it, exactly as many are authorized as the grant allows."""
    made = lab()
    given = grant(made, max_operations=3, max_items=10)
    batch = [command("Encrypt", KEY, 900 + n, principal="carol", items=4) for n in range(4)]
    made.decide(*batch)
    codes = [getattr(event.data, "code", None) for event in made.events[-4:]]
    assert codes == [None, None, "GrantExhausted", "GrantExhausted"]
    assert made.code("Encrypt", by="carol", items=2) is None
    assert made.code("Encrypt", by="carol", items=1) == "GrantExhausted"
    assert (made.grant(given).used_operations, made.grant(given).used_items) == (3, 10)


def test_the_next_grant_takes_over() -> None:
    """Grants are used oldest first; one that has no room for a command is passed over."""
    made = lab()
    first, second = grant(made, max_items=5), grant(made, max_items=100)
    assert made.ask("Encrypt", by="carol", items=4).data.decision.grant == first
    assert made.ask("Encrypt", by="carol", items=4).data.decision.grant == second
    assert made.ask("Encrypt", by="carol", items=1).data.decision.grant == first


def test_denied_and_failing_states_are_not_charged() -> None:
    """What is refused after authorization, and a dry run, leave the allowance as it is."""
    made = lab()
    given = grant(made, max_operations=1)
    assert made.code("Encrypt", by="carol", alias="alias/none") == "AliasMoved"
    assert isinstance(made.ask("Encrypt", by="carol", dry_run=True), facts.DryRunSucceeded)
    assert made.grant(given).used_operations == 0


# Ends


def test_revoking_and_retiring() -> None:
    """A grant that was ended covers nothing behind its end; who may end it is exact."""
    made = lab()
    first = grant(made, retiring_principal="dave")
    assert made.code("RetireGrant", by="erin", arguments={"grant": first}) == "AccessDenied"
    assert made.code("RevokeGrant", by="carol", arguments={"grant": first}) == "AccessDenied"
    assert isinstance(made.ask("RetireGrant", by="dave", arguments={"grant": first}), facts.GrantRetired)
    assert made.code("Encrypt", by="carol") == "AccessDenied"
    second = grant(made)
    assert isinstance(made.ask("RetireGrant", by="carol", arguments={"grant": second}), facts.GrantRetired)
    third = grant(made)
    assert isinstance(made.ask("RevokeGrant", by="alice", arguments={"grant": third}), facts.GrantRevoked)
    assert made.code("RevokeGrant", arguments={"grant": third}) == "InvalidState"
    assert made.code("Encrypt", by="carol") == "AccessDenied"
    assert made.code("RevokeGrant", arguments={"grant": uuid(0xABC)}) == "NotFound"


def test_a_grant_of_another_key_is_not_found() -> None:
    """A grant is ended on its own key's stream only."""
    made = lab()
    made.ask("CreateKey", OTHER)
    given = grant(made)
    assert made.code("RevokeGrant", OTHER, arguments={"grant": given}) == "NotFound"
    assert made.code("RetireGrant", OTHER, by="carol", arguments={"grant": given}) == "AccessDenied"


def test_ended_grants_leave_the_index() -> None:
    """What has ended is not looked at again for every command."""
    made = lab()
    for _ in range(3):
        made.ask("RevokeGrant", arguments={"grant": grant(made)})
    last = grant(made)
    index = made.state.entities[grants_name(made.key().key_id, "carol")]
    assert index == Grants(grants=(last,))


# Form


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"expires_at": to_text(START_MS)}, "InvalidCommand"),
        ({"expires_at": to_text(START_MS + 366 * DAY_MS)}, None),
        ({"expires_at": to_text(START_MS + 366 * DAY_MS + 1)}, "InvalidCommand"),
        ({"verbs": ["Encrypt", "CreateGrant"]}, "InvalidCommand"),
        ({"delegable": True}, "InvalidCommand"),
        ({"grantee": "nobody"}, "NotFound"),
        ({"parent": uuid(0xABC)}, "NotFound"),
    ],
)
def test_what_is_no_grant(arguments: dict[str, Any], code: str | None) -> None:
    """A grant ends in time, is for somebody who exists, and says CreateGrant exactly if it can be delegated."""
    known = {"grantee": "carol", "verbs": ["Encrypt"], "expires_at": END} | arguments
    assert lab().code("CreateGrant", arguments=known) == code


def test_at_most_fifty_grants_for_a_grantee() -> None:
    """A principal holds at most fifty live grants on a key."""
    made = lab()
    for _ in range(50):
        last = grant(made)
    known = {"grantee": "carol", "verbs": ["Encrypt"], "expires_at": END}
    assert made.code("CreateGrant", arguments=known) == "InvalidState"
    made.ask("RevokeGrant", arguments={"grant": last})
    assert made.code("CreateGrant", arguments=known) is None


# Delegation


def delegable(made: Office, **arguments: Any) -> str:
    verbs = ["Encrypt", "Decrypt", "CreateGrant"]
    return grant(made, verbs=verbs, delegable=True, **arguments)


def delegate(made: Office, parent: str, *, by: str = "carol", **arguments: Any) -> facts.PolicyEvent:
    known = {"grantee": "dave", "verbs": ["Encrypt"], "expires_at": END, "parent": parent} | arguments
    return made.ask("CreateGrant", by=by, arguments=known)


def code_of(event: facts.PolicyEvent) -> str | None:
    return event.data.code if isinstance(event, facts.CommandDenied) else None


def test_a_delegated_grant_is_taken_out_of_its_parent() -> None:
    """What is given on is charged to the parent at once: together they never allow more than was granted."""
    made = lab()
    parent = delegable(made, max_operations=5, max_items=50)
    assert code_of(delegate(made, parent, max_operations=6, max_items=10)) == "GrantExhausted"
    child = delegate(made, parent, max_operations=3, max_items=30)
    assert isinstance(child, facts.GrantCreated)
    assert [made.code("Encrypt", by="dave", items=10) for _ in range(4)] == [None, None, None, "GrantExhausted"]
    assert [made.code("Encrypt", by="carol", items=10) for _ in range(3)] == [None, None, "GrantExhausted"]


def test_a_delegated_grant_ends_with_its_parent() -> None:
    """A child covers nothing once any of its parents was revoked, or has expired."""
    made = lab()
    parent = delegable(made)
    child = delegate(made, parent, verbs=["Encrypt", "CreateGrant"], delegable=True)
    assert isinstance(child, facts.GrantCreated)
    grandchild = delegate(made, child.data.grant, by="dave", grantee="erin")
    assert isinstance(grandchild, facts.GrantCreated)
    assert made.code("Encrypt", by="erin") is None
    made.ask("RevokeGrant", arguments={"grant": parent})
    assert made.code("Encrypt", by="erin") == "AccessDenied"
    assert made.code("Encrypt", by="dave") == "AccessDenied"


@pytest.mark.parametrize(
    ("parent", "child", "code"),
    [
        ({}, {"verbs": ["GenerateDataKey"]}, "InvalidCommand"),
        ({}, {"expires_at": to_text(START_MS + DAY_MS + 1)}, "InvalidCommand"),
        ({"max_operations": 5}, {}, "InvalidCommand"),
        ({"max_items": 5}, {"max_operations": 1}, "InvalidCommand"),
        ({"encryption_context_equals": {"a": "1"}}, {}, "InvalidCommand"),
        ({"encryption_context_equals": {"a": "1"}}, {"encryption_context_equals": {"a": "1"}}, None),
        ({"encryption_context_subset": {"a": "1"}}, {"encryption_context_subset": {"b": "1"}}, "InvalidCommand"),
        ({"encryption_context_subset": {"a": "1"}}, {"encryption_context_subset": {"a": "1", "b": "2"}}, None),
        ({"encryption_context_subset": {"a": "1"}}, {"encryption_context_equals": {"a": "1", "b": "2"}}, None),
        ({"algorithms": ["SYMMETRIC_DEFAULT"]}, {}, "InvalidCommand"),
        ({"algorithms": ["SYMMETRIC_DEFAULT"]}, {"algorithms": ["SYMMETRIC_DEFAULT"]}, None),
    ],
)
def test_a_delegated_grant_allows_no_more(parent: dict[str, Any], child: dict[str, Any], code: str | None) -> None:
    """Verbs, time, contexts, algorithms and allowance of a delegated grant lie within its parent's."""
    made = lab()
    assert code_of(delegate(made, delegable(made, **parent), **child)) == code


def test_only_a_delegable_grant_of_ones_own_is_delegated() -> None:
    """Who holds no delegable grant on the key cannot make one."""
    made = lab()
    plain, mine = grant(made), delegable(made)
    assert code_of(delegate(made, plain)) == "AccessDenied"
    assert code_of(delegate(made, mine, by="dave")) == "AccessDenied"
    assert code_of(delegate(made, uuid(0xABC))) == "AccessDenied"


def test_delegation_has_an_end() -> None:
    """A chain of grants has at most five links below the first."""
    made = lab()
    current, holder, depth = delegable(made), "carol", 0
    while True:
        other = "dave" if holder == "carol" else "carol"
        more = {"verbs": ["Encrypt", "CreateGrant"], "delegable": True, "grantee": other}
        event = delegate(made, current, by=holder, **more)
        if not isinstance(event, facts.GrantCreated):
            break
        current, holder, depth = event.data.grant, other, depth + 1
    assert code_of(event) == "InvalidState"
    assert depth == 4
    assert code_of(delegate(made, current, by=holder, grantee="erin")) is None
    assert made.code("Encrypt", by="erin") is None


def test_a_public_key_is_charged_like_any_use() -> None:
    """The allowance ends for it as for what has items."""
    made = lab()
    made.ask("CreateKey", OTHER, arguments={"key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"})
    known = {"grantee": "carol", "verbs": ["GetPublicKey"], "expires_at": END, "max_operations": 1}
    event = made.ask("CreateGrant", OTHER, arguments=known)
    assert isinstance(event, facts.GrantCreated)
    assert [made.code("GetPublicKey", OTHER, by="carol") for _ in range(2)] == [None, "GrantExhausted"]
    assert made.grant(event.data.grant).used_operations == 1
