"""The envelope format as documented, read by a second implementation that shares nothing with the first."""

import hmac
import io
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from keyfold.client import DataKey
from keyfold.client.envelope import encrypt_stream

KEY_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869, 64 bytes."""
    secret = hmac.digest(salt, key, sha256)
    first = hmac.digest(secret, info + b"\x01", sha256)
    return first + hmac.digest(secret, first + info + b"\x02", sha256)


def read(envelope: bytes, data_key: bytes, context: dict[str, str]) -> tuple[str, bytes, bytes]:
    """Return key id, encrypted data key and plaintext."""
    assert envelope[:6] == b"KFENV\x01"
    key_id, chunk = envelope[6:22].hex(), int.from_bytes(envelope[22:26], "big")
    length = int.from_bytes(envelope[26:28], "big")
    at = 28 + length + 32
    header, commitment, rest = envelope[:at], envelope[at : at + 32], envelope[at + 32 :]
    encoded = len(context).to_bytes(4, "big")
    for name, value in sorted((name.encode(), value.encode()) for name, value in context.items()):
        encoded += len(name).to_bytes(4, "big") + name + len(value).to_bytes(4, "big") + value
    info = b"keyfold-envelope-v1" + sha256(header).digest() + sha256(encoded).digest()
    derived = hkdf(data_key, header[-32:], info)
    assert derived[32:] == commitment
    pieces = [rest[n : n + chunk + 16] for n in range(0, len(rest), chunk + 16)]
    plaintext = b""
    for index, piece in enumerate(pieces):
        nonce = bytes(7) + index.to_bytes(4, "big") + bytes([index == len(pieces) - 1])
        plaintext += AESGCM(derived[:32]).decrypt(nonce, piece, None)
    return key_id, envelope[28 : 28 + length], plaintext


@given(st.binary(max_size=200), st.dictionaries(texts, texts, max_size=3), st.integers(1, 50), st.binary(max_size=99))
def test_the_documented_format_is_what_is_written(
    plaintext: bytes, context: dict[str, str], chunk_bytes: int, encrypted_key: bytes
) -> None:
    """Header, derivation, nonces and chunks."""
    target, key = io.BytesIO(), DataKey(b"k" * 32, encrypted_key)
    encrypt_stream(io.BytesIO(plaintext), target, key_id=KEY_ID, data_key=key, context=context, chunk_bytes=chunk_bytes)
    found = read(target.getvalue(), key.plaintext, context)
    assert found == (KEY_ID.replace("-", ""), encrypted_key, plaintext)
