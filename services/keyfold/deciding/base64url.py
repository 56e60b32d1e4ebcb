"""base64url without padding (RFC 7515, section 2), where each byte string has one text only."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any


def encode(data: bytes) -> str:
    """Return the one text of these bytes."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: Any) -> bytes:
    """Return the bytes. Raises ValueError unless this is their one text: bits that nobody reads must be zero."""
    if not isinstance(text, str):
        raise ValueError("base64url is text")  # noqa: TRY004 - one error for whatever is not base64url
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(data) != text:
        raise ValueError("not base64url in its one form")
    return data
