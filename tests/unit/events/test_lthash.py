"""LtHash16: the sum of a multiset of records."""

from collections.abc import Callable
from hashlib import sha256, shake_128
from typing import Any

from keyfold.events import lthash


def by_hand(records: list[tuple[bytes, bytes]]) -> bytes:
    """Add lanes as plain integers, without numpy."""
    lanes = [0] * 1024
    for key, value in records:
        digest = shake_128(len(key).to_bytes(4, "big") + key + value).digest(2048)
        for i in range(1024):
            lanes[i] = (lanes[i] + int.from_bytes(digest[2 * i : 2 * i + 2], "little")) % 65_536
    return b"".join(lane.to_bytes(2, "little") for lane in lanes)


def test_by_hand() -> None:
    """Sums are lane-wise additions modulo 2^16 of SHAKE-128 outputs."""
    records = [(b"a", b"1"), (b"b", b""), (b"", b"x"), (b"a", b"1")]
    total = lthash.empty()
    for key, value in records:
        total = lthash.replace(total, key, None, value)
    assert lthash.to_bytes(total) == by_hand(records)


def test_empty() -> None:
    """Nothing sums to zeros, 2,048 bytes of them."""
    assert lthash.to_bytes(lthash.empty()) == bytes(lthash.BYTES) == bytes(2048)


def test_replace_and_remove() -> None:
    """Replacing equals removing and adding; removing the last record leaves nothing."""
    one = lthash.replace(lthash.empty(), b"k", None, b"1")
    two = lthash.replace(one, b"k", b"1", b"2")
    assert lthash.to_bytes(two) == lthash.to_bytes(lthash.element(b"k", b"2"))
    assert lthash.to_bytes(lthash.replace(two, b"k", b"2", None)) == bytes(2048)


def test_absent_is_not_empty() -> None:
    """A record with no bytes is a record."""
    assert lthash.to_bytes(lthash.replace(lthash.empty(), b"k", None, b"")) != bytes(2048)


def test_key_and_value_are_apart() -> None:
    """Moving a byte from key to value changes the sum."""
    assert lthash.to_bytes(lthash.element(b"ab", b"c")) != lthash.to_bytes(lthash.element(b"a", b"bc"))


def test_sums_are_not_changed_in_place() -> None:
    """A draft's sum can be dropped: the sum that it started from stays as it was."""
    start = lthash.element(b"a", b"1")
    before = lthash.to_bytes(start)
    lthash.replace(start, b"b", None, b"2")
    assert lthash.to_bytes(start) == before


def test_golden_vectors(vectors: Callable[[str], Any]) -> None:
    """Sums are as recorded."""
    for case in vectors("lthash")["cases"]:
        total = lthash.empty()
        for key, value in case["records"]:
            total = lthash.replace(total, key.encode(), None, value.encode())
        made = lthash.to_bytes(total)
        assert (sha256(made).hexdigest(), made[:16].hex()) == (case["sha256"], case["first_16_bytes_hex"])
