"""Sealing keys: they open what was sealed to them until they are erased, and nothing afterwards."""

import os
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from keyfold.custody import InvalidBlob, SealingKeys, open_body
from keyfold.events.bodies import SUITE, info
from keyfold.events.errors import InvalidBody, SealingKeyRetired
from keyfold.token import Token

pytestmark = pytest.mark.token

INFO = info(b"command")


@pytest.fixture(scope="module")
def keys(token: Token) -> SealingKeys:
    return SealingKeys(token)


def seal(public: bytes, body: bytes) -> bytes:
    """What a client does with the published bytes."""
    mlkem, x25519 = public[:1184], public[1184:]
    pair = hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(mlkem), X25519PublicKey.from_public_bytes(x25519)
    )
    return SUITE.encrypt(body, pair, INFO)


def test_what_is_sealed_opens(keys: SealingKeys) -> None:
    """Create, load from the blob, open: twice, since loading changes nothing."""
    key_id = os.urandom(16)
    public, blob = keys.create(key_id)
    for _ in range(2):
        assert open_body(keys.load(key_id, blob), seal(public, b"body"), INFO) == b"body"


def test_every_damage_is_the_same_error(keys: SealingKeys) -> None:
    """Any byte, any length, another command's info: InvalidBody and nothing else."""
    key_id = os.urandom(16)
    public, blob = keys.create(key_id)
    private, sealed = keys.load(key_id, blob), seal(public, b"body")
    for at in range(0, len(sealed), 37):
        with pytest.raises(InvalidBody):
            open_body(private, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], INFO)
    for length in (0, 1, 32, 1087, 1088, 1119, 1120, 1121, len(sealed) - 1):
        with pytest.raises(InvalidBody):
            open_body(private, sealed[:length], INFO)
    with pytest.raises(InvalidBody):
        open_body(private, sealed, info(b"another command"))
    with pytest.raises(InvalidBody):
        open_body(private, os.urandom(5000), INFO)


def test_an_erased_key_never_opens_again(keys: SealingKeys) -> None:
    """Erasing is repeatable, the id is gone from the list, and the blob is told to be retired."""
    key_id = os.urandom(16)
    _, blob = keys.create(key_id)
    assert key_id in keys.list_ids()
    keys.erase(key_id)
    keys.erase(key_id)
    assert key_id not in keys.list_ids()
    with pytest.raises(SealingKeyRetired):
        keys.load(key_id, blob)


def test_erasing_one_leaves_the_others(keys: SealingKeys) -> None:
    """An id names one key."""
    first, second = os.urandom(16), os.urandom(16)
    keys.create(first)
    public, blob = keys.create(second)
    keys.erase(first)
    assert open_body(keys.load(second, blob), seal(public, b"x"), INFO) == b"x"


def test_a_blob_belongs_to_its_id_and_token(keys: SealingKeys, new_token: Callable[[], Token]) -> None:
    """Swapped, damaged, shortened, or taken to another token: it does not open."""
    first, second = os.urandom(16), os.urandom(16)
    _, blob = keys.create(first)
    keys.create(second)
    with pytest.raises(InvalidBlob):
        keys.load(second, blob)
    for at in range(len(blob)):
        with pytest.raises(InvalidBlob):
            keys.load(first, blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])
        with pytest.raises(InvalidBlob):
            keys.load(first, blob[:at])
    elsewhere = SealingKeys(new_token())
    elsewhere.create(first)
    with pytest.raises(InvalidBlob):
        elsewhere.load(first, blob)


def test_an_id_is_used_once(keys: SealingKeys) -> None:
    """A second pair under an id would make the first's erasure a guess."""
    key_id = os.urandom(16)
    keys.create(key_id)
    with pytest.raises(ValueError, match="once"):
        keys.create(key_id)
    with pytest.raises(ValueError, match="16 bytes"):
        keys.create(b"short")


def test_the_keys_around_sealing_keys_pass_the_probe(keys: SealingKeys) -> None:
    """They are envelope keys like any other."""
    keys.create(os.urandom(16))
    report = keys.probe()
    assert report.ok
    assert report.attempts
