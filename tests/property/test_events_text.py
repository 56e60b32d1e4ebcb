"""Documents under random and damaged input, instants, partitions."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfold.events import commands, facts, replies, streams, strictjson
from keyfold.events.command_envelope import peek_reply
from keyfold.events.errors import InvalidCommand, UnsupportedVersion
from keyfold.events.times import to_milliseconds, to_text

MANY = settings(max_examples=80, deadline=None)
EXAMPLES: dict[str, Any] = runpy.run_path(str(Path(__file__).resolve().parents[1] / "vectors" / "examples.py"))
VALUES = [EXAMPLES["command_example"](verb)["value"].encode() for verb in EXAMPLES["ARGUMENTS"]]
VALUES += [EXAMPLES["command_example"](name)["value"].encode() for name in EXAMPLES["VARIANTS"]]
EVENTS = [event.to_value() for event in (*EXAMPLES["events"](), *EXAMPLES["event_variants"]().values())]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(text, json_values, max_size=4)


@given(documents, st.booleans())
@MANY
def test_documents_round_trip(document: dict[str, Any], ascii_only: bool) -> None:
    """Every shallow document is read as it was written, escaped or not; canonical bytes are one fixed point."""
    assert strictjson.loads(json.dumps(document, ensure_ascii=ascii_only).encode()) == document
    written = strictjson.canonical(document)
    assert strictjson.canonical(strictjson.loads(written)) == written


@given(documents.filter(bool), st.data())
@MANY
def test_a_doubled_name(document: dict[str, Any], data: st.DataObject) -> None:
    """A name that stands twice is refused, at any place, whatever its values and however it is escaped."""
    name = data.draw(st.sampled_from(sorted(document)))
    escaped = '"' + "".join(f"\\u{unit:04x}" for unit in _utf16(name)) + '"'
    pair = f"{escaped}:{json.dumps(data.draw(json_values))}"
    inside = json.dumps(document)[:-1] + "," + pair + "}"
    for bad in (inside, f'{{"outer":[{inside}]}}'):
        with pytest.raises(InvalidCommand):
            strictjson.loads(bad.encode())


def _utf16(name: str) -> list[int]:
    raw = name.encode("utf-16-be")
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda made: made.encode("utf-8", "surrogatepass"))))
@MANY
def test_noise(noise: bytes) -> None:
    """Random bytes give a typed error from every parser, never another one."""
    for parse in (strictjson.loads, commands.parse_command, facts.parse_event, replies.parse_reply):
        try:
            parse(noise)
        except (InvalidCommand, UnsupportedVersion):
            continue
    peek_reply(noise)


@given(st.sampled_from(VALUES + EVENTS), st.data())
@settings(max_examples=250, deadline=None)
def test_damaged_documents(value: bytes, data: st.DataObject) -> None:
    """A document with bytes flipped, cut out or put in is another valid one or refused with a typed error."""
    start = data.draw(st.integers(0, len(value) - 1))
    end = data.draw(st.integers(start, min(start + 8, len(value))))
    pieces = st.sampled_from([b"", b'"', b"{", b"}", b"null", b"1e9", b"\\u0000", b"\\ud800", b"\xff", b",", b"-1"])
    damaged = value[:start] + data.draw(st.one_of(pieces, st.binary(max_size=4))) + value[end:]
    for parse in (commands.parse_command, facts.parse_event):
        try:
            found = parse(damaged)
        except (InvalidCommand, UnsupportedVersion):
            continue
        assert strictjson.loads(damaged)["id"] == found.id
    peek_reply(damaged)


@given(st.sampled_from(VALUES), st.data())
@MANY
def test_replaced_values(value: bytes, data: st.DataObject) -> None:
    """A command with any one value replaced by any other is parsed or refused, and what is parsed says what it read."""
    document = _replaced(json.loads(value), data)
    try:
        command = commands.parse_command(json.dumps(document).encode())
    except (InvalidCommand, UnsupportedVersion):
        return
    assert command.model_dump(exclude_unset=True, mode="json") == document


@given(st.sampled_from(EVENTS), st.data())
@settings(max_examples=250, deadline=None)
def test_replaced_values_of_events(value: bytes, data: st.DataObject) -> None:
    """An event with any one value replaced by any other is parsed or refused; what is parsed gives its bytes again."""
    document = _replaced(json.loads(value), data)
    try:
        event = facts.parse_event(json.dumps(document).encode())
    except (InvalidCommand, UnsupportedVersion):
        return
    assert json.loads(event.to_value()) == document
    assert facts.parse_event(event.to_value()) == event


def _replaced(document: Any, data: st.DataObject) -> Any:
    place = data.draw(st.sampled_from(list(_places(document))))
    target = document
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = data.draw(json_values)
    return document


def _places(node: Any, path: tuple[Any, ...] = ()) -> Any:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield (*path, name)
        yield from _places(child, (*path, name))


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
@MANY
def test_instants_round_trip(milliseconds: int) -> None:
    """Every millisecond of the years 1 to 9999 has one text, and texts sort as instants do."""
    written = to_text(milliseconds)
    assert to_milliseconds(written) == milliseconds
    assert len(written) == 24
    if milliseconds < 253_402_300_799_999:
        assert written < to_text(milliseconds + 1)


@given(st.text(max_size=24))
@MANY
def test_other_instants(noise: str) -> None:
    """Any text is the one accepted form or refused."""
    try:
        assert to_text(to_milliseconds(noise)) == noise
    except InvalidCommand:
        return


@given(st.one_of(st.text(max_size=30), st.uuids().map(lambda made: f"key/{made}")), st.integers(2, 100))
@MANY
def test_partitions(stream: str, partitions: int) -> None:
    """Every stream but `registry` is in one of the other partitions, always the same."""
    made = streams.partition_of(stream, partitions)
    assert 1 <= made < partitions or stream == "registry"
    assert made == streams.partition_of(stream, partitions)


@given(st.integers(0, 99_999), st.integers(2, 100))
@MANY
def test_streams_of_partitions(number: int, partitions: int) -> None:
    """What is about a partition lies in it; what is about one that is not there lies nowhere."""
    stream = streams.partition_stream(number)
    assert streams.is_stream(stream)
    if number < partitions:
        assert streams.partition_of(stream, partitions) == number
        return
    with pytest.raises(ValueError, match="no such partition"):
        streams.partition_of(stream, partitions)
