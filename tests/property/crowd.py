"""Wishes: random commands of every verb about the few people, keys, grants and proposals of an office.

For properties of deciding: most wishes make sense, many contradict what was wished before, all are well-formed and
really signed. What may be wished is drawn from one source of random choices, which the test owns.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from tests.property.kinds import arguments, batch, end_of_epoch, import_outcome, importing
from tests.support.office import KEY, WEEK, Office
from tests.support.people import SEALING_KEY, Signed, command, key_on, signer, uuid
from tests.unit.deciding.issuers import NAME, assumption, jwks, settings

from keyfold.events import facts
from keyfold.events.commands import BY_VERB
from keyfold.events.entities import DEPLOYMENT, Deployment, Entity, Grant, Key, Proposal
from keyfold.events.evolve import evolve, get
from keyfold.events.specs import SYMMETRIC_ONLY, USAGE_OF_VERB
from keyfold.events.streams import REGISTRY
from keyfold.events.times import DAY_MS, HOUR_MS, to_text

OTHER: Final = key_on(2, 500)
ABSENT: Final = key_on(2, 900)
OUTSIDE: Final = key_on(2, 1000)
KINDS: Final = {
    key_on(2, 2000): ("ECC_NIST_P256", "SIGN_VERIFY"),
    key_on(2, 3000): ("HMAC_256", "GENERATE_VERIFY_MAC"),
    key_on(2, 4000): ("RSA_2048", "ENCRYPT_DECRYPT"),
    key_on(2, 5000): ("ECC_NIST_P384", "KEY_AGREEMENT"),
    key_on(2, 6000): ("ML_KEM_768", "KEY_ENCAPSULATION"),
}
"""Keys that are not symmetric, by stream."""
USUAL: Final = (*[KEY] * 6, *[OTHER] * 3, ABSENT)
KEYS: Final = (*USUAL, *USUAL, *[OUTSIDE] * 2, *KINDS)
PEOPLE: Final = ("alice", "bob", "carol", "dave", "erin")
OFTEN: Final = ("Encrypt", "Decrypt", "CreateGrant", "ProposeCommand", "ApproveProposal")
VERBS: Final = (*sorted(BY_VERB), *OFTEN * 8)
GROUPS: Final = ("users", "approvers", "administrators")
REASONS: Final = (None, "", "CHG-1")
TEXTS: Final = """
permit (principal in Group::"users", action in [Action::"Encrypt", Action::"Decrypt"], resource);

permit (principal in Group::"users", action == Action::"UseCompromisedVersion", resource);

permit (principal in Group::"users", action in [
    Action::"Sign", Action::"Verify", Action::"GenerateMac", Action::"VerifyMac", Action::"DeriveSharedSecret",
    Action::"Encapsulate", Action::"Decapsulate", Action::"GetPublicKey", Action::"ReEncryptFrom"
], resource);

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


def _incident(r: Random, _made: Office) -> dict[str, Any]:
    return {"incident": uuid(r.randint(900, 902)), "comment": r.choice(["", "seen"])}


def _suppression(r: Random, made: Office) -> dict[str, Any]:
    about = {"detector": r.choice([None, "fan-out"]), "entity": r.choice([None, "principal/erin"])}
    days = r.choice([-1, 1, 90, 91])
    return {"suppression": r.choice("st"), **about, "until": to_text(made.now_ms + days * DAY_MS)}


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
    "AcknowledgeIncident": _incident,
    "CloseIncident": lambda r, m: _incident(r, m) | {"resolution": r.choice(["BENIGN", "TRUE_POSITIVE"])},
    "PutSuppression": _suppression,
    "DeleteSuppression": lambda r, _: {"suppression": r.choice("st")},
    "PutPolicy": lambda r, _: {"policy": f"p{r.randint(0, 2)}", "text": r.choice(TEXTS)},
    "DeletePolicy": lambda r, _: {"policy": f"p{r.randint(0, 2)}"},
    "ProposeCommand": _proposal,
    "ApproveProposal": _opinion,
    "DenyProposal": _opinion,
    "CancelProposal": _made("proposal"),
    "EraseSealingKey": lambda _r, _: {"sealing_key": SEALING_KEY},
    "EndStorageEpoch": lambda r, made: end_of_epoch(r, get(made.registry, DEPLOYMENT, Deployment)),
}
"""By verb; what is about one key of whatever kind is in `kinds`."""


def wish(r: Random, made: Office, verb: str | None = None, **options: Any) -> Signed:
    """The next command: of any verb, or of this one. Its number is counted in the office."""
    made.number += 1
    verb = verb or r.choice(VERBS)
    if verb == "AssumePrincipalWithWebIdentity":
        return assumption("api", made.number, issued_ms=made.now_ms)
    by = r.choice(PEOPLE if r.random() < 0.5 or BY_VERB[verb].data_plane else PEOPLE[:2])
    stream = _stream(r, made, verb, by)
    found = made.state.entities.get(stream)
    key = found if isinstance(found, Key) else None
    said = ARGUMENTS[verb](r, made) if verb in ARGUMENTS else arguments(r, verb, key, made.now_ms)
    known: dict[str, Any] = {"principal": by, "arguments": said, "issued_ms": made.now_ms, "reason": r.choice(REASONS)}
    known |= batch(r, verb, key) if BY_VERB[verb].data_plane else {}
    return command(verb, _home(made, said) or stream, made.number, **known | options)


