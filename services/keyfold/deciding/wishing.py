"""A command that never was, to ask what would have been answered to it. Pure; it is never signed or sent.

What a person does not say of its arguments is supposed, where authorization does not depend on it or the key leaves
little choice: the first algorithm of the key's spec, the current version, one item. Whom or what a command is about is
never supposed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from keyfold.deciding.world import World
from keyfold.events import strictjson, topics
from keyfold.events.commands import BY_VERB, AnyCommand, arguments_model, type_of
from keyfold.events.entities import Key
from keyfold.events.errors import InvalidCommand
from keyfold.events.specs import ALGORITHMS, USAGE_OF_VERB
from keyfold.events.streams import key_stream
from keyfold.events.times import DAY_MS, to_text

NOBODY: Final = "00000000-0000-0000-0000-000000000000"
VERBS: Final = frozenset(verb for verb, model in BY_VERB.items() if model.scope in {"key", "any"}) - {"CreateKey"}
"""What can be asked about a key that exists."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is known of the command: `arguments` are those of its verb, by name."""

    verb: str
    contexts: Sequence[Mapping[str, str]] = field(default=({},))
    arguments: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    host: str = ""
    items: int = 1


def command_of(wish: Wish, key: Key, world: World) -> tuple[AnyCommand, dict[str, Any]]:
    """Return the command, in nobody's name, and which arguments were supposed.

    Raises `InvalidCommand` for a verb that is not about keys, and for arguments that are wrong or missing.
    """
    if wish.verb not in VERBS:
        raise InvalidCommand(f"{wish.verb} is no verb about a key that exists")
    supposed = {name: value for name, value in _supposed(wish.verb, key, world).items() if name not in wish.arguments}
    arguments = {**supposed, **wish.arguments}
    required = [name for name, about in arguments_model(wish.verb).model_fields.items() if about.is_required()]
    if missing := [name for name in required if name not in arguments]:
        raise InvalidCommand(f"{wish.verb} depends on its argument {', '.join(missing)}: say which")
    document = _document(wish, key, arguments, world)
    return strictjson.parse(BY_VERB[wish.verb], strictjson.canonical(document)), supposed


def _document(wish: Wish, key: Key, arguments: Mapping[str, Any], world: World) -> dict[str, Any]:
    now = to_text(world.now_ms)
    data: dict[str, Any] = {
        "principal": "nobody",
        "signing_key": "0" * 64,
        "sealing_key": world.deployment.current_sealing_key or NOBODY,
        "expires_at": now,
        "reply": {"topic": topics.REPLIES, "partition": 0, "correlation_id": "none"},
        "arguments": dict(arguments),
    }
    if wish.reason is not None:
        data["reason"] = wish.reason
    if BY_VERB[wish.verb].data_plane:
        data |= {"contexts": [dict(each) for each in wish.contexts], "items": wish.items, "bytes": 0}
    return {
        "specversion": "1.0",
        "id": NOBODY,
        "source": "principal/nobody" + (f"/{wish.host}" if wish.host else ""),
        "type": type_of(wish.verb),
        "subject": key_stream(key.key_id),
        "time": now,
        "datacontenttype": "application/json",
        "data": data,
    }


def _supposed(verb: str, key: Key, world: World) -> dict[str, Any]:
    """Return values for those arguments of the verb that need one and decide nothing about who may."""
    usage = USAGE_OF_VERB.get(verb, key.key_usage)
    fitting = ALGORITHMS.get((key.key_spec, usage))
    algorithm = (fitting or next(found for (_, other), found in ALGORITHMS.items() if other == usage))[0]
    known: dict[str, Any] = {
        "version": key.current_version,
        "pending_window_seconds": 7 * DAY_MS // 1000,
        "rotation_period_seconds": 365 * DAY_MS // 1000,
        "occurred_at": to_text(world.now_ms),
        "import_token": NOBODY,
        "tags": {"tag": ""},
        "tag_keys": ["tag"],
        "policy": "policy",
        "text": "permit (principal, action, resource);",
        "key_pair_spec": "ECC_NIST_P256",
        "expires_at": to_text(world.now_ms + DAY_MS),
        "digest": "0" * 64,
        "items": key.usage_budget,
        "verbs": ["Decrypt"],
    }
    fields = arguments_model(verb).model_fields
    found = {name: known[name] for name, about in fields.items() if about.is_required() and name in known}
    named = (name for name in fields if name.endswith("_algorithm") and name != "wrapping_algorithm")
    return found | dict.fromkeys(named, algorithm)
