"""What the authorizer remembers, and when it evaluates again. Evaluations are counted where Cedar is called."""

from collections.abc import Callable
from typing import Any

import cedarpy
import pytest
from tests.unit.deciding.cedar_requests import K1, K2, MONDAY_NINE, compromised, key, principal, registry, request

from keyfold.deciding.cedar import Authorizer, Creation, Request
from keyfold.deciding.cedar.lru import Lru
from keyfold.deciding.cedar.mentions import Mentions
from keyfold.deciding.cedar.policies import read_policies
from keyfold.events.entities import RegistryPolicy

ALL = "permit(principal, action, resource);"
NONE = "forbid(principal, action, resource);"
TENANT = (
    'permit(principal, action, resource) when { context.encryption_context.hasTag("tenant") && '
    'context.encryption_context.getTag("tenant") == "acme" };'
)
ITEMS = "permit(principal, action, resource) when { context.items < 10 };"
BYTES = "permit(principal, action, resource) when { context.bytes < 100 };"
REASON = 'permit(principal, action, resource) when { context.reason like "CHG-*" };'
SOURCE = 'permit(principal, action, resource) when { context.source == "bastion" };'
CAUSE = 'permit(principal, action, resource) when { context.cause == "usage-budget" };'
PROTECTION = 'permit(principal, action, resource) when { context.protection == "HSM" };'
TARGET = 'permit(principal, action, resource) when { context has target && context.target in Group::"users" };'
ALGORITHM = 'permit(principal, action, resource) when { context.algorithm == "RSAES_OAEP_SHA_256" };'
MESSAGE_TYPE = 'permit(principal, action, resource) when { context.message_type == "RAW" };'
VERSION = "permit(principal, action, resource) when { context.key_version > 1 };"
DESTINATION = f'permit(principal, action, resource) when {{ context.destination == "{K2}" }};'
PROPOSES = 'permit(principal, action, resource) when { context.proposes == "DisableKey" };'
USAGE = 'permit(principal, action, resource) when { context.key_usage == "ENCRYPT_DECRYPT" };'
ORIGIN = 'permit(principal, action, resource) when { context.origin == "KEYFOLD" };'
STATUS = 'permit(principal, action, resource is Key) when { resource.status == "Enabled" };'
TYPE = 'permit(principal, action, resource) when { principal.type == "human" };'
APPROVALS = "permit(principal, action, resource) when { context.approvals.count >= 2 };"
TIME = "permit(principal, action, resource) when { context.time.hour == 9 };"
KEY = key()
EVERYTHING = Mentions(None, **{name: name != "creator" for name in Mentions._fields[1:]})
OTHERS = {"algorithm": "x", "message_type": "y", "key_version": 7, "destination": "z", "proposes": "RotateKey"}


class Evaluations:
    """Counts calls of Cedar."""

    def __init__(self) -> None:
        self.count = 0

    def since(self, act: Callable[[], Any]) -> int:
        before = self.count
        act()
        return self.count - before


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> Evaluations:
    counted = Evaluations()
    real = cedarpy.is_authorized

    def counting(*arguments: Any, **named: Any) -> Any:
        counted.count += 1
        return real(*arguments, **named)

    monkeypatch.setattr(cedarpy, "is_authorized", counting)
    return counted


def on(**changes: Any) -> Request:
    return request("Encrypt", KEY)._replace(**changes)


