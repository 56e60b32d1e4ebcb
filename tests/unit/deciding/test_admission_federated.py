"""Admission of the one command that strangers may send: with a token that binds the key which signed it."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.desk import fresh_registry
from tests.support.people import DEPLOYMENT, PARTITIONS, SEALED, START_MS, Signed, command, key_on, signed_by, signer
from tests.unit.deciding.hall import Hall
from tests.unit.deciding.issuers import NAME, PRINCIPAL, SUBJECT, assumption, issuer, jwk, settings, token
from tests.unit.deciding.issuers import jwks as key_set

from keyfold.bus import Inbound
from keyfold.deciding import jwks
from keyfold.deciding.admission import MAX_STRANGER_BYTES, Admitted, Place, Rejected, admit
from keyfold.events import facts
from keyfold.events.arguments import JwsAlgorithm
from keyfold.events.entities import Entity, Principal, SigningKey
from keyfold.events.evolve_governance import principal_key
from keyfold.events.signatures import Signer, command_message
from keyfold.events.statements import SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text

PLACE = Place(DEPLOYMENT, 0, PARTITIONS)
KNOWN: dict[str, Entity] = {**fresh_registry(), f"issuer/{NAME}": issuer(base_groups=("callers",))}
MINUTE = 60_000
API, THIEF = signer("api"), signer("thief")
POST_QUANTUM = Signer(b"\7" * 32, "ML-DSA-65")


def admitted(made: Signed, now_ms: int = START_MS, registry: dict[str, Entity] = KNOWN) -> Admitted:
    return admit(made.inbound(7, now_ms), PLACE, registry, now_ms)


def refused(record: Signed | Inbound, now_ms: int = START_MS, registry: dict[str, Entity] = KNOWN) -> tuple[str, bool]:
    """Return the code, and whether somebody is told it."""
    made = record.inbound(7, now_ms) if isinstance(record, Signed) else record
    with pytest.raises(Rejected) as caught:
        admit(made, PLACE, registry, now_ms)
    return caught.value.refusal.code, caught.value.reply is not None


def changed(change: Callable[[dict[str, Any]], object], by: Signer = API) -> Signed:
    """A bearer's command whose document was changed before it was signed."""
    made = json.loads(assumption().value)
    change(made)
    return signed_by(by, json.dumps(made).encode(), made["subject"])


def test_bearer() -> None:
    """A stranger with a token that binds its key is admitted as the principal that the token is about."""
    found = admitted(assumption())
    assert found.principal == Principal(
        principal=PRINCIPAL,
        principal_type="federated",
        keys=(principal_key(API.public_key.hex(), "Ed25519", to_text(START_MS), to_text(START_MS + 10 * MINUTE)),),
        groups=("callers",),
        registered_at=to_text(START_MS),
        issuer=NAME,
        token_subject=SUBJECT,
    )
    assert (found.offset, found.command.verb) == (7, "AssumePrincipalWithWebIdentity")


