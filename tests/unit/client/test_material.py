"""Key material from files: every form that it comes in, and what is not taken for it."""

import base64
import os
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests.support import pairs

from keyfold.client import InvalidArgument, KeyMaterial, read_key_material
from keyfold.events.specs import KeySpec, material_bytes

SECRETS = [spec for spec in get_args(KeySpec) if material_bytes(spec)]
PAIRS = [spec for spec in pairs.PAIR_SPECS if not spec.startswith("ML_") and spec != "RSA_3072"]
SEEDED = [spec for spec in pairs.PAIR_SPECS if spec.startswith("ML_")]


def texts(data: bytes) -> list[bytes]:
    """The same as hex and base64, as tools write them."""
    hexed, based = data.hex().encode(), base64.b64encode(data)
    return [hexed, hexed.upper() + b"\n", based, based + b"\r\n", base64.encodebytes(data)]


@pytest.mark.parametrize("spec", SECRETS)
def test_a_secret_is_read_in_every_form(spec: Any, tmp_path: Path) -> None:
    """Raw, hex, base64; from bytes and from a file."""
    secret = os.urandom(material_bytes(spec) or 0)
    for form in (secret, *texts(secret)):
        assert read_key_material(form, spec) == KeyMaterial(spec, secret)
        path = tmp_path / "key"
        path.write_bytes(form)
        assert read_key_material(path, spec).data == secret
    assert read_key_material(secret, spec, encoding="raw").data == secret
    assert read_key_material(secret.hex().encode(), spec, encoding="hex").data == secret
    assert read_key_material(base64.b64encode(secret), spec, encoding="base64").data == secret


@pytest.mark.parametrize("spec", PAIRS)
def test_a_private_key_is_read_in_every_form(spec: Any) -> None:
    """PEM and DER, PKCS #8 and older, DER in hex and base64: it becomes PKCS #8 in DER."""
    key = pairs.make(spec)
    der = pairs.pkcs8(key)
    forms = [der, pairs.pkcs8(key, Encoding.PEM), b"\n" + pairs.pkcs8(key, Encoding.PEM), *texts(der)]
    if not spec.endswith("25519"):
        old = PrivateFormat.TraditionalOpenSSL
        forms += [key.private_bytes(how, old, pairs.NoEncryption()) for how in (Encoding.PEM, Encoding.DER)]
    for form in forms:
        assert read_key_material(form, spec) == KeyMaterial(spec, der)


@pytest.mark.parametrize("spec", SEEDED)
def test_a_seed_is_read_alone_or_in_its_private_key(spec: Any) -> None:
    """What is wrapped is the seed."""
    key = pairs.make(spec)
    seed, der = pairs.to_wrap(key), pairs.pkcs8(key)
    for form in (seed, *texts(seed), der, pairs.pkcs8(key, Encoding.PEM), *texts(der)):
        assert read_key_material(form, spec) == KeyMaterial(spec, seed)


def test_text_is_not_taken_for_raw_bytes() -> None:
    """24 bytes in base64 are 32 characters, which would be a weak AES key."""
    for text in (base64.b64encode(os.urandom(24)), b"0" * 32):
        with pytest.raises(InvalidArgument, match="has 32 bytes"):
            read_key_material(text, "SYMMETRIC_DEFAULT")
        assert read_key_material(text, "SYMMETRIC_DEFAULT", encoding="raw").data == text


@pytest.mark.parametrize("spec", get_args(KeySpec))
def test_what_is_no_material_of_the_spec_is_refused(spec: Any) -> None:
    """Nothing, other lengths, other specs and kinds, and noise; the error never shows it."""
    others = [x25519.X25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()]
    others += [ec.generate_private_key(ec.SECP256K1()), pairs.rsa_key(2048) if spec != "RSA_2048" else others[0]]
    others += [pairs.make(other) for other in ("ECC_NIST_P256", "ML_DSA_44") if other != spec]
    foreign = [pairs.pkcs8(key, encoding) for key in others for encoding in (Encoding.DER, Encoding.PEM)]
    public = pairs.spki(pairs.make("ECC_NIST_P256"))
    noise = [b"", b"\n", b"x", b"xyz!" * 9, os.urandom(31), os.urandom(200), b"-----BEGIN NONSENSE-----", public]
    for content in (*foreign, *noise):
        for form in (content, base64.b64encode(content)):
            with pytest.raises(InvalidArgument) as caught:
                read_key_material(form, spec)
            assert caught.value.__cause__ is None
            assert len(form) < 8 or form.hex() not in str(caught.value) + repr(caught.value.__context__)


@pytest.mark.parametrize("encoding", ["hex", "base64", "pem", "der"])
def test_what_is_not_as_it_was_said_to_be_is_refused(encoding: Any) -> None:
    """A named encoding is not guessed."""
    for spec in ("SYMMETRIC_DEFAULT", "RSA_2048"):
        chosen: Any = spec
        with pytest.raises(InvalidArgument):
            read_key_material(b"\xff" * 31, chosen, encoding=encoding)


def test_an_encrypted_private_key_is_refused() -> None:
    """Its passphrase is not this program's business."""
    key = pairs.make("ECC_NIST_P256")
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    with pytest.raises(InvalidArgument, match="without a passphrase"):
        read_key_material(sealed, "ECC_NIST_P256")


def test_a_file_that_is_no_key_is_not_read_whole(tmp_path: Path) -> None:
    """Somebody named a disk image."""
    path = tmp_path / "image"
    path.write_bytes(bytes(64 * 1024 + 1))
    with pytest.raises(InvalidArgument, match="at most 65536 bytes"):
        read_key_material(path, "RSA_2048")
    with pytest.raises(OSError, match="missing"):
        read_key_material(tmp_path / "missing", "RSA_2048")


def test_material_never_shows_itself() -> None:
    """In its text, which ends in logs."""
    assert repr(KeyMaterial("HMAC_256", b"s" * 32)) == "KeyMaterial(key_spec='HMAC_256')"
