"""Deciding data-plane and lifecycle commands: form, freshness, state, budgets."""

from typing import Any

import pytest
from tests.support.desk import Desk, fold, outcome_of
from tests.support.office import KEY, WEEK, Office, office
from tests.support.people import SEALING_KEY, START_MS, command, document, sealing_key, signed, uuid

from keyfold.events import facts
from keyfold.events.entities import MAX_PROTECTED_ITEMS
from keyfold.events.streams import REGISTRY
from keyfold.events.times import DAY_MS, to_text

DATA = ("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext")
ARGUMENTS: dict[str, dict[str, Any]] = {
    "ScheduleKeyDeletion": {"pending_window_seconds": WEEK},
    "PutPolicy": {"policy": "own", "text": "permit (principal, action, resource);"},
    "DeletePolicy": {"policy": "first"},
    "TagResource": {"tags": {"cost": "7"}},
    "UntagResource": {"tag_keys": ["team"]},
    "UpdateUsageBudget": {"items": 1000, "rotate_at_percent": 90},
    "CreateGrant": {"grantee": "bob", "verbs": ["Encrypt"], "expires_at": to_text(START_MS + 30 * DAY_MS)},
}
BECOMES = {
    "RotateKey": facts.KeyRotated,
    "EnableKey": facts.KeyEnabled,
    "DisableKey": facts.KeyDisabled,
    "ScheduleKeyDeletion": facts.KeyDeletionScheduled,
    "CancelKeyDeletion": facts.KeyDeletionCancelled,
    "DestroyKey": facts.KeyDestroyed,
    "DestroyKeyNow": facts.KeyDestroyed,
    "TagResource": facts.KeyTagged,
    "UntagResource": facts.KeyTagged,
    "UpdateUsageBudget": facts.UsageBudgetUpdated,
    "CreateGrant": facts.GrantCreated,
    "PutPolicy": facts.PolicyPut,
    "DeletePolicy": facts.PolicyDeleted,
} | dict.fromkeys(DATA, facts.CommandAuthorized)
# By hand from NIST SP 800-57 part 1, section 7: what is not named here is refused with the state's own code.
KEPT = {"TagResource", "UntagResource", "UpdateUsageBudget", "CreateGrant", "ScheduleKeyDeletion"}
POLICIES = {"PutPolicy", "DeletePolicy"}
ALLOWED = {
    "Enabled": {*DATA, *KEPT, *POLICIES, "RotateKey", "EnableKey", "DisableKey", "DestroyKeyNow"},
    "Disabled": {*KEPT, *POLICIES, "EnableKey", "DisableKey", "DestroyKeyNow"},
    "PendingDeletion": {*POLICIES, "CancelKeyDeletion", "DestroyKey", "DestroyKeyNow"},
    "Destroyed": set[str](),
    "Failed": {"DestroyKeyNow"},
}
# About something else than the key's state; tests of their own.
REFUSED = {
    "Enabled": "InvalidState",
    "Disabled": "KeyDisabled",
    "PendingDeletion": "KeyPendingDeletion",
    "Destroyed": "KeyDestroyed",
    "Failed": "InvalidState",
}


@pytest.mark.parametrize("status", ALLOWED)
@pytest.mark.parametrize("verb", BECOMES)
def test_every_verb_in_every_state(verb: str, status: str) -> None:
    """Each verb becomes its fact where the key's state allows it, else a denial that names the state."""
    made = office(status)
    event = made.ask(verb, arguments=ARGUMENTS.get(verb))
    if verb in ALLOWED[status]:
        assert type(event) is BECOMES[verb]
        assert len(made.batches[-1].tickets) == 1
        assert not made.batches[-1].replies
    else:
        assert isinstance(event, facts.CommandDenied)
        assert event.data.code == REFUSED[status] == made.reply()
        assert not made.batches[-1].tickets


@pytest.mark.parametrize("verb", sorted(BECOMES))
def test_key_that_does_not_exist(verb: str) -> None:
    """A verb on a key that was never created is NotFound."""
    assert Office().code(verb, arguments=ARGUMENTS.get(verb)) == "NotFound"


