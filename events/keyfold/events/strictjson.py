"""The one strict JSON reader, and the canonical writer.

Reading refuses what two parsers or stores could understand differently: duplicate names, NaN and infinities, more than
sixteen levels, U+0000 (Postgres cannot hold it) and lone surrogates (UTF-8 cannot). It does not know any schema; models
validate the same bytes afterwards.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from keyfold.events.errors import InvalidCommand

MAX_DEPTH: Final = 16

_DECLARED: Final[set[str]] = set()
_set: Final = object.__setattr__  # a frozen model does not let its own be called
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")

Model = TypeVar("Model", bound=BaseModel)


class Frozen(BaseModel):
    """Base of every document: immutable, strictly typed, closed."""

    model_config = ConfigDict(
        defer_build=True, frozen=True, strict=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_kwargs: Any) -> None:
        _DECLARED.update(cls.model_fields)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, as `BaseModel.model_copy` says; a shallow one of a closed model is a copy of its fields."""
        if deep or self.__pydantic_private__ is not None or self.__pydantic_extra__ is not None:
            return super().model_copy(update=update, deep=deep)
        copied = type(self).__new__(type(self))
        named = self.__pydantic_fields_set__
        _set(copied, "__dict__", {**self.__dict__, **(update or {})})
        _set(copied, "__pydantic_extra__", None)
        _set(copied, "__pydantic_fields_set__", {*named, *update} if update else named.copy())
        _set(copied, "__pydantic_private__", None)
        return copied


def loads(document: bytes) -> dict[str, Any]:
    """Parse one JSON object. Raises `InvalidCommand` for anything that is not exactly one unambiguous object."""
    try:
        parsed = _decoded(document.decode("utf-8"))
    except (ValueError, RecursionError):
        raise InvalidCommand("not one unambiguous JSON object") from None  # the cause would carry the document
    if not isinstance(parsed, dict):
        raise InvalidCommand("a JSON object is needed")
    if document.count(b"{") + document.count(b"[") > MAX_DEPTH and _deeper_than(parsed, MAX_DEPTH):
        raise InvalidCommand(f"nested deeper than {MAX_DEPTH} levels")
    if b"\\u" in document and _has_unstorable(parsed):
        raise InvalidCommand("text has a character that cannot be stored (U+0000 or half a surrogate pair)")
    return parsed


def parse(model: type[Model], document: bytes) -> Model:
    """Validate the bytes against a model. The error names the places that are wrong, never their values."""
    try:
        return model.model_validate_json(document)
    except ValidationError as error:
        places = sorted({_place(item["loc"]) for item in error.errors(include_input=False)})
        raise InvalidCommand(f"does not follow the schema at: {', '.join(places)[:300]}") from None


def canonical(value: Any) -> bytes:
    """Serialise with sorted names and no spaces, so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _decoded(text: str) -> Any:
    """Decode one value; where nothing stands around it, without looking for that."""
    if text.startswith("{"):
        value, end = _DECODER.raw_decode(text)
        if end == len(text):
            return value
    return _DECODER.decode(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate name")
    return found


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and infinities are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond all range")
    return number


def _place(parts: tuple[int | str, ...]) -> str:
    """Name a place in a document; a name that the sender chose is not repeated but shown as `?`."""
    return ".".join(str(part) if isinstance(part, int) or part in _DECLARED else "?" for part in parts) or "document"


def _has_unstorable(value: Any) -> bool:
    """Walk a document that is known to be shallow; only escapes can bring such characters in."""
    if isinstance(value, str):
        return _UNSTORABLE.search(value) is not None
    if isinstance(value, dict):
        return any(_has_unstorable(name) or _has_unstorable(child) for name, child in value.items())
    return isinstance(value, list) and any(map(_has_unstorable, value))


def _deeper_than(value: Any, levels: int) -> bool:
    stack = [(value, 1)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, dict | list):
            if depth > levels:
                return True
            children = node.values() if isinstance(node, dict) else node
            stack.extend((child, depth + 1) for child in children)
    return False


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
"""Made once: building a decoder costs as much as a parse."""
