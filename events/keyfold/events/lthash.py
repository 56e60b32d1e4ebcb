"""An additive multiset hash (LtHash16): the sum of a state topic's live records, updated record by record.

Adding and removing commute, so the sum of a compacted topic can be checked without its history. Source: Bellare and
Micciancio's LtHash with the parameters that Lewi, Kim, Maykov and Weis give (1024 lanes of 16 bits), here over
SHAKE-128 as the extendable-output function.
"""

from hashlib import shake_128
from typing import Final

import numpy as np
from numpy.typing import NDArray

LANES: Final = 1024
BYTES: Final = 2 * LANES

Sum = NDArray[np.uint16]


def empty() -> Sum:
    """Return the sum of no records."""
    return np.zeros(LANES, dtype=np.uint16)


def element(key: bytes, value: bytes) -> Sum:
    """Return the lanes of one record; the key is length-prefixed, so no two records share an encoding."""
    digest = shake_128(len(key).to_bytes(4, "big") + key + value).digest(BYTES)
    return np.frombuffer(digest, dtype="<u2").astype(np.uint16, copy=False)


def replace(total: Sum, key: bytes, old: bytes | None, new: bytes | None) -> Sum:
    """Return the sum after one record changed; None stands for absent."""
    result = total
    if old is not None:
        result = result - element(key, old)
    if new is not None:
        result = result + element(key, new)
    return result


def to_bytes(total: Sum) -> bytes:
    """Return the 2,048 bytes of a sum, lanes little-endian."""
    return total.astype("<u2").tobytes()
