"""Signing, RSA decryption and key agreement in the token, for a batch in one session.

Everything here belongs to one session, and so to one thread at a time. It decides nothing about keys, algorithms or
paddings: data comes in as the mechanism wants it. Buffers that held secrets are overwritten at the end of a batch.
"""

import ctypes
from collections.abc import Callable, Iterable
from typing import Final

from pkcs11 import Attribute, KeyType, ObjectClass

from keyfold.events.errors import TokenUnavailable
from keyfold.token import cryptoki
from keyfold.token.attributes import secret_value
from keyfold.token.cryptoki import CkEcdh1DeriveParams, CkMechanism, CkRsaOaepParams, CkRsaPssParams
from keyfold.token.errors import (
    CKR_FUNCTION_FAILED,
    CKR_GENERAL_ERROR,
    ActionRefused,
    DataRefused,
    check,
    error_of,
)
from keyfold.token.keys import destroy
from keyfold.token.session import Session
from keyfold.token.templates import Template

_CAPACITY: Final = 1024
"""Bytes; the longest result is an RSA-4096 signature, 512."""
_SHARED_SECRET: Final[Template] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET, Attribute.TOKEN: False,
    Attribute.PRIVATE: True, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True,
}  # fmt: skip


class Prepared:
    """A CK_MECHANISM whose parameters live as long as it does."""

    def __init__(self, mechanism: int, parameters: ctypes.Structure | None = None) -> None:
        self._parameters = parameters
        at = None if parameters is None else ctypes.addressof(parameters)
        size = 0 if parameters is None else ctypes.sizeof(parameters)
        self.structure = CkMechanism(mechanism, at, size)
        self.address = ctypes.addressof(self.structure)


def pss(sha: str) -> Prepared:
    """RSASSA-PSS on a digest: MGF1 with the same hash, a salt as long as the digest (FIPS 186-5, section 5.4)."""
    parameters = CkRsaPssParams(cryptoki.CKM_SHA[sha], cryptoki.CKG_MGF1[sha], int(sha) // 8)
    return Prepared(cryptoki.CKM_RSA_PKCS_PSS, parameters)


def oaep(sha: str) -> Prepared:
    """RSAES-OAEP: MGF1 with the same hash, no label."""
    parameters = CkRsaOaepParams(cryptoki.CKM_SHA[sha], cryptoki.CKG_MGF1[sha], cryptoki.CKZ_DATA_SPECIFIED, None, 0)
    return Prepared(cryptoki.CKM_RSA_PKCS_OAEP, parameters)


class KeyOperations:
    """A batch's operations. `slow`: a call takes a millisecond or so, and lets other threads run meanwhile."""

    def __init__(self, session: Session, *, slow: bool = False) -> None:
        self._session, self._slow = session, slow
        self._out = ctypes.create_string_buffer(_CAPACITY)
        self._out_at = ctypes.addressof(self._out)
        self._length = ctypes.c_ulong()
        self._length_at = ctypes.addressof(self._length)

    def sign_many(self, key: int, mechanism: Prepared, items: Iterable[bytes]) -> list[bytes]:
        """Sign, or make the MAC of, each item."""
        functions, session, made = self._session.functions, self._session.handle, []
        start, run = functions.sign_init, functions.slow_sign if self._slow else functions.sign
        for data in items:
            rv = start(session, mechanism.address, key)
            if not rv:
                self._length.value = _CAPACITY
                rv = run(session, data, len(data), self._out_at, self._length_at)
            if rv:
                raise error_of(rv, "sign in the token")
            made.append(self._out.raw[: self._length.value])
        return made

    def decrypt_many(
        self, key: int, mechanism: Prepared, items: Iterable[bytes], sample: Callable[[], bytes]
    ) -> list[bytes | None]:
        """Decrypt each item with an RSA key; None for each that does not open.

        SoftHSM2 answers CKR_GENERAL_ERROR to what does not open. A token that opens `sample()` right afterwards is
        well, so the fault was the data's.
        """
        opened: list[bytes | None] = []
        try:
            for data in items:
                rv = self._decrypt(key, mechanism, data)
                if rv and self._is_refusal(rv, key, mechanism, sample):
                    opened.append(None)
                else:
                    opened.append(self._out.raw[: self._length.value])
        finally:
            ctypes.memset(self._out_at, 0, _CAPACITY)
        return opened

    def _decrypt(self, key: int, mechanism: Prepared, data: bytes) -> int:
        functions, session = self._session.functions, self._session.handle
        check(functions.decrypt_init(session, mechanism.address, key), "decrypt in the token")
        self._length.value = _CAPACITY
        return int(functions.slow_decrypt(session, data, len(data), self._out_at, self._length_at))

    def _is_refusal(self, rv: int, key: int, mechanism: Prepared, sample: Callable[[], bytes]) -> bool:
        error = error_of(rv, "decrypt in the token")
        if isinstance(error, DataRefused):
            return True
        if rv not in {CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED}:
            raise error
        if self._decrypt(key, mechanism, sample()):
            raise TokenUnavailable("the token does not decrypt what is sound; look at it, then try again")
        return True

    def can_decrypt(self, key: int, mechanism: Prepared) -> bool:
        """Whether the token begins to decrypt by this mechanism; nothing is left begun."""
        functions, session = self._session.functions, self._session.handle
        rv = functions.decrypt_init(session, mechanism.address, key)
        if not rv:
            # Rubbish ends the operation, whatever the token says to it.
            self._length.value = _CAPACITY
            functions.slow_decrypt(session, bytes(1), 1, self._out_at, self._length_at)
            return True
        error = error_of(rv, "begin to decrypt in the token")
        if isinstance(error, ActionRefused):
            return False
        raise error

    def encrypt_block(self, key: int, block: bytes) -> bytes:
        """Encrypt one 16-byte block with an AES key (AES-ECB): for check values of keys only."""
        functions, session, mechanism = self._session.functions, self._session.handle, Prepared(cryptoki.CKM_AES_ECB)
        check(functions.encrypt_init(session, mechanism.address, key), "compute a check value")
        self._length.value = _CAPACITY
        rv = functions.encrypt(session, block, len(block), self._out_at, self._length_at)
        check(rv, "compute a check value")
        return self._out.raw[: self._length.value]

    def derive_many(self, key: int, points: Iterable[bytes], size: int) -> list[bytes | None]:
        """Agree with each uncompressed point (X9.62): the x-coordinate in `size` bytes; None for a refused point."""
        template = self._session.mapper.pack({**_SHARED_SECRET, Attribute.VALUE_LEN: size})
        made: list[bytes | None] = []
        for point in points:
            parameters = CkEcdh1DeriveParams(cryptoki.CKD_NULL, 0, None, len(point), point)
            mechanism, handle = Prepared(cryptoki.CKM_ECDH1_DERIVE, parameters), ctypes.c_ulong()
            rv = self._session.functions.derive_key(
                self._session.handle, mechanism.address, key, template.address, template.count,
                ctypes.addressof(handle),
            )  # fmt: skip
            error = error_of(rv, "agree on a secret in the token") if rv else None
            if isinstance(error, ActionRefused | DataRefused):
                made.append(None)
                continue
            if error is not None:
                raise error
            try:
                made.append(secret_value(self._session, handle.value, size))
            finally:
                destroy(self._session, handle.value)
        return made
