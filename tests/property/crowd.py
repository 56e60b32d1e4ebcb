"""Wishes: random commands of every verb about the few people, keys, grants and proposals of an office.

For properties of deciding: most wishes make sense, many contradict what was wished before, all are well-formed and
really signed. What may be wished is drawn from one source of random choices, which the test owns.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.support.office import KEY, WEEK, Office
from tests.support.people import SEALING_KEY, Signed, command, key_on, signer, uuid
from tests.unit.deciding.issuers import NAME, assumption, jwks, settings

from keyfold.events.commands import BY_VERB
from keyfold.events.entities import Grant, Proposal
from keyfold.events.streams import REGISTRY
from keyfold.events.times import DAY_MS, HOUR_MS, to_text

OTHER: Final = key_on(2, 500)
ABSENT: Final = key_on(2, 900)
KEYS: Final = (*[KEY] * 6, *[OTHER] * 3, ABSENT)
PEOPLE: Final = ("alice", "bob", "carol", "dave", "erin")
OFTEN: Final = ("Encrypt", "Decrypt", "CreateGrant", "ProposeCommand", "ApproveProposal")
VERBS: Final = (*sorted(BY_VERB), *OFTEN * 5)
GROUPS: Final = ("users", "approvers", "administrators")
CONTEXTS: Final = ([{}], [{"tenant": "acme"}], [{"tenant": "acme"}, {"tenant": "globex"}], [{}, {"x": "y"}])
REASONS: Final = (None, "", "CHG-1")
TEXTS: Final = """
permit (principal in Group::"users", action in [Action::"Encrypt", Action::"Decrypt"], resource);

permit (principal in Group::"users", action == Action::"ProposeCommand", resource);

permit (principal in Group::"approvers", action in [Action::"ApproveProposal", Action::"DenyProposal"], resource);

permit (principal, action == Action::"AssumePrincipalWithWebIdentity", resource);

permit (principal, action == Action::"RotateSigningKey", resource)
when { context has target && context.target == principal };

forbid (principal, action == Action::"DestroyKeyNow", resource) unless { context.approvals.count >= 2 };

forbid (principal, action == Action::"Decrypt", resource) when { context.reason == "" };

forbid (principal, action == Action::"Encrypt", resource) when { context.items * 9223372036854775807 > 1 };

