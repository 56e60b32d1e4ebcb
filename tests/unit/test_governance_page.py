"""The page on governance says what the code does: its policies are valid, and its examples are decided as it tells.

Single questions are asked of Cedar, whole examples of the policy core (`tests.support.office`), with the policies that
a deployment begins with. Numbers on the page are held against the constants that they are.
"""

import ast
import inspect
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from tests.support.office import KEY, Office
from tests.support.people import START_MS, signer
from tests.unit.deciding.cedar_requests import key, principal, registry, request

from keyfold.ceremony.policy_sets import NAMES, initial_policies, ready_policies
from keyfold.client import ClientSettings, Keyfold
from keyfold.deciding import federation, grants, identities, jwks, jwt, limits, proposals
from keyfold.deciding.authorizing import USE_COMPROMISED_VERSION
from keyfold.deciding.budgets import WARNINGS
from keyfold.deciding.cedar import Authorizer, Verdict, validate_policy
from keyfold.deciding.suggesting import Usage, Use, suggest
from keyfold.events import facts
from keyfold.events.arguments import MAX_PROTECTED_ITEMS, GrantVerb, JwsAlgorithm
from keyfold.events.commands import BY_VERB
from keyfold.events.entities import Principal
from keyfold.events.streams import REGISTRY
from keyfold.events.times import DAY_MS, SECOND_MS, to_text
from keyfold.scheduler import key_sets

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "governance.md").read_text("utf-8")
CODE = re.compile(r"`([^`]+)`")
CIRCUMSTANCES: dict[str, dict[str, Any]] = {
    "": {},
    "budget nearly used": {"cause": "usage-budget"},
    "period over": {"cause": "period"},
    "compromised": {"cause": "compromise"},
    "its time is over": {"cause": "expired"},
    "one approval": {"approvals": ("ann",)},
    "two approvals": {"approvals": ("ann", "ben")},
    "that a key is disabled or a principal suspended": {"proposes": "DisableKey"},
    "one's own": {"target": "somebody"},
    "on a key": {"on": key()},
}
CAUSED = {"RotateKey", "DeleteImportedKeyMaterial"}
SAID = {"+": "may", "-": "never", ".": ""}
INITIAL = "\n".join(initial_policies().values())


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def policy(mark: str) -> str:
    """The one Cedar text of the page that holds this."""
    (found,) = (text for text in blocks("cedar") if mark in text)
    return found


