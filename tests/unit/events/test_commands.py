"""Commands: closed, strict documents, one per verb. What arguments may say is in `test_arguments`."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from keyfold.events import arguments, commands, specs
from keyfold.events.command_envelope import CommandData, DataPlaneData, ReplyAddress, check_scope, peek_reply, source_of
from keyfold.events.errors import InvalidCommand, UnsupportedVersion
from keyfold.events.signatures import Verifier, command_message, fingerprint

VERBS = [model.verb for model in commands.COMMANDS]
DATA_VERBS = [model.verb for model in commands.COMMANDS if model.data_plane]
VARIANTS = [
    "CreateKey with a usage budget", "RotateKey for its usage budget", "RegisterPrincipal with ML-DSA-65",
    "UpdatePrincipal without an end", "CreateGrant under a parent", "PutSuppression of a detector",
    "PutLimit as a quota", "ProposeCommand of a use", "Decrypt as proposed", "Decrypt as a dry run",
    "CreateKey for signatures", "CreateKey for imported material", "RotateKey after a compromise",
    "UpdateKeyValidity without an end", "MarkKeyCompromised in all versions", "DeleteImportedKeyMaterial at its end",
    "CreateGrant for signatures", "Decrypt with RSA", "Sign of a digest", "Sign of a message representative",
    "ApproveProposal of a use",
]  # fmt: skip
ENVELOPE = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"]


def parse(document: dict[str, Any]) -> commands.AnyCommand:
    return commands.parse_command(json.dumps(document).encode())


def refused(document: dict[str, Any], match: str | None = None) -> None:
    with pytest.raises(InvalidCommand, match=match):
        parse(document)


def test_every_verb_is_known() -> None:
    """Verbs and types name each command once."""
    assert len(set(VERBS)) == len(VERBS) == 73
    assert {verb: model.verb for verb, model in commands.BY_VERB.items()} == {verb: verb for verb in VERBS}
    assert commands.type_of("Encrypt") == "keyfold.command.Encrypt.v1"


@pytest.mark.parametrize("name", VERBS + VARIANTS)
def test_valid(document: Callable[..., dict[str, Any]], name: str) -> None:
    """Each verb's example and each variant parses to its verb's class, fits its stream, and says what it read."""
    made, verb = document(name), name.partition(" ")[0]
    command = parse(made)
    assert type(command) is commands.BY_VERB[verb]
    assert command.verb == verb
    check_scope(command)
    assert command.model_dump(exclude_unset=True, mode="json") == made


def test_every_variant_is_tried(examples: Any) -> None:
    """The variants named here are those of the vectors."""
    assert list(examples.VARIANTS) == VARIANTS


@pytest.mark.parametrize("name", VERBS + VARIANTS)
def test_golden(vectors: Callable[[str], Any], name: str) -> None:
    """Each recorded command parses, has its digest, and carries its principal's signature."""
    golden = vectors("commands")
    case = (golden["cases"] | golden["variants"])[name]
    value = case["value"].encode()
    command = commands.parse_command(value)
    assert command.subject == case["record_key"]
    assert sha256(value).hexdigest() == case["digest"]
    sealed = bytes.fromhex(case["sealed_hex"])
    message = command_message(golden["deployment"], case["record_key"].encode(), value, sealed)
    assert message.hex() == case["message_hex"]
    public_key = bytes.fromhex(golden["public_keys"][command.data.principal])
    assert fingerprint(public_key) == command.data.signing_key
    Verifier(public_key).verify(bytes.fromhex(case["signature_hex"]), message)


@pytest.mark.parametrize("verb", VERBS)
def test_every_field_counts(document: Callable[..., dict[str, Any]], verb: str) -> None:
    """No attribute may be missing, none added, none of another type."""
    needed = [*ENVELOPE, *(f"data__{name}" for name in ("principal", "signing_key", "sealing_key", "expires_at"))]
    needed += ["data__reply", "data__arguments", "data__reply__topic", "data__reply__correlation_id"]
    if verb in DATA_VERBS:
        needed += ["data__contexts", "data__items", "data__bytes"]
    for path in needed:
        expected = UnsupportedVersion if path == "type" else InvalidCommand
        for change in (None, 12.5):
            with pytest.raises(expected):
                parse(document(verb, **{path: change}))
    for place in ("", "data__", "data__arguments__", "data__reply__"):
        refused(document(verb, **{f"{place}more": 1}), r"\?")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "kind", ["keyfold.command.{}.v0", "keyfold.command.{}.v2", "keyfold.command.{}", "{}", "keyfold.event.{}.v1"]
)
def test_unknown_version(document: Callable[..., dict[str, Any]], verb: str, kind: str) -> None:
    """A type or version that is not known is told apart from a malformed command."""
    with pytest.raises(UnsupportedVersion):
        parse(document(verb, type=kind.format(verb)))


