"""Deciding about principals and their signing keys on partition 0."""

import json
from typing import Any

import pytest
from tests.support.people import START_MS, command, document, signed_by, signer, uuid
from tests.unit.deciding.hall import Hall

from keyfold.deciding.identities import MAX_SIGNING_KEYS
from keyfold.events import facts
from keyfold.events.entities import Principal
from keyfold.events.signatures import Signer
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text

TEXT = "permit (principal, action, resource);"
SOON, NOW = to_text(START_MS + 1), to_text(START_MS)
POST_QUANTUM = Signer(b"\7" * 32, "ML-DSA-65")


def public(name: str) -> str:
    return signer(name).public_key.hex()


def print_of(name: str) -> str:
    return signer(name).fingerprint


def keys_of(principal: Principal) -> dict[str, str]:
    return {key.signing_key: key.status for key in principal.keys}


def hall_with(*names: str, **more: Any) -> Hall:
    hall = Hall()
    assert [hall.register(name, "readers", **more) for name in names] == [None] * len(names)
    return hall


def federated(hall: Hall, name: str = "corp.api.0123456789ab") -> str:
    """Put a federated principal into the registry, by the event that its token would have become."""
    hall.register("pattern")
    pattern = hall.last()
    assert isinstance(pattern, facts.PrincipalRegistered)
    hall.fold(
        facts.PrincipalAuthenticated.new(
            "authenticated",
            REGISTRY,
            NOW,
            decision=pattern.data.decision,
            principal=name,
            public_key=public(name),
            algorithm="Ed25519",
            issuer="corp",
            token_subject="api",
            token_id=None,
            groups=["callers"],
            tags={},
            expires_at=to_text(START_MS + 600_000),
        )
    )
    return name


def test_registering_principals() -> None:
    """A name and a signing key each belong to one principal for ever, revoked or not."""
    hall = Hall()
    assert hall.register("carol", "readers") is None
    assert hall.register("carol", key="another") == "AlreadyExists"
    assert hall.register("dave", key="carol") == "AlreadyExists"
    assert hall.code("RevokePrincipal", principal="carol") is None
    assert hall.register("carol", key="another") == "AlreadyExists"
    assert hall.register("dave", key="carol") == "AlreadyExists"


def test_what_is_registered() -> None:
    """A principal is what its registration says, with one key that lasts as long as the principal."""
    hall = Hall()
    assert hall.register("carol", "readers", tags={"team": "a"}, principal_type="human", expires_at=SOON) is None
    carol = hall.principal("carol")
    assert (carol.groups, carol.tags, carol.principal_type, carol.expires_at) == (
        ("readers",), {"team": "a"}, "human", SOON,
    )  # fmt: skip
    assert [(key.signing_key, key.algorithm, key.expires_at) for key in carol.keys] == [
        (print_of("carol"), "Ed25519", None)
    ]


def test_registering_for_the_past() -> None:
    """Who is registered has a future, of a millisecond at least."""
    assert Hall().register("carol", expires_at=NOW) == "InvalidCommand"
    assert Hall().register("carol", expires_at=SOON) is None


def test_registered_principals_act_at_once() -> None:
    """A principal that was registered in a batch is known to the next command of the same batch."""
    hall = Hall()
    arguments = {"principal": "carol", "public_key": public("carol"), "groups": ["administrators"]}
    hall.decide(
        command("RegisterPrincipal", REGISTRY, 1, arguments=arguments),
        command("PutPolicy", REGISTRY, 2, principal="carol", arguments={"policy": "p", "text": TEXT}),
        command("RevokePrincipal", REGISTRY, 3, arguments={"principal": "carol"}),
        command("PutPolicy", REGISTRY, 4, principal="carol", arguments={"policy": "p", "text": TEXT}),
    )
    codes = [getattr(event.data, "code", None) for event in hall.events]
    assert codes == [None, None, None, "PrincipalRevoked"]


