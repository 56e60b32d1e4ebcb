"""Streams and where they live: the interop contract between producers and services.

A stream is a key (`key/<uuid>`), a principal (`principal/<id>`, for keyless verbs) or the one stream `registry`. Every
record of a stream is in one partition of each topic, so a stream has one order. What the HSM worker states about a
partition itself has the stream `partition/<number>`, which lies there; no command does.
"""

import re
from hashlib import sha256
from typing import Annotated, Final
from uuid import UUID

from pydantic import StringConstraints

REGISTRY: Final = "registry"
KEY_PREFIX: Final = "key/"
PRINCIPAL_PREFIX: Final = "principal/"
PARTITION_PREFIX: Final = "partition/"

UUID_PATTERN: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
NAME_PATTERN: Final = r"[a-z0-9][a-z0-9._-]{0,63}"

Uuid = Annotated[str, StringConstraints(pattern=f"^{UUID_PATTERN}$")]
KeyId = Uuid
Name = Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$")]
AliasName = Annotated[str, StringConstraints(pattern=r"^alias/[A-Za-z0-9][A-Za-z0-9/_.-]{0,199}$")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_FORMS: Final = (
    f"{REGISTRY}|{KEY_PREFIX}{UUID_PATTERN}|{PRINCIPAL_PREFIX}{NAME_PATTERN}|{PARTITION_PREFIX}(0|[1-9][0-9]{{0,4}})"
)
Stream = Annotated[str, StringConstraints(pattern=f"^({_FORMS})$")]

_STREAM = re.compile(f"({_FORMS})")


def partition_of(stream: str, partitions: int) -> int:
    """Return the partition of a stream among `partitions` (at least 2).

    `registry` is alone in partition 0; others are spread over the rest by the first 8 bytes of SHA-256. The stream of
    a partition is in that one. Raises ValueError for one that is not there.
    """
    if partitions < 2:
        raise ValueError("a deployment has at least two partitions: one for the registry, one for streams")
    if stream == REGISTRY:
        return 0
    if stream.startswith(PARTITION_PREFIX):
        return _numbered(stream, partitions)
    return 1 + int.from_bytes(sha256(stream.encode()).digest()[:8], "big") % (partitions - 1)


def lies_in(stream: str, partition: int, partitions: int) -> bool:
    """Tell whether a text is a stream that lies in this partition; of any text whatever."""
    try:
        return is_stream(stream) and partition_of(stream, partitions) == partition
    except ValueError:
        return False


def partition_stream(partition: int) -> str:
    """Return the stream of what is stated about a partition."""
    return f"{PARTITION_PREFIX}{partition}"


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


def _numbered(stream: str, partitions: int) -> int:
    number = int(stream.removeprefix(PARTITION_PREFIX))
    if number >= partitions:
        raise ValueError("there is no such partition")
    return number
