"""The few PKCS#11 functions that are called through ctypes, because python-pkcs11 lacks them or is too slow for them.

Lacking: C_Initialize with CKF_OS_LOCKING_OK (python-pkcs11 passes NULL, which switches SoftHSM2's locks off),
C_InitToken, C_Login on a session that can be closed when the PIN is wrong, private keys without the attributes that
only secret keys have, and nested templates outside its mapper. Slow: python-pkcs11 asks every operation for its length
first, allocates 8 KiB and makes a Python class per object, which doubles the time of an AES-GCM call and of loading a
key. All the rest (sessions, stored keys, searches, copies) is python-pkcs11's.

Calls can hold Python's global lock. A token that is a library in this process (SoftHSM2: 12 µs per call) must: when a
thread lets go of the lock for microseconds and another computes, it waits up to 5 ms to get it back, twice per item.
A token behind a network must not. `C_…KeyPair`, and the private-key operations under the names `slow_…`, never hold
it: they compute for a millisecond or for seconds, wherever they run.
"""

import ctypes
from pathlib import Path
from typing import Any, Final

from keyfold.token.errors import ModuleUnusable, check

CKF_OS_LOCKING_OK: Final = 0x02
CKF_RW_SESSION: Final = 0x02
CKF_SERIAL_SESSION: Final = 0x04
CKU_SO: Final = 0
CKU_USER: Final = 1
CKM_AES_KEY_GEN: Final = 0x1080
CKM_AES_GCM: Final = 0x1087
CKM_AES_KEY_WRAP: Final = 0x2109
CKM_AES_KEY_WRAP_PAD: Final = 0x210A
CKM_AES_ECB: Final = 0x1081
CKM_RSA_PKCS_KEY_PAIR_GEN: Final = 0x0000
CKM_RSA_PKCS: Final = 0x0001
CKM_RSA_X_509: Final = 0x0003
CKM_RSA_PKCS_OAEP: Final = 0x0009
CKM_RSA_PKCS_PSS: Final = 0x000D
CKM_GENERIC_SECRET_KEY_GEN: Final = 0x0350
CKM_EC_KEY_PAIR_GEN: Final = 0x1040
CKM_ECDSA: Final = 0x1041
CKM_ECDH1_DERIVE: Final = 0x1050
CKM_EC_EDWARDS_KEY_PAIR_GEN: Final = 0x1055
CKM_EDDSA: Final = 0x1057
CKM_RSA_AES_KEY_WRAP: Final = 0x1054
CKM_HMAC: Final = {"224": 0x0256, "256": 0x0251, "384": 0x0261, "512": 0x0271}
CKM_SHA: Final = {"1": 0x0220, "256": 0x0250, "384": 0x0260, "512": 0x0270}
CKG_MGF1: Final = {"1": 1, "256": 2, "384": 3, "512": 4}
CKZ_DATA_SPECIFIED: Final = 1
CKD_NULL: Final = 1
CK_UNAVAILABLE_INFORMATION: Final = ctypes.c_ulong(-1).value

_ULONG: Final = ctypes.c_ulong
_POINTER: Final = ctypes.c_void_p
_BYTES: Final = ctypes.c_char_p


class CkAttribute(ctypes.Structure):
    """CK_ATTRIBUTE."""

    _fields_ = (("type", _ULONG), ("value", _POINTER), ("length", _ULONG))


class CkMechanism(ctypes.Structure):
    """CK_MECHANISM."""

    _fields_ = (("mechanism", _ULONG), ("parameter", _POINTER), ("length", _ULONG))


class CkGcmParams(ctypes.Structure):
    """CK_GCM_PARAMS (PKCS#11 v2.40 errata, with ulIvBits). Bytes assigned to `iv` and `aad` are kept alive here."""

    _fields_ = (
        ("iv", _BYTES), ("iv_length", _ULONG), ("iv_bits", _ULONG),
        ("aad", _BYTES), ("aad_length", _ULONG), ("tag_bits", _ULONG),
    )  # fmt: skip


class CkRsaPssParams(ctypes.Structure):
    """CK_RSA_PKCS_PSS_PARAMS."""

    _fields_ = (("hash", _ULONG), ("mgf", _ULONG), ("salt_length", _ULONG))


class CkRsaOaepParams(ctypes.Structure):
    """CK_RSA_PKCS_OAEP_PARAMS; without a label."""

    _fields_ = (
        ("hash", _ULONG), ("mgf", _ULONG), ("source", _ULONG), ("source_data", _POINTER), ("source_length", _ULONG),
    )  # fmt: skip


class CkEcdh1DeriveParams(ctypes.Structure):
    """CK_ECDH1_DERIVE_PARAMS. Bytes assigned to `public` are kept alive here."""

    _fields_ = (
        ("kdf", _ULONG), ("shared_length", _ULONG), ("shared", _POINTER), ("public_length", _ULONG), ("public", _BYTES),
    )  # fmt: skip


