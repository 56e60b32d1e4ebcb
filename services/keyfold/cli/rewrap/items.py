"""Ciphertexts of a campaign: how a line says one, what it refers to, and what became of it. Pure.

A line is a ciphertext in base64, or a JSON object with `ciphertext` (base64) and, if it has one, `context`; other
fields are kept. What a ciphertext refers to is in its header, so it is known without asking anybody.
"""

import base64
import json
from binascii import Error as NotBase64
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

from keyfold.events.ciphertext import HEADER_BYTES, parse_header
from keyfold.events.errors import InvalidCiphertext

NOT_A_CIPHERTEXT: Final = "NotACiphertext"
_CIPHERTEXT: Final = "ciphertext"
_CONTEXT: Final = "context"

Reference = tuple[str, int]
Outcome = Literal["moved", "kept", "failed"]


@dataclass(frozen=True, slots=True)
class Item:
    """One ciphertext and where it stands; without a reference it is none. `empty` is a record without a value."""

    place: str
    ciphertext: bytes
    context: Mapping[str, str]
    reference: Reference | None
    empty: bool = False

    @classmethod
    def of(cls, place: str, ciphertext: bytes, context: Mapping[str, str]) -> "Item":
        """Look at a ciphertext's header."""
        return cls(place, ciphertext, context, reference_of(ciphertext))


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an item: `ciphertext` is what stands in its place from now on. `code` says why it `failed`."""

    ciphertext: bytes
    outcome: Outcome
    code: str | None = None


@dataclass(slots=True)
class Tally:
    """Counts of a campaign so far: outcomes, and references by key and version, before and after."""

    outcomes: Counter[str] = field(default_factory=Counter)
    before: Counter[Reference] = field(default_factory=Counter)
    after: Counter[Reference] = field(default_factory=Counter)

    def count(self, item: Item, result: Result) -> None:
        """Count one item."""
        self.outcomes[result.outcome] += 1
        if item.reference is not None:
            self.before[item.reference] += 1
        after = reference_of(result.ciphertext)
        if after is not None:
            self.after[after] += 1

    @property
    def items(self) -> int:
        """All items that were looked at."""
        return sum(self.outcomes.values())

    def as_data(self) -> dict[str, Any]:
        """Return it as a document, as `from_data` takes it."""
        return {"outcomes": dict(self.outcomes), "before": _listed(self.before), "after": _listed(self.after)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Tally":
        """Take a document back. Raises `KeyError`, `TypeError` or `ValueError` for another."""
        return cls(Counter(data["outcomes"]), _counted(data["before"]), _counted(data["after"]))


def reference_of(ciphertext: bytes) -> Reference | None:
    """Return key and version that a ciphertext names; None where it is no ciphertext."""
    try:
        key_id, version, _ = parse_header(ciphertext[:HEADER_BYTES])
    except InvalidCiphertext:
        return None
    return str(UUID(bytes=key_id)), version


def item_of_line(place: str, line: bytes, context: Mapping[str, str]) -> Item:
    """Read a line; `context` holds where the line has none. A line that is no ciphertext gives an item without one."""
    nothing = Item(place, b"", {}, None)
    document = _document(line)
    if document is None:
        ciphertext = _decoded(line.strip())
        return nothing if ciphertext is None else Item.of(place, ciphertext, context)
    own = document.get(_CONTEXT, context)
    ciphertext = _decoded(document.get(_CIPHERTEXT))
    return nothing if ciphertext is None or not is_context(own) else Item.of(place, ciphertext, own)


def line_with(line: bytes, ciphertext: bytes) -> bytes:
    """Return the line with another ciphertext, in the same form."""
    encoded = base64.b64encode(ciphertext)
    document = _document(line)
    if document is None:
        return encoded + b"\n"
    return json.dumps({**document, _CIPHERTEXT: encoded.decode()}, ensure_ascii=False).encode() + b"\n"


def is_context(value: Any) -> bool:
    """Tell whether this is an encryption context: text to text."""
    return isinstance(value, Mapping) and all(isinstance(word, str) for pair in value.items() for word in pair)


def _document(line: bytes) -> dict[str, Any] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _decoded(text: Any) -> bytes | None:
    if not isinstance(text, str | bytes):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (NotBase64, ValueError):
        return None


def _listed(references: Counter[Reference]) -> list[list[Any]]:
    return [[key_id, version, count] for (key_id, version), count in sorted(references.items())]


def _counted(rows: Any) -> Counter[Reference]:
    return Counter({(str(key_id), int(version)): int(count) for key_id, version, count in rows})
