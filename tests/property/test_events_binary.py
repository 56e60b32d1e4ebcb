"""Binary layouts under random and damaged input: a round trip or the one typed error, nothing else."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfold.events import bodies, ciphertext, lthash, replies
from keyfold.events.errors import InvalidBody, InvalidCiphertext
from keyfold.events.replies import ItemResult, ReplyData, ReplyInvalid
from keyfold.events.statements import UntrustedRecord, parse_statement

KEY = bytes(range(32))
EXAMPLES = settings(max_examples=100, deadline=None)


def damage(whole: bytes) -> st.SearchStrategy[bytes]:
    """Cut the end off, add to it, or flip one bit."""
    cut = st.integers(0, max(len(whole) - 1, 0)).map(lambda end: whole[:end])
    longer = st.binary(min_size=1, max_size=40).map(lambda more: whole + more)

    def flip(bit: int) -> bytes:
        return whole[: bit // 8] + bytes([whole[bit // 8] ^ (1 << bit % 8)]) + whole[bit // 8 + 1 :]

    flipped = st.integers(0, 8 * len(whole) - 1).map(flip) if whole else longer
    return st.one_of(cut, longer, flipped)


items = st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=50)), max_size=20)
results = st.lists(
    st.one_of(
        st.binary(max_size=50).map(ItemResult),
        st.text(st.characters(codec="ascii"), max_size=20).map(lambda code: ItemResult(b"", code)),
    ),
    max_size=20,
)
data = st.builds(
    ReplyData,
    command_id=st.just("id"),
    command_digest=st.binary(min_size=32, max_size=32).map(bytes.hex),
    outcome=st.text(max_size=20),
    code=st.none() | st.text(min_size=1, max_size=20),
    version=st.integers(0, 2**32),
    registry_revision=st.none() | st.integers(0, 2**40),
)


@given(st.binary(min_size=32, max_size=32), items)
@EXAMPLES
def test_body_round_trip(reply_key: bytes, made: list[tuple[int, bytes]]) -> None:
    """Every body is read back as it was laid out."""
    total = sum(len(each) for _, each in made)
    opened = bodies.decode(bodies.encode(reply_key, made), items=len(made), total_bytes=total, contexts=10)
    assert (opened.reply_key, opened.items) == (reply_key, made)


@given(items, st.data())
@EXAMPLES
def test_damaged_body(made: list[tuple[int, bytes]], draw: st.DataObject) -> None:
    """A cut, lengthened or altered body gives the same number of items and bytes as the command says, or an error."""
    body, total = bodies.encode(KEY, made), sum(len(each) for _, each in made)
    damaged = draw.draw(damage(body))
    try:
        opened = bodies.decode(damaged, items=len(made), total_bytes=total, contexts=10)
    except InvalidBody:
        return
    assert len(damaged) == len(body)
    assert len(opened.items) == len(made)
    assert sum(len(each) for _, each in opened.items) == total
    assert all(index < 10 for index, _ in opened.items)
    assert bodies.encode(opened.reply_key, opened.items) == damaged


@given(st.binary(max_size=300), st.integers(-1, 2**33), st.integers(-1, 2**33), st.integers(0, 2))
@EXAMPLES
def test_random_body(body: bytes, count: int, total: int, contexts: int) -> None:
    """Random bytes are no body, whatever the command says about it."""
    with pytest.raises(InvalidBody):
        bodies.decode(b"\x00" + body, items=count, total_bytes=total, contexts=contexts)
    try:
        bodies.decode(b"\x01" + body, items=count, total_bytes=total, contexts=contexts)
    except InvalidBody:
        return


@given(results)
@EXAMPLES
def test_items_round_trip(made: list[ItemResult]) -> None:
    """Every list of results is read back as it was laid out."""
    assert replies.decode_items(replies.encode_items(made)) == made


@given(st.one_of(st.binary(max_size=200), results.map(replies.encode_items).flatmap(damage)))
@EXAMPLES
def test_damaged_items(plaintext: bytes) -> None:
    """Damaged results are the only list that lays out to these bytes, or refused."""
    try:
        found = replies.decode_items(plaintext)
    except ReplyInvalid:
        return
    assert replies.encode_items(found) == plaintext


@given(st.binary(min_size=32, max_size=32), data, st.binary(max_size=200))
@EXAMPLES
def test_sealed_reply_round_trip(salt: bytes, said: ReplyData, plaintext: bytes) -> None:
    """Every sealed reply opens with its key and data."""
    assert replies.unseal(KEY, said, replies.seal(KEY, salt, said, plaintext)) == plaintext


@given(data, data, st.binary(max_size=50), st.data())
@EXAMPLES
def test_damaged_sealed_reply(said: ReplyData, other: ReplyData, plaintext: bytes, draw: st.DataObject) -> None:
    """A damaged sealed reply, or one beside other words, does not open."""
    sealed = replies.seal(KEY, bytes(32), said, plaintext)
    with pytest.raises(ReplyInvalid):
        replies.unseal(KEY, said, draw.draw(damage(sealed)))
    if other != said:
        with pytest.raises(ReplyInvalid):
            replies.unseal(KEY, other, sealed)


@given(st.binary(max_size=200))
@EXAMPLES
def test_random_ciphertext_and_statement(noise: bytes) -> None:
    """Random bytes, with or without a true beginning, are no ciphertext and no statement."""
    for each in (noise, ciphertext.header(bytes(16), 1, ciphertext.Algorithm.AES_256_GCM)[:25] + noise):
        try:
            ciphertext.parse(each)
        except InvalidCiphertext:
            continue
        assert each[25] in {1, 2}
    with pytest.raises(UntrustedRecord):
        parse_statement(noise)


contexts = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4)


@given(contexts, contexts)
@EXAMPLES
def test_contexts_are_injective(one: dict[str, str], two: dict[str, str]) -> None:
    """Two contexts have the same encoding only if they are equal, in whatever order they were written."""
    same = ciphertext.encode_context(one) == ciphertext.encode_context(two)
    assert same == (one == two)
    assert ciphertext.encode_context(dict(reversed(one.items()))) == ciphertext.encode_context(one)


records = st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=4)), max_size=8)


@given(records, st.randoms(use_true_random=False))
@EXAMPLES
def test_sum_is_order_free(made: list[tuple[bytes, bytes]], random: Any) -> None:
    """Records may be added and removed in any order: the sum is that of the multiset that is left."""
    steps: list[tuple[bytes, bytes | None, bytes | None]] = [(key, None, value) for key, value in made]
    steps += [(key, value, None) for key, value in made] + [(key, None, value) for key, value in made]
    random.shuffle(steps)
    total = lthash.empty()
    for key, old, new in steps:
        total = lthash.replace(total, key, old, new)
    plain = lthash.empty()
    for key, value in sorted(made):
        plain = plain + lthash.element(key, value)
    assert lthash.to_bytes(total) == lthash.to_bytes(plain)


@given(records, records)
@EXAMPLES
def test_sums_differ(one: list[tuple[bytes, bytes]], two: list[tuple[bytes, bytes]]) -> None:
    """Different multisets have different sums, and sums of unions are sums of sums."""

    def total(made: list[tuple[bytes, bytes]]) -> lthash.Sum:
        found = lthash.empty()
        for key, value in made:
            found = lthash.replace(found, key, None, value)
        return found

    assert (lthash.to_bytes(total(one)) == lthash.to_bytes(total(two))) == (sorted(one) == sorted(two))
    assert lthash.to_bytes(total(one + two)) == lthash.to_bytes(total(one) + total(two))
