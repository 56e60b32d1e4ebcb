"""Parts: several byte strings in one item or result."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfold.events.errors import InvalidBody
from keyfold.events.parts import join, split


def test_layout() -> None:
    """Each part but the last stands after its length, u32 big-endian."""
    assert join(b"ab", b"cde") == bytes.fromhex("00000002") + b"abcde"
    assert join(b"", b"x", b"") == bytes(4) + bytes.fromhex("00000001") + b"x"
    assert join(b"alone") == b"alone"


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_split_is_the_inverse_of_join(parts: list[bytes]) -> None:
    """What was joined comes apart into the same parts, empty ones too."""
    assert split(join(*parts), len(parts)) == parts


@given(st.binary(max_size=40), st.integers(1, 4))
def test_split_is_total(data: bytes, count: int) -> None:
    """Any bytes come apart in one way, from which the same bytes are made again, or are refused."""
    try:
        parts = split(data, count)
    except InvalidBody:
        return
    assert len(parts) == count
    assert join(*parts) == data


@pytest.mark.parametrize(
    ("hexadecimal", "count"),
    [
        ("", 2),
        ("000000", 2),
        ("00000001", 2),
        ("00000003aabb", 2),
        ("ffffffff", 2),
        ("ffffffff" + "00" * 64, 2),
        ("80000000" + "00" * 64, 2),
        ("00000001aa", 3),
        ("00000001aa000000", 3),
        ("00000001aa00000002bb", 3),
    ],
)
def test_lengths_that_lie(hexadecimal: str, count: int) -> None:
    """A length that goes beyond the end, or that is not there, is refused without showing the item."""
    with pytest.raises(InvalidBody) as refused:
        split(bytes.fromhex(hexadecimal), count)
    assert "aa" not in str(refused.value)


def test_a_length_up_to_the_end() -> None:
    """A part may reach exactly to the end; what follows is then empty."""
    assert split(bytes.fromhex("00000002aabb"), 2) == [b"\xaa\xbb", b""]
