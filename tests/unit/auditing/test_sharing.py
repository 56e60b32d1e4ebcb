"""Signatures that another process verifies are judged as this one judges them, and nobody waits without end."""

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from keyfold.auditing import sharing
from keyfold.auditing.sharing import SharedChecker, Sharing, help_others
from keyfold.auditing.signed import Known, wrong_of
from keyfold.deciding.signed import Signed
from keyfold.events.signatures import Signer

KEY = Signer(bytes(32))


def signed(count: int, wrong: frozenset[int]) -> list[Signed]:
    """Make signatures, some over another message."""
    messages = [b"message %d" % number for number in range(count)]
    return [
        Signed(KEY.public_key.hex(), "Ed25519", KEY.sign(b"another" if number in wrong else message), message)
        for number, message in enumerate(messages)
    ]


def shared() -> tuple[Sharing, SharedChecker]:
    common = Sharing(multiprocessing.get_context("spawn"), 1)
    return common, SharedChecker(common, common.join())


@contextmanager
def helper(common: Sharing) -> Iterator[None]:
    """Somebody who helps, until it is enough; a thread knows no difference."""
    thread = threading.Thread(target=help_others, args=(common, 0))
    thread.start()
    try:
        yield
    finally:
        common.phase.value = 1
        thread.join()


@pytest.mark.parametrize("count", [1, 125, 126, 700])
def test_the_verdicts_are_ones_own(count: int) -> None:
    """However many there are, and wherever the wrong ones are."""
    wrong = frozenset({0, count // 2, count - 1})
    made = signed(count, wrong)
    common, checker = shared()
    with helper(common):
        common.idle.acquire(timeout=5)  # wait until somebody is there
        common.idle.release()
        given = [checker.check(made) for _ in range(3)]
        assert [each.wrong() for each in reversed(given)] == [wrong] * 3
        assert all(each.ready() for each in given)
    assert wrong_of(made) == wrong
    assert checker.answer(1, 0) is None  # what was given away came back, and was taken


def test_without_anybody_idle_nothing_is_given_away() -> None:
    """Then it is verified at once."""
    _, checker = shared()
    assert checker.check(signed(2, frozenset({1}))) == Known(frozenset({1}))


def test_who_leaves_takes_promises_back() -> None:
    """Nothing is given to somebody who is not there."""
    common, checker = shared()
    with helper(common):
        pass
    assert not common.idle.acquire(block=False)
    assert checker.check(signed(1, frozenset())) == Known(frozenset())


def test_an_answer_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signatures are verified again."""
    monkeypatch.setattr(sharing, "_PATIENCE_S", 0.01)
    common, checker = shared()
    common.idle.release()
    given = checker.check(signed(3, frozenset({2})))
    assert not given.ready()
    assert given.wrong() == {2}