TOLD: dict[str, tuple[Callable[[], Signed], str]] = {
    "token of another's key": (lambda: assumption("thief", using=token("api")), "TokenNotBound"),
    "token without a key": (lambda: assumption(using=token(cnf=...)), "TokenNotBound"),
    "unsigned token": (lambda: assumption(using=token().rpartition(".")[0] + "."), "InvalidToken"),
    "no token": (lambda: assumption(using="x"), "InvalidToken"),
    "token for others": (lambda: assumption(using=token(aud="others")), "InvalidToken"),
    "token that is over": (lambda: assumption(using=token(iat=0, exp=1)), "TokenExpired"),
    "token of another issuer": (lambda: assumption(using=token(owner="other")), "InvalidToken"),
    "token about another": (lambda: assumption(using=token(sub="another")), "InvalidCommand"),
    "in another's name": (lambda: assumption(principal="alice"), "InvalidCommand"),
    "issuer that is not known": (lambda: assumption(arguments={"issuer": "nobody"}), "UnknownIssuer"),
    "expired": (lambda: assumption(issued_ms=START_MS - 20 * MINUTE), "Expired"),
    "lives too long": (lambda: assumption(lifetime_ms=16 * MINUTE), "InvalidCommand"),
    "wrong source": (lambda: changed(lambda d: d.update(source="principal/alice")), "InvalidCommand"),
    "body too large": (
        lambda: signed_by(API, assumption().value, REGISTRY, bytes(1024 * 1024)),
        "BatchTooLarge",
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_who_holds_the_key_is_told(case: str) -> None:
    """A stranger whose own signature verifies is told why its token or its command is refused."""
    made, code = TOLD[case]
    assert refused(made()) == (code, True)


def headers(made: Signed, **named: bytes) -> Signed:
    names = {"signer": SIGNER_HEADER, "signature": SIGNATURE_HEADER}
    wanted = dict(made.headers) | {names[name]: value for name, value in named.items()}
    return replace(made, headers=tuple(wanted.items()))


TWICE = assumption().value.replace(b'{"specversion"', b'{"id": 1, "id": 2, "specversion"')
UNTOLD: dict[str, tuple[Callable[[], Signed], str]] = {
    "another verb": (
        lambda: command("DeleteAlias", REGISTRY, 1, principal="mallory", arguments={"alias": "alias/a"}),
        "UnknownPrincipal",
    ),
    "signed by another key": (lambda: assumption(by=THIEF), "UnknownPrincipal"),
    "signed by another key, in the bearer's name": (
        lambda: headers(assumption(by=THIEF), signer=API.fingerprint.encode()),
        "SignatureInvalid",
    ),
    "no signature": (lambda: headers(assumption(), signature=b""), "SignatureInvalid"),
    "signed for another deployment": (
        lambda: headers(
            assumption(), signature=API.sign(command_message("ab" * 32, b"registry", assumption().value, SEALED))
        ),
        "SignatureInvalid",
    ),
    "another key in the command": (lambda: assumption(signing_key=THIEF.fingerprint), "SignatureInvalid"),
    "another key in the arguments": (
        lambda: assumption(arguments={"public_key": THIEF.public_key.hex()}),
        "UnknownPrincipal",
    ),
    "no key at all": (lambda: changed(lambda d: d["data"]["arguments"].pop("public_key")), "UnknownPrincipal"),
    "key of small order": (lambda: assumption(arguments={"public_key": "01" + "00" * 31}), "UnknownPrincipal"),
    "oversized token": (lambda: assumption(using="A" * 16_385), "UnknownPrincipal"),
    "token with other characters": (lambda: assumption(using="a b"), "UnknownPrincipal"),
    "a field too many": (lambda: changed(lambda d: d["data"].update(debug=True)), "UnknownPrincipal"),
    "another version": (
        lambda: changed(lambda d: d.update(type="keyfold.command.AssumePrincipalWithWebIdentity.v2")),
        "UnknownPrincipal",
    ),
    "no JSON": (lambda: signed_by(API, b"nonsense", REGISTRY), "UnknownPrincipal"),
    "a name twice": (lambda: signed_by(API, TWICE, REGISTRY), "UnknownPrincipal"),
    "too long to be read": (
        lambda: signed_by(API, assumption().value + b" " * MAX_STRANGER_BYTES, REGISTRY),
        "UnknownPrincipal",
    ),
}


@pytest.mark.parametrize("case", UNTOLD)
def test_strangers_are_told_nothing(case: str) -> None:
    """What does not bring the key that signed it is a stranger's, and is answered by silence."""
    made, code = UNTOLD[case]
    assert refused(made()) == (code, False)


def test_largest_token() -> None:
    """The longest token that a command can hold is read, with everything else at its longest."""
    made = assumption(using="A" * 16_384, reason="ü" * 1024)
    assert refused(made) == ("InvalidToken", True)


def test_another_stream() -> None:
    """The command belongs on the registry's stream; on a key's it is refused, whatever its subject."""
    stream = key_on(2)
    place = Place(DEPLOYMENT, 2, PARTITIONS)
    for subject in (stream, REGISTRY):
        made = json.loads(assumption().value) | {"subject": subject}
        record = signed_by(API, json.dumps(made).encode(), stream).inbound(7, START_MS)
        with pytest.raises(Rejected) as caught:
            admit(record, place, KNOWN, START_MS)
        assert caught.value.refusal.code == "InvalidCommand"


def test_post_quantum_bearer() -> None:
    """Federated principals sign with Ed25519: who brings another key is told that its token does not bind it."""
    arguments = {"public_key": POST_QUANTUM.public_key.hex(), "algorithm": "ML-DSA-65"}
    made = assumption(by=POST_QUANTUM, arguments=arguments, signing_key=POST_QUANTUM.fingerprint)
    assert refused(made) == ("TokenNotBound", True)


def test_registered_signer() -> None:
    """A registered principal's key may be bound too: the token says whose command it is; the decision is another's."""
    made = assumption("alice", using=token("alice"))
    assert admitted(made).principal.principal == PRINCIPAL
    assert refused(assumption("alice", using=token("alice"), principal="alice")) == ("InvalidCommand", True)
    other = assumption("alice", using=token("api"), arguments={"public_key": API.public_key.hex()})
    assert refused(other) == ("SignatureInvalid", False)


def known_bearer(**update: Any) -> dict[str, Entity]:
    """The registry with the bearer known, its key changed."""
    person = admitted(assumption()).principal
    keys = tuple(key.model_copy(update=update) for key in person.keys)
    index = SigningKey(principal=PRINCIPAL)
    return {
        **KNOWN,
        f"principal/{PRINCIPAL}": person.model_copy(update={"keys": keys}),
        f"signing-key/{API.fingerprint}": index,
    }


def test_known_bearer() -> None:
    """Who is known proves itself again in the same way, also with a key that is over, but never with a revoked one."""
    assert admitted(assumption(), registry=known_bearer()).principal.principal == PRINCIPAL
    over = known_bearer(expires_at=to_text(START_MS))
    assert admitted(assumption(), registry=over).principal.usable_keys(START_MS)
    assert refused(assumption(using=token(aud="others")), registry=over) == ("InvalidToken", True)
    assert refused(assumption(), registry=known_bearer(status="Revoked")) == ("SigningKeyRevoked", True)


def test_a_key_that_is_over_signs_nothing_else() -> None:
    """Only a new token is welcome from a key that is over."""
    made = json.loads(command("DeleteAlias", REGISTRY, 1, principal="api", arguments={"alias": "alias/a"}).value)
    made["data"]["principal"], made["source"] = PRINCIPAL, f"principal/{PRINCIPAL}"
    value = signed_by(API, json.dumps(made).encode(), REGISTRY)
    assert admitted(value, registry=known_bearer()).principal.principal == PRINCIPAL
    assert refused(value, registry=known_bearer(expires_at=to_text(START_MS))) == ("SigningKeyRevoked", True)


def test_another_issuers_key() -> None:
    """A key of one issuer signs nothing for another, though both are known and use the same name for their keys."""
    other = issuer(issuer="other", url="https://other.example", jwks=key_set(jwk(owner="other", kid="corp-ES256")))
    registry = KNOWN | {"issuer/other": other}
    assert refused(assumption(using=token(owner="other")), registry=registry) == ("InvalidToken", True)
    made = assumption(using=token(iss="https://other.example"), arguments={"issuer": "other"})
    assert refused(made, registry=registry) == ("InvalidToken", True)


def test_admitting_changes_nothing() -> None:
    """A refused bearer leaves no event: only what is admitted is decided."""
    hall = Hall()
    assert hall.code("PutIssuer", **settings()) is None
    before = len(hall.events)
    batch = hall.decide(assumption(number=500))
    assert [letter.code for letter in batch.dead_letters] == ["IssuerKeysExpired"]
    assert (len(hall.events), len(batch.replies), batch.tickets) == (before, 1, [])


def test_a_repeated_command_is_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bearer's command is decided once, with its token's signature verified once, and acts at once."""
    verified = []
    verify = jwks.IssuerKey.verify

    def counting(self: jwks.IssuerKey, algorithm: JwsAlgorithm, signature: bytes, message: bytes) -> None:
        verified.append(signature)
        verify(self, algorithm, signature, message)

    monkeypatch.setattr(jwks.IssuerKey, "verify", counting)
    hall = Hall()
    hall.code("PutIssuer", **settings())
    hall.code("PutIssuerKeys", issuer=NAME, jwks=key_set())
    text = 'permit (principal, action in [Action::"AssumePrincipalWithWebIdentity", Action::"DeleteAlias"], resource);'
    hall.code("PutPolicy", policy="federation", text=text)
    made = assumption(number=500, using=token(jti="counted"))
    asked = json.loads(command("DeleteAlias", REGISTRY, 501, principal="api", arguments={"alias": "alias/a"}).value)
    asked["data"]["principal"], asked["source"] = PRINCIPAL, f"principal/{PRINCIPAL}"
    batch = hall.decide(made, made, signed_by(API, json.dumps(asked).encode(), REGISTRY), made)
    kinds = [type(facts.parse_event(entry.value)) for entry in batch.events]
    assert kinds == [facts.PrincipalAuthenticated, facts.CommandDenied]
    assert isinstance(hall.last(), facts.CommandDenied)
    assert hall.last().data.code == "NotFound"
    assert (len(verified), batch.dead_letters) == (1, [])
