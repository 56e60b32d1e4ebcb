"""The worker's two tokens are opened again in the one safe order, and both stay lost where it does not succeed."""

from collections.abc import Callable
from typing import Any

import pytest

from keyfold.hsm.tokens import WorkerTokens
from keyfold.token import TokenKeyMissing
from keyfold.token.errors import TokenLost, TokenReplaced


class Calls(list[str]):
    """What was done, in order. `failing` raises an error in its place."""

    failing: dict[str, Exception]

    def note(self, name: str) -> None:
        self.append(name)
        if name in self.failing:
            raise self.failing[name]


class Stage:
    """A module and two tokens that only note what is asked of them."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.calls.failing = {}
        self.tokens = [Playing(self.calls, "kms", (3, 4)), Playing(self.calls, "seal", (2, 4))]
        module: Any = self
        tokens: Any = self.tokens
        self.watched = WorkerTokens(module, tokens, self._noting("forget"), self._noting("attach"))

    def reinitialize(self) -> None:
        self.calls.note("reinitialize")

    def _noting(self, name: str) -> Callable[[], None]:
        return lambda: self.calls.note(name)


class Playing:
    """One token."""

    def __init__(self, calls: Calls, label: str, sessions: tuple[int, int]) -> None:
        self._calls, self._label = calls, label
        self.sessions, self.pool_size = sessions
        self.is_lost = False

    def lose(self) -> None:
        self.is_lost = True
        self._calls.note(f"lose {self._label}")

    def reopen(self) -> None:
        self._calls.note(f"open {self._label}")
        self.is_lost = False

    def check(self) -> float:
        self._calls.note(f"check {self._label}")
        return 0.25 if self._label == "seal" else 0.125

    def grow(self) -> None:
        self._calls.note(f"grow {self._label}")


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_handles_are_forgotten_before_the_library_starts_anew(stage: Stage) -> None:
    """Afterwards their numbers may be other keys', and destroying through one would destroy those."""
    stage.watched.reopen()
    assert stage.calls == ["lose kms", "lose seal", "forget", "reinitialize", "open kms", "open seal", "attach"]
    assert not stage.watched.is_lost


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("reinitialize", TokenLost("gone")),
        ("open kms", TokenReplaced("another")),
        ("open seal", TokenLost("gone")),
        ("attach", TokenKeyMissing("no key")),
    ],
)
def test_half_an_opening_is_none(stage: Stage, where: str, error: Exception) -> None:
    """Whatever fails: neither is used until all of it succeeded."""
    stage.calls.failing = {where: error}
    with pytest.raises(type(error)):
        stage.watched.reopen()
    assert [token.is_lost for token in stage.tokens] == [True, True]
    stage.calls.failing = {}
    stage.watched.reopen()
    assert [token.is_lost for token in stage.tokens] == [False, False]


def test_one_lost_token_is_enough(stage: Stage) -> None:
    """Both are opened again."""
    stage.tokens[1].lose()
    assert stage.watched.is_lost


def test_a_check_asks_both_and_lets_pools_grow(stage: Stage) -> None:
    """The slower answer counts, and the smaller pool."""
    assert stage.watched.check() == 0.25
    assert stage.calls == ["check kms", "check seal", "grow kms", "grow seal"]
    assert stage.watched.sessions == (2, 4)
