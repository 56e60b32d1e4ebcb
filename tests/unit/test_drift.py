"""Generated files are what their generators make: golden vectors, JSON Schemas, the AsyncAPI document.

A change here is a change of a wire format: it needs a new version beside the old one, then `scripts/vectors` and
`scripts/schemas` are run again.
"""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from keyfold.events import commands, facts, topics

ROOT = Path(__file__).resolve().parents[2]
VECTORS, DOCS = ROOT / "tests" / "vectors", ROOT / "docs"


@cache
def generated(script: str) -> dict[str, str]:
    """What a generator makes now, by file name."""
    made: dict[str, str] = runpy.run_path(str(ROOT / "scripts" / script))["generate"]()
    return made


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def golden(name: str) -> dict[str, Any]:
    """The cases and the variants of a vector file."""
    document = read(VECTORS / name)
    found: dict[str, Any] = document["cases"] | document["variants"]
    return found


def test_every_type_has_a_golden_case() -> None:
    """Every verb and every event type has an example, which is held against its schema below."""
    assert {model.verb for model in commands.COMMANDS} <= set(golden("commands.json"))
    assert {model.type_name for model in facts.EVENT_TYPES} <= set(golden("events.json"))


@pytest.mark.parametrize("name", sorted(path.name for path in VECTORS.glob("*.json")))
def test_vectors_do_not_drift(name: str) -> None:
    """Making a vector file again changes nothing."""
    assert generated("vectors")[name] == (VECTORS / name).read_text("utf-8")


def test_every_vector_file_is_there() -> None:
    """Each generated vector file is committed, and no other."""
    assert set(generated("vectors")) == {path.name for path in VECTORS.glob("*.json")}


def test_schemas_do_not_drift() -> None:
    """Making the schemas and the AsyncAPI document again changes nothing, and no file is left over."""
    made = generated("schemas")
    there = {str(path.relative_to(DOCS)) for path in (DOCS / "schemas").rglob("*.json")} | {"asyncapi.json"}
    assert set(made) == there
    assert [name for name, text in made.items() if (DOCS / name).read_text("utf-8") != text] == []


@pytest.mark.parametrize("script", ["vectors", "schemas"])
def test_check_option(script: str) -> None:
    """The generators' own check agrees, and refuses options that it does not know."""
    command = [sys.executable, str(ROOT / "scripts" / script)]
    checked = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False, timeout=60)
    assert (checked.returncode, checked.stdout) == (0, "")
    wrong = subprocess.run([*command, "--what"], capture_output=True, text=True, check=False, timeout=60)
    assert wrong.returncode == 2