@pytest.mark.parametrize(
    ("text", "first", "second", "again"),
    [
        (ALL, {}, {"items": 5, "bytes": 7, "now_ms": 1, "contexts": [{"a": "b"}]}, False),
        (ALL, {}, {"reason": "x", "source": "y", "cause": "z", "target": "bob", "approvals": ("bob",)}, False),
        (ALL, {}, OTHERS, False),
        (TENANT, {"contexts": [{"tenant": "acme"}]}, {"contexts": [{"tenant": "acme", "x": "y"}], "items": 9}, False),
        (TENANT, {"contexts": [{"tenant": "acme"}]}, {"contexts": [{"tenant": "globex"}]}, True),
        (TENANT, {"contexts": [{"tenant": "acme"}]}, {"contexts": [{}]}, True),
        (ITEMS, {"items": 3}, {"items": 3, "bytes": 5, "contexts": [{"tenant": "x"}]}, False),
        (ITEMS, {"items": 3}, {"items": 11}, True),
        (BYTES, {"bytes": 3}, {"bytes": 3, "items": 7}, False),
        (BYTES, {"bytes": 3}, {"bytes": 4}, True),
        (REASON, {}, {"source": "x", "cause": "y", "target": "bob", "approvals": ("bob",), "items": 9}, False),
        (REASON, {"reason": "CHG-1"}, {"reason": "CHG-1"}, False),
        (REASON, {"reason": "CHG-1"}, {"reason": "CHG-2"}, True),
        (SOURCE, {"source": "x"}, {"source": "x", "reason": "z"}, False),
        (SOURCE, {"source": "x"}, {"source": "y"}, True),
        (CAUSE, {"cause": "requested"}, {"cause": "requested", "source": "x"}, False),
        (CAUSE, {"cause": "requested"}, {"cause": "usage-budget"}, True),
        (TARGET, {"target": "bob"}, {"target": "bob", "reason": "x"}, False),
        (TARGET, {"target": "bob"}, {"target": "carol"}, True),
        (TARGET, {"target": "bob"}, {}, True),
        (CAUSE, {"cause": "requested"}, {"cause": "requested", **OTHERS}, False),
        (ALGORITHM, {"algorithm": "x"}, OTHERS | {"items": 9}, False),
        (ALGORITHM, {"algorithm": "x"}, {"algorithm": "RSAES_OAEP_SHA_256"}, True),
        (MESSAGE_TYPE, {"message_type": "y"}, OTHERS | {"items": 9}, False),
        (MESSAGE_TYPE, {"message_type": "y"}, {"message_type": "RAW"}, True),
        (VERSION, {"key_version": 7}, OTHERS | {"items": 9}, False),
        (VERSION, {"key_version": 7}, {"key_version": 1}, True),
        (DESTINATION, {"destination": "z"}, OTHERS | {"items": 9}, False),
        (DESTINATION, {"destination": "z"}, {"destination": K2}, True),
        (PROPOSES, {"proposes": "RotateKey"}, OTHERS | {"items": 9}, False),
        (PROPOSES, {"proposes": "RotateKey"}, {"proposes": "DisableKey"}, True),
        (USAGE, {}, OTHERS, False),
        (USAGE, {}, {"key": key(key_spec="RSA_2048", key_usage="SIGN_VERIFY")}, True),
        (ORIGIN, {}, {"key": key(origin="EXTERNAL")}, True),
        (STATUS, {}, {"status": "Enabled", "now_ms": 1}, False),
        (STATUS, {}, {"status": "Expired"}, True),
        (ITEMS, {}, {"key": key(versions=(compromised(),))}, True),
        (PROTECTION, {}, {"reason": "x", "items": 7, "contexts": [{"a": "b"}]}, False),
        (PROTECTION, {}, {"key": key(protection="SOFTWARE")}, True),
        (TYPE, {}, {"principal": principal("alice").model_copy(update={"principal_type": "human"})}, True),
        (REASON + SOURCE, {"reason": "a", "source": "b"}, {"reason": "b", "source": "a"}, True),
        (TIME, {}, {}, True),
        (APPROVALS, {}, {}, True),
        (APPROVALS, {"approvals": ("bob", "carol")}, {"approvals": ("bob", "carol")}, True),
        (APPROVALS + ALL, {"contexts": [{"a": "b"}]}, {"contexts": [{"a": "b"}]}, True),
        (TIME + ALL, {"contexts": [{"a": "b"}]}, {"contexts": [{"a": "b"}]}, True),
        (ITEMS, {}, {"principal": principal("bob")}, True),
        (ITEMS, {}, {"principal": principal("alice", ("users",))}, True),
        (ITEMS, {}, {"principal": principal("alice", tenant="x")}, True),
        (ITEMS, {}, {"principal": principal("alice")}, False),
        (ITEMS, {}, {"action": "Decrypt"}, True),
        (ITEMS, {}, {"key": key(K2), "resource_id": K2}, True),
        (ITEMS, {}, {"key": key()}, False),
        (ITEMS, {}, {"key": key(description="other", reason="rotated", usage_budget=7)}, False),
        (ITEMS, {}, {"key": key(status="Disabled")}, True),
        (ITEMS, {}, {"key": key(tags={"a": "b"})}, True),
        (ITEMS, {}, {"key": key(revision=1)}, True),
        (ITEMS, {}, {"key": key(K1, ALL)}, True),
    ],
)
def test_what_is_evaluated_again(
    evaluations: Evaluations, text: str, first: dict[str, Any], second: dict[str, Any], again: bool
) -> None:
    """A second request is answered from memory exactly when nothing that the policies ask for has changed."""
    authorizer, policies = Authorizer(), registry(text)
    authorizer.authorize(on(**first), policies, 1)
    count = evaluations.since(lambda: authorizer.authorize(on(**second), policies, 1))
    assert count == (1 if again else 0)


