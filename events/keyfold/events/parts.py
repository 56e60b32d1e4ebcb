"""Several byte strings in one item or result: each but the last after its length, u32 big-endian. Pure.

Items of `Verify` and `VerifyMac` are two parts: the signature or MAC, then the message. Results of `Encapsulate` are
the shared secret, then its encapsulation; of `GenerateDataKeyPair` the private key (PKCS #8, DER), the public key
(SubjectPublicKeyInfo, DER) and the encrypted private key; without plaintext, the last two.
"""

import struct
from typing import Final

from keyfold.events.errors import InvalidBody

_LENGTH: Final = struct.Struct(">I")


def join(*parts: bytes) -> bytes:
    """Lay parts out in one byte string."""
    *first, last = parts
    return b"".join([*(_LENGTH.pack(len(part)) + part for part in first), last])


def split(data: bytes, count: int) -> list[bytes]:
    """Take `count` parts apart. Raises `InvalidBody` where a length goes beyond the end."""
    found: list[bytes] = []
    at = 0
    for _ in range(count - 1):
        start = at + _LENGTH.size
        if start > len(data):
            raise InvalidBody("an item ends inside a length")
        at = start + int(_LENGTH.unpack_from(data, at)[0])
        if at > len(data):
            raise InvalidBody("a part of an item goes beyond its end")
        found.append(data[start:at])
    return [*found, data[at:]]
