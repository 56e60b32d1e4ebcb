"""Admission: what is a command, whose it is, and what each other record is told."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.desk import fresh_registry
from tests.support.people import (
    DEPLOYMENT,
    PARTITIONS,
    SEALED,
    START_MS,
    Signed,
    command,
    document,
    key_on,
    signed,
    signed_by,
    signer,
)

from keyfold.bus import Inbound
from keyfold.deciding.admission import MAX_VALUE_BYTES, Admitted, Place, Rejected, admit, reply_topic_allowed
from keyfold.events.entities import Entity, Principal, PrincipalKey, SigningKey
from keyfold.events.evolve_governance import principal_key
from keyfold.events.signatures import Signer, command_message
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.times import to_text

KEY = key_on(2)
PLACE = Place(DEPLOYMENT, 2, PARTITIONS)
REGISTRY = fresh_registry()
MINUTE = 60_000


def admitted(record: Inbound, now_ms: int = START_MS, place: Place = PLACE) -> Admitted:
    return admit(record, place, REGISTRY, now_ms)


def refused(record: Inbound, now_ms: int = START_MS, place: Place = PLACE) -> Rejected:
    with pytest.raises(Rejected) as caught:
        admitted(record, now_ms, place)
    return caught.value


def inbound(command: Signed) -> Inbound:
    return command.inbound(7, START_MS)


def encrypt(**options: Any) -> Signed:
    return command("Encrypt", KEY, 1, **options)


def changed(change: Callable[[dict[str, Any]], object], stream: str = KEY) -> Inbound:
    """An authentic record whose document was changed before it was signed."""
    made = document("Encrypt", KEY, 1)
    change(made)
    return inbound(signed(made, stream))


def headers(record: Inbound, **named: bytes | None) -> Inbound:
    """Replace headers by name; None removes one."""
    names = {"signer": SIGNER_HEADER, "signature": SIGNATURE_HEADER, "sealed": SEALED_HEADER}
    wanted = dict(record.headers) | {names[name]: value for name, value in named.items()}
    return replace(record, headers=tuple((n, v) for n, v in wanted.items() if v is not None))


def test_authentic_command() -> None:
    """An authentic command is admitted with what its decision must record."""
    made = encrypt(items=3)
    found = admitted(inbound(made))
    assert found.command.id == json.loads(made.value)["id"]
    assert found.principal.principal == "alice"
    assert (found.value, found.sealed, found.offset) == (made.value, SEALED, 7)
    assert found.command_digest == made.digest
    assert found.expires_ms == START_MS + 10 * MINUTE


def test_without_body() -> None:
    """A command without a sealed body is authentic: the missing header is what was signed; the worker refuses it."""
    made = signed(document("Encrypt", KEY, 1), KEY, sealed=b"")
    assert admitted(headers(inbound(made), sealed=None)).sealed == b""


STRANGERS: dict[str, Callable[[], Inbound]] = {
    "null value": lambda: replace(inbound(encrypt()), value=None),
    "null key": lambda: replace(inbound(encrypt()), key=None),
    "key is no stream": lambda: replace(inbound(encrypt()), key=b"key/nonsense"),
    "key is no partition": lambda: replace(inbound(encrypt()), key=b"partition/99999"),
    "key is not UTF-8": lambda: replace(inbound(encrypt()), key=b"\xff\xfe"),
    "another partition's stream": lambda: inbound(command("Encrypt", key_on(1), 1)),
    "no headers": lambda: replace(inbound(encrypt()), headers=()),
    "no signer": lambda: headers(inbound(encrypt()), signer=None),
    "unknown signer": lambda: headers(inbound(encrypt()), signer=signer("mallory").fingerprint.encode()),
    "signer is not ASCII": lambda: headers(inbound(encrypt()), signer=b"\xff" * 64),
    "another's fingerprint": lambda: headers(inbound(encrypt()), signer=signer("bob").fingerprint.encode()),
    "no signature": lambda: headers(inbound(encrypt()), signature=None),
    "short signature": lambda: headers(inbound(encrypt()), signature=b"\0"),
    "wrong signature": lambda: headers(inbound(encrypt()), signature=b"\0" * 64),
    "another body": lambda: headers(inbound(encrypt()), sealed=b"lifted from somebody"),
    "body removed": lambda: headers(inbound(encrypt()), sealed=None),
    "another value": lambda: replace(inbound(encrypt()), value=encrypt(items=2).value),
    "repeated signature": lambda: replace(
        inbound(encrypt()), headers=(*encrypt().headers, (SIGNATURE_HEADER, b"\0" * 64))
    ),
    "repeated signer": lambda: replace(inbound(encrypt()), headers=(*encrypt().headers, (SIGNER_HEADER, b"x"))),
    "repeated body": lambda: replace(inbound(encrypt()), headers=(*encrypt().headers, (SEALED_HEADER, b"x"))),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_what_nobody_authentic_sent(case: str) -> None:
    """What no known principal signed as it stands is told to nobody: there is no reply address to believe."""
    assert refused(STRANGERS[case]()).reply is None


def test_another_deployment() -> None:
    """A command that was signed for another deployment is not this one's."""
    made, key = encrypt(), signer("alice")
    elsewhere = key.sign(command_message("ab" * 32, KEY.encode(), made.value, SEALED))
    assert refused(headers(inbound(made), signature=elsewhere)).refusal.code == "SignatureInvalid"


