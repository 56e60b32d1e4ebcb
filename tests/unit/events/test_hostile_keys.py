"""Hostile documents of the types about keys, versions, import and storage epochs: refused, and never repeated."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from keyfold.events import commands, facts
from keyfold.events.errors import InvalidCommand

UUID = "0193f3a0-7c00-7000-8000-00000000000a"
NO_NUMBERS: list[Any] = [-1, 2**32, 2**64, 1.0, 1e300, True, "1", None, [1], {"1": 1}]
SECRET = "c2VjcmV0IG1hdGVyaWFs"

EVENTS: list[tuple[str, str, list[Any]]] = [
    ("key.version-disabled", "version", [0, *NO_NUMBERS]),
    ("key.version-enabled", "version", [0, *NO_NUMBERS]),
    ("key.version-destroyed", "version", [0, *NO_NUMBERS]),
    ("key.version-destroyed", "reason", [None, 1, "\0", "\ud800"]),
    ("key.compromised", "versions", [[], [0], [2**32], ["1"], [True], [1.0], {"1": 1}, 1, None]),
    ("key.compromised", "occurred_at", ["", "yesterday", "2026-01-31T12:00:00Z", "2026-02-30T12:00:00.000Z", 0, None]),
    ("key.validity-updated", "not_before", ["never", "", 0, "2026-01-31"]),
    ("key.rotation-enabled", "rotation_period_seconds", [0, 2560 * 86_400 + 1, *NO_NUMBERS]),
    ("key.import-parameters-issued", "import_token", ["", UUID.upper(), f"{UUID}\n", f"key/{UUID}", None]),
    ("key.import-parameters-issued", "wrapping_algorithm", ["RSAES_PKCS1_V1_5", "rsaes_oaep_sha_256", "", None, 1]),
    ("key.import-parameters-issued", "wrapping_key_spec", ["RSA_2048", "RSA_4096 ", None]),
    ("key.imported-material-deleted", "cause", ["compromise", "", None]),
    ("key.material-imported", "key_check_value", ["", "dc95c", "dc95c00", "DC95C0", "dc95c0\n", "dc 5c0", None]),
    ("key.material-imported", "valid_to", ["never", "", 1]),
    ("key.material-imported", "key_spec", ["AES_256", "", None]),
    ("key.material-imported", "blob_digest", ["", "0" * 63, "0" * 65, "A" * 64, None]),
    ("key.material-imported", "public_key", ["", "=", "AA-_", "AA==\n", "A" * 8193, 1]),
    ("key.material-imported", "attributes", [{"a": None}, {"a": [1]}, {"a": 1.5}, {str(i): 1 for i in range(61)}, []]),
    ("key.import-parameters-created", "public_key", ["", "AA\u0301==", "A" * 8193, None]),
    ("key.import-parameters-created", "expires_at", ["never", None]),
    ("token.capabilities-found", "module", ["x" * 201, None, 1]),
    ("token.capabilities-found", "capabilities", [{}, [{}], [None], [[]]]),
    ("token.capabilities-found", "imports", [{str(i): "" for i in range(11)}, {"a": 1}, []]),
    ("storage-epoch.begun", "epoch", [0, *NO_NUMBERS]),
    ("storage-epoch.turned", "epoch", [0, *NO_NUMBERS]),
    ("storage-epoch.turned", "partition", [-1, "1", True, 1.0, None]),
    ("storage-epoch.turned", "versions", [-1, "1", True, [1], None]),
    ("storage-epoch.key-destroyed", "found_after", [-1, "0", False, None]),
    ("storage-epoch.key-destroyed", "evidence", [{"0": -1}, {"0": "10"}, [10], None]),
    ("storage-epoch.key-destroyed", "answer", ["x" * 101, None]),
    ("key.erased", "versions", [[], [0], [2**32], None]),
    ("key.erased", "destroyed_by", [{"1": -1}, {"1": None}, [41]]),
    ("key.erased", "blob_digests", [{"1": ""}, {"1": "0" * 63}, None]),
    ("key.erased", "sealing_key", ["", "x", 1]),
    ("key.erased", "demonstration", ["true", 1, None]),
    ("key.erased", "covers", [["x" * 101], [1], "all", None]),
    ("keystore.material-rewrapped", "epoch", [0, *NO_NUMBERS]),
    ("keystore.material-rewrapped", "blobs", [{"1": 1}, {"1": None}, ["blob"], None]),
    ("keystore.import-key-stored", "blob", [1, None, ["blob"]]),
    ("keystore.erasure-certified", "versions", [[0], [2**32], ["1"], None]),
    ("command.authorized", "refused_versions", [[0], [2**32], ["1"], 1, None]),
    ("key.used", "versions", [{"1": -1}, {"1": "1"}, [1]]),
]
FIELDS = [(name, field, value) for name, field, values in EVENTS for value in values]


def parse(document: dict[str, Any]) -> facts.Event:
    return facts.parse_event(json.dumps(document).encode())


@pytest.fixture
def fact(vectors: Callable[[str], Any]) -> Callable[[str], dict[str, Any]]:
    """The document of an event's golden vector, by its type without what all types share."""

    def make(name: str) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(vectors("events")["cases"][f"keyfold.{name}.v1"]["value"])
        return made

    return make


