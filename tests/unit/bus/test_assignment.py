"""Sharing partitions: complete, balanced, stable and independent of who computes it."""

from hypothesis import given
from hypothesis import strategies as st

from keyfold.bus.assignment import decode_claim, encode_claim, share_out

claims = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.frozensets(st.integers(0, 15), max_size=16), min_size=1, max_size=6
)


@given(st.integers(0, 16), claims)
def test_each_partition_goes_to_one_member_and_sizes_differ_by_one_at_most(count: int, held: dict) -> None:  # type: ignore[type-arg]
    """Nothing is forgotten, nothing given twice, whatever the members claim."""
    shares = share_out(range(count), held)
    assert sorted(p for share in shares.values() for p in share) == list(range(count))
    sizes = [len(share) for share in shares.values()]
    assert max(sizes) - min(sizes) <= 1
    assert set(shares) == set(held)


@given(st.integers(0, 16), claims)
def test_a_balanced_assignment_is_left_alone(count: int, held: dict) -> None:  # type: ignore[type-arg]
    """Sharing out again what was shared out moves nothing."""
    shares = share_out(range(count), held)
    assert share_out(range(count), shares) == shares


@given(st.integers(1, 16), claims)
def test_a_death_moves_only_what_must_move(count: int, held: dict) -> None:  # type: ignore[type-arg]
    """When a member dies the others keep everything: their shares can only grow."""
    before = share_out(range(count), held)
    if len(before) > 1:
        survivors = {name: share for name, share in before.items() if name != min(before)}
        after = share_out(range(count), survivors)
        assert all(set(survivors[name]) <= set(after[name]) for name in survivors)


def test_no_members() -> None:
    """Nobody there, nothing to share."""
    assert share_out(range(4), {}) == {}


def test_claims_survive_the_wire_and_garbage_is_an_empty_claim() -> None:
    """A member of another version is still a member."""
    assert decode_claim(encode_claim("one", {3, 1}), "x") == ("one", frozenset({1, 3}))
    for garbage in (b"", b"{}", b"[1]", b"\xff", b'{"instance": "a", "held": 5}', b'{"instance": "a", "held": ["x"]}'):
        assert decode_claim(garbage, "member-7") == ("member-7", frozenset())