def test_time_is_never_remembered() -> None:
    """A policy about time follows the clock, for the same request."""
    authorizer, policies = Authorizer(), registry(TIME)
    hours = [authorizer.authorize(on(now_ms=MONDAY_NINE + hour * 3_600_000), policies, 1) for hour in (0, 1, 24)]
    assert [verdict.allowed for verdict in hours] == [True, False, True]


def test_a_state_that_comes_by_time_takes_effect() -> None:
    """A key expires between two commands without an event, and policies about its state follow."""
    authorizer, policies = Authorizer(), registry(STATUS)
    states = [authorizer.authorize(on(status=state), policies, 1) for state in ("Enabled", "Expired", "Enabled")]
    assert [verdict.allowed for verdict in states] == [True, False, True]


def test_approvals_are_never_remembered() -> None:
    """A policy about approvals counts those of each request, up and down."""
    authorizer, policies = Authorizer(), registry(APPROVALS)
    given: list[tuple[str, ...]] = [(), ("bob",), ("bob", "carol"), ("carol",)]
    verdicts = [authorizer.authorize(on(approvals=approvals), policies, 1) for approvals in given]
    assert [verdict.allowed for verdict in verdicts] == [False, False, True, False]


def test_a_targets_change_takes_effect() -> None:
    """When policies ask about the principal that a command is about, what is registered of it now decides."""
    authorizer = Authorizer()
    for person, allowed in [(principal("bob", ("users",)), True), (principal("bob"), False)]:
        assert authorizer.authorize(on(target="bob"), registry(TARGET, people=(person,)), 1).allowed is allowed
    assert not authorizer.authorize(on(target="bob"), registry(TARGET), 1).allowed


def test_what_is_not_mentioned_cannot_spoil_the_memory() -> None:
    """A value that Cedar refuses harms only requests whose policies mention it, never those that come later."""
    authorizer, policies = Authorizer(), registry(ITEMS)
    assert authorizer.authorize(on(reason="\ud800", target="\ud800", bytes=2**63), policies, 1).allowed
    assert authorizer.authorize(on(), policies, 1).allowed
    assert not Authorizer().authorize(on(reason="\ud800"), registry(REASON), 1).allowed


def test_every_context_once(evaluations: Evaluations) -> None:
    """Each distinct context is evaluated once; what no policy permits does not end it, but what is forbidden does."""
    authorizer, policies = Authorizer(), registry(TENANT)
    contexts = [{"tenant": "acme", "n": str(n)} for n in range(50)]
    assert evaluations.since(lambda: authorizer.authorize(on(contexts=contexts), policies, 1)) == 1
    denied = [{"tenant": "x"}, {"tenant": "y"}, {"tenant": "x", "n": "1"}]
    assert evaluations.since(lambda: authorizer.authorize(on(contexts=denied), policies, 1)) == 2
    policies = registry(TENANT.replace("permit", "forbid"))
    forbidden = [{"tenant": "z"}, {"tenant": "acme"}, {"tenant": "w"}]
    assert evaluations.since(lambda: authorizer.authorize(on(contexts=forbidden), policies, 2)) == 2


def test_large_contexts_are_not_remembered(evaluations: Evaluations) -> None:
    """A context or reason of many kilobytes is evaluated each time, so that it does not push others out."""
    authorizer, policies = Authorizer(), registry(TENANT)
    large = on(contexts=[{"tenant": "a" * 8000}])
    authorizer.authorize(large, policies, 1)
    assert evaluations.since(lambda: authorizer.authorize(large, policies, 1)) == 1
    reasoned = on(reason="a" * 5000)
    authorizer.authorize(reasoned, registry(REASON), 2)
    assert evaluations.since(lambda: authorizer.authorize(reasoned, registry(REASON), 2)) == 1