@pytest.mark.parametrize("verb", VERBS)
def test_scope(document: Callable[..., dict[str, Any]], examples: Any, verb: str) -> None:
    """A command on a stream that does not fit its verb is refused."""
    right = commands.BY_VERB[verb].scope
    own = {"key": {"key"}, "registry": {"registry"}, "principal": {"principal"}, "any": {"key", "registry"}}[right]
    own_stream = f"principal/{document(verb)['data']['principal']}"
    subjects = {"key": examples.KEY_STREAM, "registry": "registry", "principal": own_stream}
    for kind, subject in subjects.items():
        command = parse(document(verb, subject=subject))
        if kind in own:
            check_scope(command)
        else:
            with pytest.raises(InvalidCommand, match="does not belong"):
                check_scope(command)


@pytest.mark.parametrize("verb", VERBS)
def test_no_command_is_about_a_partition(document: Callable[..., dict[str, Any]], verb: str) -> None:
    """What the HSM worker states about a partition has a stream of its own, on which no command belongs."""
    for subject in ("partition/0", "partition/1"):
        with pytest.raises(InvalidCommand, match="does not belong"):
            check_scope(parse(document(verb, subject=subject)))


def test_scope_of_another_principal(document: Callable[..., dict[str, Any]]) -> None:
    """A keyless verb is on its own principal's stream only."""
    with pytest.raises(InvalidCommand, match="does not belong"):
        check_scope(parse(document("GenerateRandom", subject="principal/bob")))


@pytest.mark.parametrize(
    "source",
    [
        "principal/bob", "alice", "", "web-1", "principal/bob/web-1", "principal/alice2", "principal/alice/",
        "principal/alice//web-1", "principal/alice/-web", "principal/alice/web 1", "principal/alice/wéb",
        "principal/alice/web-1\n", "principal/alice/" + "w" * 101, "PRINCIPAL/alice", "principal/alice-web-1",
    ],
)  # fmt: skip
def test_source_names_the_principal(document: Callable[..., dict[str, Any]], source: str) -> None:
    """`source` is the principal's stream, and a host after a slash: nobody acts from another principal's."""
    with pytest.raises(InvalidCommand, match="source"):
        check_scope(parse(document("Encrypt", source=source)))


@pytest.mark.parametrize("host", ["", "web-1", "web-1.acme.example:8443", "ns/orders/pod@7", "w" * 100])
def test_source_may_name_a_host(document: Callable[..., dict[str, Any]], host: str) -> None:
    """After its principal a source may name the host or workload instance that the caller claims to be."""
    command = parse(document("Encrypt", source=f"principal/alice/{host}" if host else "principal/alice"))
    check_scope(command)
    assert source_of(command) == host


@pytest.mark.parametrize(
    ("verb", "path", "value"),
    [
        ("Encrypt", "specversion", "0.3"),
        ("Encrypt", "datacontenttype", "text/plain"),
        ("Encrypt", "id", "0193F3A0-7C00-7000-8000-00000000000A"),
        ("Encrypt", "id", "x"),
        ("Encrypt", "subject", "key/x"),
        ("Encrypt", "subject", "registry\n"),
        ("Encrypt", "time", "2026-01-31"),
        ("Encrypt", "data__expires_at", "2026-01-31T12:00:00Z"),
        ("Encrypt", "data__principal", "Alice"),
        ("Encrypt", "data__principal", "alice\n"),
        ("Encrypt", "data__signing_key", "00"),
        ("Encrypt", "data__reply__partition", -1),
        ("Encrypt", "data__reply__partition", "1"),
        ("Encrypt", "data__reply__partition", True),
        ("Encrypt", "data__reply__topic", "x" * 201),
        ("Encrypt", "data__reply__correlation_id", ""),
        ("Encrypt", "data__reply__correlation_id", "x" * 65),
        ("Encrypt", "data__reply__correlation_id", "a b"),
        ("Encrypt", "data__min_registry_revision", -1),
        ("Encrypt", "data__retry_of", "x"),
        ("Encrypt", "data__items", 0),
        ("Encrypt", "data__items", 1.0),
        ("Encrypt", "data__bytes", -1),
        ("Encrypt", "data__contexts", []),
        ("Encrypt", "data__contexts", [{}] * 1001),
        ("Encrypt", "data__contexts", [{"a": 1}]),
        ("Encrypt", "data__contexts", [{"a": "\0"}]),
        ("Encrypt", "data__contexts", [{"\udc00": "a"}]),
        ("Encrypt", "data__contexts", {}),
        ("Encrypt", "data__alias", "orders"),
        ("Encrypt", "data__alias", "alias/-orders"),
        ("Encrypt", "data__arguments", []),
        ("Encrypt", "data__reason", "x" * 1025),
        ("Encrypt", "data__reason", "\0"),
        ("Encrypt", "data__dry_run", "true"),
        ("Encrypt", "data__dry_run", 1),
        ("Encrypt", "data__proposal", "x"),
        ("CreateKey", "data__proposal", "0193f3a0-7c00-7000-8000-00000000000a"),
        ("CreateKey", "data__contexts", [{}]),
        ("GetPublicKey", "data__items", 1),
        ("GetParametersForImport", "data__contexts", [{}]),
        ("ImportKeyMaterial", "data__contexts", []),
        ("ImportKeyMaterial", "data__items", 0),
        ("Sign", "data__items", 0),
        ("Encapsulate", "data__bytes", -1),
        ("ReEncryptTo", "data__contexts", [{"a": 1}]),
        ("BeginStorageEpoch", "data__dry_run", 1),
    ],
)
def test_bounds(document: Callable[..., dict[str, Any]], verb: str, path: str, value: Any) -> None:
    """A value outside its bounds, or of a form that only looks right, is refused."""
    refused(document(verb, **{path: value}))


