"""Parcels between keys: opaque to their carrier, made by workers only, for one principal and one way, for a while."""

import hmac
import os
from hashlib import sha256
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfold.events.errors import Expired, InvalidCiphertext, Refusal
from keyfold.hsm.transfers import LIFETIME_MS, MAC_BYTES, Mac, Route, Sealing, Unpacker, pack

NOW = 1_900_000_000_000
NAME = str(uuid4())
PRIVATE = hpke.MLKEM768X25519PrivateKey(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())
ROUTE = Route("alice", "source", "destination")


def mac_by(key: bytes) -> Mac:
    return lambda message: hmac.digest(key, message, sha256)


MAC = mac_by(b"token")


def made(*plaintexts: bytes, mac: Mac = MAC, route: Route = ROUTE) -> list[bytes]:
    return pack(plaintexts, route, Sealing(NAME, PRIVATE, mac), NOW, os.urandom)


def opened(parcel: bytes, route: Route = ROUTE, now_ms: int = NOW) -> bytes | Refusal:
    def private(name: str) -> hpke.MLKEM768X25519PrivateKey:
        if name != NAME:
            raise Expired
        return PRIVATE

    return Unpacker(route, private, MAC, now_ms).open(parcel)


def test_what_is_packed_comes_out() -> None:
    """Several of one command, in any order, also nothing at all."""
    parcels = made(b"first", b"", b"x" * 70_000)
    assert [opened(parcel) for parcel in reversed(parcels)] == [b"x" * 70_000, b"", b"first"]
    assert all(b"first" not in parcel for parcel in parcels)


@pytest.mark.parametrize(
    "route",
    [Route("bob", "source", "destination"), Route("alice", "other", "destination"), Route("alice", "source", "other"),
     Route("alice", "destination", "source")],
)  # fmt: skip
def test_a_parcel_goes_one_way_for_one_principal(route: Route) -> None:
    """Lifted by somebody else, or sent another way, it does not open."""
    (parcel,) = made(b"secret")
    assert isinstance(opened(parcel, route), InvalidCiphertext)


def test_a_parcel_is_over_after_its_time() -> None:
    """To the millisecond; and with the sealing key that it was sealed to."""
    (parcel,) = made(b"secret")
    assert opened(parcel, now_ms=NOW + LIFETIME_MS - 1) == b"secret"
    assert isinstance(opened(parcel, now_ms=NOW + LIFETIME_MS), Expired)
    elsewhere = Sealing(str(uuid4()), PRIVATE, MAC)
    (parcel,) = pack([b"secret"], ROUTE, elsewhere, NOW, os.urandom)
    assert isinstance(opened(parcel), Expired)


def test_nobody_but_a_worker_makes_one() -> None:
    """The public sealing key is known to all: without the token's MAC nothing is accepted."""
    (forged,) = made(b"chosen by me", mac=mac_by(b"guess"))
    assert isinstance(opened(forged), InvalidCiphertext)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_byte_counts(data: st.DataObject) -> None:
    """One bit turned over, a part cut off or something added: it does not open, and nothing worse happens."""
    (parcel,) = made(b"secret")
    at = data.draw(st.integers(0, len(parcel) - 1))
    turned = parcel[:at] + bytes((parcel[at] ^ (1 << data.draw(st.integers(0, 7))),)) + parcel[at + 1 :]
    for bad in (turned, parcel[:at], parcel + b"\0"):
        assert isinstance(opened(bad), Refusal)


def test_indexes_belong_to_their_items() -> None:
    """The body of one item under the index of another does not open."""
    first, second = made(b"one", b"two")
    at = len(first) - len(b"one") - 16 - 4
    assert isinstance(opened(first[:at] + second[at : at + 4] + first[at + 4 :]), InvalidCiphertext)
    assert MAC_BYTES == 32
