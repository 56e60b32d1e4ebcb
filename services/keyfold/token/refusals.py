"""PINs that a token refused, remembered so that no program tries one twice by itself: three wrong ones lock a token.

What is remembered is a keyed digest, in this process's memory only. A PIN file with other content is tried.
"""

import hmac
import os
import threading
from hashlib import sha256
from typing import Final

_KEY: Final = os.urandom(32)
_lock: Final = threading.Lock()
_refused: Final[set[bytes]] = set()


def remember(serial: bytes, pin: bytes) -> None:
    """Remember that the token with this serial number refused the PIN."""
    with _lock:
        _refused.add(_digest(serial, pin))


def was_refused(serial: bytes, pin: bytes) -> bool:
    """Tell whether this token has refused this PIN before."""
    return _digest(serial, pin) in _refused


def forget(serial: bytes, pin: bytes) -> None:
    """The PIN is the token's now."""
    with _lock:
        _refused.discard(_digest(serial, pin))


def _digest(serial: bytes, pin: bytes) -> bytes:
    return hmac.digest(_KEY, len(serial).to_bytes(4, "big") + serial + pin, sha256)