def test_revoking_principals() -> None:
    """A principal is revoked once, active or suspended, and nothing is done to it afterwards."""
    hall = hall_with("carol", "dave")
    assert hall.code("RevokePrincipal", principal="nobody") == "NotFound"
    assert hall.code("RevokePrincipal", principal="carol") is None
    assert hall.code("SuspendPrincipal", principal="dave") is None
    assert hall.code("RevokePrincipal", principal="dave") is None
    assert hall.principal("dave").status == "Revoked"
    for verb, more in AFTERWARDS.items():
        expected = None if verb == "RevokeSigningKey" else "InvalidState"
        assert hall.code(verb, principal="carol", **more) == expected, verb


AFTERWARDS: dict[str, dict[str, Any]] = {
    "UpdatePrincipal": {"groups": []},
    "SuspendPrincipal": {},
    "ResumePrincipal": {},
    "RevokePrincipal": {},
    "AddSigningKey": {"public_key": public("carol-2")},
    "RotateSigningKey": {"public_key": public("carol-2"), "replaces": print_of("carol")},
    "RevokeSigningKey": {"signing_key": print_of("carol")},
}


@pytest.mark.parametrize("verb", AFTERWARDS)
def test_nobody(verb: str) -> None:
    """What is not registered cannot be changed."""
    assert Hall().code(verb, principal="nobody", **AFTERWARDS[verb]) == "NotFound"


def test_rotating_ones_own_key_gives_no_more_time() -> None:
    """Who replaces a key of their own signs with it, and the successor ends no later; an administrator is free."""
    hall = hall_with("carol")
    for name in ("alice", "carol"):
        assert hall.code("AddSigningKey", principal=name, public_key=public(f"{name} 2"), expires_at=SOON) is None
    other = {"principal": "alice", "public_key": public("alice 3"), "replaces": print_of("alice 2")}
    assert hall.code("RotateSigningKey", **other) == "InvalidState"
    made = document("RotateSigningKey", REGISTRY, 900, principal="alice", arguments=other)
    made["data"]["signing_key"] = print_of("alice 2")
    hall.decide(signed_by(signer("alice 2"), json.dumps(made).encode(), REGISTRY))
    successor = hall.principal("alice").key(print_of("alice 3"))
    assert successor is not None
    assert successor.expires_at == SOON
    free = {"principal": "carol", "public_key": public("carol 3"), "replaces": print_of("carol 2")}
    assert hall.code("RotateSigningKey", **free) is None
    given = hall.principal("carol").key(print_of("carol 3"))
    assert given is not None
    assert given.expires_at is None


def test_two_administrators_remain() -> None:
    """The last two administrators who can act are neither revoked, suspended, sent away nor left without a key."""
    hall = Hall()  # alice, bob and, in these tests, the scheduler
    assert hall.code("RevokePrincipal", principal="scheduler") is None
    assert hall.code("RevokePrincipal", principal="bob") == "AdministratorsNeeded"
    assert hall.code("SuspendPrincipal", principal="alice") == "AdministratorsNeeded"
    assert hall.code("UpdatePrincipal", principal="bob", groups=[]) == "AdministratorsNeeded"
    assert hall.code("RevokeSigningKey", principal="bob", signing_key=print_of("bob")) == "AdministratorsNeeded"
    hall.register("carol")
    assert hall.code("RevokePrincipal", principal="bob") == "AdministratorsNeeded"
    hall.register("dave", "administrators")
    assert hall.code("RevokePrincipal", principal="bob") is None
    assert hall.code("RevokePrincipal", principal="dave") == "AdministratorsNeeded"


def test_suspending_and_resuming() -> None:
    """A suspended principal is refused until it is resumed; each is done only where it changes something."""
    hall = hall_with("carol")
    assert hall.code("ResumePrincipal", principal="carol") == "InvalidState"
    assert hall.code("SuspendPrincipal", principal="carol", reason="on leave") is None
    assert (hall.principal("carol").status, hall.principal("carol").reason) == ("Suspended", "on leave")
    assert hall.code("SuspendPrincipal", principal="carol") == "InvalidState"
    assert hall.code("CreateAlias", by="carol", alias="alias/a", key_id=uuid(1)) == "PrincipalSuspended"
    assert hall.code("ResumePrincipal", principal="carol") is None
    assert (hall.principal("carol").status, hall.principal("carol").reason) == ("Active", "")