def role_rows() -> list[list[str]]:
    table = PAGE.split("<!-- roles:begin -->", 1)[1].split("<!-- roles:end -->", 1)[0]
    lines = [line for line in table.strip().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def ask(texts: tuple[str, ...], verb: str, who: Principal, **changes: Any) -> Verdict:
    """Ask Cedar one question about a key, or about the registry where the verb is for it alone."""
    on = changes.pop("on", key() if verb == USE_COMPROMISED_VERSION or BY_VERB[verb].scope == "key" else None)
    return Authorizer().authorize(request(verb, on, principal=who, **changes), registry(*texts), 1)


def may(texts: tuple[str, ...], verb: str, who: Principal, **changes: Any) -> bool:
    return ask(texts, verb, who, **changes).allowed


@pytest.mark.parametrize("text", blocks("cedar"))
def test_its_policies_can_be_put(text: str) -> None:
    """Every Cedar text of the page is valid."""
    validate_policy(text)


@pytest.mark.parametrize("row", role_rows()[2:], ids=lambda row: row[0][:60])
def test_its_table_of_roles(row: list[str]) -> None:
    """Each cell says what the policies that a deployment begins with say about the verb and the role."""
    groups = [CODE.findall(cell) for cell in role_rows()[0][1:]]
    circumstance = CIRCUMSTANCES[row[0].partition(":")[2].strip()]
    for verb in CODE.findall(row[0]):
        for group, cell in zip(groups, row[1:], strict=True):
            options = {"cause": "requested" if verb in CAUSED else "", "target": "other"} | circumstance
            verdict = ask((INITIAL,), verb, principal("somebody", tuple(group)), **options)
            said = "+" if verdict.allowed else "." if verdict.uncovered else "-"
            assert SAID[said] == cell, (verb, group)


def test_its_table_of_roles_is_whole() -> None:
    """Every verb, and the permission that is none, stands in it once without a circumstance; every role is a column."""
    plain = [verb for row in role_rows()[2:] if ":" not in row[0] for verb in CODE.findall(row[0])]
    assert sorted(plain) == sorted({*BY_VERB, USE_COMPROMISED_VERSION})
    columns = {group for cell in role_rows()[0][1:] for group in CODE.findall(cell)}
    assert columns == set(NAMES) - {"everybody"}


def test_tokens_make_no_administrators() -> None:
    """Whom a token puts into a deciding group may nothing; a registered administrator and other federated ones may."""
    texts = (policy("tokens-make-no-administrators"), "permit(principal, action, resource);")
    for group in ("administrators", "approvers"):
        person = principal("x", (group,))
        assert may(texts, "PutPolicy", person)
        assert not may(texts, "PutPolicy", person.model_copy(update={"principal_type": "federated"}))
    user = principal("x", ("builds",)).model_copy(update={"principal_type": "federated"})
    assert may(texts, "Encrypt", user)


def test_builds_protect_their_own() -> None:
    """The repository of the token is the one of the context; a registered workload with the same tag is another."""
    text = (policy("builds-protect-their-own"),)
    build = principal("x", ("builds",), repository="shop/web").model_copy(update={"principal_type": "federated"})
    for contexts, allowed in (
        ([{"repository": "shop/web"}], True),
        ([{"repository": "shop/db"}], False),
        ([{}], False),
    ):
        assert may(text, "GenerateDataKey", build, contexts=contexts) == allowed
    own = [{"repository": "shop/web"}]
    assert not may(text, "Decrypt", build, contexts=own)
    assert not may(text, "Encrypt", build.model_copy(update={"principal_type": "workload"}), contexts=own)


@pytest.mark.parametrize("verb", ["PutPolicy", "DeletePolicy", "CreateGrant"])
def test_two_approve_who_uses_a_key(verb: str) -> None:
    """Beside the roles: an administrator needs two others on a key, and nobody on the registry."""
    texts, admin = (INITIAL, policy("two-approve-who-uses-a-key")), principal("x", ("administrators",))
    for approvals, allowed in (((), False), (("ann",), False), (("ann", "ben"), True)):
        assert may(texts, verb, admin, on=key(), approvals=approvals) == allowed
    assert verb == "CreateGrant" or may(texts, verb, admin)


def test_backups_are_not_read_by_who_makes_them() -> None:
    """They make data keys under keys for backups only; nothing else lets them decrypt."""
    texts, key_user = (policy("backup-makers"), INITIAL), principal("x", ("backup-makers", "key-users"))
    alone, backup = principal("x", ("backup-makers",)), key(tags={"use": "backup"})
    assert may(texts, "GenerateDataKey", alone, on=backup)
    assert not may(texts, "GenerateDataKey", alone, on=key(tags={"use": "orders"}))
    assert not may(texts, "GenerateDataKey", alone)
    for verb in ("Decrypt", "ReEncrypt", "ReEncryptFrom"):
        assert not may(texts, verb, key_user, on=backup)
        assert may((INITIAL,), verb, key_user, on=backup)


def test_another_team_approves() -> None:
    """An approver of the proposer's team does not, one of another team or of none does."""
    proposer = principal("greta", team="shop")
    texts = (INITIAL, policy("another-team-approves"))
    for tags, allowed in (({"team": "shop"}, False), ({"team": "bank"}, True), ({}, True)):
        asked = request("ApproveProposal", key(), principal=principal("ann", ("approvers",), **tags), target="greta")
        verdict = Authorizer().authorize(asked, registry(*texts, people=(proposer,)), 1)
        assert verdict.allowed == allowed, tags


def council() -> Office:
    """One key, and people: `alice` and `bob` administer, three approve, `greta` breaks the glass, tenants use."""
    made = Office(rules=INITIAL)
    for name in ("ann", "ben", "cem"):
        made.register(name, "approvers")
    made.register("greta", "break-glass")
    made.register("acme-web", "tenants", tags={"tenant": "acme"})
    made.register("globex-web", "tenants", tags={"tenant": "globex"})
    made.register("carol", "key-users")
    assert made.code("CreateKey") is None
    return made


def put(made: Office, name: str, text: str, stream: str = KEY) -> str | None:
    return made.code("PutPolicy", stream, arguments={"policy": name, "text": text})


def quorum() -> Office:
    """The same people after `quorum-identities` and `quorum` were put, in the order that the page tells."""
    made = council()
    for name in ("quorum-identities", "quorum"):
        assert put(made, name, ready_policies()[name], REGISTRY) is None
    return made


def use(made: Office, by: str, verb: str, *tenants: str, **more: Any) -> tuple[str, list[str]]:
    """What becomes of a use under one context for each tenant (`""` names none), and by which policies."""
    contexts = [{"tenant": tenant} if tenant else {} for tenant in tenants]
    event = made.ask(verb, by=by, contexts=contexts, items=len(contexts), **more)
    code = event.data.code if isinstance(event, facts.CommandDenied) else "allowed"
    return code, event.data.decision.policies


def test_tenants_apart() -> None:
    """The page's table of who asks what of the shared key, answer by answer."""
    made = council()
    assert put(made, "tenants", policy("own-tenant-only")) is None
    forbidden = ("AccessDenied", ["key/tenants#0"])
    assert use(made, "acme-web", "Encrypt", "acme") == ("allowed", ["key/tenants#1"])
    assert use(made, "acme-web", "Decrypt", "globex") == forbidden
    assert use(made, "acme-web", "Encrypt", "acme", "globex") == forbidden
    assert use(made, "acme-web", "Encrypt", "") == forbidden
    away = {"arguments": {"destination_key_id": KEY.removeprefix("key/")}}
    assert use(made, "carol", "ReEncryptFrom", "acme", **away) == forbidden
    assert use(made, "carol", "Decrypt", "acme") == forbidden
    grant = {"grantee": "globex-web", "verbs": ["Decrypt"], "expires_at": to_text(made.now_ms + DAY_MS)}
    assert made.code("CreateGrant", arguments=grant) is None
    assert use(made, "globex-web", "Decrypt", "acme") == forbidden


def test_breaking_the_glass_is_shipped() -> None:
    """The page shows the role as it stands in the shipped text."""
    assert policy('Group::"break-glass"') in ready_policies()["quorum"]


def test_the_quorum_is_put_in_order() -> None:
    """Alone while there are approvers, and refused without: afterwards nothing more is put alone."""
    assert put(quorum(), "more", "permit(principal, action, resource);", REGISTRY) == "ApprovalRequired"
    assert put(Office(rules=INITIAL), "quorum", ready_policies()["quorum"], REGISTRY) == "AdministratorsNeeded"


def test_break_glass() -> None:
    """The emergency: refused alone and after one approval, done once after two, and not again."""
    made, why = quorum(), "incident 4711"
    assert use(made, "greta", "Decrypt", "7")[0] == "ApprovalRequired"
    wish = {"verb": "Decrypt", "contexts": [{"tenant": "7"}], "items": 1, "bytes": 900_000}
    ends = {"expires_at": to_text(made.now_ms + DAY_MS)}
    event = made.ask("ProposeCommand", by="greta", arguments=wish | ends, reason=why)
    assert isinstance(event, facts.ProposalCreated), event
    proposal, digest = event.data.proposal, event.data.digest
    agreed = {"proposal": proposal, "digest": digest}
    answers = []
    for approver in ("ann", "ben"):
        assert made.code("ApproveProposal", by=approver, arguments=agreed) is None
        answers.append(use(made, "greta", "Decrypt", "7", reason=why, proposal=proposal)[0])
    answers.append(use(made, "greta", "Decrypt", "7", reason=why, proposal=proposal)[0])
    assert answers == ["ApprovalRequired", "allowed", "ProposalClosed"]
    assert made.proposal(proposal).status == "Executed"


def test_a_grants_allowance() -> None:
    """The page's grant of two items: two decryptions, then none; its grantee retires it."""
    made = council()
    terms = {
        "grantee": "acme-web", "verbs": ["Decrypt"], "expires_at": to_text(made.now_ms + DAY_MS),
        "encryption_context_subset": {"tenant": "7"}, "max_items": 2,
    }  # fmt: skip
    event = made.ask("CreateGrant", arguments=terms)
    assert isinstance(event, facts.GrantCreated), event
    answers = [use(made, "acme-web", "Decrypt", "7")[0] for _ in range(3)]
    assert answers == ["allowed", "allowed", "GrantExhausted"]
    assert use(made, "acme-web", "Decrypt", "8")[0] == "AccessDenied"
    assert made.code("RetireGrant", by="acme-web", arguments={"grant": event.data.grant}) is None


@pytest.mark.parametrize(
    ("per", "stream", "room"), [("principal", KEY, 2), ("key", KEY, 5), ("principal", REGISTRY, 5)]
)
def test_shares_of_a_limit(per: str, stream: str, room: int) -> None:
    """Of 5 for a principal, each of 3 partitions has 2; per key, and on the registry, it is the whole."""
    made = council()
    wanted = {"limit": "few", "kind": "rate", "amount": 5, "period_seconds": 3600, "per": per}
    assert made.code("PutLimit", REGISTRY, arguments=wanted) is None
    codes = []
    for n in range(room + 1):
        alias = {"alias": f"alias/a{n}", "key_id": KEY.removeprefix("key/")}
        verb, arguments = ("RotateKey", {}) if stream == KEY else ("CreateAlias", alias)
        codes.append(made.code(verb, stream, arguments=arguments))
    assert codes == [None] * room + ["RateLimited"]
    assert put(made, "never-limited", "permit(principal, action, resource);", stream) is None


def test_one_replaces_ones_own_key() -> None:
    """The default policies let everybody do that, and nobody else's; the old key signs nothing any more."""
    made = quorum()
    new = {"public_key": signer("carol's next").public_key.hex(), "replaces": signer("carol").fingerprint}
    assert made.code("RotateSigningKey", REGISTRY, by="acme-web", arguments={"principal": "carol"} | new) is not None
    assert made.code("RotateSigningKey", REGISTRY, by="carol", arguments={"principal": "carol"} | new) is None
    front = made.front
    known = front.state.entities["principal/carol"]
    assert isinstance(known, Principal)
    assert [each.signing_key for each in known.usable_keys(START_MS)] == [signer("carol's next").fingerprint]


def test_a_keys_policies_are_not_closed_for_good() -> None:
    """A `forbid` of changing a key's policies is refused on the key; in the registry it can be taken back."""
    made = council()
    closing = 'forbid(principal, action in [Action::"PutPolicy", Action::"DeletePolicy"], resource);'
    assert put(made, "closed", closing) == "AdministratorsNeeded"
    assert put(made, "closed", closing.replace("resource)", "resource is Key)"), REGISTRY) is None
    assert put(made, "open", "permit(principal, action, resource);") == "AccessDenied"
    assert made.code("DeletePolicy", REGISTRY, arguments={"policy": "closed"}) is None
    assert put(made, "open", "permit(principal, action, resource);") is None


def test_decryption_needs_a_reason() -> None:
    """The page's draft denies a decryption without a reason, and nothing else."""
    texts = (policy('unless { context.reason != "" };'), "permit(principal, action, resource);")
    assert not may(texts, "Decrypt", principal())
    assert may(texts, "Decrypt", principal(), reason="incident 4711")
    assert may(texts, "Encrypt", principal())


def test_what_is_suggested() -> None:
    """The page shows, letter for letter, what is suggested for the use that it is about."""
    key_id, usage = "01a21395-b2b2-7a08-a413-2bd9a6fef7d1", Usage("bob")
    for verb, tenants in (("GenerateDataKey", "712"), ("Decrypt", "12")):
        for tenant in tenants:
            usage.add(Use(key_id, verb, ({"tenant": tenant},)))
    assert suggest(usage, {key_id: ["alias/orders"]}) == (policy("What bob was seen to use"),)


@pytest.mark.parametrize(
    "told",
    [
        f"at most {identities.MAX_SIGNING_KEYS} usable ones",
        f"more than {jwt.LEEWAY_MS // SECOND_MS} s ahead",
        f"1 to {jwt.MAX_TEXT} characters",
        f"at most {federation.MAX_TAG:,} characters for tags",
        f"at most {key_sets.MAX_REDIRECTS} redirects",
        f"at most {key_sets.MAX_BYTES // 1024} KiB and {jwks.MAX_KEYS} public keys",
        f"within {grants.MAX_LIFETIME_MS // DAY_MS} days",
        f"at most {grants.MAX_DEPTH} deep",
        f"at most {grants.MAX_PER_GRANTEE} live grants on a key",
        f"default 1 day, at most {proposals.MAX_LIFETIME_MS // DAY_MS}",
        f"at most {limits.MAX_LIMITS} exist",
        f"at {WARNINGS[0]}, {WARNINGS[1]} and {WARNINGS[2]} %",
        f"default, is 2^{MAX_PROTECTED_ITEMS.bit_length() - 1}",
        ", ".join(f"`{algorithm}`" for algorithm in get_args(JwsAlgorithm)),
        ", ".join(f"`{verb}`" for verb in get_args(GrantVerb)[:-1]) + "; `CreateGrant` exactly where",
        *(f"`{verb}`" for verb in sorted(limits.UNLIMITED)),
    ],
)
def test_its_numbers(told: str) -> None:
    """What the page says of bounds is what the code holds to."""
    assert told in " ".join(PAGE.split())


@pytest.mark.parametrize("text", blocks("python"))
def test_its_programs(text: str) -> None:
    """Every method that a program of the page calls of a client exists, and takes these arguments."""
    called = 0
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if not isinstance(owner, ast.Name) or owner.id not in {"Keyfold", "kms", "greta", "approver"}:
            continue
        named = {keyword.arg: None for keyword in node.keywords if keyword.arg is not None}
        method = getattr(Keyfold, node.func.attr)
        first = [] if owner.id == "Keyfold" else [None]
        bound = inspect.signature(method).bind(*first, *node.args, **named)
        assert set(rest_of(method, bound)) <= known_rest(method), (node.func.attr, named)
        called += 1
    assert called


def rest_name(method: Any) -> str | None:
    """What the parameter is called that takes further named arguments."""
    found = [p.name for p in inspect.signature(method).parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD]
    return found[0] if found else None


def rest_of(method: Any, bound: inspect.BoundArguments) -> dict[str, Any]:
    return dict(bound.arguments.get(rest_name(method) or "", {}))


def known_rest(method: Any) -> set[str]:
    """Which further arguments there are: those of a typed dictionary, or the client's settings."""
    (typed,) = get_args(get_type_hints(method).get(rest_name(method) or "")) or (None,)
    return set(ClientSettings.model_fields) if typed is None else set(typed.__annotations__)