def violations(schema: dict[str, Any], value: Any, root: dict[str, Any], at: str = "") -> Iterator[str]:
    """Check a value against those words of JSON Schema that the generated schemas use."""
    known = {
        "$defs", "$id", "$ref", "$schema", "additionalProperties", "anyOf", "const", "default", "description", "enum",
        "items", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minimum", "pattern",
        "minProperties", "properties", "propertyNames", "required", "title", "type", "exclusiveMaximum",
    }  # fmt: skip
    assert set(schema) <= known, set(schema) - known
    if "$ref" in schema:
        yield from violations(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, root, at)
    if "anyOf" in schema and all(list(violations(each, value, root, at)) for each in schema["anyOf"]):
        yield f"{at}: none of the alternatives"
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}
    if "type" in schema and (type(value) is not kinds[schema["type"]]):
        yield f"{at}: not {schema['type']}"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{at}: not {schema['const']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: not one of {schema['enum']}"
    yield from _bounds(schema, value, at)
    if isinstance(value, dict):
        yield from _members(schema, value, root, at)
    if isinstance(value, list) and "items" in schema:
        for i, each in enumerate(value):
            yield from violations(schema["items"], each, root, f"{at}/{i}")


def _bounds(schema: dict[str, Any], value: Any, at: str) -> Iterator[str]:
    if isinstance(value, str) and "pattern" in schema and re.search(schema["pattern"], value) is None:
        yield f"{at}: pattern"
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{at}: range"
    if isinstance(value, int) and value >= schema.get("exclusiveMaximum", value + 1):
        yield f"{at}: range"
    size = len(value) if isinstance(value, str | list | dict) else 0
    words = {"str": "Length", "list": "Items", "dict": "Properties"}.get(type(value).__name__)
    if words and not schema.get(f"min{words}", 0) <= size <= schema.get(f"max{words}", size):
        yield f"{at}: size"


def _members(schema: dict[str, Any], value: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    for name in schema.get("required", []):
        if name not in value:
            yield f"{at}/{name}: missing"
    for name, each in value.items():
        own = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
        if own is False:
            yield f"{at}/{name}: not allowed"
        elif isinstance(own, dict):
            yield from violations(own, each, root, f"{at}/{name}")


@pytest.mark.parametrize("name", [*golden("commands.json")])
def test_command_schema_fits(name: str) -> None:
    """A golden command follows its verb's published schema; with a field missing, added or altered it does not."""
    verb = name.partition(" ")[0]
    schema = read(DOCS / "schemas" / "commands" / f"{verb}.v1.json")
    document = json.loads(golden("commands.json")[name]["value"])
    assert list(violations(schema, document, schema)) == []
    for field in document:
        for bad in ({**document, field: None}, {key: each for key, each in document.items() if key != field}):
            assert list(violations(schema, bad, schema))
    assert list(violations(schema, {**document, "data": {**document["data"], "more": 1}}, schema))
    assert list(violations(schema, {**document, "type": "keyfold.command.Other.v1"}, schema))


@pytest.mark.parametrize("name", [*golden("events.json")])
def test_event_schema_fits(name: str) -> None:
    """A golden event follows its type's published schema; without any of its fields it does not."""
    document = json.loads(golden("events.json")[name]["value"])
    schema = read(DOCS / "schemas" / "events" / f"{document['type'].removeprefix('keyfold.')}.json")
    assert list(violations(schema, document, schema)) == []
    for field in document["data"]:
        data = {key: each for key, each in document["data"].items() if key != field}
        assert list(violations(schema, {**document, "data": data}, schema)), field


def test_schemas_have_readable_titles() -> None:
    """A schema is named after its type, its parts after their models; no name is a generated one."""
    for path in sorted((DOCS / "schemas").rglob("*.json")):
        schema = read(path)
        assert schema["title"] == path.stem
        assert schema["$id"] == f"urn:keyfold:schema:{path.stem}"
        for name, part in schema.get("$defs", {}).items():
            assert part["title"] == name
            assert re.fullmatch("[A-Za-z]+", name)
        if path.parent.name in {"commands", "events"}:
            assert schema["properties"]["data"] == {"$ref": "#/$defs/Data"}


def test_asyncapi_references_resolve() -> None:
    """Every reference of the AsyncAPI document leads to a part of it or to a schema file."""
    document = read(DOCS / "asyncapi.json")

    def references(node: Any) -> Iterator[str]:
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from references(child)
        if isinstance(node, dict) and "$ref" in node:
            yield node["$ref"]

    found = list(references(document))
    assert len(found) > 60
    for reference in found:
        if reference.startswith("./"):
            assert (DOCS / reference).is_file(), reference
            continue
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_asyncapi_is_complete() -> None:
    """The AsyncAPI document has every topic as a channel with its limits, and every command and event as a message."""
    document = read(DOCS / "asyncapi.json")
    assert document["asyncapi"] == "3.0.0"
    channels = {channel["address"]: channel for channel in document["channels"].values()}
    assert list(channels) == [topic.name for topic in topics.TOPICS]
    for topic in topics.TOPICS:
        settings = channels[topic.name]["bindings"]["kafka"]["topicConfiguration"]
        assert settings["max.message.bytes"] == topic.max_message_bytes
    assert set(channels[topics.COMMANDS]["messages"]) == {model.verb for model in commands.COMMANDS}
    written = {*channels[topics.EVENTS]["messages"], *channels[topics.KEYSTORE]["messages"]}
    assert written == {model.__name__ for model in facts.EVENT_TYPES}
