"""Loading a PKCS#11 library, once per process, with locking.

python-pkcs11 initialises a library without locks (two threads then corrupt the heap): it is finalised again at once,
before any session exists, and initialised with CKF_OS_LOCKING_OK. SoftHSM2 reads SOFTHSM2_CONF at that moment; closing
a module and loading it again reads it anew.

A library looks for its tokens when it is initialised. So a token that was lost is found again by `reinitialize`, which
ends every session of this process with every token of the library: who calls it must know that nobody uses one.
"""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import pkcs11
from pkcs11.attributes import AttributeMapper

from keyfold.events.errors import TokenUnavailable
from keyfold.token.cryptoki import Cryptoki
from keyfold.token.errors import ModuleUnusable, TokenLost, TokenMissing, TokenReplaced, translated

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

    def find(self, label: str, serial: bytes | None = None) -> pkcs11.Token:
        """Return the one initialised token with this label, and with this serial number if one is given.

        Raises `TokenMissing`, and `TokenReplaced` where the label is there but not the serial number.
        """
        found = [token for token in self.slot_tokens() if is_initialised(token) and token.label == label]
        same = [token for token in found if serial is None or token.serial == serial]
        if len(same) == 1:
            return same[0]
        if found and not same:
            raise TokenReplaced(f"another token is labelled {label!r}: not the one that was opened; bring that back")
        how = "no token is" if not found else f"{len(same)} tokens are"
        raise TokenMissing(f"{how} labelled {label!r}; check the token directory, or create the token")

    def open_session(self, token: pkcs11.Token, mapper: AttributeMapper) -> pkcs11.Session:
        """C_OpenSession, read-write. Raises `SessionLimit` and the other errors of a token."""
        with translated(f"open a session with token {token.label!r}"):
            return token.open(rw=True, attribute_mapper=mapper)

    def reinitialize(self) -> None:
        """C_Finalize and C_Initialize: all sessions and handles of this process end, tokens are looked for anew.

        Raises `TokenUnavailable` while the library does not start; then no token of it can be used, and it may be
        tried again.
        """
        with _lock:
            if not self.is_open:
                raise TokenUnavailable(f"{self.path} was closed; load it again")
            # What cannot be ended properly (not initialised, its token gone) is ended all the same.
            with suppress(TokenUnavailable):
                self.cryptoki.finalize()
            self.cryptoki.initialize()

    def close(self) -> None:
        """Finalise the library: all its sessions and handles in this process end. Closing twice is harmless."""
        with _lock:
            if self.is_open:
                self.is_open = False
                _loaded.pop(self.path, None)
                # Nothing is left to end where the last attempt to initialise it failed.
                with suppress(TokenLost):
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
