"""Custody of key material: made in the kms token or in memory, kept outside in two envelopes, opened into handles.

The keys of both envelopes stay in the token (`keyfold.custody.envelopes`). What no token wraps is resident in it, and
its blob only says so. Which blobs exist and whether a key may be used is not decided here: the worker keeps blobs in
the keystore topic and asks for what the log allows. Everything is synchronous and may be called from any thread.
"""

from typing import Final

from keyfold.custody import blobs, private_keys
from keyfold.custody.derived import DerivedKeys
from keyfold.custody.envelopes import (
    EPOCH_PREFIX,
    IMPORT_CHECK_ID,
    SOFTWARE_KEY_ID,
    TRANSFER_ID,
    Envelopes,
    epoch_id,
    epoch_of,
    kek_id,
)
from keyfold.custody.forms import form_of, import_reference
from keyfold.custody.importing import Imported, Importer
from keyfold.custody.in_token_material import (
    RESIDENT_PREFIX,
    Inner,
    InTokenMaterial,
    resident_id,
    resident_name,
)
from keyfold.custody.public_keys import encode
from keyfold.custody.references import (
    Generated,
    Handle,
    InvalidBlob,
    KeyReference,
    MemoryHandle,
    PairHandle,
    TokenHandle,
    TokenIdentity,
)
from keyfold.events.errors import IncorrectKeyMaterial, Unsupported
from keyfold.events.specs import is_asymmetric
from keyfold.token import ProbeReport, Token, TokenKeyMissing, probe
from keyfold.token import cryptoki as ck
from keyfold.token import keys as token_keys
from keyfold.token import resident as residents
from keyfold.token.kinds import AES
from keyfold.token.operations import KeyOperations, Prepared

__all__ = ["EPOCH_PREFIX", "KEY_ENCRYPTION_KEY_ID", "SOFTWARE_KEY_ID", "Custody"]

KEY_ENCRYPTION_KEY_ID: Final = kek_id(AES)


