"""Encryption contexts as the text that goes into a command: checked once, remembered, shared by equal contexts.

A context is public: it stands in the log in clear. Names and values are taken as they are, without normalisation.
"""

import json
from collections.abc import Mapping
from typing import Final

from keyfold.client.errors import InvalidArgument
from keyfold.events.command_envelope import MAX_CONTEXT_BYTES

EMPTY: Final = "{}"
_REMEMBERED: Final = 8192


class ContextTexts:
    """A bounded memory of contexts that were checked before; the hot path is one look-up."""

    def __init__(self) -> None:
        self._known: dict[frozenset[tuple[str, str]], str] = {}

    def text(self, context: Mapping[str, str] | None) -> str:
        """Return the JSON text of a context. Raises `InvalidArgument`."""
        if not context:
            return EMPTY
        try:
            pairs = frozenset(context.items())
        except (AttributeError, TypeError):
            raise InvalidArgument("an encryption context maps text to text") from None
        known = self._known.get(pairs)
        if known is None:
            known = context_text(context)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[pairs] = known
        return known


def context_text(context: Mapping[str, str]) -> str:
    """Check a context and return it as JSON with sorted names. Raises `InvalidArgument`."""
    if not all(isinstance(part, str) for pair in context.items() for part in pair):
        raise InvalidArgument("an encryption context maps text to text")
    if any("\0" in part for pair in context.items() for part in pair):
        raise InvalidArgument("an encryption context can't hold U+0000")
    text = json.dumps(dict(context), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidArgument("an encryption context must be valid Unicode") from None
    if size > MAX_CONTEXT_BYTES:
        raise InvalidArgument(f"an encryption context has at most {MAX_CONTEXT_BYTES} bytes, as JSON; shorten it")
    return text
