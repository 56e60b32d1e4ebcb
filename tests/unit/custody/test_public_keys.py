"""Public keys: ours are remembered, other parties' are bounded and forgotten."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey

from keyfold.custody import public_keys
from keyfold.custody.public_keys import MAX_BYTES, encode, load, load_peer
from keyfold.events.errors import InvalidPublicKey


def point(curve: ec.EllipticCurve) -> bytes:
    return encode(ec.generate_private_key(curve).public_key())


def test_our_keys_are_parsed_once_and_peers_every_time() -> None:
    """However many peers there are, they drive none of our keys out."""
    mine, peer = point(ec.SECP256R1()), point(ec.SECP256R1())
    before = load.cache_info()
    assert load(mine) is load(mine)
    assert load_peer("ECC_NIST_P256", peer) is not load_peer("ECC_NIST_P256", peer)
    after = load.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 1)


def test_a_public_key_of_another_curve_or_none_is_invalid() -> None:
    """Rubbish and emptiness, too."""
    for wrong in (point(ec.SECP384R1()), encode(MLDSA87PrivateKey.generate().public_key()), b"", b"rubbish"):
        with pytest.raises(InvalidPublicKey):
            load_peer("ECC_NIST_P256", wrong)


def test_a_public_key_that_is_too_long_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest of all specs is far below the bound."""
    assert len(encode(MLDSA87PrivateKey.generate().public_key())) == 2614
    parsed: list[int] = []

    def spy(public_key: bytes) -> object:
        parsed.append(len(public_key))
        raise ValueError

    monkeypatch.setattr(public_keys, "load_der_public_key", spy)
    for size in (MAX_BYTES, MAX_BYTES + 1):
        for parse in (load, lambda key: load_peer("ECC_NIST_P256", key)):
            with pytest.raises(InvalidPublicKey):
                parse(bytes(size))
    assert parsed == [MAX_BYTES, MAX_BYTES]
