"""Without the PINs, a token's directory gives nothing: no key material, no PIN."""

import os
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from keyfold.custody import Custody, InMemory, KeyReference
from keyfold.custody.custody import KEY_ENCRYPTION_KEY_ID
from keyfold.custody.references import MemoryHandle
from keyfold.custody.sealing import SealingKeys
from keyfold.token import Token
from keyfold.token.errors import translated
from keyfold.token.keys import require
from keyfold.token.kinds import AES
from keyfold.token.material import Material
from keyfold.token.templates import FRESH_MATERIAL, KEY_ENCRYPTION_KEY

pytestmark = pytest.mark.token


def directory_bytes(softhsm: Any) -> bytes:
    files = [path for path in (softhsm.conf.parent / "tokens").rglob("*") if path.is_file()]
    assert files
    return b"\0".join(path.read_bytes() for path in files)


def forms(secret: bytes) -> list[bytes]:
    """A secret as it might be written: raw, and as hexadecimal text."""
    return [secret, secret.hex().encode(), secret.hex().upper().encode()]


def test_the_search_finds_what_is_written_openly(softhsm: Any, token: Token) -> None:
    """The control: a public object's value is in the directory, so looking there means something."""
    value = os.urandom(32)
    with token.manager() as session:
        session.pkcs11.create_object(
            {
                Attribute.CLASS: ObjectClass.DATA,
                Attribute.TOKEN: True,
                Attribute.PRIVATE: False,
                Attribute.LABEL: "open",
                Attribute.VALUE: value,
            }
        )
    assert value in directory_bytes(softhsm)


def test_software_material_is_not_in_the_directory(softhsm: Any, custody: Custody) -> None:
    """Neither the material nor its blob's inner envelope is left there."""
    ref = KeyReference(os.urandom(16), 1, "SYMMETRIC_DEFAULT", "SOFTWARE")
    blob = custody.generate(ref).blob
    handle = custody.open(ref, blob)
    assert isinstance(handle, MemoryHandle)
    InMemory(custody.derived).protect(handle, [b""], [(0, b"x")])
    found = directory_bytes(softhsm)
    for form in forms(handle.material):
        assert form not in found
        assert form not in blob


def test_unwrapped_material_is_not_in_the_directory(softhsm: Any, custody: Custody) -> None:
    """A known key, wrapped and unwrapped by the token, is a session object: not on disk, and not in its blob."""
    value = os.urandom(32)
    with custody.token.manager() as session:
        with translated("import"):
            known = session.pkcs11.create_object(
                {
                    Attribute.CLASS: ObjectClass.SECRET_KEY,
                    Attribute.KEY_TYPE: KeyType.AES,
                    Attribute.TOKEN: False,
                    Attribute.VALUE: value,
                    **FRESH_MATERIAL,
                }
            )
            key = require(session, KEY_ENCRYPTION_KEY_ID, KEY_ENCRYPTION_KEY)
            wrapped = key.wrap_key(known, mechanism=Mechanism.AES_KEY_WRAP_PAD)  # type: ignore[attr-defined]
            known.destroy()
        unwrapped = Material(session).unwrap(session, AES, key.handle or 0, wrapped)
        session.gcm.encrypt_many(unwrapped, [(bytes(12), b"use it", b"")])
        found = directory_bytes(softhsm)
    for form in forms(value):
        assert form not in found
        assert form not in wrapped


def test_pins_are_not_in_the_directory(softhsm: Any, custody: Custody, pins: Path) -> None:
    """Neither the user's nor the security officer's PIN, nor its bytes."""
    found = directory_bytes(softhsm)
    files = list(pins.glob("*.pin"))
    assert len(files) >= 2
    for path in files:
        text = path.read_text().strip()
        assert text.encode() not in found
        assert bytes.fromhex(text) not in found


def test_a_sealing_private_key_is_not_in_the_directory(softhsm: Any, token: Token) -> None:
    """Only its wrapping key is in the token; the blob is outside, and useless without it."""
    keys = SealingKeys(token)
    key_id = os.urandom(16)
    public, blob = keys.create(key_id)
    found = directory_bytes(softhsm)
    assert blob not in found
    assert public not in found


def test_without_login_the_keys_are_not_even_seen(custody: Custody) -> None:
    """A session without the PIN finds no private object (the last test here: it closes the token)."""
    module, label = custody.token.module, custody.token.label
    custody.token.close()
    session = module.find(label).open(rw=True)
    seen = list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}))
    session.close()
    assert seen == []
