"""The published schema: it names every verb on its right resources, and the documentation shows what is in force."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.deciding.cedar_requests import K1, K2, key, principal, registry, request

from keyfold.deciding import cedar
from keyfold.deciding.authorizing import USE_COMPROMISED_VERSION
from keyfold.deciding.cedar import SCHEMA_TEXT, Authorizer, Creation, validate_policy
from keyfold.deciding.cedar.mentions import Mentions
from keyfold.deciding.cedar.requests import Traits
from keyfold.events.arguments import Origin
from keyfold.events.commands import COMMANDS, AnyCommand
from keyfold.events.entities import Key, Principal
from keyfold.events.errors import InvalidPolicy
from keyfold.events.specs import KeyUsage

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "policies.md").read_text("utf-8")
ALL = "permit(principal, action, resource);"
PACKAGE = Path(cedar.__file__).parent
RESOURCES = {"key": {"Key"}, "registry": {"Registry"}, "principal": {"Registry"}, "any": {"Registry", "Key"}}


def applies(verb: str, resource: str) -> bool:
    """Ask Cedar's validator, which refuses a policy that can apply to nothing."""
    try:
        validate_policy(f'permit(principal, action == Action::"{verb}", resource is {resource});')
    except InvalidPolicy:
        return False
    return True


def test_actions_are_the_verbs() -> None:
    """The schema's actions are the commands' verbs, all of them, and the one permission that is no verb."""
    lists = re.findall(r"^action\s+([^{]*?)\s+appliesTo", SCHEMA_TEXT, re.MULTILINE)
    actions = [name for names in lists for name in re.split(r",\s*", names)]
    assert sorted(actions) == sorted([*(model.verb for model in COMMANDS), USE_COMPROMISED_VERSION])
    assert [applies(USE_COMPROMISED_VERSION, resource) for resource in ("Key", "Registry")] == [True, False]


def test_attributes_are_those_that_requests_have() -> None:
    """Each of the schema's context stands in every request, or is one of the key; none is forgotten by the cache."""
    attributes = set(re.findall(r"^    (\w+)\??:", SCHEMA_TEXT.split("type Context", 1)[1], re.MULTILINE))
    mentioned = set(Mentions._fields) - {"tags", "creator"} | {"encryption_context"}
    assert attributes == mentioned | {"protection", "key_usage", "origin"}
    key_attributes = set(re.findall(r"^    (\w+):", SCHEMA_TEXT.split("entity Key", 1)[1].split("}")[0], re.MULTILINE))
    assert key_attributes == {*Traits._fields, "created_by"}


@pytest.mark.parametrize("model", COMMANDS, ids=lambda model: model.verb)
def test_resources_are_the_streams(model: type[AnyCommand]) -> None:
    """A verb acts on a key, on the registry, or on both, as its stream does."""
    found = {resource for resource in ("Key", "Registry", "Principal", "Group") if applies(model.verb, resource)}
    assert found == RESOURCES[model.scope]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_shows_the_schema() -> None:
    """The documentation holds the schema, letter for letter."""
    assert blocks("cedarschema") == [SCHEMA_TEXT]


@pytest.mark.parametrize("text", blocks("cedar"))
def test_the_pages_policies_can_be_put(text: str) -> None:
    """Every policy of the documentation is valid."""
    validate_policy(text)


