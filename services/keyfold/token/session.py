"""An opened token: one session that manages keys, and a pool of sessions that use them.

Sessions are Cryptoki's unit of concurrency, one operation at a time each. The *manager* session logs in, creates,
unwraps and destroys, under a lock; it lives as long as the token is open, because session objects (every unwrapped
key) die with the session that made them. The pool's sessions only encrypt, decrypt and draw random bytes, so one that
fails can be replaced without losing a key. All methods may be called from any thread; they block, so callers keep
them off the event loop.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import pkcs11

from keyfold.events.errors import TokenUnavailable
from keyfold.token import cryptoki
from keyfold.token.errors import HandleLost, TokenError, translated
from keyfold.token.gcm import Gcm
from keyfold.token.module import Module
from keyfold.token.pins import read_pin
from keyfold.token.templates import TemplateMapper

CHECKOUT_SECONDS: Final = 10.0


class Session:
    """One session with a token, used by one thread at a time."""

    def __init__(self, module: Module, pkcs11_session: pkcs11.Session, mapper: TemplateMapper) -> None:
        self.pkcs11 = pkcs11_session
        self.mapper = mapper
        self.functions = module.cryptoki
        self.handle: int = pkcs11_session.handle  # type: ignore[attr-defined]  # only the compiled class has it
        self.gcm = Gcm(module.cryptoki, self.handle)

    def close(self) -> None:
        """Close the session; the last one of a token logs out with it."""
        with translated("close a session"):
            self.pkcs11.close()


class Token:
    """A token that is logged in as its user. `open_token` makes them; close them, or use them in a `with`."""

    def __init__(self, module: Module, label: str, pin: bytes, pool_size: int) -> None:
        self.module = module
        self.label = label
        self.pool_size = pool_size
        self._mapper = TemplateMapper()
        self._source = module.find(label)
        self._manager_lock = threading.RLock()
        self._manager = self._open_session()
        try:
            module.cryptoki.login(self._manager.handle, cryptoki.CKU_USER, pin)
            self._idle = [self._open_session() for _ in range(pool_size)]
        except BaseException:
            self._manager.close()
            raise
        self._all = list(self._idle)
        self._returned = threading.Condition()
        self._is_open = True

    def _open_session(self) -> Session:
        with translated(f"open a session with token {self.label!r}"):
            opened = self._source.open(rw=True, attribute_mapper=self._mapper)
        return Session(self.module, opened, self._mapper)

    @contextmanager
    def manager(self) -> Iterator[Session]:
        """The session that makes, finds, unwraps and destroys keys, for this thread alone meanwhile."""
        with self._manager_lock:
            self._require_open()
            yield self._manager

    @contextmanager
    def session(self, wait_seconds: float = CHECKOUT_SECONDS) -> Iterator[Session]:
        """A session of the pool, for this thread alone meanwhile.

        Raises `TokenUnavailable` when none comes free in time. A session in which the token failed is replaced.
        """
        session = self._check_out(wait_seconds)
        try:
            yield session
        except TokenUnavailable as error:
            if not isinstance(error, HandleLost):
                session = self._replace(session)
            raise
        finally:
            self._check_in(session)

    def _check_out(self, wait_seconds: float) -> Session:
        end = time.monotonic() + wait_seconds
        with self._returned:
            while True:
                self._require_open()
                # The last one returned is taken first: its buffers are warm.
                if self._idle:
                    return self._idle.pop()
                left = end - time.monotonic()
                if left <= 0 or not self._returned.wait(left):
                    raise TokenUnavailable(f"every session with token {self.label!r} is busy; send it again later")

    def _check_in(self, session: Session) -> None:
        with self._returned:
            if self._is_open:
                self._idle.append(session)
            self._returned.notify()

    def _replace(self, session: Session) -> Session:
        """Open a session in the place of one that failed; if even that fails, the next user finds out."""
        try:
            fresh = self._open_session()
        except (TokenUnavailable, TokenError):
            return session
        with suppress(TokenUnavailable, TokenError):
            session.close()
        with self._returned:
            self._all[self._all.index(session)] = fresh
        return fresh

    def _require_open(self) -> None:
        if not self._is_open or not self.module.is_open:
            raise TokenUnavailable(f"token {self.label!r} is closed; open it again")

    def check(self) -> None:
        """Raise `TokenUnavailable` unless the token answers: for health reports."""
        with self.session() as session:
            session.gcm.random(16)

    def close(self) -> None:
        """Close every session; unwrapped keys are gone. Closing twice, or after the module, is harmless."""
        with self._manager_lock, self._returned:
            if not self._is_open:
                return
            self._is_open = False
            self._returned.notify_all()
            if self.module.is_open:
                for session in (*self._all, self._manager):
                    with suppress(TokenUnavailable, TokenError):
                        session.close()

    def __enter__(self) -> "Token":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_token(module: Module, label: str, pin_file: Path, *, pool_size: int = 1) -> Token:
    """Log in to the token with the PIN in a 0600 file; only this first session ever passes the PIN.

    Raises `TokenMissing`, `PinUnusable`, `PinIncorrect`, `TokenUnavailable`. A process can open a token once at a time.
    """
    return Token(module, label, read_pin(pin_file), pool_size)
