"""An opened token: one session that manages keys, and a pool of sessions that use them.

Sessions are Cryptoki's unit of concurrency, one operation at a time each. The *manager* session logs in, creates,
unwraps and destroys, under a lock; it lives as long as the token is open, because session objects (every unwrapped
key) die with the session that made them. The pool's sessions only use keys and draw random bytes, so one that fails
can be replaced without losing a key. All methods may be called from any thread; they block, so callers keep them off
the event loop.

A token can be **lost**: removed, reset, or without its login. Then every call raises `TokenLost` until somebody who
knows that no handle of before is in use opens it again in place (`Module.reinitialize`, then `Token.reopen`): a
library may give the number of an old handle to another key. It is the same token, by its serial number, or none. A PIN
that the token refused is never passed a second time (`keyfold.token.refusals`).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import pkcs11

from keyfold.events.errors import KeyfoldError, TokenUnavailable
from keyfold.token import cryptoki, refusals
from keyfold.token.errors import (
    HandleLost,
    PinIncorrect,
    PinLocked,
    SessionLost,
    TokenError,
    TokenLost,
    TokenReplaced,
    translated,
)
from keyfold.token.gcm import Gcm
from keyfold.token.module import Module
from keyfold.token.pins import read_pin
from keyfold.token.pool import Pool
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

    def __init__(self, module: Module, label: str, pin_file: Path, pool_size: int) -> None:
        self.module = module
        self.label = label
        self.pool_size = pool_size
        self.is_lost = False
        self._pin_file = pin_file
        self._mapper = TemplateMapper()
        self._manager_lock = threading.RLock()
        self._is_open = True
        self._source = module.find(label)
        self.serial: bytes = self._source.serial
        self._manager, self._pool = self._log_in()

    def _log_in(self) -> tuple[Session, Pool]:
        """Open the manager session, pass the PIN, and open the pool."""
        pin = read_pin(self._pin_file)
        if refusals.was_refused(self.serial, pin):
            raise PinIncorrect(f"the token has refused the PIN in {self._pin_file}; restore the right file")
        manager = self._open_session()
        try:
            self._pass(pin, manager)
            return manager, Pool(self.label, self.pool_size, self._open_session, self._require_open)
        except BaseException:
            with suppress(TokenUnavailable, TokenError):
                manager.close()
            raise

    def _pass(self, pin: bytes, manager: Session) -> None:
        if self._source.flags & pkcs11.TokenFlag.USER_PIN_LOCKED:
            raise PinLocked(f"token {self.label!r} is locked; its security officer must unlock it")
        try:
            self.module.cryptoki.login(manager.handle, cryptoki.CKU_USER, pin)
        except PinIncorrect:
            refusals.remember(self.serial, pin)
            raise
        refusals.forget(self.serial, pin)

    def _open_session(self) -> Session:
        return Session(self.module, self.module.open_session(self._source, self._mapper), self._mapper)

    @property
    def sessions(self) -> int:
        """How many sessions the pool has; fewer than `pool_size` where the token's limit is lower."""
        return len(self._pool)

    @contextmanager
    def manager(self) -> Iterator[Session]:
        """The session that makes, finds, unwraps and destroys keys, for this thread alone meanwhile.

        A failure inside counts only of a token that is there: if it is gone, `TokenLost` takes its place, so that
        nobody takes a missing token for one without that key.
        """
        with self._manager_lock:
            self._require_open()
            try:
                yield self._manager
            except (TokenLost, HandleLost):
                # The token's own keys were found through this session: their handles are gone, too.
                self.lose()
                raise
            except KeyfoldError:
                if not self._is_there():
                    raise TokenLost(f"token {self.label!r} is gone; it must be opened again") from None
                raise

    @contextmanager
    def session(self, wait_seconds: float = CHECKOUT_SECONDS) -> Iterator[Session]:
        """A session of the pool, for this thread alone meanwhile.

        Raises `SessionsBusy` when none comes free in time. A session in which the token failed is replaced.
        """
        pool = self._pool
        session = pool.take(wait_seconds)
        try:
            yield session
        except HandleLost:
            raise
        except TokenUnavailable as error:
            is_whole = isinstance(error, SessionLost) or not isinstance(error, TokenLost)
            fresh = pool.replace(session) if is_whole else None
            session = fresh or session
            if isinstance(error, TokenLost) and fresh is None:
                self.lose()
            raise
        finally:
            pool.give_back(session)

    def _require_open(self) -> None:
        if not self._is_open or not self.module.is_open:
            raise TokenUnavailable(f"token {self.label!r} is closed; open it again")
        if self.is_lost:
            raise TokenLost(f"token {self.label!r} was lost; it is being opened again")

    def _is_there(self) -> bool:
        try:
            self._look()
        except (TokenUnavailable, TokenError):
            return False
        return True

    def _look(self) -> None:
        """Ask the slot for its token. What does not answer, or is another token, is lost."""
        try:
            with translated(f"look at token {self.label!r}"):
                present = self._source.slot.get_token()
        except (TokenUnavailable, TokenError):
            self.lose()
            raise
        if present.serial != self.serial:
            self.lose()
            raise TokenReplaced(f"another token stands in the place of {self.label!r}; bring the right one back")

    def check(self) -> float:
        """Raise unless the token is there, the same, and answers; return the seconds that its answer took."""
        self._require_open()
        self._look()
        with self.session() as session:
            began = time.monotonic()
            session.gcm.random(16)
            return time.monotonic() - began

    def grow(self) -> None:
        """Ask for the sessions that the token's limit has denied so far."""
        self._require_open()
        self._pool.grow()

    def lose(self) -> None:
        """From now on every call raises `TokenLost`, until the token was opened again."""
        self.is_lost = True
        self._pool.wake()

    def reopen(self) -> None:
        """Open a lost token again, after `Module.reinitialize`; every handle of before is invalid.

        Raises `TokenMissing`, `TokenReplaced`, the errors of a PIN, `TokenUnavailable`; then it stays lost.
        """
        with self._manager_lock:
            if not self._is_open:
                raise TokenUnavailable(f"token {self.label!r} is closed; open it again")
            self.lose()
            self._source = self.module.find(self.label, self.serial)
            self._manager, self._pool = self._log_in()
            self.is_lost = False

    def close(self) -> None:
        """Close every session; unwrapped keys are gone. Closing twice, or after the module, is harmless."""
        with self._manager_lock:
            if not self._is_open:
                return
            self._is_open = False
            if self.module.is_open:
                self._pool.close()
                with suppress(TokenUnavailable, TokenError):
                    self._manager.close()

    def __enter__(self) -> "Token":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_token(module: Module, label: str, pin_file: Path, *, pool_size: int = 1) -> Token:
    """Log in to the token with the PIN in a 0600 file; only this first session ever passes the PIN.

    Raises `TokenMissing`, the errors of a PIN, `TokenUnavailable`. A process can open a token once at a time. A pool
    that the token's session limit keeps small is no error (`Token.sessions`).
    """
    return Token(module, label, pin_file, pool_size)
