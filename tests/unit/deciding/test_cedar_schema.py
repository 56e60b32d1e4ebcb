"""The published schema: it names every verb on its right resources, and the documentation shows what is in force."""

import ast
import re
from pathlib import Path

import pytest
from tests.unit.deciding.cedar_requests import K1, key, principal, registry, request

from keyfold.deciding import cedar
from keyfold.deciding.cedar import SCHEMA_TEXT, Authorizer, validate_policy
from keyfold.events.commands import COMMANDS, Command
from keyfold.events.entities import Key, Principal
from keyfold.events.errors import InvalidPolicy

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "policies.md").read_text("utf-8")
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
    """The schema's actions are the commands' verbs, all of them and no other."""
    lists = re.findall(r"^action\s+([^{]*?)\s+appliesTo", SCHEMA_TEXT, re.MULTILINE)
    actions = [name for names in lists for name in re.split(r",\s*", names)]
    assert sorted(actions) == sorted(model.verb for model in COMMANDS)


@pytest.mark.parametrize("model", COMMANDS, ids=lambda model: model.verb)
def test_resources_are_the_streams(model: type[Command]) -> None:
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