@pytest.mark.parametrize(("name", "field", "value"), FIELDS)
def test_fields(fact: Callable[[str], dict[str, Any]], name: str, field: str, value: Any) -> None:
    """A field outside its bounds, or of a type that only looks right, makes the event unreadable."""
    made = fact(name)
    assert field in made["data"]
    made["data"][field] = value
    with pytest.raises(InvalidCommand):
        parse(made)


@pytest.mark.parametrize("name", sorted({name for name, _, _ in EVENTS}))
def test_subjects(fact: Callable[[str], dict[str, Any]], name: str) -> None:
    """The stream of an event is a stream in its one form; whether it is the right one is for who reads the chain."""
    for subject in (
        "",
        "partition/",
        "partition/01",
        "partition/-1",
        "partition/100000",
        "partition/1\n",
        f"key/{UUID} ",
    ):
        with pytest.raises(InvalidCommand):
            parse(fact(name) | {"subject": subject})


@pytest.mark.parametrize("capability", ["key_spec", "key_usage", "protection", "algorithms"])
def test_capabilities_are_whole(fact: Callable[[str], dict[str, Any]], capability: str) -> None:
    """A capability without one of its parts, or with another, is none."""
    first = fact("token.capabilities-found")["data"]["capabilities"][0]
    less = {name: value for name, value in first.items() if name != capability}
    for changed in (less, first | {"more": 1}):
        made = fact("token.capabilities-found")
        made["data"]["capabilities"][0] = changed
        with pytest.raises(InvalidCommand):
            parse(made)


def test_too_many_capabilities(fact: Callable[[str], dict[str, Any]]) -> None:
    """The list of what a token can do is bounded."""
    made = fact("token.capabilities-found")
    made["data"]["capabilities"] *= 101
    with pytest.raises(InvalidCommand):
        parse(made)


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("ImportKeyMaterial", "data__arguments__import_token"),
        ("ImportKeyMaterial", "data__arguments__key_material"),
        ("Sign", "data__arguments__signing_algorithm"),
        ("Sign", "data__arguments__message"),
        ("Verify", "data__arguments__signature"),
        ("DeriveSharedSecret", "data__arguments__public_key"),
        ("Decapsulate", "data__arguments__key_version"),
        ("GenerateDataKeyPair", "data__arguments__key_pair_spec"),
        ("MarkKeyCompromised", "data__arguments__occurred_at"),
    ],
)
def test_refusals_repeat_nothing(document: Callable[..., dict[str, Any]], verb: str, path: str) -> None:
    """Who puts a secret into the clear part of a command by mistake does not find it in the refusal."""
    with pytest.raises(InvalidCommand) as refused:
        commands.parse_command(json.dumps(document(verb, **{path: SECRET})).encode())
    cause: BaseException | None = refused.value
    while cause is not None:
        assert SECRET not in str(cause)
        cause = None if cause.__suppress_context__ else cause.__context__


@pytest.mark.parametrize("name", ["keystore.material-rewrapped", "keystore.import-key-stored", "key.erased"])
def test_refusals_of_events_repeat_nothing(fact: Callable[[str], dict[str, Any]], name: str) -> None:
    """A blob in the wrong place of an event, or a name that it is hidden in, is not found in the refusal."""
    for change in ({SECRET: 1}, {"key_id": SECRET}, {"versions": [SECRET]}, {"blobs": {SECRET: 1}}):
        made = fact(name)
        made["data"] |= change
        with pytest.raises(InvalidCommand) as refused:
            parse(made)
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize("verb", ["Sign", "ImportKeyMaterial", "EndStorageEpoch", "MarkKeyCompromised"])
def test_no_document_is_two(document: Callable[..., dict[str, Any]], verb: str) -> None:
    """Arguments that stand twice are refused: two readers could obey different ones."""
    text = json.dumps(document(verb))
    arguments = json.dumps(document(verb)["data"]["arguments"])
    doubled = text.replace(f'"arguments": {arguments}', f'"arguments": {arguments}, "arguments": {arguments}')
    assert doubled != text
    with pytest.raises(InvalidCommand):
        commands.parse_command(doubled.encode())