@pytest.mark.parametrize("value", [b"", b"[]", b"null", b"\xff", b'{"type":1', b"{" * 200_000])
def test_no_document(value: bytes) -> None:
    """What is not one JSON object is an invalid command."""
    with pytest.raises(InvalidCommand):
        commands.parse_command(value)


@pytest.mark.parametrize("value", [b"{}", b'{"type":null}', b'{"type":["x"]}', b'{"type":{}}', b'{"type":"x"}'])
def test_no_type(value: bytes) -> None:
    """Without a known type nothing is known about the rest."""
    with pytest.raises(UnsupportedVersion):
        commands.parse_command(value)


def test_defaults(document: Callable[..., dict[str, Any]]) -> None:
    """Optional arguments have the documented defaults."""
    created = parse(document("CreateKey", data__arguments={}))
    assert isinstance(created, commands.CreateKey)
    assert created.data.arguments == arguments.CreateKeyArguments(protection="HSM", description="", tags={})
    assert (created.data.reason, created.data.dry_run) == (None, False)
    key = parse(document("GenerateDataKey", data__arguments={}))
    assert isinstance(key, commands.GenerateDataKey)
    assert key.data.arguments.number_of_bytes == 32
    assert key.data.proposal is None


def test_data_is_of_the_verb(document: Callable[..., dict[str, Any]]) -> None:
    """Only data-plane commands have contexts, items and bytes, and may carry out a proposal."""
    for model in commands.COMMANDS:
        data = parse(document(model.verb)).data
        assert isinstance(data, DataPlaneData) == model.data_plane
        assert isinstance(data, CommandData)
        assert hasattr(data, "proposal") == model.data_plane


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("Encrypt", "SYMMETRIC_DEFAULT"),
        ("Decrypt with RSA", "RSAES_OAEP_SHA_256"),
        ("Sign of a digest", "ECDSA_SHA_256"),
        ("Verify", "ED25519_SHA_512"),
        ("VerifyMac", "HMAC_SHA_256"),
        ("DeriveSharedSecret", "ECDH"),
        ("Encapsulate", "ML_KEM"),
        ("ReEncrypt", "SYMMETRIC_DEFAULT"),
        ("GenerateDataKeyPair", "SYMMETRIC_DEFAULT"),
        ("GenerateRandom", ""),
        ("ImportKeyMaterial", ""),
        ("GetPublicKey", ""),
        ("CreateGrant for signatures", ""),
        ("CreateKey", ""),
    ],
)
def test_algorithm_of(document: Callable[..., dict[str, Any]], name: str, algorithm: str) -> None:
    """The algorithm by which a command uses a key is its own word, or the only one that its verb has."""
    assert commands.algorithm_of(parse(document(name))) == algorithm


@pytest.mark.parametrize("verb", DATA_VERBS)
def test_algorithms_are_those_of_the_usage(document: Callable[..., dict[str, Any]], verb: str) -> None:
    """Every verb that uses a key on items has an algorithm that some key of its usage has."""
    algorithm = commands.algorithm_of(parse(document(verb)))
    usage = specs.USAGE_OF_VERB.get(verb)
    known = {name for (_, own), names in specs.ALGORITHMS.items() if own == usage for name in names}
    assert algorithm in (known or {""})


def test_peek_reply(document: Callable[..., dict[str, Any]]) -> None:
    """The reply address of a command that is not valid can still be found."""
    bad = document("Encrypt", type="keyfold.command.Encrypt.v9", data__items="many")
    found = peek_reply(json.dumps(bad).encode())
    assert found == ReplyAddress(topic="keyfold.replies", partition=1, correlation_id="example:Encrypt")


@pytest.mark.parametrize(
    "value",
    [
        b"", b"[]", b"{}", b'{"data":null}', b'{"data":[]}', b'{"data":"reply"}', b'{"data":{}}',
        b'{"data":{"reply":1}}',
        b'{"data":{"reply":{"topic":"t","partition":0}}}',
        b'{"data":{"reply":{"topic":"t","partition":true,"correlation_id":"c"}}}',
        b'{"data":{"reply":{"topic":"t","partition":0,"correlation_id":"c","more":1}}}',
        b'{"data":{"reply":{"topic":"t","partition":0,"correlation_id":"c"}},"data":1}',
    ],
)  # fmt: skip
def test_peek_reply_finds_none(value: bytes) -> None:
    """Where there is no well-formed address, there is none to answer to."""
    assert peek_reply(value) is None