def test_create_key() -> None:
    """A key begins enabled with version 1; the same id cannot be created again, destroyed or not."""
    made = Office()
    event = made.ask("CreateKey", arguments={"protection": "SOFTWARE", "description": "Orders", "tags": {"a": "b"}})
    assert isinstance(event, facts.KeyCreated)
    assert (event.data.protection, event.data.created_by) == ("SOFTWARE", "alice")
    assert (made.key().status, made.key().current_version, made.key().tags) == ("Enabled", 1, {"a": "b"})
    assert made.code("CreateKey") == "AlreadyExists"
    assert office("Destroyed").code("CreateKey") == "AlreadyExists"


def test_the_decision_says_how_it_was_made() -> None:
    """A decision holds the exact command, its signature, where and when it was decided, and by which policies."""
    made = office()
    asked = command("Encrypt", KEY, 99, items=4, size=44)
    made.now_ms += 5
    made.decide(asked)
    event = made.last()
    assert isinstance(event, facts.CommandAuthorized)
    decision = event.data.decision
    assert decision.command.encode() == asked.value
    assert (decision.command_digest, decision.offset) == (asked.digest, made.offset - 1)
    assert bytes.fromhex(decision.signature) == dict(asked.headers)["kf_signature"]
    assert decision.registry_revision == 0
    assert decision.policies
    assert event.id == f"2.{made.offset - 1}.decision"
    assert event.time == to_text(START_MS + 5)
    assert (event.data.items, event.data.bytes, event.data.key_version, event.data.protection) == (4, 44, 1, "HSM")


def test_time_never_goes_back() -> None:
    """A record that was stamped earlier than the last one is decided at the last one's time."""
    made = office()
    made.now_ms += 1000
    made.ask("DisableKey")
    made.now_ms -= 600
    assert made.ask("EnableKey").time == to_text(START_MS + 1000)


def test_old_versions_do_not_protect() -> None:
    """What protects is charged to the newest version; decrypting names none."""
    made = office()
    made.ask("RotateKey")
    event = made.ask("GenerateDataKey", items=7)
    assert isinstance(event, facts.CommandAuthorized)
    assert event.data.key_version == 2
    assert [version.protected_items for version in made.key().versions] == [0, 7]
    event = made.ask("Decrypt", items=7)
    assert isinstance(event, facts.CommandAuthorized)
    assert event.data.key_version is None
    assert [version.protected_items for version in made.key().versions] == [0, 7]


def test_versions_have_no_holes_when_one_fails() -> None:
    """A version whose material could not be made stays in the count and is never current."""
    made = office()
    rotated = made.ask("RotateKey")
    made.finish(outcome_of(rotated, facts.OperationFailed, key_id=made.key().key_id, code="TokenUnavailable"))
    assert (made.key().current_version, made.key().versions[1].status) == (1, "Failed")
    made.ask("RotateKey")
    assert (made.key().current_version, len(made.key().versions)) == (3, 3)


def test_usage_limit() -> None:
    """A version protects 2^31 items, to the item; a rotated key goes on."""
    made = office()
    version = made.key().versions[0].model_copy(update={"protected_items": MAX_PROTECTED_ITEMS - 5})
    made.state.entities[KEY] = made.key().model_copy(update={"versions": (version,)})
    assert made.code("Encrypt", items=6) == "UsageLimitReached"
    assert made.code("Encrypt", items=5) is None
    assert made.code("ReEncrypt", items=1) == "UsageLimitReached"
    assert made.code("Decrypt", items=1000) is None
    made.ask("RotateKey")
    assert made.code("Encrypt", items=6) is None


# Form


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"items": 1000}, None),
        ({"items": 1001}, "BatchTooLarge"),
        ({"size": 1024 * 1024}, None),
        ({"size": 1024 * 1024 + 1}, "BatchTooLarge"),
        ({"contexts": [{"a": "1"}, {}], "items": 2}, None),
        ({"contexts": [{"a": "1"}, {}], "items": 1}, "BatchTooLarge"),
        ({"contexts": [{"a": "1", "b": "2"}, {"b": "2", "a": "1"}], "items": 2}, "InvalidCommand"),
        ({"contexts": [{"a": "x" * (8 * 1024 - 1)}]}, None),
        ({"contexts": [{"a": "x" * 8 * 1024}]}, "BatchTooLarge"),
        ({"contexts": [{"a": "ü" * 4 * 1024}]}, "BatchTooLarge"),
        ({"contexts": [{str(n): "x" * (8 * 1024 - 1)} for n in range(8)], "items": 8}, None),
        ({"contexts": [{str(n): "x" * (7282)} for n in range(9)], "items": 9}, "BatchTooLarge"),
    ],
)
def test_batch_limits(options: dict[str, Any], code: str | None) -> None:
    """A batch has at most 1,000 items, 1 MiB and contexts of 8 KiB (together 64 KiB) that are distinct."""
    assert office().code("Encrypt", **options) == code


