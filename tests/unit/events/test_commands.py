"""Commands: closed, strict documents, one per verb."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from keyfold.events import commands
from keyfold.events.errors import InvalidCommand, UnsupportedVersion
from keyfold.events.signatures import Verifier, command_message

VERBS = [model.verb for model in commands.COMMANDS]
DATA_VERBS = [model.verb for model in commands.COMMANDS if model.data_plane]
ENVELOPE = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"]


@pytest.fixture
def document(examples: Any) -> Callable[..., dict[str, Any]]:
    """A verb's example with changes: a dotted name sets or (None) removes a field."""

    def make(verb: str, **changes: Any) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(json.dumps(examples.command_document(verb)))
        for path, value in changes.items():
            *parents, last = path.split("__")
            target = made
            for parent in parents:
                target = target[parent]
            if value is None:
                del target[last]
            else:
                target[last] = value
        return made

    return make


def parse(document: dict[str, Any]) -> commands.Command:
    return commands.parse_command(json.dumps(document).encode())


def refused(document: dict[str, Any], match: str | None = None) -> None:
    with pytest.raises(InvalidCommand, match=match):
        parse(document)


def test_every_verb_is_known() -> None:
    """Verbs and types name each command once."""
    assert len(set(VERBS)) == len(VERBS) == 22
    assert {verb: model.verb for verb, model in commands.BY_VERB.items()} == {verb: verb for verb in VERBS}
    assert commands.type_of("Encrypt") == "keyfold.command.Encrypt.v1"


@pytest.mark.parametrize("verb", VERBS)
def test_valid(document: Callable[..., dict[str, Any]], verb: str) -> None:
    """Each verb's example parses to its own class and fits its stream."""
    command = parse(document(verb))
    assert type(command) is commands.BY_VERB[verb]
    assert command.verb == verb
    commands.check_scope(command)


@pytest.mark.parametrize("verb", VERBS)
def test_golden(vectors: Callable[[str], Any], verb: str) -> None:
    """Each verb's recorded command parses, has its digest, and carries its principal's signature."""
    golden = vectors("commands")
    case = golden["cases"][verb]
    value = case["value"].encode()
    assert commands.parse_command(value).subject == case["record_key"]
    assert sha256(value).hexdigest() == case["digest"]
    sealed = bytes.fromhex(case["sealed_hex"])
    message = command_message(golden["deployment"], case["record_key"].encode(), value, sealed)
    assert message.hex() == case["message_hex"]
    Verifier(bytes.fromhex(golden["public_key"])).verify(bytes.fromhex(case["signature_hex"]), message)


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
    subjects = {"key": examples.KEY_STREAM, "registry": "registry", "principal": examples.PRINCIPAL_STREAM}
    for kind, subject in subjects.items():
        command = parse(document(verb, subject=subject))
        if kind in own:
            commands.check_scope(command)
        else:
            with pytest.raises(InvalidCommand, match="does not belong"):
                commands.check_scope(command)


def test_scope_of_another_principal(document: Callable[..., dict[str, Any]]) -> None:
    """A keyless verb is on its own principal's stream only."""
    with pytest.raises(InvalidCommand, match="does not belong"):
        commands.check_scope(parse(document("GenerateRandom", subject="principal/bob")))


@pytest.mark.parametrize("source", ["principal/bob", "alice", ""])
def test_source_names_the_principal(document: Callable[..., dict[str, Any]], source: str) -> None:
    """`source` is the principal's stream."""
    with pytest.raises(InvalidCommand, match="source"):
        commands.check_scope(parse(document("Encrypt", source=source)))


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
        ("CreateKey", "data__arguments__key_spec", "RSA_2048"),
        ("CreateKey", "data__arguments__protection", "hsm"),
        ("CreateKey", "data__arguments__description", "x" * 1025),
        ("CreateKey", "data__arguments__description", "\0"),
        ("CreateKey", "data__arguments__tags", {"": "x"}),
        ("CreateKey", "data__arguments__tags", {str(i): "" for i in range(51)}),
        ("CreateKey", "data__contexts", [{}]),
        ("ScheduleKeyDeletion", "data__arguments__pending_window_seconds", 0),
        ("ScheduleKeyDeletion", "data__arguments__pending_window_seconds", 30 * 86_400 + 1),
        ("GenerateDataKey", "data__arguments__number_of_bytes", 0),
        ("GenerateDataKey", "data__arguments__number_of_bytes", 1025),
        ("ReEncrypt", "data__arguments__destination", [-1]),
        ("ReEncrypt", "data__arguments__destination", [1000]),
        ("CreateAlias", "data__arguments__alias", "alias/" + "x" * 201),
        ("CreateAlias", "data__arguments__key_id", "x"),
        ("RegisterPrincipal", "data__arguments__public_key", "0" * 63),
        ("RegisterPrincipal", "data__arguments__public_key", "01" + "00" * 31),
        ("RegisterPrincipal", "data__arguments__algorithm", "RSA"),
        ("RegisterPrincipal", "data__arguments__groups", ["g"] * 51),
        ("PutPolicy", "data__arguments__text", ""),
        ("PutPolicy", "data__arguments__text", "x" * 32_769),
        ("EraseSealingKey", "data__arguments__sealing_key", ""),
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
    assert created.data.arguments == commands.CreateKeyArguments(protection="HSM", description="", tags={})
    key = parse(document("GenerateDataKey", data__arguments={}))
    assert isinstance(key, commands.GenerateDataKey)
    assert key.data.arguments.number_of_bytes == 32


def test_peek_reply(document: Callable[..., dict[str, Any]]) -> None:
    """The reply address of a command that is not valid can still be found."""
    bad = document("Encrypt", type="keyfold.command.Encrypt.v9", data__items="many")
    found = commands.peek_reply(json.dumps(bad).encode())
    assert found == commands.ReplyAddress(topic="keyfold.replies", partition=1, correlation_id="example:Encrypt")


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
    assert commands.peek_reply(value) is None
