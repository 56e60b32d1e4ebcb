"""Analytics' own records carry a tag, so that nobody else's are taken for them: HMAC-SHA-256, 16 bytes, in front.

All workers share the service's key, from which the tag's key is derived. A tag binds a record to its topic, partition
and record key; it does not say that a record is the newest (an older one may be put back by whoever owns the brokers).
"""

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Final

TAG_BYTES: Final = 16
_DERIVE: Final = b"keyfold-analytics-internal-v1\x00"


class Seal:
    """Tags and checks the values of one deployment's internal records."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, deployment: str, sign: Callable[[bytes], bytes]) -> "Seal":
        """Derive the key from a deterministic signature (Ed25519) that nobody else can make and nothing else uses."""
        return cls(sha256(sign(_DERIVE + bytes.fromhex(deployment))).digest())

    def close(self, topic: str, partition: int, key: bytes, content: bytes) -> bytes:
        """Return the value of a record."""
        return self._tag(topic, partition, key, content) + content

    def open(self, topic: str, partition: int, key: bytes, value: bytes | None) -> bytes | None:
        """Return the content of a record's value; None where it is not ours."""
        if value is None or len(value) < TAG_BYTES:
            return None
        content = value[TAG_BYTES:]
        return content if hmac.compare_digest(value[:TAG_BYTES], self._tag(topic, partition, key, content)) else None

    def _tag(self, topic: str, partition: int, key: bytes, content: bytes) -> bytes:
        place = b"%s\x00%d\x00%d\x00" % (topic.encode(), partition, len(key))
        return hmac.digest(self._key, place + key + content, "sha256")[:TAG_BYTES]