def _home(made: Office, said: dict[str, Any]) -> str | None:
    """Return the stream of the grant or proposal that is named, if it exists."""
    for kind in ("grant", "proposal"):
        name = f"{kind}/{said.get(kind)}"
        found = made.state.entities.get(name) or made.front.state.entities.get(name)
        if isinstance(found, Grant | Proposal):
            return f"key/{found.key_id}" if isinstance(found, Grant) else found.stream
    return None


def _stream(r: Random, made: Office, verb: str, by: str) -> str:
    scope = BY_VERB[verb].scope
    if scope == "any":
        scope = r.choice(["key", "key", "registry"])
    if scope != "key":
        return REGISTRY if scope == "registry" else f"principal/{by}"
    return r.choice(_fitting(made.state.entities, verb) if r.random() < 0.9 else KEYS)


def _fitting(view: Mapping[str, Entity], verb: str) -> Sequence[str]:
    """Streams of keys for which the verb is made: imports go outside, signatures to keys that sign."""
    if "Import" in verb:
        return [OUTSIDE]
    if verb == "GetPublicKey":
        return [*KINDS]
    usage = USAGE_OF_VERB.get(verb)
    if usage is None:
        return KEYS
    found = [name for name, key in view.items() if isinstance(key, Key) and key.key_usage == usage]
    return USUAL if verb in SYMMETRIC_ONLY else [*USUAL, *found] if usage == "ENCRYPT_DECRYPT" else found or KEYS


def settle(r: Random, made: Office) -> None:
    """Let the worker say what became of the imports under way, and of the storage epoch that was to end."""
    _finish_imports(made, lambda: r.random() < 0.8)
    deployment = get(made.registry, DEPLOYMENT, Deployment)
    if deployment.storage_epoch - 1 > deployment.storage_epoch_ended and r.random() < 0.5:
        told = facts.StorageEpochKeyDestroyed.new(
            f"0.{made.number}.end", REGISTRY, to_text(made.now_ms), epoch=deployment.storage_epoch - 1, token="kms",
            serial="1", module="m", answer="CKR_OK", found_after=0, evidence={},
        )  # fmt: skip
        for view in (made.front.state.entities, made.registry):
            view.update({name: entity for name, entity in evolve(view, told).items() if entity is not None})


def _finish_imports(made: Office, done: Callable[[], bool]) -> None:
    for stream, key, offset in importing(made.state.entities):
        asked = next(event for event in reversed(made.events) if _is_import(event, stream, offset))
        assert isinstance(asked, facts.CommandAuthorized)
        made.finish(import_outcome(asked, key, done=done()))


def _is_import(event: facts.Event, stream: str, offset: int) -> bool:
    mine = isinstance(event, facts.CommandAuthorized) and event.data.verb == "ImportKeyMaterial"
    return mine and event.subject == stream and event.data.decision.offset == offset


def crowd(rules: str = "\n".join(TEXTS[2:8])) -> Office:
    """An office with keys of all usages, an issuer and people of all groups; beside the administrators' rule these."""
    made = Office(rules=f'permit (principal in Group::"administrators", action, resource);\n{rules}')
    made.register("carol", "users")
    made.register("dave", "users", "approvers")
    made.register("erin")
    assert made.code("PutIssuer", REGISTRY, arguments=settings(base_groups=["users"])) is None
    assert made.code("PutIssuerKeys", REGISTRY, arguments={"issuer": NAME, "jwks": jwks()}) is None
    for stream in (KEY, OTHER):
        assert made.code("CreateKey", stream, arguments={"tags": {"tenant": "acme"}}) is None
    for stream, (spec, usage) in KINDS.items():
        assert made.code("CreateKey", stream, arguments={"key_spec": spec, "key_usage": usage}) is None
        assert made.code("RotateKey", stream) is None
    assert made.code("RotateKey") is None
    assert made.code("BeginStorageEpoch", REGISTRY) is None
    assert made.code("CreateKey", OUTSIDE, arguments={"origin": "EXTERNAL"}) is None
    issued = made.ask("GetParametersForImport", OUTSIDE)
    assert isinstance(issued, facts.ImportParametersIssued)
    token = {"import_token": issued.data.import_token}
    assert made.code("ImportKeyMaterial", OUTSIDE, arguments=token, size=600) is None
    _finish_imports(made, lambda: True)
    assert made.code("GetParametersForImport", OUTSIDE) is None
    return made
