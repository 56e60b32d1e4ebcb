"""Pacing: a token bucket and a back-off, as values over a clock that is given. No waiting happens here."""

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """`burst` at once, then `per_s`. `delay` takes a token and says how long to wait before using it, in seconds."""

    per_s: float
    burst: int
    _tokens: float = -1.0
    _at: float = 0.0

    def delay(self, now: float) -> float:
        """Take one token, going into debt if there is none."""
        self._fill(now)
        self._tokens -= 1
        return max(0.0, -self._tokens / self.per_s)

    def try_take(self, now: float) -> bool:
        """Take one token if there is one."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _fill(self, now: float) -> None:
        if self._at == 0.0:
            self._tokens = self.burst
        else:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_s)
        self._at = now


@dataclass(slots=True)
class Retry:
    """Doubling pauses between attempts, up to a longest one."""

    first_s: float
    longest_s: float
    _next_s: float = 0.0

    def pause_s(self) -> float:
        """Return how long to wait before the next attempt."""
        pause = self._next_s or self.first_s
        self._next_s = min(2 * pause, self.longest_s)
        return pause

    def reset(self) -> None:
        """Start over: something succeeded."""
        self._next_s = 0.0
