"""One batch over several sessions: a token behind a network is as fast as it has sessions at work.

The batch is cut into parts that stand in a line. The calling thread works in a session of its own, helpers join while
the pool has idle sessions, and each takes the next part when it is done with one. So a busy pool costs time and never
an error that a single session would not have had. Nothing here knows what the work is.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Final, Generic, TypeVar

from keyfold.events.errors import KeyfoldError
from keyfold.token import Session, Token

Item = TypeVar("Item")
Result = TypeVar("Result")
PARTS_PER_SESSION: Final = 4


class Spreader:
    """Runs batches on one token. With a pool of one session it is that session and nothing else."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._lock = threading.Lock()
        self._helpers: ThreadPoolExecutor | None = None

    def run(
        self,
        items: Sequence[Item],
        work: Callable[[Session, Sequence[Item]], list[Result]],
        *,
        slow: bool = False,
    ) -> list[Result]:
        """Return `work`'s results for all items, in order; its first error, once nothing of the batch runs any more.

        `slow` work lets other threads run while the token computes; other work does so only where the module says so
        (`Cryptoki.hold_lock`), and is not spread where it does not.
        """
        if not items:
            return []
        sessions = min(self._token.sessions, len(items))
        if sessions == 1 or (self._token.module.cryptoki.hold_lock and not slow):
            with self._token.session() as session:
                return work(session, items)
        batch = _Batch(self._token, items, work, sessions * PARTS_PER_SESSION)
        helpers: list[Future[None]] = []
        try:
            # This thread's session comes first: its own helpers must not leave it waiting.
            with self._token.session() as session:
                helpers += (self._executor().submit(batch.help) for _ in range(sessions - 1))
                batch.drain(session)
        finally:
            batch.stop()
            for helper in helpers:
                helper.cancel()
            wait(helpers)
        return batch.results()

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._helpers is None:
                self._helpers = ThreadPoolExecutor(self._token.pool_size - 1, f"spread-{self._token.label}")
            return self._helpers


class _Batch(Generic[Item, Result]):
    """The parts of one batch, taken one by one by whoever has a session."""

    def __init__(
        self, token: Token, items: Sequence[Item], work: Callable[[Session, Sequence[Item]], list[Result]], parts: int
    ) -> None:
        self._token, self._items, self._work = token, items, work
        self._size = -(-len(items) // parts)
        self._results: dict[int, list[Result]] = {}
        self._starts = iter(range(0, len(items), self._size))
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def help(self) -> None:
        """Work in an idle session; with none idle, leave it to the others."""
        with suppress(KeyfoldError), self._token.session(wait_seconds=0) as session:
            self.drain(session)

    def drain(self, session: Session) -> None:
        """Work on parts until none is left, or somebody failed."""
        while (start := self._next()) is not None:
            try:
                self._results[start] = self._work(session, self._items[start : start + self._size])
            except BaseException as error:
                self._error = self._error or error
                raise

    def stop(self) -> None:
        """Hand out no more parts."""
        with self._lock:
            self._starts = iter(range(0))

    def results(self) -> list[Result]:
        """The results in the order of the items; raises the first error that a helper met."""
        if self._error is not None:
            raise self._error
        return [result for start in sorted(self._results) for result in self._results[start]]

    def _next(self) -> int | None:
        with self._lock:
            return None if self._error is not None else next(self._starts, None)
