"""Logs that earlier releases wrote stay readable: their golden commands and events, kept as they were.

What was added since is optional. The bytes of what was written never change, so neither do digests and signatures.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from keyfold.events import commands, facts
from keyfold.events.command_envelope import check_scope
from keyfold.events.entities import DEPLOYMENT, Deployment, Entity, Grant, Key, Principal, SealingKey, SigningKey
from keyfold.events.evolve import evolve, get
from keyfold.events.signatures import Verifier, command_message, command_message_of_digest

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "earlier"
KEPT = {
    "0.1/commands.json": "6144bccb7447462898be82ab51b0fbd3e7b13b386744446e811fe3fb5e899624",
    "0.1/events.json": "13511905076c86c3e8f37eb3b35ffd05023930a3dacbc801f2307e68f9f3f060",
    "0.2/commands.json": "d0496fae831ac0441233c3d86738b89a6915882d6fa61d31340d741953317b1a",
    "0.2/events.json": "a37150c8720a8950c5bdb43c0ed41e7c4f71afc46624a9024e83970104601e63",
    "0.3/commands.json": "e3fb357e698ec65ad86599131e8723cc28ca396ccec663c24f1437ecab030a2c",
    "0.3/events.json": "95d612ec4a26ce2f6461c63a143df478c78b54c9e0c5f628637b3edd02eac645",
}
FILES = {name: json.loads((FOLDER / name).read_text("utf-8")) for name in KEPT}
RELEASES = ["0.1", "0.2", "0.3"]
COMMANDS = {release: FILES[f"{release}/commands.json"] for release in RELEASES}
COMMAND_CASES = {release: made["cases"] | made.get("variants", {}) for release, made in COMMANDS.items()}
EVENTS = {release: FILES[f"{release}/events.json"]["cases"] for release in RELEASES}
EVENT_CASES = {release: EVENTS[release] | FILES[f"{release}/events.json"].get("variants", {}) for release in RELEASES}
STORIES = {
    "0.1": [
        "genesis", "service-key.certified", "service-key.revoked", "sealing-key.published",
        "keystore.sealing-key-stored", "sealing-key.erased", "keystore.sealing-key-deleted", "principal.registered",
        "principal.revoked", "alias.created", "alias.updated", "alias.deleted", "policy.deleted",
        "key.created", "keystore.material-stored", "key.material-generated", "policy.put", "key.rotated",
        "command.authorized", "key.used", "command.denied", "command.completed", "operation.failed",
        "key.disabled", "key.enabled", "key.deletion-scheduled", "key.deletion-cancelled", "key.destroyed",
        "key.use-ceased", "keystore.material-erased",
    ],
    "0.2": [
        "genesis", "service-key.certified", "service-key.revoked", "sealing-key.published",
        "keystore.sealing-key-stored", "sealing-key.erased", "keystore.sealing-key-deleted", "principal.registered",
        "principal.updated", "principal.suspended", "principal.resumed", "signing-key.added", "signing-key.rotated",
        "signing-key.revoked", "principal.authenticated", "issuer.put", "issuer.keys-put", "issuer.deleted",
        "limit.put", "limit.deleted", "alias.created", "alias.updated", "alias.deleted", "policy.deleted",
        "key.created", "keystore.material-stored", "key.material-generated", "policy.put", "key.rotated",
        "key.tagged", "key.usage-budget-updated", "command.authorized", "key.usage-budget-warning", "key.used",
        "command.denied", "command.dry-run-succeeded", "command.completed", "operation.failed",
        "grant.created", "grant.retired", "grant.revoked", "proposal.created", "proposal.approved",
        "proposal.denied", "proposal.cancelled", "key.disabled", "key.enabled", "key.deletion-scheduled",
        "key.deletion-cancelled", "key.destroyed", "key.use-ceased", "keystore.material-erased",
        "principal.revoked", "policy.reset",
    ],
    "0.3": [
        "genesis", "service-key.certified", "service-key.revoked", "sealing-key.published",
        "keystore.sealing-key-stored", "sealing-key.erased", "keystore.sealing-key-deleted",
        "token.capabilities-found", "principal.registered", "principal.updated", "principal.suspended",
        "principal.resumed", "signing-key.added", "signing-key.rotated", "signing-key.revoked",
        "principal.authenticated", "issuer.put", "issuer.keys-put", "issuer.deleted", "limit.put", "limit.deleted",
        "alias.created", "alias.updated", "alias.deleted", "policy.deleted",
        "key.created", "keystore.material-stored", "key.material-generated", "policy.put", "key.rotated",
        "key.tagged", "key.usage-budget-updated", "key.validity-updated", "key.rotation-enabled",
        "key.rotation-disabled", "command.authorized", "key.usage-budget-warning", "key.used",
        "command.denied", "command.dry-run-succeeded", "command.completed", "operation.failed",
        "grant.created", "grant.retired", "grant.revoked", "proposal.created", "proposal.approved",
        "proposal.denied", "proposal.cancelled", "key.version-disabled", "key.version-enabled", "key.compromised",
        "key.import-parameters-issued", "keystore.import-key-stored", "key.import-parameters-created",
        "key.material-imported", "keystore.import-key-erased", "key.imported-material-deleted",
        "key.version-destroyed", "key.disabled", "key.enabled", "key.deletion-scheduled", "key.deletion-cancelled",
        "key.destroyed", "key.use-ceased", "keystore.material-erased", "storage-epoch.begun",
        "keystore.material-rewrapped", "storage-epoch.turned", "storage-epoch.key-destroyed",
        "keystore.erasure-certified", "key.erased", "principal.revoked", "policy.reset",
    ],
}  # fmt: skip


def each(cases: dict[str, dict[str, Any]]) -> pytest.MarkDecorator:
    """Every case of every release, by release and name."""
    return pytest.mark.parametrize(
        ("release", "name"), [(release, name) for release, found in cases.items() for name in found]
    )


def verifier(release: str, principal: str) -> Verifier:
    """The public key of a principal; the first release has one for all."""
    known = COMMANDS[release].get("public_keys", {principal: COMMANDS[release].get("public_key")})
    return Verifier(bytes.fromhex(known[principal]))


def check(release: str, signed: facts.Decision | facts.ProposalUse) -> str:
    """Check the signature of a command that an event holds, and return the command's digest."""
    value = signed.command.encode()
    command = commands.parse_command(value)
    message = command_message_of_digest(
        COMMANDS[release]["deployment"], command.subject.encode(), value, bytes.fromhex(signed.body_digest)
    )
    verifier(release, command.data.principal).verify(bytes.fromhex(signed.signature), message)
    return sha256(value).hexdigest()


