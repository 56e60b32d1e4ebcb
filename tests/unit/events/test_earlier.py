"""Logs that an earlier release wrote stay readable: its golden commands and events, kept as they were.

What was added since is optional. The bytes of what was written never change, so neither do digests and signatures.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from keyfold.events import commands, facts
from keyfold.events.entities import DEPLOYMENT, Deployment, Entity, Key, Principal, SealingKey, SigningKey
from keyfold.events.evolve import evolve, get
from keyfold.events.signatures import Verifier, command_message, command_message_of_digest

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "earlier" / "0.1"
KEPT = {
    "commands.json": "6144bccb7447462898be82ab51b0fbd3e7b13b386744446e811fe3fb5e899624",
    "events.json": "13511905076c86c3e8f37eb3b35ffd05023930a3dacbc801f2307e68f9f3f060",
}
COMMANDS = json.loads((FOLDER / "commands.json").read_text("utf-8"))
EVENTS = json.loads((FOLDER / "events.json").read_text("utf-8"))["cases"]
STORY = [
    "genesis", "service-key.certified", "service-key.revoked", "sealing-key.published", "keystore.sealing-key-stored",
    "sealing-key.erased", "keystore.sealing-key-deleted", "principal.registered", "principal.revoked",
    "alias.created", "alias.updated", "alias.deleted", "policy.deleted",
    "key.created", "keystore.material-stored", "key.material-generated", "policy.put", "key.rotated",
    "command.authorized", "key.used", "command.denied", "command.completed", "operation.failed",
    "key.disabled", "key.enabled", "key.deletion-scheduled", "key.deletion-cancelled", "key.destroyed",
    "key.use-ceased", "keystore.material-erased",
]  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_kept_as_they_were(name: str) -> None:
    """The files of the release are not generated any more, and have not changed since."""
    assert sha256((FOLDER / name).read_bytes()).hexdigest() == KEPT[name]


@pytest.mark.parametrize("verb", COMMANDS["cases"])
def test_commands(verb: str, document: Callable[..., dict[str, Any]]) -> None:
    """An earlier command parses as what it was, keeps its digest and its signature, and is written so today."""
    case = COMMANDS["cases"][verb]
    value, sealed = case["value"].encode(), bytes.fromhex(case["sealed_hex"])
    command = commands.parse_command(value)
    commands.check_scope(command)
    assert command.verb == verb
    assert command.model_dump(exclude_unset=True, mode="json") == json.loads(value) == document(verb)
    assert sha256(value).hexdigest() == case["digest"]
    message = command_message(COMMANDS["deployment"], case["record_key"].encode(), value, sealed)
    assert message.hex() == case["message_hex"]
    Verifier(bytes.fromhex(COMMANDS["public_key"])).verify(bytes.fromhex(case["signature_hex"]), message)


@pytest.mark.parametrize("kind", EVENTS)
def test_events(kind: str) -> None:
    """An earlier event parses as what it was: without what was added since it gives the same bytes again."""
    value = EVENTS[kind]["value"].encode()
    event = facts.parse_event(value)
    assert (event.type, event.role, event.topic) == (kind, EVENTS[kind]["role"], EVENTS[kind]["topic"])
    again = event.model_dump_json(exclude_unset=True).encode()
    assert sha256(again).hexdigest() == sha256(value).hexdigest()


@pytest.mark.parametrize("kind", EVENTS)
def test_decisions(kind: str) -> None:
    """An earlier decision still holds its command's exact bytes under the same digest, which its principal signed."""
    event = facts.parse_event(EVENTS[kind]["value"].encode())
    if not isinstance(event, facts.PolicyEvent):
        return
    decision = event.data.decision
    value = decision.command.encode()
    command = commands.parse_command(value)
    assert sha256(value).hexdigest() == decision.command_digest == COMMANDS["cases"][command.verb]["digest"]
    assert (decision.grant, decision.charges, decision.proposal) == (None, {}, None)
    message = command_message_of_digest(
        COMMANDS["deployment"], command.subject.encode(), value, bytes.fromhex(decision.body_digest)
    )
    Verifier(bytes.fromhex(COMMANDS["public_key"])).verify(bytes.fromhex(decision.signature), message)


def fold(values: list[bytes]) -> dict[str, Entity]:
    view: dict[str, Entity] = {}
    for value in values:
        for name, entity in evolve(view, facts.parse_event(value)).items():
            if entity is None:
                view.pop(name, None)
            else:
                view[name] = entity
    return view


def test_every_event_folds(examples: Any) -> None:
    """Every earlier event folds, in the order of a deployment's life, into the entities of today."""
    assert sorted(f"keyfold.{name}.v1" for name in STORY) == sorted(EVENTS)
    values = [EVENTS[f"keyfold.{name}.v1"]["value"] for name in STORY]
    published = values[STORY.index("sealing-key.published")]
    first = published.replace(examples.SEALING_KEY, examples.OLD_SEALING_KEY)
    view = fold([value.encode() for value in [values[0], first, *values[1:]]])

    deployment = get(view, DEPLOYMENT, Deployment)
    assert (deployment.revision, deployment.policies_revision, deployment.limits) == (6, 1, ())
    bob = get(view, "principal/bob", Principal)
    assert (bob.status, bob.principal_type, bob.expires_at) == ("Revoked", "workload", None)
    assert [(key.signing_key, key.algorithm) for key in bob.keys] == [(examples.BOB.fingerprint, "Ed25519")]
    assert get(view, f"signing-key/{examples.BOB.fingerprint}", SigningKey).principal == "bob"
    assert get(view, f"sealing-key/{examples.OLD_SEALING_KEY}", SealingKey).erased_at is not None
    assert "alias/orders" not in view

    key = get(view, examples.KEY_STREAM, Key)
    assert (key.status, len(key.versions), len(key.policies)) == ("Destroyed", 2, 1)
    assert (key.usage_budget, key.rotate_at_percent) == (2**31, None)
    assert key.version(2).protected_items == 3
