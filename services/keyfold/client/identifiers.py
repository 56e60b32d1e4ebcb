"""Ids that producers make: UUID version 7 (RFC 9562 section 5.7), and the checked names of keys and aliases.

It reads no clock and no randomness: both are arguments.
"""

import re
from typing import Final

from keyfold.client.errors import InvalidArgument
from keyfold.events.streams import NAME_PATTERN, UUID_PATTERN

RANDOM_BYTES: Final = 10

_KEY_ID = re.compile(UUID_PATTERN)
_ALIAS = re.compile(r"alias/[A-Za-z0-9][A-Za-z0-9/_.-]{0,199}")
_NAME = re.compile(NAME_PATTERN)


def uuid7(now_ms: int, random: bytes) -> str:
    """Return a UUIDv7: 48 bits of milliseconds, version, 12 random bits, variant, 62 random bits."""
    noise = int.from_bytes(random[:RANDOM_BYTES], "big")
    high = (now_ms & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | (noise >> 62 & 0x0FFF)
    low = 0x8000_0000_0000_0000 | (noise & 0x3FFF_FFFF_FFFF_FFFF)
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_alias(key: str) -> bool:
    """Tell an alias from a key id. Raises `InvalidArgument` for what is neither."""
    if _KEY_ID.fullmatch(key):
        return False
    check_alias(key)
    return True


def check_key_id(key_id: str) -> str:
    """Return a key id as it is. Raises `InvalidArgument`."""
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise InvalidArgument("a key id is a lower-case UUID, like 01890a5d-ac96-774b-bcce-b302099a8057")
    return key_id


def check_proposal(proposal: str) -> str:
    """Return a proposal's id as it is. Raises `InvalidArgument`."""
    if not isinstance(proposal, str) or not _KEY_ID.fullmatch(proposal):
        raise InvalidArgument("a proposal is named by its id, a lower-case UUID")
    return proposal


def check_alias(alias: str) -> str:
    """Return an alias as it is. Raises `InvalidArgument`."""
    if not isinstance(alias, str) or not _ALIAS.fullmatch(alias):
        raise InvalidArgument("a key is named by its id (a lower-case UUID) or by an alias, like alias/orders")
    return alias


def check_name(name: str) -> str:
    """Return a principal's or policy's name as it is. Raises `InvalidArgument`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidArgument("names have 1 to 64 of a-z, 0-9, '.', '_' and '-', and begin with a letter or digit")
    return name