def test_another_record_key() -> None:
    """The signature covers the record key: the same command under another stream of the partition is refused."""
    moved = replace(inbound(encrypt()), key=key_on(2, 500).encode())
    assert refused(moved).refusal.code == "SignatureInvalid"


def test_revoked_principals_are_admitted() -> None:
    """Whether a principal is revoked is a decision, with an event of its own: admission only asks who it is."""
    registry = dict(REGISTRY)
    alice = registry["principal/alice"].model_copy(update={"status": "Revoked"})
    registry["principal/alice"] = alice
    assert admit(inbound(encrypt()), PLACE, registry, START_MS).principal.status == "Revoked"


def with_key(registry: dict[str, Entity], key: PrincipalKey) -> dict[str, Entity]:
    """The registry after alice was given a key instead of a known one of the same fingerprint, or beside others."""
    alice = registry["principal/alice"]
    assert isinstance(alice, Principal)
    others = tuple(each for each in alice.keys if each.signing_key != key.signing_key)
    changed = alice.model_copy(update={"keys": (*others, key)})
    index = SigningKey(principal="alice")
    return {**registry, "principal/alice": changed, f"signing-key/{key.signing_key}": index}


def own_key(**update: Any) -> PrincipalKey:
    made = principal_key(signer("alice").public_key.hex(), "Ed25519", to_text(START_MS), None)
    return made.model_copy(update=update)


def test_key_that_a_principal_no_longer_has() -> None:
    """The index alone does not authenticate: the principal itself must still hold the key."""
    registry = dict(REGISTRY)
    registry["principal/alice"] = registry["principal/alice"].model_copy(update={"keys": ()})
    with pytest.raises(Rejected) as caught:
        admit(inbound(encrypt()), PLACE, registry, START_MS)
    assert (caught.value.refusal.code, caught.value.reply) == ("UnknownPrincipal", None)


ENDED: dict[str, PrincipalKey] = {
    "revoked": own_key(status="Revoked"),
    "expired": own_key(expires_at=to_text(START_MS)),
    "revoked and expired": own_key(status="Revoked", expires_at=to_text(START_MS)),
}


@pytest.mark.parametrize("case", ENDED)
def test_key_that_ended(case: str) -> None:
    """Who holds a revoked or expired key is told so, by reply; who does not hold it learns nothing of it."""
    registry = with_key(REGISTRY, ENDED[case])

    def code(record: Inbound) -> tuple[str, bool, str]:
        with pytest.raises(Rejected) as caught:
            admit(record, PLACE, registry, START_MS)
        return caught.value.refusal.code, caught.value.reply is not None, caught.value.command_id

    made = document("Encrypt", KEY, 1)
    assert code(inbound(encrypt())) == ("SigningKeyRevoked", True, made["id"])
    assert code(headers(inbound(encrypt()), signature=b"\0" * 64)) == ("SignatureInvalid", False, "")
    assert code(changed(lambda d: d.update(type="keyfold.command.Explode.v1"))) == (
        "SigningKeyRevoked",
        True,
        made["id"],
    )
    assert code(inbound(signed(b"nonsense", KEY))) == ("SigningKeyRevoked", False, "")