def test_updating_principals() -> None:
    """What is not named stays as it is; the event says all that holds from now on."""
    hall = hall_with("carol", tags={"team": "a"}, expires_at=SOON)
    assert hall.code("UpdatePrincipal", principal="carol", groups=["writers"]) is None
    event = hall.last()
    assert isinstance(event, facts.PrincipalUpdated)
    assert (event.data.groups, event.data.tags, event.data.expires_at) == (["writers"], {"team": "a"}, SOON)
    assert hall.code("UpdatePrincipal", principal="carol", tags={}) is None
    assert hall.code("UpdatePrincipal", principal="carol", expires_at="never") is None
    carol = hall.principal("carol")
    assert (carol.groups, carol.tags, carol.expires_at) == (("writers",), {}, None)
    assert hall.code("UpdatePrincipal", principal="carol", expires_at=NOW) == "InvalidCommand"
    assert hall.code("UpdatePrincipal", principal="carol", expires_at=SOON) is None
    assert hall.principal("carol").expires_at == SOON


def test_updating_who_is_over() -> None:
    """An expired principal can be prolonged, and changed without naming a time."""
    hall = hall_with("carol", expires_at=SOON)
    hall.now_ms += 1
    assert hall.code("UpdatePrincipal", principal="carol", groups=[]) is None
    assert hall.principal("carol").expires_at == SOON
    assert hall.code("UpdatePrincipal", principal="carol", expires_at=to_text(START_MS + 2)) is None


def test_federated_principals_are_what_their_tokens_say() -> None:
    """Groups, tags and keys of a federated principal are not put by hand; it can be limited, stopped and revoked."""
    hall = Hall()
    name = federated(hall)
    assert hall.code("UpdatePrincipal", principal=name, groups=[]) == "InvalidState"
    assert hall.code("UpdatePrincipal", principal=name, tags={}) == "InvalidState"
    assert hall.code("UpdatePrincipal", principal=name, expires_at=SOON) is None
    assert hall.principal(name).groups == ("callers",)
    assert hall.code("AddSigningKey", principal=name, public_key=public("x")) == "InvalidState"
    rotation = {"principal": name, "public_key": public("x"), "replaces": print_of(name)}
    assert hall.code("RotateSigningKey", **rotation) == "InvalidState"
    assert hall.code("SuspendPrincipal", principal=name) is None
    assert hall.code("ResumePrincipal", principal=name) is None
    assert hall.code("RevokeSigningKey", principal=name, signing_key=print_of(name)) is None
    assert hall.code("RevokePrincipal", principal=name) is None


def test_adding_signing_keys() -> None:
    """A principal may have several keys; a key that anybody has or had is nobody else's, nor its own again."""
    hall = hall_with("carol", "dave")
    assert hall.code("AddSigningKey", principal="carol", public_key=public("carol-2"), expires_at=SOON) is None
    assert keys_of(hall.principal("carol")) == {print_of("carol"): "Active", print_of("carol-2"): "Active"}
    assert hall.code("AddSigningKey", principal="carol", public_key=public("dave")) == "AlreadyExists"
    assert hall.code("AddSigningKey", principal="carol", public_key=public("carol")) == "AlreadyExists"
    assert hall.code("RevokeSigningKey", principal="carol", signing_key=print_of("carol-2")) is None
    assert hall.code("AddSigningKey", principal="carol", public_key=public("carol-2")) == "AlreadyExists"
    assert hall.code("AddSigningKey", principal="dave", public_key=public("carol-2")) == "AlreadyExists"
    assert hall.code("AddSigningKey", principal="carol", public_key=public("x"), expires_at=NOW) == "InvalidCommand"


def test_number_of_signing_keys() -> None:
    """At most ten keys are usable at a time; revoked and expired ones do not count, and one can always be replaced."""
    hall = hall_with("carol")
    for number in range(1, MAX_SIGNING_KEYS):
        more = {"expires_at": SOON} if number == 1 else {}
        assert hall.code("AddSigningKey", principal="carol", public_key=public(f"carol-{number}"), **more) is None
    assert hall.code("AddSigningKey", principal="carol", public_key=public("x")) == "InvalidCommand"
    rotation = {"principal": "carol", "public_key": public("y"), "replaces": print_of("carol")}
    assert hall.code("RotateSigningKey", **rotation) is None
    assert hall.code("RevokeSigningKey", principal="carol", signing_key=print_of("y")) is None
    assert hall.code("AddSigningKey", principal="carol", public_key=public("x")) is None
    hall.now_ms += 1
    assert hall.code("AddSigningKey", principal="carol", public_key=public("z")) is None
    over = {"principal": "carol", "public_key": public("v"), "replaces": print_of("carol-1")}
    assert hall.code("RotateSigningKey", **over) == "InvalidCommand"


