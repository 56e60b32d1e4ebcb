"""The queue's rules, without I/O."""

from asyncio import Future
from typing import Any, cast

import pytest

from keyfold.client.coalescing import LINGER, NOTHING, NOW, SOON, Limits, Queue, slices
from keyfold.client.parcels import Call


def call(data: bytes = b"x", context: str = "{}") -> Call:
    return cast(Future[Any], None), data, context, 0.0


def queue(items: int = 4, size: int = 1000, in_flight: int = 2, contexts: int = 1000) -> Queue:
    return Queue(Limits(items, size, in_flight, contexts))


def test_the_first_call_leaves_at_the_end_of_the_turn_with_all_others_of_it() -> None:
    """An idle client does not linger."""
    q = queue()
    assert q.add(call()) is SOON
    assert q.add(call()) is NOTHING
    q.fired()
    assert len(q.take()) == 2
    assert (q.in_flight, q.calls, len(q.take())) == (1, [], 0)


def test_with_something_in_flight_calls_linger() -> None:
    """Until the linger is over."""
    q = queue()
    q.add(call())
    q.fired()
    q.take()
    assert q.add(call()) is LINGER
    assert q.add(call()) is NOTHING
    assert q.take() == ()
    q.fired()
    assert len(q.take()) == 2


def test_the_last_answer_ends_the_linger() -> None:
    """What gathered meanwhile leaves with whoever the answer wakes."""
    q = queue()
    q.add(call())
    q.fired()
    q.take()
    q.add(call())
    assert q.answered() is SOON
    q.fired()
    assert len(q.take()) == 1
    assert q.answered() is NOTHING
    assert q.idle


def test_a_full_record_leaves_now() -> None:
    """By number of items or by bytes."""
    q = queue(items=2)
    q.add(call())
    assert q.add(call()) is NOW
    assert len(q.take()) == 2
    q = queue(size=20)
    q.add(call())
    assert q.add(call(b"x" * 10)) is NOW
    assert len(q.take()) == 1
    assert q.wish() is NOTHING, "the end of the turn is still to come"


def test_at_the_limit_calls_gather_until_an_answer() -> None:
    """And then leave at once, with whoever the answer wakes."""
    q = queue(items=2, in_flight=1)
    q.add(call())
    q.add(call())
    assert len(q.take()) == 2
    assert [q.add(call()) for _ in range(5)] == [NOTHING] * 5
    assert (q.take(), q.wish()) == ((), NOTHING)
    assert q.answered() is SOON
    q.fired()
    assert [len(q.take()), len(q.take())] == [2, 0]
    assert q.answered() is SOON


def test_what_is_due_stays_due_when_the_limit_stands_in_the_way() -> None:
    """The linger is not begun again."""
    q = queue(in_flight=1)
    q.add(call())
    q.fired()
    q.take()
    q.add(call())
    q.fired()
    assert q.take() == ()
    q.answered()
    assert len(q.take()) == 1


def test_a_record_holds_what_contexts_a_command_may_hold() -> None:
    """Equal ones count once; one call always fits."""
    q = queue(contexts=10)
    for context in ("1234567", "1234567", "12345678901", "1"):
        q.add(call(context=context))
    q.fired()
    taken = []
    while some := q.take():
        taken.append([context for _, _, context, _ in some])
        q.in_flight = 0
        q.fired()
    assert taken == [["1234567", "1234567"], ["12345678901"], ["1"]]


@pytest.mark.parametrize(
    ("sizes", "contexts", "expected"),
    [
        ([], [], []),
        ([1] * 9, ["{}"] * 9, [range(4), range(4, 8), range(8, 9)]),
        ([994, 1, 993], ["{}"] * 3, [range(1), range(1, 2), range(2, 3)]),
        ([1] * 3, ["a" * 600, "b" * 600, "b" * 600], [range(1), range(1, 3)]),
        ([5000], ["{}"], [range(1)]),
    ],
)
def test_a_batch_is_divided_by_items_bytes_and_contexts(sizes: list[int], contexts: list[str], expected: Any) -> None:
    """In order, and every slice fits one record."""
    assert slices(sizes, contexts, Limits(4, 1000, 1, 1000)) == expected