def test_key_until_it_ends() -> None:
    """A key with an expiry is as good as any other until that millisecond."""
    registry = with_key(REGISTRY, own_key(expires_at=to_text(START_MS + 1)))
    assert admit(inbound(encrypt()), PLACE, registry, START_MS).principal.principal == "alice"
    with pytest.raises(Rejected):
        admit(inbound(encrypt()), PLACE, registry, START_MS + 1)


def test_several_keys() -> None:
    """Each key of a principal signs for it, and a command names the one that signed it."""
    second = signer("alice-2")
    registry = with_key(REGISTRY, principal_key(second.public_key.hex(), "Ed25519", to_text(START_MS), None))
    named = document("Encrypt", KEY, 1, signing_key=second.fingerprint)
    found = admit(inbound(signed_by(second, json.dumps(named).encode(), KEY)), PLACE, registry, START_MS)
    assert found.principal.principal == "alice"
    assert admit(inbound(encrypt()), PLACE, registry, START_MS).principal.principal == "alice"
    other = document("Encrypt", KEY, 1)
    for key, made in ((second, other), (signer("alice"), named)):
        with pytest.raises(Rejected) as caught:
            admit(inbound(signed_by(key, json.dumps(made).encode(), KEY)), PLACE, registry, START_MS)
        assert (caught.value.refusal.code, caught.value.reply) == ("SignatureInvalid", None)


def test_post_quantum_signatures() -> None:
    """A command that an ML-DSA-65 key signed is admitted; a byte changed or another key's signature is not."""
    key, other = (Signer(bytes([seed]) * 32, "ML-DSA-65") for seed in (7, 8))
    registry = with_key(REGISTRY, principal_key(key.public_key.hex(), "ML-DSA-65", to_text(START_MS), None))
    value = json.dumps(document("Encrypt", KEY, 1, signing_key=key.fingerprint)).encode()
    good = inbound(signed_by(key, value, KEY))
    found = admit(good, PLACE, registry, START_MS)
    assert (found.principal.principal, len(found.signature)) == ("alice", 3309)
    flipped = bytes([found.signature[0] ^ 1]) + found.signature[1:]
    foreign = signed_by(other, value, KEY).headers[1][1]
    for wrong in (flipped, foreign, b"", b"\0" * 64, signed_by(signer("alice"), value, KEY).headers[1][1]):
        with pytest.raises(Rejected) as caught:
            admit(headers(good, signature=wrong), PLACE, registry, START_MS)
        assert caught.value.refusal.code == "SignatureInvalid"


AUTHENTIC: dict[str, tuple[Callable[[], Inbound], str]] = {
    "unknown type": (lambda: changed(lambda d: d.update(type="keyfold.command.Explode.v1")), "UnsupportedVersion"),
    "unknown version": (lambda: changed(lambda d: d.update(type="keyfold.command.Encrypt.v2")), "UnsupportedVersion"),
    "type is no text": (lambda: changed(lambda d: d.update(type=1)), "UnsupportedVersion"),
    "a field too many": (lambda: changed(lambda d: d["data"].update(debug=True)), "InvalidCommand"),
    "a field too few": (lambda: changed(lambda d: d["data"].pop("items")), "InvalidCommand"),
    "no items": (lambda: changed(lambda d: d["data"].update(items=0)), "InvalidCommand"),
    "number as text": (lambda: changed(lambda d: d["data"].update(items="1")), "InvalidCommand"),
    "data is not in the subject's stream": (lambda: changed(lambda d: d.update(subject="registry")), "InvalidCommand"),
    "wrong source": (lambda: changed(lambda d: d.update(source="principal/bob")), "InvalidCommand"),
    "key verb on a principal's stream": (
        lambda: inbound(command("GenerateRandom", KEY, 1)),
        "InvalidCommand",
    ),
    "expired": (lambda: inbound(encrypt(issued_ms=START_MS - 20 * MINUTE)), "Expired"),
    "expires now": (lambda: inbound(encrypt(issued_ms=START_MS - 10 * MINUTE)), "Expired"),
    "lives too long": (lambda: inbound(encrypt(lifetime_ms=15 * MINUTE + 1)), "InvalidCommand"),
    "lives from the future": (lambda: inbound(encrypt(issued_ms=START_MS + 6 * MINUTE)), "InvalidCommand"),
    "expires before it was issued": (
        lambda: changed(lambda d: d.update(time=to_text(START_MS + 11 * MINUTE))),
        "InvalidCommand",
    ),
}