@pytest.mark.parametrize("name", KEPT)
def test_kept_as_they_were(name: str) -> None:
    """The files of a release are not generated any more, and have not changed since."""
    assert sha256((FOLDER / name).read_bytes()).hexdigest() == KEPT[name]


def test_every_release_is_read() -> None:
    """Whatever is kept is held against the rules here."""
    assert {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.json")} == set(KEPT)


@each(COMMAND_CASES)
def test_commands(release: str, name: str, document: Callable[..., dict[str, Any]]) -> None:
    """An earlier command parses as what it was, keeps its digest and its signature, and is written so today."""
    case = COMMAND_CASES[release][name]
    value, sealed = case["value"].encode(), bytes.fromhex(case["sealed_hex"])
    command = commands.parse_command(value)
    check_scope(command)
    assert command.verb == name.partition(" ")[0]
    assert command.model_dump(exclude_unset=True, mode="json") == json.loads(value) == document(name)
    assert sha256(value).hexdigest() == case["digest"]
    message = command_message(COMMANDS[release]["deployment"], case["record_key"].encode(), value, sealed)
    assert message.hex() == case["message_hex"]
    verifier(release, command.data.principal).verify(bytes.fromhex(case["signature_hex"]), message)


@each(EVENT_CASES)
def test_events(release: str, name: str) -> None:
    """An earlier event parses as what it was: without what was added since it gives the same bytes again."""
    case = EVENT_CASES[release][name]
    value = case["value"].encode()
    event = facts.parse_event(value)
    assert (event.role, event.topic) == (case["role"], case["topic"])
    assert event.type == json.loads(value)["type"]
    again = event.model_dump_json(exclude_unset=True).encode()
    assert sha256(again).hexdigest() == sha256(value).hexdigest()


@each(EVENT_CASES)
def test_decisions(release: str, name: str) -> None:
    """An earlier decision still holds its command's exact bytes under the same digest, which its principal signed."""
    event = facts.parse_event(EVENT_CASES[release][name]["value"].encode())
    if not isinstance(event, facts.PolicyEvent):
        return
    decision = event.data.decision
    known = {case["digest"] for case in COMMAND_CASES[release].values()}
    assert check(release, decision) == decision.command_digest
    assert decision.command_digest in known
    if decision.proposal is not None:
        assert check(release, decision.proposal) in known
    if release == "0.1":
        assert (decision.grant, decision.charges, decision.proposal) == (None, {}, None)


def fold(values: list[bytes]) -> dict[str, Entity]:
    view: dict[str, Entity] = {}
    for value in values:
        for name, entity in evolve(view, facts.parse_event(value)).items():
            if entity is None:
                view.pop(name, None)
            else:
                view[name] = entity
    return view


def told(release: str, examples: Any) -> dict[str, Entity]:
    """Fold a release's events in the order of a deployment's life, behind the sealing key that one of them erases."""
    story, known = STORIES[release], EVENTS[release]
    assert sorted(f"keyfold.{name}.v1" for name in story) == sorted(known)
    values = [known[f"keyfold.{name}.v1"]["value"] for name in story]
    published = values[story.index("sealing-key.published")]
    first = published.replace(examples.SEALING_KEY, examples.OLD_SEALING_KEY)
    return fold([value.encode() for value in [values[0], first, *values[1:]]])


@pytest.mark.parametrize(("release", "budget"), [("0.1", 2**31), ("0.2", 1_000_000)])
def test_every_event_folds(release: str, budget: int, examples: Any) -> None:
    """Every earlier event folds, in the order of a deployment's life, into the entities of today."""
    view = told(release, examples)
    assert get(view, f"signing-key/{examples.BOB.fingerprint}", SigningKey).principal == "bob"
    assert get(view, f"sealing-key/{examples.OLD_SEALING_KEY}", SealingKey).erased_at is not None
    assert "alias/orders" not in view
    deployment = get(view, DEPLOYMENT, Deployment)
    assert (deployment.limits, deployment.storage_epoch, deployment.storage_epoch_ended) == ((), 1, 0)

    key = get(view, examples.KEY_STREAM, Key)
    assert (key.status, len(key.versions), len(key.policies)) == ("Destroyed", 2, 1)
    assert (key.key_usage, key.origin, key.not_before, key.not_after) == ("ENCRYPT_DECRYPT", "KEYFOLD", None, None)
    assert key.usage_budget == budget
    assert key.version(2).protected_items == 3
    assert all(v.material and not v.compromised and v.erased_at is None for v in key.versions)


def test_the_story_of_0_1(examples: Any) -> None:
    """Principals of the first release have one signing key and no end."""
    view = told("0.1", examples)
    deployment = get(view, DEPLOYMENT, Deployment)
    assert (deployment.revision, deployment.policies_revision) == (6, 1)
    bob = get(view, "principal/bob", Principal)
    assert (bob.status, bob.principal_type, bob.expires_at) == ("Revoked", "workload", None)
    assert [(key.signing_key, key.algorithm) for key in bob.keys] == [(examples.BOB.fingerprint, "Ed25519")]
    assert get(view, examples.KEY_STREAM, Key).rotate_at_percent is None


def test_the_story_of_0_2(examples: Any) -> None:
    """Of the second release signing keys, grants, budgets and the reset of policies are what they were."""
    view = told("0.2", examples)
    bob = get(view, "principal/bob", Principal)
    assert (bob.status, bob.groups, [key.status for key in bob.keys]) == (
        "Revoked",
        ("readers", "writers"),
        ["Revoked", "Revoked", "Active"],
    )
    grant = get(view, f"grant/{examples.command_id('CreateGrant')}", Grant)
    assert (grant.status, grant.verbs, grant.algorithms) == (
        "Revoked",
        ("Decrypt", "CreateGrant"),
        ("SYMMETRIC_DEFAULT",),
    )
    assert get(view, examples.KEY_STREAM, Key).rotate_at_percent == 80
    assert "issuer/acme" not in view


def test_the_story_of_0_3(examples: Any) -> None:
    """Of the third release versions, imported material and the change of storage epochs are what they were."""
    view = told("0.3", examples)
    deployment = get(view, DEPLOYMENT, Deployment)
    assert (deployment.revision, deployment.policies_revision) == (20, 2)
    assert (deployment.storage_epoch, deployment.storage_epoch_ended) == (2, 1)
    key = get(view, examples.KEY_STREAM, Key)
    assert (key.status, key.usage_budget, key.rotate_at_percent, key.not_before is None) == (
        "Destroyed",
        1_000_000,
        80,
        False,
    )
    first, second = key.versions
    assert (first.status, first.compromised, first.material) == ("Destroyed", True, True)
    assert (second.status, second.material, second.key_check_value, second.protected_items) == (
        "Destroyed",
        False,
        "dc95c0",
        3,
    )
    assert first.erased_at is not None
    assert first.erased_at == second.erased_at
    assert "capabilities" in view


def test_a_certificate_of_before_has_no_checkpoint_key() -> None:
    """Who was certified before notaries signed checkpoints with two keys is certified as before."""
    for release in RELEASES:
        value = EVENTS[release]["keyfold.service-key.certified.v1"]["value"]
        event = facts.parse_event(value.encode())
        assert isinstance(event, facts.ServiceKeyCertified)
        assert event.data.checkpoint_key is None
