"""What can go wrong with a token, as one tree, and what each PKCS#11 return value (CKR_*) means in it.

    KeyfoldError
    ├── TokenError               not retriable: a person or the caller must change something
    │   ├── ModuleUnusable       the PKCS#11 library cannot be loaded or refuses locking
    │   ├── TokenMissing, TokenExists
    │   ├── TokenReplaced        another token, or an older copy, bears the label: nothing is done with it
    │   ├── PinIncorrect, PinLocked, PinExpired, PinUnusable
    │   ├── TokenKeyMissing      no key lies under the id it must have
    │   ├── TokenKeyUntrusted    a key lies there but does not have the attributes it must have
    │   ├── ActionRefused        the token's own rules refuse: template, copy, change, reading a value
    │   └── DataRefused          bytes do not open: a wrong tag, key, nonce or associated data
    └── TokenUnavailable         retriable (from `keyfold.events.errors`): the token does not answer, or lost a session
        ├── HandleLost           retriable after loading the key again: the session that held it is gone
        ├── SessionsBusy         every session is in use; the token is well
        ├── SessionLimit         the token opens no further session (CKR_SESSION_COUNT)
        └── TokenLost            retriable after opening the token again: login, sessions and handles are gone
            └── SessionLost      one session is gone, perhaps with all the others

Messages name the action and the CKR code, never a PIN, a value or a key's bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pkcs11 import exceptions as pkcs11_exceptions

from keyfold.events.errors import KeyfoldError, TokenUnavailable

CKR_OK: Final = 0x00
CKR_GENERAL_ERROR: Final = 0x05
CKR_FUNCTION_FAILED: Final = 0x06


class TokenError(KeyfoldError):
    """A token refused, or is not what it must be; the same request will fail again."""

    code = "TokenError"


class ModuleUnusable(TokenError):
    """The PKCS#11 library cannot be used."""

    code = "ModuleUnusable"


class TokenMissing(TokenError):
    """No token with this label; or more than one."""

    code = "TokenMissing"


class TokenReplaced(TokenError):
    """Another token (another serial number), or an older copy, bears the label of the one that was opened."""

    code = "TokenReplaced"


class TokenExists(TokenError):
    """A token or PIN file would be overwritten."""

    code = "TokenExists"


class PinIncorrect(TokenError):
    """The PIN file does not hold this token's PIN."""

    code = "PinIncorrect"


class PinLocked(TokenError):
    """The token refuses every PIN after too many wrong ones."""

    code = "PinLocked"


class PinExpired(TokenError):
    """The token wants its user's PIN changed before it serves."""

    code = "PinExpired"


class PinUnusable(TokenError):
    """The PIN file is missing, empty, or readable by others."""

    code = "PinUnusable"


class TokenKeyMissing(TokenError):
    """The token lacks a key it must hold."""

    code = "TokenKeyMissing"


class TokenKeyUntrusted(TokenError):
    """A key in the token does not have the attributes that make it safe."""

    code = "TokenKeyUntrusted"


class ActionRefused(TokenError):
    """The token's rules do not allow this."""

    code = "ActionRefused"


class DataRefused(TokenError):
    """The token looked at the bytes and they do not open."""

    code = "DataRefused"


class HandleLost(TokenUnavailable):
    """A key handle is not valid any more; open the key's blob again."""


class SessionsBusy(TokenUnavailable):
    """No session came free in time; the token itself may be well."""


class SessionLimit(TokenUnavailable):
    """The token opens no further session; others hold them, or its limit is lower than what was wished for."""

    code = "SessionLimit"


class TokenLost(TokenUnavailable):
    """The token was removed, reset, or forgot its login: it must be opened again, and every handle is gone."""

    code = "TokenLost"


class SessionLost(TokenLost):
    """A session is not valid any more. A fresh one shows whether the token is lost with it."""