def test_rotating_signing_keys() -> None:
    """The new key takes an active key's place in one step; a revoked, an unknown and another's key have none."""
    hall = hall_with("carol", "dave")
    rotation = {"principal": "carol", "public_key": public("carol-2"), "replaces": print_of("carol")}
    assert hall.code("RotateSigningKey", **rotation | {"replaces": print_of("dave")}) == "NotFound"
    assert hall.code("RotateSigningKey", **rotation | {"public_key": public("dave")}) == "AlreadyExists"
    assert hall.code("RotateSigningKey", **rotation | {"expires_at": NOW}) == "InvalidCommand"
    assert hall.code("RotateSigningKey", **rotation) is None
    assert keys_of(hall.principal("carol")) == {print_of("carol"): "Revoked", print_of("carol-2"): "Active"}
    assert hall.code("RotateSigningKey", **rotation | {"public_key": public("carol-3")}) == "NotFound"


def test_revoking_signing_keys() -> None:
    """A key is revoked once and stays in sight; a principal does not revoke what is another's."""
    hall = hall_with("carol", "dave")
    assert hall.code("RevokeSigningKey", principal="carol", signing_key=print_of("dave")) == "NotFound"
    assert hall.code("RevokeSigningKey", principal="carol", signing_key=print_of("carol")) is None
    assert keys_of(hall.principal("carol")) == {print_of("carol"): "Revoked"}
    assert hall.code("RevokeSigningKey", principal="carol", signing_key=print_of("carol")) == "InvalidState"


def test_each_key_signs_and_a_revoked_one_does_not() -> None:
    """Whichever usable key signed a command, it is decided; keys come and go between commands of one batch."""
    hall = hall_with("carol")
    used = {"principal": "carol", "arguments": {"policy": "p", "text": TEXT}}

    def put(number: int, name: str) -> Any:
        made = document("PutPolicy", REGISTRY, number, **used)
        made["data"]["signing_key"] = print_of(name)
        return signed_by(signer(name), json.dumps(made).encode(), REGISTRY)

    added = {"principal": "carol", "public_key": public("carol-2")}
    revoked = {"principal": "carol", "signing_key": print_of("carol")}
    batch = hall.decide(
        put(900, "carol-2"),
        command("AddSigningKey", REGISTRY, 901, arguments=added),
        put(902, "carol-2"),
        command("RevokeSigningKey", REGISTRY, 903, arguments=revoked),
        put(904, "carol"),
        put(905, "carol-2"),
    )
    assert [letter.code for letter in batch.dead_letters] == ["UnknownPrincipal", "SigningKeyRevoked"]
    assert len(batch.events) == 4


def test_post_quantum_keys() -> None:
    """A principal is registered with an ML-DSA-65 key, signs with it, and replaces it with an Ed25519 key."""
    hall = Hall()
    more = {"public_key": POST_QUANTUM.public_key.hex(), "algorithm": "ML-DSA-65", "groups": ["administrators"]}
    assert hall.code("RegisterPrincipal", principal="carol", **more) is None
    assert hall.principal("carol").keys[0].algorithm == "ML-DSA-65"
    rotation = {"principal": "carol", "public_key": public("carol"), "replaces": POST_QUANTUM.fingerprint}
    made = document("RotateSigningKey", REGISTRY, 77, principal="carol", arguments=rotation)
    made["data"]["signing_key"] = POST_QUANTUM.fingerprint
    hall.decide(signed_by(POST_QUANTUM, json.dumps(made).encode(), REGISTRY))
    assert isinstance(hall.last(), facts.SigningKeyRotated)
    assert keys_of(hall.principal("carol")) == {POST_QUANTUM.fingerprint: "Revoked", print_of("carol"): "Active"}
