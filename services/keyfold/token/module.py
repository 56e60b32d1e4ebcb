"""Loading a PKCS#11 library, once per process, with locking.

python-pkcs11 initialises a library without locks (two threads then corrupt the heap): it is finalised again at once,
before any session exists, and initialised with CKF_OS_LOCKING_OK. SoftHSM2 reads SOFTHSM2_CONF at that moment; closing
a module and loading it again reads it anew.
"""

import threading
from pathlib import Path
from typing import Final

import pkcs11

from keyfold.token.cryptoki import Cryptoki
from keyfold.token.errors import ModuleUnusable, TokenMissing, translated

_loaded: dict[Path, "Module"] = {}
_lock: Final = threading.Lock()


class Module:
    """A loaded and initialised library. `load_module` makes them; there is one per path in a process."""

    def __init__(self, path: Path, hold_lock: bool | None) -> None:
        self.path = path
        self.cryptoki = Cryptoki(path)
        with translated(f"load {path}"):
            self._library = pkcs11.lib(str(path))
            self._library.finalize()
        self.cryptoki.initialize()
        in_process = self._library.manufacturer_id.startswith("SoftHSM")
        self.cryptoki.set_hold_lock(in_process if hold_lock is None else hold_lock)
        self.is_open = True

    @property
    def description(self) -> str:
        """Manufacturer and library version, for status pages."""
        major, minor = self._library.library_version
        return f"{self._library.manufacturer_id} {major}.{minor}"

    def slot_tokens(self) -> list[pkcs11.Token]:
        """Every token in every slot, initialised or not."""
        with translated("list the slots"):
            return [token for slot in self._library.get_slots() if (token := _token_in(slot)) is not None]

    def find(self, label: str) -> pkcs11.Token:
        """Return the one initialised token with this label. Raises `TokenMissing`."""
        found = [token for token in self.slot_tokens() if is_initialised(token) and token.label == label]
        if len(found) != 1:
            how = "no token is" if not found else f"{len(found)} tokens are"
            raise TokenMissing(f"{how} labelled {label!r}; check the token directory, or create the token")
        return found[0]

    def close(self) -> None:
        """Finalise the library: all its sessions and handles in this process end. Closing twice is harmless."""
        with _lock:
            if self.is_open:
                self.is_open = False
                _loaded.pop(self.path, None)
                self.cryptoki.finalize()


def load_module(path: Path, *, hold_lock: bool | None = None) -> Module:
    """Return the library at `path`, loading it if this process has not yet. Raises `ModuleUnusable`.

    `hold_lock` says whether data calls keep Python's global lock (see `keyfold.token.cryptoki`): None keeps it for
    SoftHSM2, which computes in this process, and lets go of it for any other library.
    """
    path = path.resolve()
    with _lock:
        if path not in _loaded:
            if not path.is_file():
                raise ModuleUnusable(f"there is no PKCS#11 library at {path}; install softhsm2 or name another")
            _loaded[path] = Module(path, hold_lock)
        return _loaded[path]


def is_initialised(token: pkcs11.Token) -> bool:
    """Whether C_InitToken has been called on it."""
    return bool(token.flags & pkcs11.TokenFlag.TOKEN_INITIALIZED)


def _token_in(slot: pkcs11.Slot) -> pkcs11.Token | None:
    try:
        return slot.get_token()
    except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
        return None