def test_the_pages_separation_of_roles() -> None:
    """The page's roles do what it says: administrators never use keys, users never manage them."""
    roles = next(text for text in blocks("cedar") if "key-admins" in text)
    policies, key_one = registry(roles), key(K1)
    authorizer = Authorizer()

    def may(group: str, verb: str) -> bool:
        return authorizer.authorize(request(verb, key_one, principal=principal("x", (group,))), policies, 1).allowed

    assert [may("key-admins", verb) for verb in ("RotateKey", "DisableKey", "Encrypt", "Decrypt")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert [may("key-users", verb) for verb in ("RotateKey", "DisableKey", "Encrypt", "Decrypt")] == [
        False, False, True, True,
    ]  # fmt: skip
    both = request("Encrypt", key_one, principal=principal("x", ("key-admins", "key-users")))
    assert not authorizer.authorize(both, policies, 1).allowed


def test_the_pages_tenants_are_apart() -> None:
    """The page's tenant isolation: own tenant only, and no context without a tenant."""
    tenants = next(text for text in blocks("cedar") if '@id("tenants-apart")' in text)
    authorizer, policies = Authorizer(), registry(tenants, "permit(principal, action, resource);")

    def may(*names: str, tenant: str = "") -> bool:
        contexts = [{"tenant": name} if name else {} for name in names]
        person = principal("x", tenant=tenant) if tenant else principal("x")
        asked = request("Encrypt", key(tags={"tenant": "acme"}), principal=person, contexts=contexts)
        return authorizer.authorize(asked, policies, 1).allowed

    assert may("acme", tenant="acme")
    assert not may("globex", tenant="acme")
    assert not may("acme", "globex", tenant="acme")
    assert not may("", tenant="acme")
    assert not may("acme")


def test_the_pages_quorum() -> None:
    """The page's quorum: two approvals for the registry's policies, none for a key's, and who may approve."""
    quorum = next(text for text in blocks("cedar") if '@id("two-approve-policies")' in text)
    policies = registry(quorum, 'permit(principal in Group::"admins", action, resource);')
    authorizer, admin = Authorizer(), principal("x", ("admins",))

    def may(verb: str, on: Key | None = None, who: Principal = admin, approvals: tuple[str, ...] = ()) -> bool:
        asked = request(verb, on, principal=who, approvals=approvals)
        return authorizer.authorize(asked, policies, 1).allowed

    assert [may("PutPolicy", approvals=names) for names in ((), ("a",), ("a", "b"))] == [False, False, True]
    assert may("PutPolicy", key(K1))
    assert may("ApproveProposal", who=principal("y", ("security",)))
    assert not may("PutPolicy", who=principal("y", ("security",)), approvals=("a", "b"))


def test_the_pages_owners() -> None:
    """The page's owners: one of the named must have approved, whoever else has."""
    owners = next(text for text in blocks("cedar") if '@id("an-owner-approves")' in text)
    policies = registry(owners, "permit(principal, action, resource);")
    given = [(), ("eve", "dan"), ("ann",), ("eve", "ben")]
    asked = [request("DestroyKeyNow", key(K1), approvals=names) for names in given]
    assert [Authorizer().authorize(each, policies, 1).allowed for each in asked] == [False, False, True, True]


def page_policy(name: str) -> str:
    return next(text for text in blocks("cedar") if f'@id("{name}")' in text)


def test_the_pages_way_out_of_a_compromise() -> None:
    """The permission is one principal's, for one key, with a reason, until a time; it is none for the verb itself."""
    policies, authorizer = registry(page_policy("compromised-versions-are-left")), Authorizer()
    migration, before, why = principal("migration"), 1_799_999_999_000, "INC-7"

    def may(action: str = USE_COMPROMISED_VERSION, on: str = K1, who: Principal = migration, **changes: Any) -> bool:
        values = {"reason": why, "now_ms": before, **changes}
        return authorizer.authorize(request(action, key(on), principal=who, **values), policies, 1).allowed

    assert may()
    assert not may(who=principal("alice"))
    assert not may(on=K2)
    assert not may(reason="")
    assert not may(now_ms=before + 1000)
    assert not may("Decrypt")


def test_the_pages_old_signatures() -> None:
    """Of a key that signs the permission is given, of one that encrypts it is not."""
    policies, authorizer = registry(page_policy("old-signatures-are-verified")), Authorizer()
    for usage, allowed in (("SIGN_VERIFY", True), ("ENCRYPT_DECRYPT", False)):
        on = key(key_spec="RSA_2048", key_usage=usage)
        asked = request(USE_COMPROMISED_VERSION, on, principal=principal("x", ("archive",)))
        assert authorizer.authorize(asked, policies, 1).allowed is allowed


@pytest.mark.parametrize(
    ("verb", "algorithm", "allowed"),
    [
        ("Encrypt", "RSAES_OAEP_SHA_1", False),
        ("Encrypt", "RSAES_OAEP_SHA_256", True),
        ("Decrypt", "RSAES_OAEP_SHA_1", True),
        ("Sign", "RSASSA_PKCS1_V1_5_SHA_512", False),
        ("Sign", "RSASSA_PSS_SHA_512", True),
        ("Verify", "RSASSA_PKCS1_V1_5_SHA_512", True),
    ],
)
def test_the_pages_modern_algorithms(verb: str, algorithm: str, allowed: bool) -> None:
    """What is old is still opened and verified, and nothing new is made with it."""
    policies = registry(page_policy("modern-algorithms"), ALL)
    assert Authorizer().authorize(request(verb, key(), algorithm=algorithm), policies, 1).allowed is allowed


def test_the_pages_imports() -> None:
    """Keys of imported material are for signatures and made by one group; others are everybody's."""
    policies, authorizer = registry(page_policy("who-imports-what"), ALL), Authorizer()
    holder = principal("x", ("ceremonies",))

    def may(usage: KeyUsage, origin: Origin, who: Principal = holder) -> bool:
        wish = Creation("HSM", "RSA_2048", {}, usage, origin)
        created = request("CreateKey", is_key=True, resource_id=K1, creation=wish, principal=who)
        on = key(key_spec="RSA_2048", key_usage=usage, origin=origin)
        asked = [
            created,
            *(request(verb, on, principal=who) for verb in ("GetParametersForImport", "ImportKeyMaterial")),
        ]
        (answer,) = {authorizer.authorize(each, policies, 1).allowed for each in asked}
        return answer

    assert may("SIGN_VERIFY", "EXTERNAL")
    assert not may("ENCRYPT_DECRYPT", "EXTERNAL")
    assert not may("SIGN_VERIFY", "EXTERNAL", principal("y"))
    assert may("ENCRYPT_DECRYPT", "KEYFOLD", principal("y"))


def test_the_pages_one_way_out() -> None:
    """The old key's data goes to the one successor, another key's anywhere."""
    policies, authorizer = registry(page_policy("one-way-out"), ALL), Authorizer()
    for on, destination, allowed in ((K1, K2, True), (K1, K1, False), (K1, "", False), (K2, K1, True)):
        asked = request("ReEncryptFrom", key(on), destination=destination)
        assert authorizer.authorize(asked, policies, 1).allowed is allowed


def test_the_packages_style() -> None:
    """Modules say what they do; functions and modules stay small; no module reads a clock or draws a number."""
    for path in sorted(PACKAGE.glob("*.py")):
        text = path.read_text("utf-8")
        tree = ast.parse(text)
        assert ast.get_docstring(tree), path.name
        assert text.count("\n") <= 200, path.name
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 40, node.name
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"time", "random", "secrets", "datetime", "os", "socket", "threading"}, path.name