class Custody:
    """The kms token's envelopes. Call `provision` once in a token's life, `attach` at every start."""

    def __init__(self, token: Token, derived: DerivedKeys | None = None) -> None:
        self.token = token
        self.derived = derived or DerivedKeys()
        self.envelopes = Envelopes()
        self._in_token = InTokenMaterial(token, self.envelopes)
        self._importer = Importer(token, self.envelopes, self._in_token)

    def provision(self) -> None:
        """Make the token's keys that are missing: key encryption keys, software key, the first epoch's key.

        Each is found again under its CKA_ID, so a repetition after a crash finishes the work and changes nothing
        else. One process at a time does this (the ceremony); `attach` refuses a token in which two did.
        """
        with self.token.manager() as session:
            self.envelopes.provision(session)
        self.attach()

    def attach(self) -> None:
        """Find and check the token's keys, and supply what a token of an earlier release lacks.

        Raises `TokenKeyMissing` and `TokenKeyUntrusted`; and `TokenReplaced` for a token whose newest storage epoch is
        older than one that this process has adopted.
        """
        with self.token.manager() as session:
            self.envelopes.attach(session)

    def probe(self) -> ProbeReport:
        """Try every way around the protection of this token's keys; see `keyfold.token.probe`."""
        envelopes = (SOFTWARE_KEY_ID, *(epoch_id(epoch) for epoch in self.envelopes.epochs))
        supplied = {IMPORT_CHECK_ID: self.envelopes.import_check_key, TRANSFER_ID: self.envelopes.transfer_key}
        macs = tuple(key_id for key_id, key in supplied.items() if key)
        return probe(self.token, key_encryption_keys=self.envelopes.kinds, envelope_keys=envelopes, mac_keys=macs)

    @property
    def epoch(self) -> int:
        """The current storage epoch: new blobs are made under it."""
        return self.envelopes.epoch

    @staticmethod
    def epoch_of(blob: bytes) -> int:
        """Return the storage epoch of a blob. Raises `InvalidBlob`."""
        return blobs.parse(blob).epoch

    def generate(self, reference: KeyReference) -> Generated:
        """Make fresh material for a key version; nothing stays in the token, unless the key must be resident.

        Attributes say what the token told of which object: see `keyfold.custody.in_token_material`. Raises
        `Unsupported` for what is not offered here.
        """
        reference.check()
        if reference.protection == "HSM":
            return self._closed(reference, self._in_token.generate(reference))
        private = private_keys.generate(reference.spec) if is_asymmetric(reference.spec) else None
        with self.token.manager() as session:
            material = private_keys.encode(private) if private else session.gcm.random(form_of(reference).size)
            inner = self.envelopes.wrap_software(session, reference, material)
        public = encode(private.public_key()) if private else None
        return self._closed(reference, Inner(inner, public, self.envelopes.described(None)))

    def open(self, reference: KeyReference, blob: bytes) -> Handle:
        """Open a blob into a handle. Raises `InvalidBlob` if it is not this key version's, or damaged."""
        reference.check()
        with self.token.manager() as session:
            parsed, inner = self.envelopes.open(session, reference, blob)
            if parsed.is_resident:
                return TokenHandle(reference, self._in_token.find_resident(session, reference, inner), _keep)
            if reference.protection == "HSM":
                return TokenHandle(reference, self._in_token.unwrap(session, reference, inner), self._destroy)
            material = self.envelopes.unwrap_software(session, reference, inner)
        return self._memory_handle(reference, material)

    def _memory_handle(self, reference: KeyReference, material: bytes) -> Handle:
        if is_asymmetric(reference.spec):
            try:
                return PairHandle(reference, private_keys.decode(reference.spec, material, checked=True))
            except IncorrectKeyMaterial:
                raise InvalidBlob("the material inside the blob is no key of its spec; restore the keystore") from None
        if len(material) != form_of(reference).size:
            raise InvalidBlob("the material inside the blob has another length than its spec; restore the keystore")
        return MemoryHandle(reference, material, self.derived.forget)

    def rewrap(self, reference: KeyReference, blob: bytes) -> bytes:
        """Return the same inner envelope under the current epoch, without opening it. Raises `InvalidBlob`."""
        with self.token.manager() as session:
            parsed, inner = self.envelopes.open(session, reference, blob)
            return self.envelopes.close(session, reference, inner, resident=parsed.is_resident)

    def erase(self, reference: KeyReference, blob: bytes) -> bool:
        """Destroy what of this key version is resident in the token; tell whether there was something.

        For other blobs nothing has to be done: erasing them is the keystore's business. Repeatable.
        """
        if not blobs.parse(blob).is_resident:
            return False
        return self.erase_resident(reference.key_id, reference.version)

    def erase_resident(self, key_id: bytes, version: int) -> bool:
        """Destroy a resident key that no blob speaks of, which a crash left; tell whether it was there."""
        with self.token.manager() as session:
            return residents.destroy(session, resident_id(key_id, version)) > 0

    def list_resident(self) -> list[tuple[bytes, int]]:
        """Return (key id, version) of each resident key, sorted, for who looks for what the log does not know."""
        with self.token.manager() as session:
            return sorted(resident_name(key_id) for key_id in residents.list_ids(session, RESIDENT_PREFIX))

    def generate_import_key(self, import_id: bytes, wrapping_spec: str) -> Generated:
        """Make the RSA key pair of one import in the token. `import_id` has 16 bytes, the blob is bound to it."""
        reference = import_reference(import_id, wrapping_spec)
        return self._closed(reference, self._in_token.generate(reference))

    def import_material(
        self, reference: KeyReference, import_id: bytes, import_blob: bytes, wrapping_algorithm: str, wrapped: bytes
    ) -> Imported:
        """Open wrapped material by an import's key and make it this key version's.

        Raises `InvalidCiphertext` if it does not open, whatever the cause; `IncorrectKeyMaterial` if it opens and is
        no key of the spec; `Unsupported`; `InvalidBlob` if the import's blob is not this import's.
        """
        reference.check()
        return self._importer.run(reference, import_id, import_blob, wrapping_algorithm, wrapped)

    def rewrap_import(self, import_id: bytes, import_blob: bytes) -> bytes:
        """The same as `rewrap` for the blob of an import's key."""
        spec = blobs.spec_of(import_blob)
        return self.rewrap(import_reference(import_id, spec), import_blob)

    def begin_epoch(self, epoch: int) -> None:
        """Make the key of a new epoch, unless it exists; it is current from now on."""
        if not 1 <= epoch <= blobs.MAX_EPOCH:
            raise ValueError("an epoch is 1 to 2^32-1")
        with self.token.manager() as session:
            self.envelopes.begin_epoch(session, epoch)

    def end_epoch(self, epoch: int) -> None:
        """Destroy an old epoch's key, unless that was done: its blobs, copies in backups too, never open again."""
        if epoch >= self.epoch:
            raise ValueError("the current epoch cannot end; begin the next one first")
        with self.token.manager() as session:
            self.envelopes.end_epoch(session, epoch)

    def adopt_epoch(self, epoch: int) -> bool:
        """Take up an epoch that another process began; False while its key is not in the token.

        From then on nothing is made under an older one. Never makes a key: a token that was replaced has none.
        """
        if self.epoch >= epoch:
            return True
        with self.token.manager() as session:
            return self.envelopes.adopt_epoch(session, epoch)

    def epochs(self) -> list[int]:
        """Return the epochs whose keys the token holds, as it says now, sorted."""
        with self.token.manager() as session:
            return sorted(epoch_of(key_id) for key_id in token_keys.list_ids(session, EPOCH_PREFIX))

    def epoch_floor(self) -> int:
        """Return the newest epoch whose key the token holds, as it says now. Raises `TokenKeyMissing` without one."""
        held = self.epochs()
        if not held:
            raise TokenKeyMissing("the token holds no storage epoch key; is it the right token?")
        return held[-1]

    def transfer_mac(self, message: bytes) -> bytes:
        """Return the HMAC-SHA-256 of what goes from one worker to another over the bus: 32 bytes.

        The key never leaves the token, so only a worker can have made it. Whoever compares does so in constant time.
        Raises `Unsupported` if the token could not be given the key.
        """
        key = self.envelopes.transfer_key
        if not key:
            raise Unsupported("the token has no key for transfers; give its user the right to make one")
        with self.token.session() as session:
            return KeyOperations(session).sign_many(key, Prepared(ck.CKM_HMAC["256"]), [message])[0]

    def identity(self) -> TokenIdentity:
        """Return which token this is."""
        serial = self.token.serial.decode("ascii", errors="backslashreplace").strip()
        return TokenIdentity(self.token.label, serial, self.token.module.description)

    def generate_random(self, size: int) -> bytes:
        """Return random bytes of the token's generator."""
        with self.token.session() as session:
            return session.gcm.random(size)

    def _closed(self, reference: KeyReference, inner: Inner) -> Generated:
        with self.token.manager() as session:
            blob = self.envelopes.close(session, reference, inner.envelope, resident=inner.is_resident)
        return Generated(blob, inner.public_key, dict(inner.attributes))

    def _destroy(self, key: int) -> None:
        with self.token.manager() as session:
            token_keys.destroy(session, key)


def _keep(_key: int) -> None:
    """A resident key outlives its handles."""