permit (principal, action, resource) when { context.encryption_context.hasTag("tenant") };
""".strip().split("\n\n")
PROPOSED: Final = ("DestroyKeyNow", "RotateKey", "DisableKey", "Decrypt")
Arguments = Callable[[Random, Office], dict[str, Any]]


def _made(kind: str) -> Arguments:
    """Name one grant or proposal that exists, or one that does not."""

    def choose(r: Random, made: Office) -> dict[str, Any]:
        known = [*made.state.entities, *made.front.state.entities]
        names = sorted(name.removeprefix(f"{kind}/") for name in known if name.startswith(f"{kind}/"))
        return {kind: r.choice([*names[-4:], uuid(0xABC)])}

    return choose


def _person(r: Random, _made: Office) -> dict[str, Any]:
    return {"principal": r.choice(PEOPLE)}


def _alias(r: Random, _made: Office) -> dict[str, Any]:
    return {"alias": f"alias/{r.choice('ab')}", "key_id": KEY.removeprefix("key/")}


def _grant(r: Random, made: Office) -> dict[str, Any]:
    delegable = r.random() < 0.3
    parent = _made("grant")(r, made)["grant"] if r.random() < 0.1 else None
    return {
        "grantee": r.choice(PEOPLE[2:]),
        "verbs": r.sample(["Encrypt", "Decrypt"], r.randint(1, 2)) + (["CreateGrant"] if delegable else []),
        "expires_at": to_text(made.now_ms + r.choice([HOUR_MS, DAY_MS])),
        "encryption_context_subset": r.choice([None, {"tenant": "acme"}]),
        "max_operations": r.choice([None, 1, 5]),
        "max_items": r.choice([None, 3, 50]),
        "delegable": delegable,
        "parent": parent,
        "retiring_principal": r.choice([None, "erin"]),
    }


def _proposal(r: Random, made: Office) -> dict[str, Any]:
    wish: dict[str, Any] = {"verb": r.choice(PROPOSED), "expires_at": to_text(made.now_ms + DAY_MS)}
    if wish["verb"] == "Decrypt":
        wish |= {"contexts": [{"tenant": "acme"}], "items": 2, "bytes": 100}
    return wish


def _opinion(r: Random, made: Office) -> dict[str, Any]:
    found = _made("proposal")(r, made)
    name = f"proposal/{found['proposal']}"
    proposal = made.state.entities.get(name) or made.front.state.entities.get(name)
    return found | {"digest": getattr(proposal, "digest", "0" * 64)}


def _limit(r: Random, _made: Office) -> dict[str, Any]:
    unit, kind = r.choice(["commands", "items"]), r.choice(["rate", "quota"])
    size = {"amount": r.choice([1, 5]), "period_seconds": r.choice([1, 60])}
    return {"limit": r.choice("lm"), "kind": kind, "unit": unit, **size, "per": r.choice(["principal", "key"])}


def _signing_key(r: Random, made: Office) -> dict[str, Any]:
    name = f"key-{made.number}"
    return _person(r, made) | {"public_key": signer(name).public_key.hex()}


def _replacement(r: Random, made: Office) -> dict[str, Any]:
    wish = _signing_key(r, made)
    return wish | {"replaces": signer(wish["principal"]).fingerprint}


def _registration(r: Random, made: Office) -> dict[str, Any]:
    return _signing_key(r, made) | {"principal": f"p{made.number}", "groups": r.sample(GROUPS[:2], r.randint(0, 2))}


def _revoked_key(r: Random, made: Office) -> dict[str, Any]:
    wish = _person(r, made)
    return wish | {"signing_key": signer(wish["principal"]).fingerprint}


ARGUMENTS: Final[dict[str, Arguments]] = {
    "CreateKey": lambda r, _: {"tags": r.choice([{}, {"tenant": "acme"}]), "usage_budget": r.choice([10, 1000])},
    "RotateKey": lambda r, _: {"cause": r.choice(["requested", "usage-budget"])},
    "ScheduleKeyDeletion": lambda _r, _: {"pending_window_seconds": WEEK},
    "TagResource": lambda r, _: {"tags": {r.choice(["tenant", "x"]): r.choice(["acme", "y"])}},
    "UntagResource": lambda r, _: {"tag_keys": [r.choice(["tenant", "x"])]},
    "UpdateUsageBudget": lambda r, _: {"items": r.choice([5, 100]), "rotate_at_percent": r.choice([None, 50])},
    "CreateGrant": _grant,
    "RetireGrant": _made("grant"),
    "RevokeGrant": _made("grant"),
    "CreateAlias": _alias,
    "UpdateAlias": _alias,
    "DeleteAlias": lambda r, _: {"alias": f"alias/{r.choice('ab')}"},
    "RegisterPrincipal": _registration,
    "UpdatePrincipal": lambda r, m: _person(r, m) | {"groups": r.sample(GROUPS, r.randint(0, 3))},
    "SuspendPrincipal": _person,
    "ResumePrincipal": _person,
    "RevokePrincipal": lambda _r, _: {"principal": "erin"},
    "AddSigningKey": _signing_key,
    "RotateSigningKey": _replacement,
    "RevokeSigningKey": _revoked_key,
    "PutIssuer": lambda r, _: settings(audience=r.choice(["keyfold", "others"])),
    "DeleteIssuer": lambda _r, _: {"issuer": NAME},
    "PutIssuerKeys": lambda _r, _: {"issuer": NAME, "jwks": jwks()},
    "PutLimit": _limit,
    "DeleteLimit": lambda r, _: {"limit": r.choice("lm")},
    "PutPolicy": lambda r, _: {"policy": f"p{r.randint(0, 2)}", "text": r.choice(TEXTS)},
    "DeletePolicy": lambda r, _: {"policy": f"p{r.randint(0, 2)}"},
    "ProposeCommand": _proposal,
    "ApproveProposal": _opinion,
    "DenyProposal": _opinion,
    "CancelProposal": _made("proposal"),
    "EraseSealingKey": lambda _r, _: {"sealing_key": SEALING_KEY},
}


def wish(r: Random, made: Office, verb: str | None = None, **options: Any) -> Signed:
    """The next command: of any verb, or of this one. Its number is counted in the office."""
    made.number += 1
    verb = verb or r.choice(VERBS)
    if verb == "AssumePrincipalWithWebIdentity":
        return assumption("api", made.number, issued_ms=made.now_ms)
    by = r.choice(PEOPLE if r.random() < 0.5 or BY_VERB[verb].data_plane else PEOPLE[:2])
    arguments = ARGUMENTS[verb](r, made) if verb in ARGUMENTS else {}
    known = {"principal": by, "arguments": arguments, "issued_ms": made.now_ms, "reason": r.choice(REASONS)}
    if BY_VERB[verb].data_plane:
        contexts = r.choice(CONTEXTS)
        known |= {"contexts": contexts, "items": r.choice([len(contexts), 9]), "size": r.choice([10, 100])}
    return command(verb, _home(made, arguments) or _stream(r, verb, by), made.number, **known | options)


def _home(made: Office, arguments: dict[str, Any]) -> str | None:
    """Return the stream of the grant or proposal that is named, if it exists."""
    for kind in ("grant", "proposal"):
        name = f"{kind}/{arguments.get(kind)}"
        found = made.state.entities.get(name) or made.front.state.entities.get(name)
        if isinstance(found, Grant | Proposal):
            return f"key/{found.key_id}" if isinstance(found, Grant) else found.stream
    return None


def _stream(r: Random, verb: str, by: str) -> str:
    scope = BY_VERB[verb].scope
    if scope == "any":
        scope = r.choice(["key", "key", "registry"])
    return {"registry": REGISTRY, "principal": f"principal/{by}"}.get(scope) or r.choice(KEYS)


def crowd(rules: str = "\n".join(TEXTS[1:6])) -> Office:
    """An office with two keys, an issuer and people of all groups; beside the administrators' rule it has these."""
    made = Office(rules=f'permit (principal in Group::"administrators", action, resource);\n{rules}')
    made.register("carol", "users")
    made.register("dave", "users", "approvers")
    made.register("erin")
    assert made.code("PutIssuer", REGISTRY, arguments=settings(base_groups=["users"])) is None
    assert made.code("PutIssuerKeys", REGISTRY, arguments={"issuer": NAME, "jwks": jwks()}) is None
    for stream in (KEY, OTHER):
        assert made.code("CreateKey", stream, arguments={"tags": {"tenant": "acme"}}) is None
    return made
