"""What the audit shows of a command inside a decision, and of a command that was proposed. Pure.

A command was checked by policy before, but a policy processor may be wrong or forged: what does not have the expected
form becomes an empty column here, never an error.
"""

import re
from json.encoder import encode_basestring
from typing import Any, Final

from pydantic_core import from_json

from keyfold.events import commands, strictjson
from keyfold.events.errors import InvalidCommand
from keyfold.events.specs import SYMMETRIC_ONLY
from keyfold.events.streams import UUID_PATTERN

_UUID: Final = re.compile(UUID_PATTERN)
_VERBS: Final = {commands.type_of(verb): verb for verb in commands.BY_VERB}
_NOTHING: Final[dict[str, Any]] = {}


def _algorithm_argument(verb: str) -> tuple[str, str | None]:
    """Find the argument of a verb that names an algorithm, and which holds where the caller names none."""
    fields = commands.arguments_model(verb).model_fields
    name = next((name for name in fields if name.endswith("_algorithm")), "")
    if not name:
        return name, "SYMMETRIC_DEFAULT" if verb in SYMMETRIC_ONLY else None
    return name, fields[name].default if isinstance(fields[name].default, str) else None


_ALGORITHMS: Final = {verb: _algorithm_argument(verb) for verb in commands.BY_VERB}


def command_columns(text: str) -> dict[str, Any]:
    """Return the columns that a command fills."""
    document = _document(text)
    data = _mapping(document.get("data"))
    arguments = _mapping(data.get("arguments"))
    kind = document.get("type")
    verb = _VERBS.get(kind) if isinstance(kind, str) else None
    return {
        "command_id": _uuid(document.get("id")),
        "verb": verb,
        "principal": _text(data.get("principal")),
        "contexts": _contexts(data.get("contexts")),
        "items": data.get("items"),
        "bytes": data.get("bytes"),
        "reason": _reason(data, arguments),
        "source": _source(document),
        "dry_run": data.get("dry_run") is True,
        "grant_id": _uuid(arguments.get("grant")) if arguments else None,
        "proposal_id": _uuid(data.get("proposal")) or _uuid(arguments.get("proposal")),
        "algorithm": _algorithm(verb, arguments),
    }


def proposed_columns(text: str) -> dict[str, Any]:
    """Return the columns that a proposed command fills, from the `ProposeCommand` that its author signed."""
    document = _document(text)
    data = _mapping(document.get("data"))
    proposed = _mapping(data.get("arguments"))
    arguments, named = _mapping(proposed.get("arguments")), proposed.get("verb")
    verb = named if isinstance(named, str) and named in commands.BY_VERB else None
    return {
        "principal": _text(data.get("principal")),
        "verb": verb,
        "contexts": _contexts(proposed.get("contexts")),
        "reason": _reason(data, arguments),
        "source": _source(document),
        "algorithm": _algorithm(verb, arguments),
    }


def _document(text: str) -> dict[str, Any]:
    """Parse quickly where nothing can go wrong: only an escape can bring in text that Postgres cannot store."""
    try:
        document = strictjson.loads(text.encode()) if "\\u" in text else from_json(text, allow_inf_nan=False)
    except (InvalidCommand, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _contexts(contexts: Any) -> str | None:
    if not isinstance(contexts, list):
        return None
    written: list[str] = []
    for context in contexts:
        if not isinstance(context, dict):
            return None
        pairs: list[str] = []
        for name, value in context.items():
            if type(value) is not str:
                return None
            pairs.append(f"{encode_basestring(name)}: {encode_basestring(value)}")
        written.append("{" + ", ".join(pairs) + "}")
    return "[" + ", ".join(written) + "]"


def _reason(data: dict[str, Any], arguments: dict[str, Any]) -> str | None:
    """A few verbs have a reason among their arguments; it counts where the command itself gives none."""
    return _text(data.get("reason")) or _text(arguments.get("reason")) or None


def _source(document: dict[str, Any]) -> str | None:
    """Return the host or instance, as `commands.source_of` does for a command that has the expected form."""
    return (_text(document.get("source")) or "").partition("/")[2].partition("/")[2] or None


def _algorithm(verb: str | None, arguments: dict[str, Any]) -> str | None:
    """Return the algorithm that a command names, or that holds where it names none."""
    name, default = _ALGORITHMS.get(verb or "", ("", None))
    return _text(arguments.get(name, default))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else _NOTHING


def _uuid(value: Any) -> str | None:
    return value if isinstance(value, str) and _UUID.fullmatch(value) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
