"""The seal of internal records: nobody else's, and none from another place, is taken in."""

import pytest

from keyfold.analytics.sealing import Seal

SEAL = Seal(b"k" * 32)


def test_it_opens_what_it_closed() -> None:
    """Also nothing at all."""
    for content in (b"", b"content"):
        assert SEAL.open("topic", 3, b"key", SEAL.close("topic", 3, b"key", content)) == content


@pytest.mark.parametrize(
    ("topic", "partition", "key", "seal"),
    [
        ("other", 3, b"key", SEAL),
        ("topic", 4, b"key", SEAL),
        ("topic", 3, b"ke", SEAL),
        ("topic", 3, b"key", Seal(b"j" * 32)),
    ],
)
def test_a_record_that_was_moved_or_made_by_others_is_not_ours(
    topic: str, partition: int, key: bytes, seal: Seal
) -> None:
    """Its tag binds it to its place."""
    assert seal.open(topic, partition, key, SEAL.close("topic", 3, b"key", b"content")) is None


@pytest.mark.parametrize("value", [None, b"", b"short", b"x" * 40])
def test_what_has_no_tag_is_not_ours(value: bytes | None) -> None:
    """Tombstones and strangers' records."""
    assert SEAL.open("topic", 3, b"key", value) is None


def test_the_key_is_the_deployment_s() -> None:
    """Derived from a signature that binds it."""
    one, other = (Seal.of(deployment * 32, lambda message: message) for deployment in ("aa", "bb"))
    assert other.open("t", 0, b"", one.close("t", 0, b"", b"x")) is None
