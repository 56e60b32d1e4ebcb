"""Properties of authorization over random policies and requests."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.deciding.cedar_requests import (
    AT,
    K1,
    K2,
    MONDAY_NINE,
    compromised,
    decide,
    key,
    plainly,
    principal,
    registry,
    request,
)

from keyfold.deciding.cedar import Authorizer, Request
from keyfold.events.entities import Key, KeyVersion

VERBS = ("Encrypt", "Decrypt", "UseCompromisedVersion", "PutPolicy", "GenerateRandom", "UpdatePrincipal")
KEYLESS = ("GenerateRandom", "UpdatePrincipal")
SOUND = (KeyVersion(version=1, offset=0, created_at=AT),)
GROUPS = ("users", "team")
ATOMS = (
    "context.items > 2",
    "context.bytes > 10",
    "context.items * 9223372036854775807 > 1",
    "context.time.hour == 9",
    "context.time.weekday == 2",
    'context.encryption_context.hasTag("tenant")',
    '(context.encryption_context.hasTag("tenant") && context.encryption_context.getTag("tenant") == "acme")',
    '(principal.hasTag("tenant") && context.encryption_context.hasTag(principal.getTag("tenant")))',
    'context.encryption_context.getTag("tenant") == "acme"',
    "context == context",
    'principal.type == "human"',
    'context.reason == "CHG-1"',
    "context.source == context.reason",
    'context.cause == "usage-budget"',
    'context.protection == "HSM"',
    'context.key_usage == "SIGN_VERIFY"',
    'context.origin == "EXTERNAL"',
    'context.algorithm like "ECDSA*"',
    'context.message_type == "RAW"',
    "context.key_version > 1",
    f'context.destination == "{K2}"',
    "context.items + context.key_version > 3",
    "context has target",
    '(context has target && context.target in Group::"team")',
    '(context has target && context.target.hasTag("tenant"))',
    '(context has target && context.target.type == "human")',
    "(context has target && context.target == principal)",
    "context.approvals.count > 1",
    'context.approvals.principals.contains(Principal::"bob")',
    "principal in context.approvals.principals",
    'principal in Group::"users"',
    'resource.status == "Enabled"',
    'resource.status == "Expired"',
    "resource.compromised",
    'resource.origin == "EXTERNAL" || resource.key_usage == "ENCRYPT_DECRYPT"',
    "resource.created_by == principal",
    'resource.created_by in Group::"team"',
    'resource.hasTag("tenant")',
    "{c: context}.c.items == 1",
)
PRINCIPALS = (
    "principal",
    'principal == Principal::"alice"',
    'principal in Group::"users"',
    'principal in Group::"team"',
    'principal is Principal in Group::"team"',
    'principal in Principal::"bob"',
)
ACTIONS = ("action", 'action == Action::"Encrypt"', 'action in [Action::"Encrypt", Action::"PutPolicy"]')
RESOURCES = (
    "resource",
    f'resource == Key::"{K1}"',
    f'resource in Key::"{K2}"',
    "resource is Key",
    "resource is Registry",
    f'resource is Key in Key::"{K1}"',
    'resource == Registry::"registry"',
)

conditions = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(("&&", "||")), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda part: f"!({part})"),
        st.tuples(inner, inner, inner).map(lambda parts: "(if {} then {} else {})".format(*parts)),
    ),
    max_leaves=4,
)
clauses = st.one_of(
    st.just(""),
    st.tuples(st.sampled_from(("when", "unless")), conditions).map(lambda parts: f" {parts[0]} {{ {parts[1]} }}"),
)


def statements(effects: tuple[str, ...]) -> st.SearchStrategy[str]:
    scopes = (st.sampled_from(choices) for choices in (effects, PRINCIPALS, ACTIONS, RESOURCES))
    return st.tuples(*scopes, clauses).map(lambda part: "{}({}, {}, {}){};".format(*part))


texts = st.lists(statements(("permit", "permit", "forbid")), min_size=1, max_size=3).map("\n".join)
policies = st.lists(texts, max_size=4)
people = st.builds(
    lambda name, groups, tags, kind: principal(name, tuple(groups), **tags).model_copy(update={"principal_type": kind}),
    st.sampled_from(("alice", "bob")),
    st.lists(st.sampled_from(GROUPS), unique=True),
    st.sampled_from(({}, {"tenant": "acme"}, {"tenant": "tenant"})),
    st.sampled_from(("human", "workload")),
)
contexts = st.lists(
    st.sampled_from(({}, {"tenant": "acme"}, {"tenant": "globex"}, {"acme": "x"}, {"tenant": "acme", "x": "y"})),
    min_size=1,
    max_size=3,
)


@st.composite
def requests(draw: st.DrawFn, keys: Mapping[str, Key]) -> Request:
    verb = draw(st.sampled_from(VERBS))
    name = draw(st.sampled_from(sorted(keys)))
    on = None if verb in KEYLESS or (verb == "PutPolicy" and draw(st.booleans())) else keys[name]
    return request(
        verb,
        on,
        principal=draw(people),
        contexts=draw(contexts),
        items=draw(st.integers(0, 3)),
        bytes=draw(st.sampled_from((0, 100))),
        now_ms=MONDAY_NINE + draw(st.sampled_from((0, 3_600_000, 86_400_000))),
        reason=draw(st.sampled_from(("", "CHG-1"))),
        source=draw(st.sampled_from(("", "bastion"))),
        cause=draw(st.sampled_from(("", "usage-budget"))),
        target=draw(st.sampled_from((None, "alice", "bob", "carol"))),
        approvals=draw(st.sampled_from(((), ("bob",), ("alice", "bob")))),
        status=draw(st.sampled_from((None, "Enabled", "Expired"))),
        algorithm=draw(st.sampled_from(("", "ECDSA_SHA_256"))),
        message_type=draw(st.sampled_from(("", "RAW"))),
        key_version=draw(st.integers(0, 2)),
        destination=draw(st.sampled_from(("", K2))),
    )


@st.composite
def keys(draw: st.DrawFn, revision: int) -> dict[str, Key]:
    return {
        name: key(
            name,
            *draw(st.lists(texts, max_size=2)),
            revision=revision,
            status=draw(st.sampled_from(("Enabled", "Disabled"))),
            created_by=draw(st.sampled_from(("alice", "bob"))),
            tags=draw(st.sampled_from(({}, {"tenant": "acme"}))),
            key_usage=draw(st.sampled_from(("ENCRYPT_DECRYPT", "SIGN_VERIFY"))),
            origin=draw(st.sampled_from(("KEYFOLD", "EXTERNAL"))),
            versions=draw(st.sampled_from((SOUND, (compromised(),)))),
        )
        for name in (K1, K2)
    }


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from((2, 8, 1000)))
def test_index_and_cache_never_change_an_answer(data: st.DataObject, cache_size: int) -> None:
    """One authorizer, through many requests and changes, answers as one plain set of all policies does each time."""
    authorizer = Authorizer(cache_size)
    for revision in range(2):
        entities = registry(*data.draw(policies), people=tuple(data.draw(st.lists(people, max_size=2))))
        existing = data.draw(keys(revision))
        for asked in data.draw(st.lists(requests(existing), min_size=1, max_size=10)):
            for _ in range(2):
                verdict = authorizer.authorize(asked, entities, revision)
                assert (verdict.allowed, verdict.uncovered) == plainly(asked, entities)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_cached_verdict_is_the_fresh_one(data: st.DataObject) -> None:
    """The whole verdict, ids and errors too, is that of an authorizer that has seen nothing before."""
    authorizer = Authorizer()
    entities, existing = registry(*data.draw(policies)), data.draw(keys(0))
    for asked in data.draw(st.lists(requests(existing), min_size=2, max_size=10)):
        assert authorizer.authorize(asked, entities, 0) == Authorizer().authorize(asked, entities, 0)


@settings(max_examples=60, deadline=None)
@given(st.data(), policies, statements(("forbid",)))
def test_a_forbid_never_allows_more(data: st.DataObject, before: list[str], forbid: str) -> None:
    """One more `forbid`, erring or not, leaves the answer as it was, or makes it a denial that no grant can cover."""
    asked = data.draw(requests(data.draw(keys(0))))
    now, then = decide(asked, *before, forbid), decide(asked, *before)
    assert (now.allowed, now.uncovered) in {(then.allowed, then.uncovered), (False, ())}


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_default_deny(data: st.DataObject) -> None:
    """Without a permit nothing is allowed; without any policy everything is uncovered."""
    forbids = data.draw(st.lists(statements(("forbid",)), max_size=3))
    existing = {name: found.model_copy(update={"policies": ()}) for name, found in data.draw(keys(0)).items()}
    asked = data.draw(requests(existing))
    verdict, everything = decide(asked, *forbids), tuple(range(len(asked.contexts)))
    assert not verdict.allowed
    assert verdict.uncovered == (() if verdict.policies else everything)
    assert decide(asked).uncovered == everything


@settings(max_examples=60, deadline=None)
@given(st.data(), policies)
def test_every_context_must_be_allowed(data: st.DataObject, texts: list[str]) -> None:
    """A command with several contexts is allowed exactly when each is, and uncovered where each is by itself."""
    asked = data.draw(requests(data.draw(keys(0))))
    alone = [decide(asked._replace(contexts=[context]), *texts) for context in asked.contexts]
    verdict, final = decide(asked, *texts), [each for each in alone if each.policies and not each.allowed]
    assert verdict.allowed is all(each.allowed for each in alone)
    assert verdict.uncovered == (() if final else tuple(n for n, each in enumerate(alone) if each.uncovered))
    assert not final or verdict == final[0]
