"""What Cedar answers: principal × verb × resource × context × policies, as one table, and the ids of what decided."""

from typing import Any

import pytest
from tests.unit.deciding.cedar_requests import K1, K2, MONDAY_NINE, decide, key, plainly, principal, registry, request

from keyfold.deciding.cedar import Authorizer, Creation, Request, Verdict, validate_policy
from keyfold.events.entities import Principal

ALL = "permit(principal, action, resource);"
ALICE = 'permit(principal == Principal::"alice", action, resource);'
USERS = 'permit(principal in Group::"users", action in [Action::"Encrypt", Action::"Decrypt"], resource);'
TENANT = (
    'permit(principal, action, resource) when { context.encryption_context.hasTag("tenant") && '
    'context.encryption_context.getTag("tenant") == "acme" };'
)
OWN_TENANT = (
    'permit(principal, action, resource) when { principal.hasTag("tenant") && '
    'context.encryption_context.hasTag("tenant") && '
    'context.encryption_context.getTag("tenant") == principal.getTag("tenant") };'
)
CREATOR = "permit(principal, action, resource is Key) when { resource.created_by == principal };"
CREATOR_TEAM = 'permit(principal, action, resource is Key) when { resource.created_by in Group::"team" };'
DAYTIME = "permit(principal, action, resource) when { context.time.hour >= 9 && context.time.hour < 17 };"
WEEKDAY = "permit(principal, action, resource) when { context.time.weekday <= 5 };"
SMALL = "permit(principal, action, resource) when { context.items <= 10 && context.bytes <= 1024 };"
OVERFLOW = "when { context.items * 9223372036854775807 > 1 };"
ANY_TAG = 'context.encryption_context.hasTag(context.reason) || context.encryption_context.hasTag("__extn")'
USER, OTHER = principal("alice", ("users",)), principal("mallory")
TENANT_USER = principal("alice", tenant="acme")
KEY = key(tags={"team": "red"})
HOUR, DAY = 3_600_000, 86_400_000


def on(**changes: Any) -> Request:
    return request("Encrypt", KEY, **changes)


def tenants(*names: str) -> Request:
    return on(contexts=[{"tenant": name} for name in names])


def condition(text: str) -> str:
    return f"permit(principal, action, resource is Key) when {{ {text} }};"


