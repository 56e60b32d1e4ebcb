"""What Keyfold's own records are made of: names of fields, values of which a field has a few, texts of its policies.

All of it stands in logs in clear, and in the documents about it, so that finding it shows nothing about a document.
"""

from collections.abc import Iterator
from typing import Any

from keyfold.ceremony.policy_sets import initial_policies, ready_policies
from keyfold.events.commands import COMMANDS
from keyfold.events.facts import EVENT_TYPES
from keyfold.events.replies import Reply
from keyfold.events.strictjson import Frozen


def vocabulary() -> bytes:
    """Return the words as they stand in JSON, each followed by a comma, and the policies that Keyfold brings."""
    models: tuple[type[Frozen], ...] = (*COMMANDS, *EVENT_TYPES, Reply)
    words = {word for model in models for word in _words(model.model_json_schema())}
    policies = (*initial_policies().values(), *ready_policies().values())
    return "\n".join(["".join(f'"{word}",' for word in sorted(words)), *policies]).encode()


def _words(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _words(each)
    elif isinstance(schema, dict):
        yield from schema.get("properties", {})
        yield from (value for value in (*schema.get("enum", ()), schema.get("const")) if isinstance(value, str))
        for each in schema.values():
            yield from _words(each)
