"""What people of a `Story` ask about governance: grants, proposals, limits, identities, tags, budgets. Random."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.people import signer, uuid

from keyfold.events.entities import Entity, Grant, Proposal
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text

Wish = tuple[str, str, dict[str, Any]]
RATES = ({"kind": "rate", "amount": 3, "burst": 2}, {"kind": "quota", "amount": 2000, "unit": "items"})


def key_wish(r: random.Random, stream: str, view: Mapping[str, Entity], people: Sequence[str], now_ms: int) -> Wish:
    """Something about one key."""
    verb = r.choice(["TagResource", "UntagResource", "UpdateUsageBudget", "CreateGrant", "CreateGrant", "EndGrant"])
    if verb == "TagResource":
        return verb, stream, {"tags": {r.choice("abn"): r.choice("12")}}
    if verb == "UntagResource":
        return verb, stream, {"tag_keys": [r.choice("abn")]}
    if verb == "UpdateUsageBudget":
        return verb, stream, {"items": r.choice([1, 2000, 2**31]), "rotate_at_percent": r.choice([None, 60, 95])}
    grants = sorted(name.removeprefix("grant/") for name, one in view.items() if isinstance(one, Grant))
    some = r.choice(grants) if grants else uuid(1)
    if verb == "EndGrant":
        return r.choice(["RetireGrant", "RevokeGrant"]), stream, {"grant": some}
    arguments: dict[str, Any] = {
        "grantee": r.choice(people[2:]),
        "verbs": r.choice([["Encrypt"], ["Decrypt", "Encrypt", "GenerateDataKey", "ReEncrypt"]]),
        "expires_at": to_text(now_ms + r.choice([1000, 86_400_000, 20 * 86_400_000])),
        "max_operations": r.choice([None, 1, 3]),
        "max_items": r.choice([None, 5, 2000]),
    }
    if r.random() < 0.5:
        arguments["encryption_context_subset"] = {"tenant": "blue"}
    if r.random() < 0.3:
        arguments |= {"delegable": True, "verbs": ["CreateGrant", "Encrypt"]}
    if r.random() < 0.3:
        arguments["parent"] = some
    return verb, stream, arguments


def proposal_wish(r: random.Random, stream: str, view: Mapping[str, Entity], now_ms: int) -> Wish:
    """A proposal, or a word about one."""
    here = [one for one in view.values() if isinstance(one, Proposal) and one.stream == stream]
    if not here or r.random() < 0.3:
        known = {"expires_at": to_text(now_ms + r.choice([1000, 10**8, 10**9]))}
        return "ProposeCommand", stream, known | _proposed(r, stream)
    one = r.choice(here)
    verb = r.choice(["ApproveProposal"] * 6 + ["DenyProposal", "CancelProposal"])
    named = {"proposal": one.proposal}
    if verb == "CancelProposal":
        return verb, stream, named
    return verb, stream, named | {"digest": one.digest if r.random() < 0.9 else "0" * 64}


def _proposed(r: random.Random, stream: str) -> dict[str, Any]:
    if stream == REGISTRY:
        text = "permit (principal, action, resource);"
        return {"verb": "PutPolicy", "arguments": {"policy": "three", "text": text}}
    return r.choice(
        [
            {"verb": "DestroyKeyNow"},
            {"verb": "RotateKey"},
            {"verb": "DisableKey", "arguments": {"reason": "agreed"}},
            {"verb": "ScheduleKeyDeletion", "arguments": {"pending_window_seconds": 700_000}},
            {"verb": "Decrypt", "contexts": [{}], "items": 5, "bytes": 5000},
        ]
    )


def registry_wish(r: random.Random, people: Sequence[str], number: int) -> Wish:
    """Something about people or limits."""
    name = r.choice(people[2:])
    fresh = {"public_key": signer(f"{name}-{number}").public_key.hex()}
    old = signer(name if r.random() < 0.1 else f"{name}-{number - 1}").fingerprint
    limit = {"limit": r.choice(["one", "two"])}
    verb, arguments = r.choice(
        [
            ("UpdatePrincipal", {"principal": name, "groups": r.choice([["readers"], []])}),
            ("UpdatePrincipal", {"principal": name, "tags": {"team": r.choice("ab")}}),
            ("SuspendPrincipal", {"principal": name, "reason": "why not"}),
            ("ResumePrincipal", {"principal": name}),
            ("ResumePrincipal", {"principal": name}),
            ("AddSigningKey", {"principal": name, **fresh}),
            ("RotateSigningKey", {"principal": name, "replaces": old, **fresh}),
            ("RevokeSigningKey", {"principal": name, "signing_key": old}),
            ("PutLimit", limit | {"period_seconds": 60, "per": r.choice(["key", "principal"])} | r.choice(RATES)),
            ("DeleteLimit", limit),
        ]
    )
    return verb, REGISTRY, arguments