class CkInitializeArgs(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS; the four mutex callbacks stay NULL: the library uses the system's locks."""

    _fields_ = (
        ("create_mutex", _POINTER), ("destroy_mutex", _POINTER), ("lock_mutex", _POINTER),
        ("unlock_mutex", _POINTER), ("flags", _ULONG), ("reserved", _POINTER),
    )  # fmt: skip


# Places in CK_FUNCTION_LIST (PKCS#11 v2.40, section 3.6), counted in pointers after its version.
_PLACES: Final = {
    "C_Initialize": (0, (_POINTER,)),
    "C_Finalize": (1, (_POINTER,)),
    "C_InitToken": (9, (_ULONG, _BYTES, _ULONG, _BYTES)),
    "C_Login": (18, (_ULONG, _ULONG, _BYTES, _ULONG)),
    "C_Logout": (19, (_ULONG,)),
    "C_CreateObject": (20, (_ULONG, _POINTER, _ULONG, _POINTER)),
    "C_DestroyObject": (22, (_ULONG, _ULONG)),
    "C_GetAttributeValue": (24, (_ULONG, _ULONG, _POINTER, _ULONG)),
    "C_EncryptInit": (29, (_ULONG, _POINTER, _ULONG)),
    "C_Encrypt": (30, (_ULONG, _BYTES, _ULONG, _POINTER, _POINTER)),
    "C_DecryptInit": (33, (_ULONG, _POINTER, _ULONG)),
    "C_Decrypt": (34, (_ULONG, _BYTES, _ULONG, _POINTER, _POINTER)),
    "C_SignInit": (42, (_ULONG, _POINTER, _ULONG)),
    "C_Sign": (43, (_ULONG, _BYTES, _ULONG, _POINTER, _POINTER)),
    "C_GenerateKey": (58, (_ULONG, _POINTER, _POINTER, _ULONG, _POINTER)),
    "C_GenerateKeyPair": (59, (_ULONG, _POINTER, _POINTER, _ULONG, _POINTER, _ULONG, _POINTER, _POINTER)),
    "C_WrapKey": (60, (_ULONG, _POINTER, _ULONG, _ULONG, _POINTER, _POINTER)),
    "C_UnwrapKey": (61, (_ULONG, _POINTER, _ULONG, _BYTES, _ULONG, _POINTER, _ULONG, _POINTER)),
    "C_DeriveKey": (62, (_ULONG, _POINTER, _ULONG, _POINTER, _ULONG, _POINTER)),
    "C_GenerateRandom": (64, (_ULONG, _POINTER, _ULONG)),
}
_NEVER_HOLD: Final = frozenset(
    {"C_Initialize", "C_Finalize", "C_InitToken", "C_Login", "C_Logout", "C_GenerateKeyPair"}
)


class Cryptoki:
    """The functions of one loaded library. Each returns its CKR value, except where a method raises."""

    def __init__(self, path: Path) -> None:
        self._keep = _load(path)
        pointer = _POINTER()
        get_list = ctypes.CFUNCTYPE(_ULONG, _POINTER)(("C_GetFunctionList", self._keep))
        check(get_list(ctypes.addressof(pointer)), "read the function list")
        # CK_VERSION is two bytes, padded to the pointers' alignment.
        self._table = (_POINTER * 68).from_address((pointer.value or 0) + ctypes.sizeof(_POINTER))
        self.hold_lock = False
        self._bind()

    def _bind(self) -> None:
        self.encrypt_init = self._function("C_EncryptInit")
        self.encrypt = self._function("C_Encrypt")
        self.decrypt_init = self._function("C_DecryptInit")
        self.decrypt = self._function("C_Decrypt")
        self.generate_key = self._function("C_GenerateKey")
        self.wrap_key = self._function("C_WrapKey")
        self.unwrap_key = self._function("C_UnwrapKey")
        self.destroy_object = self._function("C_DestroyObject")
        self.generate_random = self._function("C_GenerateRandom")
        self.generate_key_pair = self._function("C_GenerateKeyPair")
        self.create_object = self._function("C_CreateObject")
        self.get_attribute_value = self._function("C_GetAttributeValue")
        self.sign_init = self._function("C_SignInit")
        self.sign = self._function("C_Sign")
        self.slow_sign = self._function("C_Sign", slow=True)
        self.slow_decrypt = self._function("C_Decrypt", slow=True)
        self.derive_key = self._function("C_DeriveKey")

    def _function(self, name: str, *, slow: bool = False) -> Any:
        place, arguments = _PLACES[name]
        hold = self.hold_lock and not slow and name not in _NEVER_HOLD
        prototype = (ctypes.PYFUNCTYPE if hold else ctypes.CFUNCTYPE)(_ULONG, *arguments)
        return prototype(self._table[place] or 0)

    def set_hold_lock(self, hold: bool) -> None:
        """Choose whether the data functions hold Python's global lock; see this module's first paragraph."""
        self.hold_lock = hold
        self._bind()

    def initialize(self) -> None:
        """C_Initialize with the system's locks."""
        arguments = CkInitializeArgs(flags=CKF_OS_LOCKING_OK)
        check(self._function("C_Initialize")(ctypes.addressof(arguments)), "initialise the module with locking")

    def finalize(self) -> None:
        """C_Finalize: every session, session object and handle of this process is gone."""
        check(self._function("C_Finalize")(None), "finalise the module")

    def init_token(self, slot: int, so_pin: bytes, label: str) -> None:
        """C_InitToken: destroys whatever the slot's token holds."""
        padded = label.encode().ljust(32)
        check(self._function("C_InitToken")(slot, so_pin, len(so_pin), padded), "initialise the token")

    def login(self, session: int, user: int, pin: bytes) -> None:
        """C_Login; the state is shared by all of this process's sessions with the token."""
        check(self._function("C_Login")(session, user, pin, len(pin)), "log in")

    def begin(self, name: str, session: int, mechanism: CkMechanism, key: int) -> int:
        """Call one of the C_…Init functions and return its CKR value."""
        rv: int = self._function(name)(session, ctypes.addressof(mechanism), key)
        return rv

    def logout(self, session: int) -> None:
        """C_Logout, for all sessions with the token."""
        check(self._function("C_Logout")(session), "log out")


def _load(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        raise ModuleUnusable(f"{path} is not a PKCS#11 library; name the right one in the settings") from None