def test_a_new_revision_takes_effect() -> None:
    """The registry's policies are read again when the revision changes: changed, added and removed texts."""
    authorizer = Authorizer()
    assert authorizer.authorize(on(), registry(ALL), 1).allowed
    assert not authorizer.authorize(on(), registry(ALL, NONE), 2).allowed
    assert authorizer.authorize(on(), registry(ALL, ITEMS), 3).policies == ("registry/p0#0", "registry/p1#0")
    assert not authorizer.authorize(on(), registry(), 4).allowed
    assert authorizer.authorize(on(), registry(ALL), 3).allowed


def test_forget_reads_again() -> None:
    """After a rollback the same revision may stand for other policies."""
    authorizer = Authorizer()
    assert authorizer.authorize(on(), registry(ALL), 2).allowed
    authorizer.forget()
    assert not authorizer.authorize(on(), registry(NONE), 2).allowed


def test_policies_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only texts that are new are parsed at a new revision, and nothing while it stays."""
    parsed: list[str] = []
    real = cedarpy.policies_to_json_str

    def parse(text: str) -> str:
        parsed.append(text)
        return real(text)

    monkeypatch.setattr(cedarpy, "policies_to_json_str", parse)
    authorizer = Authorizer()
    for revision, texts in [(1, (ALL,)), (1, (ALL,)), (2, (ALL, TENANT)), (3, (ALL, ITEMS))]:
        authorizer.authorize(on(), registry(*texts), revision)
    assert parsed == [ALL, TENANT, ITEMS]


def test_key_policies_take_effect() -> None:
    """A key's policies are read again when they change; also when a rolled back revision comes again."""
    authorizer = Authorizer()

    def allowed(*texts: str, revision: int) -> bool:
        return authorizer.authorize(request("Encrypt", key(K1, *texts, revision=revision)), {}, 0).allowed

    assert allowed(ALL, revision=1)
    assert not allowed(NONE, revision=2)
    assert allowed(ALL, revision=3)
    assert not allowed(ALL, NONE, revision=3)
    assert not allowed(revision=4)


def test_a_creators_change_takes_effect() -> None:
    """When policies ask about a key's creator, her groups now decide, not those of an earlier request."""
    text = 'permit(principal, action, resource is Key) when { resource.created_by in Group::"team" };'
    authorizer = Authorizer()
    for person, allowed in [(principal("bob", ("team",)), True), (principal("bob"), False)]:
        assert authorizer.authorize(on(), registry(text, people=(person,)), 1).allowed is allowed
    assert not authorizer.authorize(on(), registry(text), 1).allowed


def test_keys_to_be_created_leave_no_plan() -> None:
    """Each `CreateKey` has a key id of its own; remembering it would only push others out."""
    authorizer, policies = Authorizer(), registry(ALL)
    for n in range(20):
        asked = request(
            "CreateKey", is_key=True, resource_id=f"k{n}", creation=Creation("HSM", "SYMMETRIC_DEFAULT", {})
        )
        assert authorizer.authorize(asked, policies, 1).allowed
    assert len(authorizer._plans) == 0


def test_memory_is_bounded() -> None:
    """However many principals, keys and contexts come, no cache is heavier than its capacity."""
    authorizer, policies = Authorizer(cache_size=16), registry(TENANT)
    for n in range(100):
        asked = on(principal=principal(f"p{n}"), contexts=[{"tenant": f"{n}{m}" * 300} for m in range(3)])
        authorizer.authorize(asked, policies, 1)
    assert authorizer._plans.weight <= 16
    assert authorizer._verdicts.weight <= 16


