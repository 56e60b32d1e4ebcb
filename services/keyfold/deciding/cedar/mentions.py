"""What a policy asks about: found by walking the JSON form of its conditions, never by evaluating them.

The finding errs on one side only: a shape that is not recognised counts as asking about everything.
"""

from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any, Final, NamedTuple

_CONTEXT: Final = {"Var": "context"}
# Where another entity's name may stand: compared, looked for in a set, or as what something is looked for in. Nothing
# can be asked of it.
_NAMED: Final = frozenset(
    {("==", "left"), ("==", "right"), ("!=", "left"), ("!=", "right"), ("in", "right"), ("is", "in")}
    | {("contains", "right")}
)


class Mentions(NamedTuple):
    """Which parts of a request can change the outcome of a policy, beside its scope, the principal and the key.

    `tags` are the names in the encryption context that are asked for, None standing for all of it; `creator` says
    whether the principal that created the key is asked about. The key's protection, usage and origin belong to the key.
    """

    tags: frozenset[str] | None = frozenset()
    items: bool = False
    bytes: bool = False
    time: bool = False
    creator: bool = False
    reason: bool = False
    source: bool = False
    cause: bool = False
    target: bool = False
    approvals: bool = False
    algorithm: bool = False
    message_type: bool = False
    key_version: bool = False
    destination: bool = False
    proposes: bool = False

    def __or__(self, other: "Mentions") -> "Mentions":
        tags = None if self.tags is None or other.tags is None else self.tags | other.tags
        return Mentions(tags, *(one or another for one, another in zip(self[1:], other[1:], strict=True)))


NOTHING: Final = Mentions()
PLAIN: Final = (
    "items", "bytes", "reason", "source", "cause", "algorithm", "message_type", "key_version", "destination",
    "proposes",
)  # fmt: skip
"""Attributes of the context that are a request's own, as they are."""
_ATTRIBUTES: Final = {
    "encryption_context": Mentions(tags=None),
    "time": Mentions(time=True),
    "target": Mentions(target=True),
    "approvals": Mentions(approvals=True),
    **{name: Mentions(frozenset(), **{name: True}) for name in PLAIN},
    **dict.fromkeys(("protection", "key_usage", "origin"), NOTHING),
}
_ALL: Final = reduce(or_, _ATTRIBUTES.values())


def mentions_of(conditions: Any) -> Mentions:
    """Find what conditions (of a policy's JSON form) ask about."""
    found = NOTHING
    stack = [conditions]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, dict):
            seen = _mention(node)
            if seen is None:
                stack.extend(node.values())
            else:
                found |= seen
                stack.extend(child for child in _operands(node) if child != _CONTEXT)
    return found


def _operands(node: dict[str, Any]) -> Iterator[Any]:
    """What still is to be walked of a node that was recognised: of `context.x`, nothing."""
    (operator, body), *_ = node.items()
    if operator in {"hasTag", "getTag"} or not isinstance(body, dict):
        return
    if body.get("left") != _CONTEXT:
        yield from body.values()


def _mention(node: dict[str, Any]) -> Mentions | None:
    """Recognise one node, or None when it says nothing by itself."""
    if node == _CONTEXT:
        return _ALL
    if len(node) != 1:
        return None
    ((operator, body),) = node.items()
    if not isinstance(body, dict):
        return None
    if operator in {".", "has"}:
        return _attribute(body)
    if operator in {"hasTag", "getTag"}:
        name = body.get("right")
        literal = name.get("Value") if isinstance(name, dict) else None
        if isinstance(literal, str) and body.get("left") == {".": {"left": _CONTEXT, "attr": "encryption_context"}}:
            return Mentions(tags=frozenset({literal}))
    return None


def _attribute(body: dict[str, Any]) -> Mentions | None:
    attribute = body.get("attr")
    if body.get("left") == _CONTEXT and isinstance(attribute, str) and attribute in _ATTRIBUTES:
        return _ATTRIBUTES[attribute]
    return Mentions(creator=True) if attribute == "created_by" else None


def asks_of_another(conditions: Any) -> bool:
    """Tell whether something is asked of an entity that is named in the conditions.

    Only the request's own entities are known when a policy is evaluated. `Principal::"x" in Group::"y"` would be
    false for every x, silently: a `forbid` written so would never hold.
    """
    stack: list[tuple[Any, bool]] = [(condition["body"], False) for condition in conditions]
    while stack:
        node, safe = stack.pop()
        if isinstance(node, list):
            stack.extend((child, safe) for child in node)
        elif isinstance(node, dict):
            value = node.get("Value")
            if len(node) == 1 and isinstance(value, dict) and "__entity" in value:
                if not safe:
                    return True
                continue
            for operator, body in node.items():
                stack.extend(_children(operator, body))
    return False


def _children(operator: str, body: Any) -> Iterator[tuple[Any, bool]]:
    if isinstance(body, dict):
        yield from ((child, (operator, side) in _NAMED) for side, child in body.items())
    else:
        yield body, operator == "Set"
