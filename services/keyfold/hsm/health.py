"""The token's health, as the worker sees it: a pure fold of what was noticed, checked and measured.

    Healthy       it answers
    Degraded      it answers slowly, or with fewer sessions than were wished for; everything is served
    Unavailable   it does not answer, or was lost: tried again by itself, with growing pauses
    Missing       no token bears the label, or a key that it must hold is not in it
    Locked        the PIN was refused, has expired or cannot be read, or the token is locked
    Replaced      another token bears the label, or the token allows what it must not: nothing is done with it

All but the first two are *down*: what needs the token waits. Each is left by itself when a try succeeds; only a
successful check or opening says that a token is back, never a call that may have begun before it was lost. Times are
seconds of one monotonic clock, given by the caller.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from keyfold.events.errors import KeyfoldError, TokenUnavailable
from keyfold.token.errors import PinExpired, PinIncorrect, PinLocked, PinUnusable, TokenKeyUntrusted, TokenReplaced


class State(StrEnum):
    """What the token is."""

    HEALTHY = "Healthy"
    DEGRADED = "Degraded"
    UNAVAILABLE = "Unavailable"
    MISSING = "Missing"
    LOCKED = "Locked"
    REPLACED = "Replaced"


_KINDS: Final[Mapping[type[KeyfoldError], State]] = {
    TokenUnavailable: State.UNAVAILABLE,
    PinIncorrect: State.LOCKED,
    PinLocked: State.LOCKED,
    PinExpired: State.LOCKED,
    PinUnusable: State.LOCKED,
    TokenReplaced: State.REPLACED,
    TokenKeyUntrusted: State.REPLACED,
}


@dataclass(frozen=True, slots=True)
class Pauses:
    """Between tries at a token that is down: the first, then twice as long each time, up to the longest."""

    first_s: float
    longest_s: float

    def after(self, tries: int) -> float:
        """Return the pause behind so many tries in vain."""
        return float(min(self.first_s * 2.0 ** min(tries, 30), self.longest_s))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the token is down, since when, and when it is tried again."""

    state: State
    code: str
    reason: str
    since_s: float
    next_try_s: float


@dataclass(frozen=True, slots=True)
class Health:
    """What is known. `tries` counts tries in vain, and goes on counting where a token is lost again at once."""

    failure: Failure | None = None
    tries: int = 0
    back_s: float = float("-inf")
    slow_until_s: float = float("-inf")
    sessions: int = 1
    wished: int = 1

    def state(self, now_s: float) -> State:
        """Return the state at this time."""
        if self.failure is not None:
            return self.failure.state
        return State.DEGRADED if now_s < self.slow_until_s or self.sessions < self.wished else State.HEALTHY

    def code(self, now_s: float) -> str:
        """Return the error's code, or why the token is degraded; empty where it is healthy."""
        if self.failure is not None:
            return self.failure.code
        if now_s < self.slow_until_s:
            return "SlowToken"
        return "SessionLimit" if self.sessions < self.wished else ""

    def is_due(self, now_s: float) -> bool:
        """Tell whether the token may be tried now."""
        return self.failure is None or now_s >= self.failure.next_try_s

    def is_lasting(self, now_s: float, bound_s: float) -> bool:
        """Tell whether the token has been down for longer than a batch waits."""
        return self.failure is not None and now_s - self.failure.since_s > bound_s

    def noticed(self, error: Exception, now_s: float, pauses: Pauses) -> "Health":
        """A call failed. The token is to be looked at, at once unless it was lost just before."""
        if self.failure is not None:
            return self
        tries = self.tries if now_s - self.back_s < 2 * pauses.longest_s else 0
        wait = pauses.after(tries - 1) if tries else 0.0
        return replace(self, failure=_failure(error, now_s, now_s + wait), tries=tries)

    def tried(self, error: Exception, now_s: float, pauses: Pauses) -> "Health":
        """A check, or opening the token again, failed."""
        since = now_s if self.failure is None else self.failure.since_s
        failure = _failure(error, since, now_s + pauses.after(self.tries))
        return replace(self, failure=failure, tries=self.tries + 1)

    def answered(self, now_s: float) -> "Health":
        """A check, or opening the token again, succeeded."""
        if self.failure is None:
            return self
        return replace(self, failure=None, tries=self.tries + 1, back_s=now_s)

    def slowed(self, until_s: float) -> "Health":
        """A call took longer than it should."""
        return replace(self, slow_until_s=max(until_s, self.slow_until_s))

    def pooled(self, sessions: int, wished: int) -> "Health":
        """So many sessions are open, of so many wished for."""
        return replace(self, sessions=sessions, wished=wished)


def state_of(error: Exception) -> State:
    """Return what an error of the token says about it; what no table names is `Missing`, a bug `Unavailable`."""
    if not isinstance(error, KeyfoldError):
        return State.UNAVAILABLE
    if error.code == "ProbeFailed":
        return State.REPLACED
    return next((state for kind, state in _KINDS.items() if isinstance(error, kind)), State.MISSING)


def _failure(error: Exception, since_s: float, next_try_s: float) -> Failure:
    """An unexpected error is told by its type only: its text might quote anything."""
    if isinstance(error, KeyfoldError):
        return Failure(state_of(error), error.code, str(error), since_s, next_try_s)
    return Failure(State.UNAVAILABLE, "Unexpected", type(error).__name__, since_s, next_try_s)