@pytest.mark.parametrize(
    ("destination", "code"),
    [([], None), ([0, 0], None), ([1, 0], None), ([0], "InvalidCommand"), ([0, 2], "InvalidCommand")],
)
def test_reencrypt_names_contexts_that_exist(destination: list[int], code: str | None) -> None:
    """`destination` has one index of a context for each context, or none at all."""
    contexts = [{"a": "1"}, {"a": "2"}]
    arguments = {"destination": destination}
    assert office().code("ReEncrypt", arguments=arguments, contexts=contexts, items=2) == code


def test_reply_address_outside_the_prefix() -> None:
    """A reply address on another topic is denied with an event; no reply goes there."""
    made = office()
    reply = {"topic": "keyfold.events", "partition": 0, "correlation_id": "c"}
    assert made.code("Encrypt", reply=reply) == "ReplyAddressInvalid"
    assert not made.batches[-1].replies


def test_sealed_to_a_retired_key() -> None:
    """A body sealed to another than the current sealing key is denied; the SDK seals anew."""
    made = office()
    fold(made.registry, sealing_key(uuid(0x5EA2)))
    assert made.code("Encrypt") == "SealingKeyRetired"
    assert made.code("Encrypt", sealing_key=uuid(0x5EA2)) is None
    assert made.code("DisableKey", sealing_key=SEALING_KEY) == "SealingKeyRetired"


def test_revoked_principal() -> None:
    """A revoked principal is denied everything, before anything else is looked at."""
    made = office()
    bob = made.registry["principal/bob"]
    made.registry["principal/bob"] = bob.model_copy(update={"status": "Revoked"})
    assert made.code("Encrypt", principal="bob", items=1001) == "PrincipalRevoked"


def test_registry_that_is_behind() -> None:
    """A command that presupposes a later registry gets a retriable reply, no event, and is not remembered."""
    made = office()
    before = len(made.events)
    asked = command("Encrypt", KEY, 50, min_registry_revision=1)
    made.decide(asked)
    assert (len(made.events), made.reply()) == (before, "RegistryBehind")
    made.registry["deployment"] = made.registry["deployment"].model_copy(update={"revision": 1})
    made.decide(asked)
    assert isinstance(made.last(), facts.CommandAuthorized)


def test_alias_that_moved() -> None:
    """A command that names an alias is decided only while the alias points to the command's key."""
    made = office()
    at = {"alias": "alias/orders"}
    assert made.code("Encrypt", **at) == "AliasMoved"
    registry = Desk(0, made.registry)
    there = {"alias": "alias/orders", "key_id": KEY.removeprefix("key/")}
    registry.decide(command("CreateAlias", REGISTRY, 1, arguments=there))
    assert made.code("Encrypt", **at) is None
    registry.decide(command("UpdateAlias", REGISTRY, 2, arguments=there | {"key_id": uuid(9)}))
    assert made.code("Encrypt", **at) == "AliasMoved"
    registry.decide(command("DeleteAlias", REGISTRY, 3, arguments={"alias": "alias/orders"}))
    assert made.code("Encrypt", **at) == "AliasMoved"


def test_authorization_comes_before_state() -> None:
    """Who may not use a key learns nothing about it, not even whether it exists."""
    rules = 'permit (principal in Group::"administrators", action == Action::"CreateKey", resource);'
    made = Office(rules=rules)
    assert made.code("Encrypt") == "AccessDenied"
    made.ask("CreateKey")
    assert made.code("Encrypt") == "AccessDenied"
    assert made.code("CreateKey") == "AlreadyExists"


