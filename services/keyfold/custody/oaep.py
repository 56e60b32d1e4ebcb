"""Removing OAEP padding (RFC 8017, section 7.1.2, step 3) from what a token decrypted without looking at it.

For tokens that have no RSAES-OAEP with the hash that is asked for (SoftHSM2: SHA-1 only): the private key stays in the
token, the padding is removed here. All checks are made whatever the earlier ones gave, and they have one result, so
that Manger's attack (CRYPTO 2001) finds nothing in the answer. Python does not promise constant time to the
nanosecond; answers leave through a log, milliseconds later and in batches.
"""

from hashlib import sha1, sha256
from hmac import compare_digest
from typing import Any, Final

_HASHES: Final[dict[str, Any]] = {"1": sha1, "256": sha256}


def unpad(encoded: bytes, sha: str) -> bytes | None:
    """Return the message in an encoded message (as long as the modulus); None if the padding is not right."""
    digest = _HASHES[sha]
    size: int = digest().digest_size
    if len(encoded) < 2 * size + 2:
        return None
    masked_seed, masked_block = encoded[1 : 1 + size], encoded[1 + size :]
    seed = _xor(masked_seed, _mgf1(masked_block, size, digest))
    block = _xor(masked_block, _mgf1(seed, len(masked_block), digest))
    # Step 3g: Y, lHash', the zeros and the separator, all looked at before any of them decides.
    rest = block[size:].lstrip(b"\0")
    first_is_zero = compare_digest(encoded[:1], b"\0")
    label_is_right = compare_digest(block[:size], digest(b"").digest())
    separator_is_right = compare_digest(rest[:1], b"\1")
    return rest[1:] if first_is_zero & label_is_right & separator_is_right else None


def _mgf1(seed: bytes, length: int, digest: Any) -> bytes:
    """RFC 8017, appendix B.2.1."""
    size: int = digest().digest_size
    made = b"".join(digest(seed + counter.to_bytes(4, "big")).digest() for counter in range(-(-length // size)))
    return made[:length]


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")