def test_only_policies_in_scope_are_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many policies, those that name other principals, groups, verbs or keys never reach Cedar."""
    sizes: list[int] = []
    real = cedarpy.is_authorized

    def measuring(asked: Any, policies: cedarpy.PolicySet, *others: Any) -> Any:
        sizes.append(len(policies))
        return real(asked, policies, *others)

    monkeypatch.setattr(cedarpy, "is_authorized", measuring)
    texts = [f'permit(principal == Principal::"p{n}", action, resource);' for n in range(50)]
    texts += [f'permit(principal in Group::"g{n}", action, resource);' for n in range(50)]
    texts += [
        'permit(principal, action == Action::"Decrypt", resource);',
        ALL.replace("resource)", "resource is Registry)"),
    ]
    texts += [f'permit(principal, action, resource == Key::"{K2}");', ITEMS]
    Authorizer().authorize(on(principal=principal("p3", ("g4",))), registry(*texts), 1)
    assert sizes == [3]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("true", Mentions()),
        ('principal in Group::"x"', Mentions()),
        ("context.items > 1", Mentions(items=True)),
        ("context has items", Mentions(items=True)),
        ("context.bytes > context.items", Mentions(items=True, bytes=True)),
        ("context.time.hour == 1", Mentions(time=True)),
        ("context has time.hour", Mentions(time=True)),
        ('context["time"]["hour"] == 1', Mentions(time=True)),
        ('context.encryption_context.hasTag("a")', Mentions(tags=frozenset({"a"}))),
        ("context.encryption_context.hasTag(resource.status)", Mentions(tags=None)),
        ("context.encryption_context == context.encryption_context", Mentions(tags=None)),
        ("resource.created_by == principal", Mentions(creator=True)),
        ("resource has created_by", Mentions(creator=True)),
        ('context.reason != ""', Mentions(reason=True)),
        ('context["source"] == "x" || context.cause == "y"', Mentions(source=True, cause=True)),
        ('context.protection == "HSM"', Mentions()),
        ("context.key_usage == context.origin", Mentions()),
        ('context.algorithm == "x"', Mentions(algorithm=True)),
        ('context.message_type == "x"', Mentions(message_type=True)),
        ("context.key_version < 3", Mentions(key_version=True)),
        ('context["destination"] == ""', Mentions(destination=True)),
        ('context.proposes == "x"', Mentions(proposes=True)),
        ("resource.compromised", Mentions()),
        ("context has target", Mentions(target=True)),
        ('context has target && context.target.hasTag("a")', Mentions(target=True)),
        ("context has target.type", Mentions(target=True)),
        ("context.approvals.count > 1", Mentions(approvals=True)),
        ('context.approvals.principals.contains(Principal::"bob")', Mentions(approvals=True)),
        ("context has approvals.count", Mentions(approvals=True)),
        ("principal in context.approvals.principals", Mentions(approvals=True)),
        ("context.encryption_context.hasTag(context.reason)", Mentions(tags=None, reason=True)),
        ('resource.created_by.type == "human"', Mentions(creator=True)),
        ('principal.type == "human"', Mentions()),
        ("context == context", EVERYTHING),
        ("{a: context}.a.items == 1", EVERYTHING),
        ("(if true then context else context).items == 1", EVERYTHING),
        ('{"Var": "context"}.Var == "context"', Mentions()),
        (
            'context.encryption_context.hasTag("a") && [1].contains(context.items) && !(context.time.hour == 1)',
            Mentions(frozenset({"a"}), items=True, time=True),
        ),
    ],
)
def test_what_a_policy_asks_for(condition: str, expected: Mentions) -> None:
    """The attributes that conditions mention are found, in whatever form they are written."""
    (policy,) = read_policies(f"forbid(principal, action, resource) unless {{ {condition} }};", "x")
    assert policy.mentions == expected


def test_lru() -> None:
    """The mapping drops what was used longest ago, by weight, and refuses what is heavier than all of it."""
    lru: Lru[str, int] = Lru(3)
    for n, name in enumerate("abc"):
        lru.put(name, n)
    assert lru.get("a") == 0
    lru.put("d", 3)
    assert (lru.get("b"), lru.get("a"), lru.get("d")) == (None, 0, 3)
    lru.put("a", 9, weight=3)
    assert (len(lru), lru.weight, lru.get("a")) == (1, 3, 9)
    lru.put("a", 1, weight=4)
    assert (len(lru), lru.weight) == (0, 0)
    lru.put("a", 1)
    lru.put("b", 2)
    assert (lru.peek("a"), lru.peek("x")) == (1, None)
    lru.put("c", 3, weight=2)
    assert (lru.get("a"), lru.get("b")) == (None, 2)
    lru.clear()
    assert (len(lru), lru.weight, lru.get("a")) == (0, 0, None)


def test_policies_of_other_kinds_of_entities_are_not_read() -> None:
    """Only policies count among the registry's entities, whatever else is there."""
    entities = registry(NONE, people=(principal("bob"),))
    policy = entities["policy/p0"]
    assert isinstance(policy, RegistryPolicy)
    assert Authorizer().authorize(on(), {"policy/x": policy}, 1).policies == ("registry/p0#0",)