def test_a_key_s_own_policy_decides_from_the_next_command_on() -> None:
    """A policy on the key's stream counts for the very next command, within one batch, until it is deleted."""
    made = office()
    text = 'forbid (principal, action == Action::"Encrypt", resource);'
    put = command("PutPolicy", KEY, 60, arguments={"policy": "stop", "text": text})
    made.decide(command("Encrypt", KEY, 61), put, command("Encrypt", KEY, 62))
    assert [getattr(event.data, "code", None) for event in made.events[-3:]] == [None, None, "AccessDenied"]
    made.ask("DeletePolicy", arguments={"policy": "stop"})
    assert made.code("Encrypt") is None


def test_random_bytes_need_no_key() -> None:
    """`GenerateRandom` is decided on the principal's stream, and charged to nothing."""
    stream = "principal/alice"
    made = Office()
    made.partition = command("GenerateRandom", stream, 1).partition
    event = made.ask("GenerateRandom", stream)
    assert isinstance(event, facts.CommandAuthorized)
    assert (event.data.key_id, event.data.key_version, event.data.items) == (None, None, 1)


# Deletion


@pytest.mark.parametrize(("seconds", "allowed"), [(WEEK - 1, False), (WEEK, True), (30 * 86_400, True)])
def test_waiting_period(seconds: int, allowed: bool) -> None:
    """The waiting period is at least seven days; a shorter one needs a deployment for development."""
    arguments = {"pending_window_seconds": seconds}
    made = office()
    assert (made.code("ScheduleKeyDeletion", arguments=arguments) is None) is allowed
    assert office(development=True).code("ScheduleKeyDeletion", arguments={"pending_window_seconds": 1}) is None
    if allowed:
        assert made.key().deletion_date == to_text(START_MS + seconds * 1000)


def test_destruction_waits_for_its_date() -> None:
    """A key is destroyed when its date has come, to the millisecond of the broker's time, and not before."""
    made = office()
    made.ask("ScheduleKeyDeletion", arguments={"pending_window_seconds": WEEK})
    made.now_ms += 7 * DAY_MS - 1
    assert made.code("DestroyKey") == "InvalidState"
    made.now_ms += 1
    event = made.ask("DestroyKey")
    assert isinstance(event, facts.KeyDestroyed)
    assert event.data.versions == [1]
    assert made.key().versions[0].status == "Destroyed"


def test_cancelled_deletion_leaves_the_key_disabled() -> None:
    """A key that was to be deleted comes back disabled: enabling it is a decision of its own."""
    made = office("PendingDeletion")
    made.ask("CancelKeyDeletion")
    assert (made.key().status, made.key().deletion_date) == ("Disabled", None)


# Policies on keys


def test_at_most_twenty_policies_on_a_key() -> None:
    """A key has at most twenty policies; replacing one is always possible."""
    made = office()
    text = "permit (principal, action, resource);"
    for number in range(19):
        assert made.code("PutPolicy", arguments={"policy": f"p{number}", "text": text}) is None
    assert made.code("PutPolicy", arguments={"policy": "over", "text": text}) == "InvalidPolicy"
    assert made.code("PutPolicy", arguments={"policy": "p0", "text": text}) is None
    assert made.code("DeletePolicy", arguments={"policy": "over"}) == "NotFound"


def test_policy_that_does_not_parse() -> None:
    """A text that is no policy is denied with its own code."""
    assert office().code("PutPolicy", arguments={"policy": "p", "text": "permit everything"}) == "InvalidPolicy"


def test_error_inside_deciding_costs_its_command_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours becomes the denial `InternalError` of that command; those around it are decided."""
    made = office()

    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("keyfold.deciding.control.validate_policy", broken)
    put = command("PutPolicy", KEY, 70, arguments=ARGUMENTS["PutPolicy"])
    batch = made.decide(command("Encrypt", KEY, 71), put, command("Encrypt", KEY, 72))
    codes = [getattr(event.data, "code", None) for event in made.events[-3:]]
    assert codes == [None, "InternalError", None]
    assert b"secret detail" not in b"".join(entry.value for entry in batch.events)


def test_refusing_all() -> None:
    """A batch that is found to break its transaction is answered with `InternalError`; junk in it stays junk."""
    made = office()
    junk = made.record(signed(b"junk", KEY))
    asked = made.record(signed(document("Encrypt", KEY, 80), KEY))
    batch = made.decide_records([junk, asked], refuse_all=True)
    assert (len(batch.dead_letters), len(batch.events), len(batch.tickets)) == (1, 1, 0)
    assert made.reply() == "InternalError"