_UNAVAILABLE: Final = {
    0x01: "CANCEL", 0x02: "HostMemory", 0x05: "GeneralError", 0x06: "FunctionFailed", 0x31: "DeviceMemory",
    0x50: "FunctionCancelled", 0x90: "OperationActive", 0x91: "OperationNotInitialized",
    0xE2: "TokenWriteProtected", 0x191: "CRYPTOKI_ALREADY_INITIALIZED",
}  # fmt: skip
_TOKEN_LOST: Final = {
    0x03: "SlotIDInvalid", 0x30: "DeviceError", 0x32: "DeviceRemoved", 0xE0: "TokenNotPresent",
    0xE1: "TokenNotRecognised", 0x101: "UserNotLoggedIn", 0x190: "CRYPTOKI_NOT_INITIALIZED",
}  # fmt: skip
_SESSION_LOST: Final = {0xB0: "SessionClosed", 0xB3: "SessionHandleInvalid"}
_SESSION_LIMIT: Final = {0xB1: "SessionCount"}
_LOST: Final = {
    0x60: "KeyHandleInvalid", 0x82: "ObjectHandleInvalid", 0xF0: "UnwrappingKeyHandleInvalid",
    0x113: "WrappingKeyHandleInvalid",
}  # fmt: skip
_DATA: Final = {
    0x20: "DataInvalid", 0x21: "DataLenRange", 0x40: "EncryptedDataInvalid", 0x41: "EncryptedDataLenRange",
    0x110: "WrappedKeyInvalid", 0x112: "WrappedKeyLenRange",
}  # fmt: skip
_PIN: Final = {0xA0: "PinIncorrect", 0xA1: "PinInvalid", 0xA2: "PinLenRange", 0x102: "UserPinNotInitialized"}
_EXPIRED: Final = {0xA3: "PinExpired"}
_LOCKED: Final = {0xA4: "PinLocked"}

_GROUPS: Final[tuple[tuple[dict[int, str], type[KeyfoldError], str], ...]] = (
    (_UNAVAILABLE, TokenUnavailable, "the token does not answer; look at it, then try again"),
    (_TOKEN_LOST, TokenLost, "the token is gone or was reset; it must be opened again"),
    (_SESSION_LOST, SessionLost, "the session with the token is gone; the token must be opened again"),
    (_SESSION_LIMIT, SessionLimit, "the token opens no further session; lower session_pool_size or free sessions"),
    (_LOST, HandleLost, "the session that held the key is gone; the key must be loaded again"),
    (_DATA, DataRefused, "the bytes do not open with this key"),
    (_PIN, PinIncorrect, "the PIN file does not hold this token's PIN; restore the right file"),
    (_EXPIRED, PinExpired, "the PIN has expired; change it in the token and in the PIN file"),
    (_LOCKED, PinLocked, "the token is locked; its security officer must unlock it"),
)
_BY_RV: Final = {rv: (cls, hint) for names, cls, hint in _GROUPS for rv in names}
_RV_BY_NAME: Final = {name: rv for names, _, _ in _GROUPS for rv, name in names.items()}
_REFUSED: Final = (ActionRefused, "the token's rules do not allow it")


def error_of(rv: int, action: str) -> KeyfoldError:
    """Return the error for a CKR value; what is in no list is the token's refusal."""
    kind, hint = _BY_RV.get(rv, _REFUSED)
    return kind(f"{action}: {hint} (CKR {rv:#x})")


def check(rv: int, action: str) -> None:
    """Raise the typed error unless `rv` is CKR_OK."""
    if rv != CKR_OK:
        raise error_of(rv, action)


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn python-pkcs11's exceptions into this tree; `action` says in words what was tried."""
    try:
        yield
    except pkcs11_exceptions.PKCS11Error as error:
        raise _translate(error, action) from None


def _translate(error: pkcs11_exceptions.PKCS11Error, action: str) -> KeyfoldError:
    name = type(error).__name__
    if name in _RV_BY_NAME:
        return error_of(_RV_BY_NAME[name], action)
    if "not initialized" in str(error):
        return error_of(0x190, action)
    # What python-pkcs11 has no class for it reports as "Unmapped error code 0x1b" (CKR_ACTION_PROHIBITED).
    _, _, tail = str(error).partition("Unmapped error code ")
    if tail.startswith("0x"):
        return error_of(int(tail, 16), action)
    return ActionRefused(f"{action}: {_REFUSED[1]} ({name})")
