"""Custody of key material: made in the kms token, kept outside it in two envelopes, opened into handles.

The keys of both envelopes stay in the token, under deterministic CKA_IDs. Which blobs exist and whether a key may be
used is not decided here: the worker keeps blobs in the keystore topic and asks for what the log allows. Everything is
synchronous and may be called from any thread.
"""

from typing import Final

from keyfold.custody import blobs
from keyfold.custody.derived import DerivedKeys
from keyfold.custody.references import Handle, InvalidBlob, KeyReference, MemoryHandle, TokenHandle
from keyfold.token import ActionRefused, DataRefused, ProbeReport, Session, Token, TokenKeyMissing, probe
from keyfold.token import keys as token_keys

KEY_ENCRYPTION_KEY_ID: Final = b"keyfold:kek:secret:aes"
SOFTWARE_KEY_ID: Final = b"keyfold:software-kek"
EPOCH_PREFIX: Final = b"keyfold:epoch:"
MATERIAL_BYTES: Final = 32
_NONCE: Final = blobs.NONCE_BYTES


class Custody:
    """The kms token's envelopes. Call `provision` once in a token's life, `attach` at every start."""

    def __init__(self, token: Token, derived: DerivedKeys | None = None) -> None:
        self.token = token
        self.derived = derived or DerivedKeys()
        self._key_encryption_key = 0
        self._software_key = 0
        self._epochs: dict[int, int] = {}
        with token.manager() as session:
            self._data_keys = token_keys.DataKeys(session)

    def provision(self) -> None:
        """Make the token's keys that are missing: key encryption key, software key, the first epoch's key.

        Each is found again under its CKA_ID, so a repetition after a crash finishes the work and changes nothing
        else. One process at a time does this (the ceremony); `attach` refuses a token in which two did.
        """
        with self.token.manager() as session:
            if not token_keys.find(session, KEY_ENCRYPTION_KEY_ID):
                token_keys.create_key_encryption_key(session, KEY_ENCRYPTION_KEY_ID, "keyfold kek secret aes")
            if not token_keys.find(session, SOFTWARE_KEY_ID):
                token_keys.create_envelope_key(session, SOFTWARE_KEY_ID, "keyfold software kek")
            if not token_keys.list_ids(session, EPOCH_PREFIX):
                token_keys.create_envelope_key(session, _epoch_id(1), "keyfold epoch 1")
        self.attach()

    def attach(self) -> None:
        """Find and check the token's keys. Raises `TokenKeyMissing` and `TokenKeyUntrusted`."""
        with self.token.manager() as session:
            self._key_encryption_key = token_keys.require_key_encryption_key(session, KEY_ENCRYPTION_KEY_ID)
            self._software_key = token_keys.require_envelope_key(session, SOFTWARE_KEY_ID)
            ids = token_keys.list_ids(session, EPOCH_PREFIX)
            self._epochs = {_epoch_of(i): token_keys.require_envelope_key(session, i) for i in ids}
        if not self._epochs:
            raise TokenKeyMissing("the token holds no storage epoch key; is it the right token?")

    def probe(self) -> ProbeReport:
        """Try every way around the protection of this token's keys; see `keyfold.token.probe`."""
        envelopes = (SOFTWARE_KEY_ID, *(_epoch_id(epoch) for epoch in self._epochs))
        return probe(self.token, key_encryption_keys=(KEY_ENCRYPTION_KEY_ID,), envelope_keys=envelopes)

    @property
    def epoch(self) -> int:
        """The current storage epoch: new blobs are made under it."""
        return max(self._epochs)

    def generate(self, reference: KeyReference) -> bytes:
        """Make fresh material for a key version and return its blob; nothing stays in the token."""
        reference.check()
        with self.token.manager() as session:
            if reference.protection == "HSM":
                inner = self._data_keys.generate_wrapped(session, self._key_encryption_key)
            else:
                inner = self._wrap_software(session, reference)
            return self._close(session, reference, inner)

    def open(self, reference: KeyReference, blob: bytes) -> Handle:
        """Open a blob into a handle. Raises `InvalidBlob` if it is not this key version's, or damaged."""
        reference.check()
        with self.token.manager() as session:
            inner = self._open_outer(session, reference, blob)
            if reference.protection == "HSM":
                return TokenHandle(reference, self._unwrap(session, inner), self._destroy)
            return MemoryHandle(reference, self._unwrap_software(session, reference, inner), self.derived.forget)

    def rewrap(self, reference: KeyReference, blob: bytes) -> bytes:
        """Return the same inner envelope under the current epoch, without opening it. Raises `InvalidBlob`."""
        with self.token.manager() as session:
            return self._close(session, reference, self._open_outer(session, reference, blob))

    def begin_epoch(self, epoch: int) -> None:
        """Make the key of a new epoch, unless it exists; it is current from now on."""
        if not 1 <= epoch <= blobs.MAX_EPOCH:
            raise ValueError("an epoch is 1 to 2^32-1")
        with self.token.manager() as session:
            if not token_keys.find(session, _epoch_id(epoch)):
                token_keys.create_envelope_key(session, _epoch_id(epoch), f"keyfold epoch {epoch}")
            self._epochs[epoch] = token_keys.require_envelope_key(session, _epoch_id(epoch))

    def end_epoch(self, epoch: int) -> None:
        """Destroy an old epoch's key, unless that was done: its blobs, copies in backups too, never open again."""
        if epoch >= self.epoch:
            raise ValueError("the current epoch cannot end; begin the next one first")
        with self.token.manager() as session:
            token_keys.destroy_all(session, _epoch_id(epoch))
            self._epochs.pop(epoch, None)

    def generate_random(self, size: int) -> bytes:
        """Return random bytes of the token's generator."""
        with self.token.session() as session:
            return session.gcm.random(size)

    def _wrap_software(self, session: Session, reference: KeyReference) -> bytes:
        drawn = session.gcm.random(MATERIAL_BYTES + _NONCE)
        nonce, material = drawn[MATERIAL_BYTES:], drawn[:MATERIAL_BYTES]
        item = (nonce, material, blobs.inner_associated_data(reference))
        return nonce + session.gcm.encrypt_many(self._software_key, [item])[0]

    def _close(self, session: Session, reference: KeyReference, inner: bytes) -> bytes:
        header = blobs.header(reference.protection, self.epoch)
        nonce = session.gcm.random(_NONCE)
        item = (nonce, inner, blobs.outer_associated_data(header, reference))
        return header + nonce + session.gcm.encrypt_many(self._epochs[self.epoch], [item])[0]

    def _open_outer(self, session: Session, reference: KeyReference, blob: bytes) -> bytes:
        parsed = blobs.parse(blob)
        if parsed.protection != reference.protection:
            raise InvalidBlob(f"the key blob is of protection level {parsed.protection}, not {reference.protection}")
        key = self._epochs.get(parsed.epoch) or self._find_epoch(session, parsed.epoch)
        item = (parsed.nonce, parsed.outer, blobs.outer_associated_data(parsed.header, reference))
        inner = session.gcm.decrypt_many(key, [item])[0]
        if inner is None:
            raise InvalidBlob("the key blob is damaged or of another key version or token; restore the keystore")
        return inner

    def _find_epoch(self, session: Session, epoch: int) -> int:
        """Another process may have begun the epoch since this one started."""
        try:
            found = token_keys.require_envelope_key(session, _epoch_id(epoch))
        except TokenKeyMissing:
            raise InvalidBlob(f"the key blob is of storage epoch {epoch}, whose key is not in this token") from None
        self._epochs[epoch] = found
        return found

    def _unwrap(self, session: Session, inner: bytes) -> int:
        try:
            return self._data_keys.unwrap(session, self._key_encryption_key, inner)
        except (DataRefused, ActionRefused):
            raise InvalidBlob("the token refuses the key material inside the blob; restore the keystore") from None

    def _unwrap_software(self, session: Session, reference: KeyReference, inner: bytes) -> bytes:
        item = (inner[:_NONCE], inner[_NONCE:], blobs.inner_associated_data(reference))
        material = session.gcm.decrypt_many(self._software_key, [item])[0] if len(inner) > _NONCE else None
        if material is None or len(material) != MATERIAL_BYTES:
            raise InvalidBlob("the key material inside the blob does not open with this token; restore the keystore")
        return material

    def _destroy(self, key: int) -> None:
        with self.token.manager() as session:
            token_keys.destroy(session, key)


def _epoch_id(epoch: int) -> bytes:
    return EPOCH_PREFIX + str(epoch).encode()


def _epoch_of(key_id: bytes) -> int:
    number = key_id.removeprefix(EPOCH_PREFIX)
    if not number.isdigit() or _epoch_id(int(number)) != key_id:
        raise TokenKeyMissing("the token holds an epoch key with a malformed name; an operator must look at it")
    return int(number)
