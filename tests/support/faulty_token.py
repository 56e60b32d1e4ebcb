"""A token that is slow, or answers what it is told to, with a real one underneath: for fault tests and benchmarks.

It stands between the product and the bound functions of one loaded library (`keyfold.token.cryptoki`), and before the
opening of sessions. What python-pkcs11 calls by itself (searches, attributes, slots) is not touched. Latency is slept,
so that it lets go of Python's lock, as a token behind a network does. All of it may be changed while threads call.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from keyfold.token import Module
from keyfold.token.errors import error_of

CKR_DEVICE_ERROR: Final = 0x30
CKR_DEVICE_REMOVED: Final = 0x32
CKR_SESSION_COUNT: Final = 0xB1
USES: Final = ("C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt", "C_GenerateRandom")
"""The functions of encrypting, decrypting and drawing random bytes."""


class FaultyToken:
    """Wraps the functions of a module until `restore`.

    `calls` counts what got through, by function; `at_once` how many were under way together, at most.
    """

    def __init__(self, module: Module) -> None:
        self._module = module
        self._function, self._open_session = module.cryptoki._function, module.open_session
        self._latency_s: dict[str, float] = {}
        self._answers: dict[str, int] = {}
        self._sessions_left: dict[str, int] = {}
        self.calls: Counter[str] = Counter()
        self.at_once: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._lock = threading.Lock()
        vars(module.cryptoki)["_function"] = self._wrapped
        vars(module)["open_session"] = self._opened
        module.cryptoki._bind()

    def slow(self, seconds: float, *names: str) -> None:
        """Let each call of these functions (of `USES`, if none is named) take so much longer; 0 ends it."""
        self._latency_s.update(dict.fromkeys(names or USES, seconds))

    def answer(self, rv: int, *names: str) -> None:
        """Let these functions (of `USES`, if none is named) return a CKR value and do nothing; 0 ends it."""
        self._answers.update(dict.fromkeys(names or USES, rv))

    def allow_sessions(self, label: str, count: int | None) -> None:
        """Let so many further sessions be opened with a token, then answer CKR_SESSION_COUNT; None for no limit."""
        if count is None:
            self._sessions_left.pop(label, None)
        else:
            self._sessions_left[label] = count

    def restore(self) -> None:
        """Take the faults out again."""
        vars(self._module.cryptoki).pop("_function", None)
        vars(self._module).pop("open_session", None)
        self._module.cryptoki._bind()

    def _wrapped(self, name: str, **how: Any) -> Callable[..., int]:
        real = self._function(name, **how)

        def call(*arguments: Any) -> int:
            self._begin(name)
            try:
                latency = self._latency_s.get(name)
                if latency:
                    time.sleep(latency)
                rv = self._answers.get(name)
                if rv:
                    return rv
                self.calls[name] += 1
                return int(real(*arguments))
            finally:
                with self._lock:
                    self._under_way[name] -= 1

        return call

    def _begin(self, name: str) -> None:
        with self._lock:
            self._under_way[name] += 1
            self.at_once[name] = max(self.at_once[name], self._under_way[name])

    def _opened(self, token: Any, mapper: Any) -> Any:
        left = self._sessions_left.get(token.label)
        if left is not None:
            if not left:
                raise error_of(CKR_SESSION_COUNT, "open a session")
            self._sessions_left[token.label] = left - 1
        return self._open_session(token, mapper)


@contextmanager
def faulty(module: Module) -> Iterator[FaultyToken]:
    """A faulty token for a `with` block."""
    made = FaultyToken(module)
    try:
        yield made
    finally:
        made.restore()
