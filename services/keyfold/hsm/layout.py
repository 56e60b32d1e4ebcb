"""The plaintext of replies, laid out fast: the same bytes as `keyfold.events.replies.encode_items`, a case at a time.

A batch whose items all succeeded and are equally long, which is what clients send mostly, takes one join instead of a
loop over its items. Everything else is left to the original.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Final

from keyfold.events.replies import ItemResult, encode_items

_COUNT: Final = struct.Struct(">I")
_ITEM: Final = struct.Struct(">BI")


def encode_results(results: Sequence[bytes], failures: Mapping[str, Sequence[int]]) -> bytes:
    """Lay out results by item; the items that `failures` names by index carry that code instead."""
    if not failures and len({len(result) for result in results}) == 1:
        head = _ITEM.pack(0, len(results[0]))
        return _COUNT.pack(len(results)) + head.join((b"", *results))
    codes = {index: code for code, indexes in failures.items() for index in indexes}
    return encode_items([ItemResult(result, codes.get(index)) for index, result in enumerate(results)])