CASES: dict[str, tuple[Request, list[str], bool]] = {
    # default deny, permit, forbid
    "nothing": (on(), [], False),
    "permit all": (on(), [ALL], True),
    "permit all, registry": (request("GenerateRandom"), [ALL], True),
    "forbid alone": (on(), ["forbid(principal, action, resource);"], False),
    "forbid wins": (on(), [ALL, 'forbid(principal == Principal::"alice", action, resource);'], False),
    "forbid wins, one text": (on(), [ALL + 'forbid(principal, action == Action::"Encrypt", resource);'], False),
    "forbid of another": (on(), [ALL, 'forbid(principal == Principal::"bob", action, resource);'], True),
    "forbid unless": (on(), [ALL, "forbid(principal, action, resource) unless { context.items == 1 };"], True),
    "forbid unless, holds": (
        on(items=2), [ALL, "forbid(principal, action, resource) unless { context.items == 1 };"], False
    ),
    # principals and groups
    "by name": (on(), [ALICE], True),
    "by another's name": (on(principal=OTHER), [ALICE], False),
    "in herself": (on(), ['permit(principal in Principal::"alice", action, resource);'], True),
    "in group": (on(principal=USER), [USERS], True),
    "not in group": (on(principal=OTHER), [USERS], False),
    "in another group": (on(principal=principal("alice", ("admins",))), [USERS], False),
    "in one of two groups": (on(principal=principal("alice", ("admins", "users"))), [USERS], True),
    "named as the group": (on(principal=principal("users")), [USERS], False),
    "is in": (on(principal=USER), ['permit(principal is Principal in Group::"users", action, resource);'], True),
    "is not in": (on(), ['permit(principal is Principal in Group::"users", action, resource);'], False),
    "is": (on(), ["permit(principal is Principal, action, resource);"], True),
    "group in condition": (on(principal=USER), [condition('principal in Group::"users"')], True),
    "group list in condition": (
        on(principal=USER), [condition('principal in [Group::"admins", Group::"users"]')], True
    ),
    "no group in condition": (on(), [condition('principal in Group::"users"')], False),
    "principal's tag": (on(principal=TENANT_USER), [condition('principal.hasTag("tenant")')], True),
    "no principal's tag": (on(), [condition('principal.hasTag("tenant")')], False),
    # actions
    "action": (on(), ['permit(principal, action == Action::"Encrypt", resource);'], True),
    "another action": (on(), ['permit(principal, action == Action::"Decrypt", resource);'], False),
    "action in list": (request("Decrypt", KEY, principal=USER), [USERS], True),
    "action not in list": (request("RotateKey", KEY, principal=USER), [USERS], False),
    "action in itself": (on(), ['permit(principal, action in Action::"Encrypt", resource);'], True),
    "action in condition": (on(), [condition('action == Action::"Encrypt"')], True),
    "action list in condition": (on(), [condition('[Action::"Decrypt"].contains(action)')], False),
    # resources
    "key by id": (on(), [f'permit(principal, action, resource == Key::"{K1}");'], True),
    "another key's id": (on(), [f'permit(principal, action, resource == Key::"{K2}");'], False),
    "key in itself": (on(), [f'permit(principal, action, resource in Key::"{K1}");'], True),
    "is key": (on(), ["permit(principal, action, resource is Key);"], True),
    "is key in itself": (on(), [f'permit(principal, action, resource is Key in Key::"{K1}");'], True),
    "is key, registry": (request("GenerateRandom"), ["permit(principal, action, resource is Key);"], False),
    "is registry": (request("CreateAlias"), ["permit(principal, action, resource is Registry);"], True),
    "is registry, key": (on(), ["permit(principal, action, resource is Registry);"], False),
    "the registry": (request("PutPolicy"), ['permit(principal, action, resource == Registry::"registry");'], True),
    "policy on key": (request("PutPolicy", KEY), ["permit(principal, action, resource is Key);"], True),
    "policy on registry": (request("PutPolicy"), ["permit(principal, action, resource is Key);"], False),
    "protection": (on(), [condition('resource.protection == "HSM"')], True),
    "other protection": (on(), [condition('resource.protection == "SOFTWARE"')], False),
    "key spec": (on(), [condition('resource.key_spec == "SYMMETRIC_DEFAULT"')], True),
    "status": (request("Encrypt", key(status="Disabled")), [condition('resource.status == "Enabled"')], False),
    "key's tag": (on(), [condition('resource.hasTag("team") && resource.getTag("team") == "red"')], True),
    "key's other tag": (on(), [condition('resource.hasTag("team") && resource.getTag("team") == "blue"')], False),
    "creator": (on(principal=principal("bob")), [CREATOR], True),
    "not the creator": (on(), [CREATOR], False),
    "creator's group unknown": (on(), [CREATOR_TEAM], False),
    # encryption context
    "tenant": (tenants("acme"), [TENANT], True),
    "another tenant": (tenants("globex"), [TENANT], False),
    "no tenant": (on(), [TENANT], False),
    "no contexts": (on(contexts=[]), [TENANT], False),
    "no contexts, not asked": (on(contexts=()), [ALL], True),
    "own tenant": (tenants("acme")._replace(principal=TENANT_USER), [OWN_TENANT], True),
    "not her tenant": (tenants("globex")._replace(principal=TENANT_USER), [OWN_TENANT], False),
    "all tenants allowed": (tenants("acme", "globex"), [TENANT, TENANT.replace("acme", "globex")], True),
    "last tenant denied": (tenants("acme", "globex"), [TENANT], False),
    "first tenant denied": (tenants("globex", "acme"), [TENANT], False),
    "like": (tenants("acme-eu"), [TENANT.replace('== "acme"', 'like "acme-*"')], True),
    "names of Cedar's JSON": (
        on(contexts=[{"__entity": "x", "__extn": "y", "type": "Group", "tenant": "acme"}]),
        [TENANT, f"forbid(principal, action, resource) unless {{ {ANY_TAG} }};"], True
    ),
    "quotes and lines": (tenants('ac"me\n\\'), [TENANT.replace('"acme"', r'"ac\"me\n\\"')], True),
    "not only ASCII": (tenants("åcmé🔑"), [TENANT.replace("acme", "åcmé🔑")], True),
    # items, bytes, time
    "small": (on(items=10, bytes=1024), [SMALL], True),
    "too many items": (on(items=11), [SMALL], False),
    "too many bytes": (on(bytes=1025), [SMALL], False),
    "nine o'clock": (on(), [DAYTIME], True),
    "a millisecond before nine": (on(now_ms=MONDAY_NINE - 1), [DAYTIME], False),
    "a millisecond before five": (on(now_ms=MONDAY_NINE + 8 * HOUR - 1), [DAYTIME], True),
    "five o'clock": (on(now_ms=MONDAY_NINE + 8 * HOUR), [DAYTIME], False),
    "Friday": (on(now_ms=MONDAY_NINE + 4 * DAY), [WEEKDAY], True),
    "Saturday": (on(now_ms=MONDAY_NINE + 5 * DAY), [WEEKDAY], False),
    "Sunday": (on(now_ms=MONDAY_NINE - DAY), [WEEKDAY], False),
    "seconds": (on(), [condition(f"context.time.epoch_seconds == {MONDAY_NINE // 1000}")], True),
    "whole context": (on(), [condition("context == context")], True),
    # errors are denials
    "erring forbid": (on(items=2), [ALL, f"forbid(principal, action, resource) {OVERFLOW}"], False),
    "erring permit": (on(items=2), [ALL, f"permit(principal, action, resource) {OVERFLOW}"], False),
    "forbid that does not err": (on(items=0), [ALL, f"forbid(principal, action, resource) {OVERFLOW}"], True),
    "erring forbid of another": (
        on(items=2), [ALL, f'forbid(principal == Principal::"bob", action, resource) {OVERFLOW}'], True
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    """Each case of the table has its answer; the same from one plain set of all policies; its policies can be put."""
    asked, texts, allowed = CASES[name]
    for text in texts:
        validate_policy(text)
    assert decide(asked, *texts).allowed is allowed
    assert plainly(asked, registry(*texts))[0] is allowed


def test_the_table_is_not_one_sided() -> None:
    """The table has many cases of both kinds."""
    answers = [allowed for _, _, allowed in CASES.values()]
    assert answers.count(True) >= 30
    assert answers.count(False) >= 30


@pytest.mark.parametrize(
    ("asked", "texts", "expected"),
    [
        (on(), [], Verdict(False, (), (0,))),
        (on(), [ALL, ALICE], Verdict(True, ("registry/p0#0", "registry/p1#0"))),
        (on(), [TENANT + ALL], Verdict(True, ("registry/p0#1",))),
        (on(), [ALL, "forbid(principal, action, resource);"], Verdict(False, ("registry/p1#0",))),
        (
            on(items=2),
            [ALL + f"forbid(principal, action, resource) {OVERFLOW}"],
            Verdict(False, ("error:registry/p0#1",)),
        ),
        (
            on(items=2),
            [f"permit(principal, action, resource) {OVERFLOW}", "forbid(principal, action, resource);"],
            Verdict(False, ("error:registry/p0#0", "registry/p1#0")),
        ),
        (
            tenants("acme", "globex"),
            [TENANT, TENANT.replace("acme", "globex")],
            Verdict(True, ("registry/p0#0", "registry/p1#0")),
        ),
        (tenants("acme", "globex"), [TENANT], Verdict(False, (), (1,))),
        (on(bytes=2**63), [SMALL], Verdict(False, ("error:request",))),
    ],
)
def test_determining_policies(asked: Request, texts: list[str], expected: Verdict) -> None:
    """A verdict names the permits of an allowance, or the forbids and errors of the denial."""
    assert decide(asked, *texts) == expected


def test_key_policies() -> None:
    """A key's own policies count for its commands, under their own ids, and for no other key's."""
    own = key(K1, TENANT, ALICE)
    allowed = Authorizer()
    assert allowed.authorize(request("Encrypt", own), {}, 0) == Verdict(True, ("key/p1#0",))
    assert allowed.authorize(request("Encrypt", key(K2)), {}, 0) == Verdict(False, (), (0,))
    forbidden = key(K1, "forbid(principal, action, resource);")
    assert decide(request("Encrypt", forbidden), ALL) == Verdict(False, ("key/p0#0",))


def test_many_statements_keep_their_numbers() -> None:
    """The eleventh statement is #10, not sorted as text between #1 and #2."""
    texts = [f'permit(principal == Principal::"p{n}", action, resource);' for n in range(12)]
    for n in range(12):
        asked = request("Encrypt", KEY, principal=principal(f"p{n}"))
        assert decide(asked, "\n".join(texts)).policies == (f"registry/p0#{n}",)


def test_a_key_to_be_created() -> None:
    """`CreateKey` is decided by what it asks for; its creator is the caller and its status `Creating`."""
    text = condition(
        'resource.protection == "SOFTWARE" && resource.hasTag("team") && resource.created_by == principal '
        '&& resource.status == "Creating"'
    )
    asked = request("CreateKey", is_key=True, resource_id=K1, creation=Creation("SOFTWARE", "SYMMETRIC_DEFAULT", {}))
    assert not decide(asked, text).allowed
    tagged = asked._replace(creation=Creation("SOFTWARE", "SYMMETRIC_DEFAULT", {"team": "red"}))
    assert decide(tagged, text).allowed
    assert not decide(tagged._replace(creation=Creation("HSM", "SYMMETRIC_DEFAULT", {"team": "red"})), text).allowed


def test_a_key_that_is_not_there() -> None:
    """What is asked of a key that does not exist is an error, so a denial, even beside a permit of everything."""
    asked = request("Encrypt", is_key=True, resource_id=K1)
    assert decide(asked, ALL).allowed
    assert decide(asked, ALL, condition('resource.status != "Disabled"')) == Verdict(False, ("error:registry/p1#0",))


@pytest.mark.parametrize(
    ("person", "allowed"),
    [(principal("bob", ("team",)), True), (principal("bob"), False), (principal("carol", ("team",)), False)],
)
def test_the_creators_groups(person: Principal, allowed: bool) -> None:
    """The groups and tags of a key's creator are known, though another principal asks."""
    assert decide(on(), CREATOR_TEAM, people=(person,)).allowed is allowed
    assert decide(on(principal=person), CREATOR_TEAM, people=(person,)).allowed is allowed


@pytest.mark.parametrize("broken", ["permit(", "", "((" * 5000, "permit(principal == ?principal, action, resource);"])
def test_a_text_that_cannot_be_read_denies(broken: str) -> None:
    """A text in force that cannot be read denies all it could be about; an empty one has nothing to say."""
    denied = Verdict(False, ("error:registry/p1",)) if broken else Verdict(True, ("registry/p0#0",))
    assert decide(on(), ALL, broken) == denied
    own = request("Encrypt", key(K1, broken))
    assert decide(own, ALL).policies == (("error:key/p0",) if broken else ("registry/p0#0",))
