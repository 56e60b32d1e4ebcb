"""AES-GCM in the token, one session's worth: the hot path of HSM keys.

The structures a call needs are made once and filled again for each item. Everything here belongs to one session, and
so to one thread at a time; it decides nothing about keys, nonces or associated data.
"""

import ctypes
from collections.abc import Iterable
from typing import Final

from keyfold.events.errors import TokenUnavailable
from keyfold.token import cryptoki
from keyfold.token.cryptoki import CkGcmParams, CkMechanism, Cryptoki
from keyfold.token.errors import CKR_FUNCTION_FAILED, CKR_GENERAL_ERROR, DataRefused, check, error_of

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_FIRST_CAPACITY: Final = 8192


class Gcm:
    """Encrypts and decrypts with AES-GCM (96-bit nonces, 128-bit tags) in one session."""

    def __init__(self, functions: Cryptoki, session: int) -> None:
        self._functions = functions
        self._session = session
        self._parameters = CkGcmParams(iv_length=_NONCE_BYTES, iv_bits=8 * _NONCE_BYTES, tag_bits=8 * _TAG_BYTES)
        self._mechanism = CkMechanism(
            cryptoki.CKM_AES_GCM, ctypes.addressof(self._parameters), ctypes.sizeof(self._parameters)
        )
        self._mechanism_at = ctypes.addressof(self._mechanism)
        self._length = ctypes.c_ulong()
        self._length_at = ctypes.addressof(self._length)
        self._capacity, self._out_at = 0, 0
        self._reserve(_FIRST_CAPACITY)

    def encrypt_many(self, key: int, items: Iterable[tuple[bytes, bytes, bytes]]) -> list[bytes]:
        """Encrypt (nonce, plaintext, associated data) triples; returns ciphertext ‖ tag for each."""
        functions, session, mechanism_at = self._functions, self._session, self._mechanism_at
        start, run, length, length_at = functions.encrypt_init, functions.encrypt, self._length, self._length_at
        parameters, made = self._parameters, []
        for nonce, data, associated in items:
            size = len(data)
            if size + _TAG_BYTES > self._capacity:
                self._reserve(size + _TAG_BYTES)
            parameters.iv, parameters.aad, parameters.aad_length = nonce, associated, len(associated)
            rv = start(session, mechanism_at, key)
            if not rv:
                length.value = self._capacity
                rv = run(session, data, size, self._out_at, length_at)
            if rv:
                raise error_of(rv, "encrypt in the token")
            made.append(self._view[: length.value].tobytes())
        return made

    def decrypt_many(self, key: int, items: Iterable[tuple[bytes, bytes, bytes]]) -> list[bytes | None]:
        """Decrypt (nonce, ciphertext ‖ tag, associated data) triples; None for each that does not open."""
        opened: list[bytes | None] = []
        try:
            for nonce, data, associated in items:
                rv = self._decrypt(key, nonce, data, associated)
                if rv and self._is_refusal(rv, key):
                    opened.append(None)
                else:
                    opened.append(self._view[: self._length.value].tobytes())
        finally:
            # Plaintext does not stay in a buffer that outlives the call.
            ctypes.memset(self._out_at, 0, self._capacity)
        return opened

    def _decrypt(self, key: int, nonce: bytes, data: bytes, associated: bytes) -> int:
        parameters, functions = self._parameters, self._functions
        if len(data) > self._capacity:
            self._reserve(len(data))
        parameters.iv, parameters.aad, parameters.aad_length = nonce, associated, len(associated)
        rv = functions.decrypt_init(self._session, self._mechanism_at, key)
        if rv:
            raise error_of(rv, "decrypt in the token")
        self._length.value = self._capacity
        return int(functions.decrypt(self._session, data, len(data), self._out_at, self._length_at))

    def _is_refusal(self, rv: int, key: int) -> bool:
        """Whether a failed decryption is the data's fault; raises if it is the token's.

        SoftHSM2 answers CKR_GENERAL_ERROR to a wrong tag. A token that can open what it has just encrypted under the
        same key is well, so the fault was the data's.
        """
        error = error_of(rv, "decrypt in the token")
        if isinstance(error, DataRefused):
            return True
        if rv not in {CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED}:
            raise error
        nonce = self.random(_NONCE_BYTES)
        (sample,) = self.encrypt_many(key, [(nonce, b"", b"")])
        if self._decrypt(key, nonce, sample, b""):
            raise TokenUnavailable("the token does not decrypt what it encrypted; look at it, then try again")
        return True

    def random(self, size: int) -> bytes:
        """Return `size` bytes of the token's random generator in one call."""
        buffer = ctypes.create_string_buffer(size)
        check(self._functions.generate_random(self._session, ctypes.addressof(buffer), size), "draw random bytes")
        drawn = buffer.raw
        # What is drawn may become a key.
        ctypes.memset(buffer, 0, size)
        return drawn

    def _reserve(self, size: int) -> None:
        if self._capacity:
            ctypes.memset(self._out_at, 0, self._capacity)
        self._capacity = size
        self._out = ctypes.create_string_buffer(size)
        self._out_at = ctypes.addressof(self._out)
        self._view = memoryview(self._out).cast("B")
