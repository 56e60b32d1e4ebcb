"""The strict JSON reader: one meaning or none."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

from keyfold.events.errors import InvalidCommand
from keyfold.events.strictjson import MAX_DEPTH, Frozen, canonical, loads, parse


class Document(Frozen):
    number: int = 0
    text: str = ""
    names: dict[str, int] = Field(default_factory=dict)
    data: bytes = b""


@pytest.mark.parametrize(
    "document",
    [b"{}", b' {"a" : 1}\n', b'{"a":{"a":1},"b":[{"a":2}]}', '{"ü":"🔑"}'.encode(), b'{"a":"\\ud83d\\udd11"}',
     b'{"a":"\\\\u0000"}', b'{"a":1.5e3}', b'{"a":-0}'],
)  # fmt: skip
def test_accepts(document: bytes) -> None:
    """Plain, unambiguous objects are read as any JSON reader reads them."""
    assert loads(document) == json.loads(document)


@pytest.mark.parametrize(
    "document",
    [
        b"", b" ", b"null", b"1", b"[]", b'"{}"', b"{", b"{}{}", b"{}x", b"{'a':1}", b'{"a":1,}', b'{a:1}',
        b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}', b'{"b":[{"a":1,"a":2}]}',
        b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":-1e999}', b'{"a":01}', b'{"a":+1}',
        b'{"a":0x1}', b'{"a":1.}', b'{"a":"\n"}', b'{"a":"\x00"}', b'{"a":"\\x41"}', b'{"a":1}//', b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00", b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}', b'{"\\udc00":1}', b'{"a":["\\udd11\\ud83d"]}', b'{"a":"\\u0000"}', b'{"a":{"\\u0000":1}}',
        b'{"a":%s}' % (b"9" * 5000),
    ],
)  # fmt: skip
def test_refuses(document: bytes) -> None:
    """Whatever two readers or stores could understand differently is refused with one typed error."""
    with pytest.raises(InvalidCommand) as caught:
        loads(document)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(("open_", "close"), [(b'{"a":', b"}"), (b'{"a":[', b"]}")])
def test_depth(open_: bytes, close: bytes) -> None:
    """Sixteen levels are accepted, seventeen are not."""
    levels = open_.count(b"{") + open_.count(b"[")
    fits = MAX_DEPTH // levels
    loads(open_ * fits + b"1" + close * fits)
    with pytest.raises(InvalidCommand, match="deeper"):
        loads(b'{"b":' + open_ * fits + b"1" + close * fits + b"}")


def test_brackets_in_text_are_no_levels() -> None:
    """Brackets inside strings and beside each other do not count as depth."""
    assert loads(b'{"a":"%s","b":[%s]}' % (b"[{" * 50, b",".join([b"[]"] * 50)))["b"] == [[]] * 50


@pytest.mark.parametrize("levels", [1_000, 100_000])
def test_huge_nesting(levels: int) -> None:
    """Nesting that exhausts the reader's stack is refused, not a crash."""
    for document in (b'{"a":' + b"[" * levels + b"]" * levels + b"}", b'{"a":' * levels + b"1" + b"}" * levels):
        with pytest.raises(InvalidCommand):
            loads(document)


@pytest.mark.parametrize(
    ("document", "places"),
    [
        (b'{"number":"1"}', "number"),
        (b'{"number":1.0}', "number"),
        (b'{"number":1e2}', "number"),
        (b'{"number":true}', "number"),
        (b'{"number":null}', "number"),
        (b'{"text":1}', "text"),
        (b'{"names":{"my secret":"x"}}', "names.?"),
        (b'{"number":"x","text":1}', "number, text"),
        (b'{"my secret":1}', "?"),
        (b'{"text":"\\ud800"}', "document"),
        (b"[]", "document"),
    ],
)
def test_parse_names_places(document: bytes, places: str) -> None:
    """A document that does not fit is refused by its places; what the sender wrote is not repeated."""
    with pytest.raises(InvalidCommand) as caught:
        parse(Document, document)
    assert str(caught.value) == f"does not follow the schema at: {places}"
    assert caught.value.__suppress_context__


def test_long_errors_are_cut() -> None:
    """Thousands of wrong places give one short message."""
    document = json.dumps({"names": {f"name{i}": "x" for i in range(2000)}, "number": ""}).encode()
    with pytest.raises(InvalidCommand) as caught:
        parse(Document, document)
    assert len(str(caught.value)) < 400


def test_parse() -> None:
    """A document that fits becomes an immutable value; bytes travel as base64."""
    made = parse(Document, b'{"number":1,"data":"_-8="}')
    assert (made.number, made.data) == (1, b"\xff\xef")
    with pytest.raises(ValueError, match="frozen"):
        made.number = 2  # type: ignore[misc]


def test_canonical() -> None:
    """Equal values give equal bytes: names sorted, no spaces, UTF-8."""
    assert canonical({"b": [1, "ü"], "a": None}) == '{"a":null,"b":[1,"ü"]}'.encode()
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})


def test_canonical_refuses_nan() -> None:
    """What is not JSON is not written."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))


def parts_of(model: BaseModel) -> object:
    return (type(model), model.__dict__, model.model_fields_set, model.__pydantic_extra__, model.__pydantic_private__)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("update", [None, {}, {"number": 2}, {"number": 2, "names": {"b": 1}}, {"stranger": 1}])
def test_copies_are_those_of_the_library(update: dict[str, Any] | None, deep: bool) -> None:
    """Values, the names that were given, and what is shared or not; the original stays as it was."""
    first = Document(text="a", names={"a": 1})
    copied, expected = (copy(first, update=update, deep=deep) for copy in (Document.model_copy, BaseModel.model_copy))
    assert parts_of(copied) == parts_of(expected)
    assert list(copied.__dict__) == list(expected.__dict__)
    assert (copied.names is first.names) == (expected.names is first.names)
    assert parts_of(first) == parts_of(Document(text="a", names={"a": 1}))
    assert copied.__dict__ is not first.__dict__
    assert copied.model_fields_set is not first.model_fields_set
