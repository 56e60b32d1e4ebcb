"""Policies as Cedar's parser gives them, made ready to be looked up and evaluated.

A text becomes statements with ids of our own; each knows the scope it can match and what it asks about. Reading is
total on any text: it makes policies, or raises `InvalidPolicy`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import cedarpy

from keyfold.deciding.cedar.mentions import Mentions, mentions_of
from keyfold.deciding.cedar.text import Statement, statements_of
from keyfold.events.errors import InvalidPolicy

MAX_JSON_DEPTH: Final = 120  # serde, which reads the JSON form, ends at 128
MAX_MESSAGE: Final = 240

Part = tuple[str, ...]
ANY: Final[Part] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """One statement. `principal`, `actions` and `resource` bound what it can match; `ANY` is no bound.

    A principal's part is ("Principal", name) or ("Group", name); an action's is (verb,); a resource's is (type, id)
    or (type,). `document` is the statement in Cedar's JSON form.
    """

    policy_id: str
    document: str
    principal: Part
    actions: tuple[Part, ...]
    resource: Part
    mentions: Mentions


def read_policies(text: str, prefix: str) -> tuple[Policy, ...]:
    """Read a text; its n-th statement gets the id `<prefix>#<n>`, from 0. Raises `InvalidPolicy`."""
    return tuple(_policy(f"{prefix}#{n}", body) for n, body in enumerate(parse(text, statements_of(text))))


def parse(text: str, statements: tuple[Statement, ...]) -> list[dict[str, Any]]:
    """Parse a text that was measured, into the JSON form of its statements, in order. Raises `InvalidPolicy`."""
    try:
        form = cedarpy.policies_to_json_str(text)
    except ValueError as error:
        raise InvalidPolicy(_first_wrong(statements) or say(str(error))) from None
    if _depth(form) > MAX_JSON_DEPTH:
        raise InvalidPolicy("an expression is nested too deeply or chains too many operators; use a set, or split it")
    parsed = json.loads(form)
    if parsed["templates"] or parsed["templateLinks"]:
        raise InvalidPolicy("templates (?principal, ?resource) are not taken; name the principal and the resource")
    bodies = parsed["staticPolicies"]
    return [bodies[name] for name in sorted(bodies, key=number_of)]


def policy_set(policies: Iterable[Policy]) -> cedarpy.PolicySet:
    """Make the set that Cedar evaluates."""
    members = ",".join(f"{json.dumps(policy.policy_id)}:{policy.document}" for policy in policies)
    return cedarpy.PolicySet.from_json_str(f'{{"templates":{{}},"templateLinks":[],"staticPolicies":{{{members}}}}}')


def number_of(parser_id: str) -> int:
    """Return n of the parser's `policy<n>`."""
    return int(parser_id.removeprefix("policy"))


def say(message: str) -> str:
    """Bound what a parser says, which may repeat the text, to one short line."""
    line = " ".join(message.split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}…"


def _first_wrong(statements: tuple[Statement, ...]) -> str | None:
    for n, statement in enumerate(statements):
        try:
            cedarpy.policies_to_json_str(statement.text)
        except ValueError as error:
            return f"statement {n}, from line {statement.line}: {say(str(error))}"
    return None


def _policy(policy_id: str, body: dict[str, Any]) -> Policy:
    return Policy(
        policy_id,
        json.dumps(body, separators=(",", ":")),
        _bound(body["principal"]),
        _actions(body["action"]),
        _bound(body["resource"]),
        mentions_of(body["conditions"]),
    )


def _bound(scope: dict[str, Any]) -> Part:
    """Bound a principal or resource. A form that is not known here bounds nothing: Cedar decides."""
    match scope:
        case {"op": "==" | "in", "entity": {"type": str(kind), "id": str(name)}}:
            return (kind, name)
        case {"op": "is", "in": {"entity": {"type": str(kind), "id": str(name)}}}:
            return (kind, name)
        case {"op": "is", "entity_type": str(kind)} if "in" not in scope and kind != "Principal":
            return (kind,)
        case _:
            return ANY


def _actions(scope: dict[str, Any]) -> tuple[Part, ...]:
    match scope:
        case {"op": "==" | "in", "entity": {"id": str(verb)}}:
            return ((verb,),)
        case {"op": "in", "entities": [*entities]}:
            return tuple({(str(entity["id"]),): None for entity in entities})
        case _:
            return (ANY,)


def _depth(form: str) -> int:
    """Return how deep a JSON text is nested, without recursion; the text is known to be well formed."""
    depth = deepest = 0
    quoted = escaped = False
    for char in form:
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "}]":
            depth -= 1
    return deepest
