"""Streams and where they live: the interop contract between producers and services.

A stream is a key (`key/<uuid>`), a principal (`principal/<id>`, for keyless verbs) or the one stream `registry`. Every
record of a stream is in one partition of each topic, so a stream has one order.
"""

import re
from hashlib import sha256
from typing import Annotated, Final
from uuid import UUID

from pydantic import StringConstraints

REGISTRY: Final = "registry"
KEY_PREFIX: Final = "key/"
PRINCIPAL_PREFIX: Final = "principal/"

UUID_PATTERN: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
NAME_PATTERN: Final = r"[a-z0-9][a-z0-9._-]{0,63}"

Uuid = Annotated[str, StringConstraints(pattern=f"^{UUID_PATTERN}$")]
KeyId = Uuid
Name = Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$")]
AliasName = Annotated[str, StringConstraints(pattern=r"^alias/[A-Za-z0-9][A-Za-z0-9/_.-]{0,199}$")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Stream = Annotated[
    str, StringConstraints(pattern=f"^({REGISTRY}|{KEY_PREFIX}{UUID_PATTERN}|{PRINCIPAL_PREFIX}{NAME_PATTERN})$")
]

_STREAM = re.compile(f"({REGISTRY}|{KEY_PREFIX}{UUID_PATTERN}|{PRINCIPAL_PREFIX}{NAME_PATTERN})")


def partition_of(stream: str, partitions: int) -> int:
    """Return the partition of a stream among `partitions` (at least 2).

    `registry` is alone in partition 0; others are spread over the rest by the first 8 bytes of SHA-256.
    """
    if partitions < 2:
        raise ValueError("a deployment has at least two partitions: one for the registry, one for streams")
    if stream == REGISTRY:
        return 0
    return 1 + int.from_bytes(sha256(stream.encode()).digest()[:8], "big") % (partitions - 1)


def key_stream(key_id: str) -> str:
    """Return the stream of a key."""
    return KEY_PREFIX + key_id


def principal_stream(principal: str) -> str:
    """Return the stream that a principal's keyless commands use."""
    return PRINCIPAL_PREFIX + principal


def key_id_of(stream: str) -> str | None:
    """Return the key id of a key's stream, or None for other streams."""
    return stream[len(KEY_PREFIX) :] if stream.startswith(KEY_PREFIX) else None


def key_id_bytes(key_id: str) -> bytes:
    """Return the 16 bytes of a key id."""
    return UUID(key_id).bytes


def is_stream(text: str) -> bool:
    """Tell whether the text is a well-formed stream name."""
    return _STREAM.fullmatch(text) is not None
