"""The one strict JSON reader, and the canonical writer.

Reading refuses what two parsers could understand differently: duplicate names, NaN and infinities, more than sixteen
levels. It does not know any schema; models validate the same bytes afterwards.
"""

import json
from typing import Any, Final, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from keyfold.events.errors import InvalidCommand

MAX_DEPTH: Final = 16

Model = TypeVar("Model", bound=BaseModel)


class Frozen(BaseModel):
    """Base of every document: immutable, strictly typed, closed."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )


def loads(document: bytes) -> dict[str, Any]:
    """Parse one JSON object. Raises `InvalidCommand` for anything that is not exactly one unambiguous object."""
    try:
        parsed = json.loads(document.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidCommand("not one unambiguous JSON object") from error
    if not isinstance(parsed, dict):
        raise InvalidCommand("a JSON object is needed")
    if document.count(b"{") + document.count(b"[") > MAX_DEPTH and _deeper_than(parsed, MAX_DEPTH):
        raise InvalidCommand(f"nested deeper than {MAX_DEPTH} levels")
    return parsed


def parse(model: type[Model], document: bytes) -> Model:
    """Validate the bytes against a model. The error names the places that are wrong, never their values."""
    try:
        return model.model_validate_json(document)
    except ValidationError as error:
        places = sorted({".".join(str(part) for part in item["loc"]) or "document" for item in error.errors()})
        raise InvalidCommand(f"does not follow the schema at: {', '.join(places)[:300]}") from None


def canonical(value: Any) -> bytes:
    """Serialise with sorted names and no spaces, so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate name")
    return found


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and infinities are not JSON")


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
