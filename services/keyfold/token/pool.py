"""The sessions of one login that use keys: each for one thread at a time, as many as wished and the token allows.

A token that opens fewer sessions than were wished for is used with those it opens; `grow` asks for the rest later.
Nothing here logs in, or knows what a session is used for.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from keyfold.events.errors import TokenUnavailable
from keyfold.token.errors import SessionLimit, SessionsBusy, TokenError

if TYPE_CHECKING:
    from keyfold.token.session import Session


class Pool:
    """Sessions that were opened by `open_session`. `require_open` raises when none may be handed out any more."""

    def __init__(
        self, label: str, wished: int, open_session: Callable[[], "Session"], require_open: Callable[[], None]
    ) -> None:
        self.wished = wished
        self._label, self._open_session, self._require_open = label, open_session, require_open
        self._returned = threading.Condition()
        self._all: list[Session] = [open_session()]
        self._idle = list(self._all)
        try:
            self.grow()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._all)

    def grow(self) -> None:
        """Open what is missing, up to the token's limit. Raises `TokenUnavailable` for anything but that limit."""
        while len(self._all) < self.wished:
            try:
                fresh = self._open_session()
            except SessionLimit:
                return
            with self._returned:
                self._all.append(fresh)
                self._idle.append(fresh)
                self._returned.notify()

    def take(self, wait_seconds: float) -> "Session":
        """Return a session for this thread alone. Raises `SessionsBusy`, and whatever `require_open` raises."""
        end = time.monotonic() + wait_seconds
        with self._returned:
            while True:
                self._require_open()
                # The last one returned is taken first: its buffers are warm.
                if self._idle:
                    return self._idle.pop()
                left = end - time.monotonic()
                if left <= 0 or not self._returned.wait(left):
                    raise SessionsBusy(f"every session with token {self._label!r} is busy; send it again later")

    def give_back(self, session: "Session") -> None:
        """Let the next thread have it."""
        with self._returned:
            self._idle.append(session)
            self._returned.notify()

    def replace(self, session: "Session") -> "Session | None":
        """Open a session in the place of one that failed; None where even that fails."""
        try:
            fresh = self._open_session()
        except (TokenUnavailable, TokenError):
            return None
        with suppress(TokenUnavailable, TokenError):
            session.close()
        with self._returned:
            self._all[self._all.index(session)] = fresh
        return fresh

    def wake(self) -> None:
        """Let waiting threads look at `require_open` again."""
        with self._returned:
            self._returned.notify_all()

    def close(self) -> None:
        """Close every session. `require_open` must raise by now."""
        self.wake()
        for session in self._all:
            with suppress(TokenUnavailable, TokenError):
                session.close()