@pytest.mark.parametrize("case", AUTHENTIC)
def test_what_a_known_principal_got_wrong(case: str) -> None:
    """What a known principal signed and got wrong is told, at the reply address in the signed bytes."""
    make, code = AUTHENTIC[case]
    found = refused(make())
    assert found.refusal.code == code
    assert found.reply is not None
    assert found.reply.correlation_id == "c-1"


UNANSWERABLE = {
    "not JSON": (b"\x00\xffnot json", "InvalidCommand"),
    "a list": (b"[]", "InvalidCommand"),
    "a name twice": (b'{"type":"a","type":"b"}', "InvalidCommand"),
    "not a number": (b'{"type":NaN}', "InvalidCommand"),
    "too deep": (b'{"a":' * 20 + b"1" + b"}" * 20, "InvalidCommand"),
    "very deep": (b"[" * 100_000, "InvalidCommand"),
    "no reply address": (
        json.dumps({"type": "nonsense", "data": {"reply": {"topic": 1}}}).encode(),
        "UnsupportedVersion",
    ),
}


@pytest.mark.parametrize("case", UNANSWERABLE)
def test_signed_nonsense(case: str) -> None:
    """Nonsense that a known principal signed is refused like a stranger's: no reply address can be read in it."""
    value, code = UNANSWERABLE[case]
    found = refused(inbound(signed(value, KEY)))
    assert (found.refusal.code, found.reply) == (code, None)


@pytest.mark.parametrize(("field", "value"), [("principal", "bob"), ("signing_key", "ab" * 32)])
def test_command_in_anothers_name(field: str, value: str) -> None:
    """A command must name the principal and the key that signed it; its reply address is not believed."""
    made = document("Encrypt", KEY, 1)
    made["data"][field] = value
    found = refused(inbound(signed(made, KEY)))
    assert (found.refusal.code, found.reply) == ("SignatureInvalid", None)


def test_times_at_their_bounds() -> None:
    """Fifteen minutes, and a producer's clock up to thirty seconds ahead, are accepted to the millisecond."""
    longest = encrypt(lifetime_ms=15 * MINUTE)
    assert admitted(inbound(longest)).expires_ms == START_MS + 15 * MINUTE
    ahead = encrypt(issued_ms=START_MS + 30_000, lifetime_ms=15 * MINUTE)
    assert admitted(inbound(ahead)).expires_ms == START_MS + 15 * MINUTE + 30_000
    assert refused(inbound(ahead), START_MS - 1).refusal.code == "InvalidCommand"
    assert admitted(inbound(encrypt()), START_MS + 10 * MINUTE - 1)
    assert refused(inbound(encrypt()), START_MS + 10 * MINUTE).refusal.code == "Expired"


def test_oversized() -> None:
    """A value over 256 KiB, or with its body over 1 MiB, is refused before its signature is looked at."""
    value = b"{" + b" " * MAX_VALUE_BYTES
    assert refused(inbound(signed(value, KEY))).refusal.code == "BatchTooLarge"
    made = encrypt()
    whole = 1024 * 1024 - len(made.value)
    fits = signed_by(signer("alice"), made.value, KEY, bytes(whole))
    assert len(admitted(inbound(fits)).sealed) == whole
    over = signed_by(signer("alice"), made.value, KEY, bytes(whole + 1))
    assert refused(inbound(over)).refusal.code == "BatchTooLarge"


def test_registry_commands_belong_on_partition_0() -> None:
    """A registry command is admitted on partition 0 only, whatever its record key says elsewhere."""
    made = command("DeleteAlias", "registry", 1, arguments={"alias": "alias/a"})
    assert admitted(inbound(made), place=replace(PLACE, partition=0)).command.verb == "DeleteAlias"
    assert refused(inbound(made)).reply is None


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("keyfold.replies", True),
        ("keyfold.replies.orders-1", True),
        ("keyfold.replies." + "a" * 100, True),
        ("keyfold.replies." + "a" * 101, False),
        ("keyfold.replies.", False),
        ("keyfold.repliesx", False),
        ("keyfold.replies.a/b", False),
        ("keyfold.replies.ü", False),
        ("keyfold.events", False),
        ("", False),
    ],
)
def test_reply_topics(topic: str, allowed: bool) -> None:
    """Replies go to the two forms of reply topics and nowhere else."""
    assert reply_topic_allowed(topic) is allowed
