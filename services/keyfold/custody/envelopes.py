"""The keys of both envelopes, which stay in the kms token, and the envelopes that AES-GCM makes.

Outer envelope: under the key of a storage epoch. Inner envelope of SOFTWARE material: under the software key
encryption key. (Inner envelopes of HSM material are made by the token: `keyfold.custody.in_token_material`.) Keys lie
under deterministic CKA_IDs and are checked when they are found. Everything takes the manager session, or any session
once the keys are attached.
"""

from typing import Final

from keyfold.custody import blobs
from keyfold.custody.blobs import ParsedBlob
from keyfold.custody.forms import form_of
from keyfold.custody.references import InvalidBlob, KeyReference
from keyfold.events.errors import Unsupported
from keyfold.token import ActionRefused, Session, TokenKeyMissing, TokenReplaced
from keyfold.token import keys as token_keys
from keyfold.token.attributes import Described, describe, describe_key_encryption_key
from keyfold.token.kinds import AES, KINDS, Kind

KEK_PREFIX: Final = b"keyfold:kek:"
SOFTWARE_KEY_ID: Final = b"keyfold:software-kek"
IMPORT_CHECK_ID: Final = b"keyfold:import-check"
TRANSFER_ID: Final = b"keyfold:transfer"
EPOCH_PREFIX: Final = b"keyfold:epoch:"
_NONCE: Final = blobs.NONCE_BYTES
_ATTEMPTS: Final = 5


class Envelopes:
    """One token's keys of envelopes. Call `provision` once in a token's life, `attach` at every start."""

    def __init__(self) -> None:
        self.software_key = 0
        self.import_check_key = 0
        self.transfer_key = 0
        self._newest_epoch = 0
        self._key_encryption_keys: dict[Kind, int] = {}
        self._described: dict[Kind | None, Described] = {}
        self.epochs: dict[int, int] = {}

    def provision(self, session: Session) -> None:
        """Make what is missing; each is found again under its CKA_ID, so a repetition finishes the work."""
        if not token_keys.find(session, kek_id(AES)):
            token_keys.create_key_encryption_key(session, kek_id(AES), "keyfold kek secret aes")
        if not token_keys.find(session, SOFTWARE_KEY_ID):
            token_keys.create_envelope_key(session, SOFTWARE_KEY_ID, "keyfold software kek")
        if not token_keys.list_ids(session, EPOCH_PREFIX):
            token_keys.create_envelope_key(session, epoch_id(1), "keyfold epoch 1")

    def attach(self, session: Session) -> None:
        """Find and check the keys. Raises `TokenKeyMissing` and `TokenKeyUntrusted`.

        Raises `TokenReplaced` for a token that lacks an epoch this process has adopted, and all after it: an older copy
        was put in its place, and what was destroyed since would open again. Nothing is taken up from it.

        What a token of an earlier release lacks (key encryption keys of newer kinds, the MAC keys of import checks and
        transfers) is made here; a token that does not let us offers less.
        """
        epochs = self._find_epochs(session)
        aes = token_keys.require_key_encryption_key(session, kek_id(AES))
        self.software_key = token_keys.require_envelope_key(session, SOFTWARE_KEY_ID)
        self.epochs, self._newest_epoch = epochs, max(epochs)
        found = {kind: self._supplied(session, kind) for kind in KINDS if kind is not AES}
        self._key_encryption_keys = {AES: aes, **{kind: key for kind, key in found.items() if key}}
        self.import_check_key = _supply(session, IMPORT_CHECK_ID, None)
        self.transfer_key = _supply(session, TRANSFER_ID, None)
        self._described = {None: self._describe_software(session)} | {
            kind: describe_key_encryption_key(session, key, kek_id(kind))
            for kind, key in self._key_encryption_keys.items()
        }

    def _find_epochs(self, session: Session) -> dict[int, int]:
        ids = token_keys.list_ids(session, EPOCH_PREFIX)
        found = {epoch_of(i): token_keys.require_envelope_key(session, i) for i in ids}
        if not found:
            raise TokenKeyMissing("the token holds no storage epoch key; is it the right token?")
        if max(found) < self._newest_epoch:
            known = f"up to {max(found)}, not {self._newest_epoch}"
            raise TokenReplaced(f"an older copy of the token is in its place (epochs {known}); put the newest back")
        return found

    @staticmethod
    def _supplied(session: Session, kind: Kind) -> int:
        return _supply(session, kek_id(kind), kind)

    def _describe_software(self, session: Session) -> Described:
        return {"material": "software", "kek.CKA_ID": SOFTWARE_KEY_ID.decode()} | describe(
            session, self.software_key, "kek"
        )

    def described(self, kind: Kind | None) -> Described:
        """What the token says of the key encryption key of a kind; of the software key for None."""
        return self._described[kind]

    @property
    def kinds(self) -> dict[bytes, Kind]:
        """The kinds whose key encryption keys the token has, by CKA_ID."""
        return {kek_id(kind): kind for kind in self._key_encryption_keys}

    def key_encryption_key(self, kind: Kind) -> int:
        """Return a handle. Raises `Unsupported` if the token could not be given the key."""
        try:
            return self._key_encryption_keys[kind]
        except KeyError:
            raise Unsupported(f"the token has no key encryption key for {kind.name}; give its user the right") from None

    @property
    def epoch(self) -> int:
        """The current storage epoch: new blobs are made under it."""
        return max(self.epochs)

    def begin_epoch(self, session: Session, epoch: int) -> None:
        """Make the key of a new epoch, unless it exists; it is current from now on."""
        if not token_keys.find(session, epoch_id(epoch)):
            token_keys.create_envelope_key(session, epoch_id(epoch), f"keyfold epoch {epoch}")
        self._take_up(session, epoch)

    def adopt_epoch(self, session: Session, epoch: int) -> bool:
        """Take up the key of an epoch if the token holds it."""
        if not token_keys.find(session, epoch_id(epoch)):
            return False
        self._take_up(session, epoch)
        return True

    def _take_up(self, session: Session, epoch: int) -> int:
        """Return the handle of an epoch's key, which is used from now on. Raises `TokenKeyMissing`."""
        key = self.epochs[epoch] = token_keys.require_envelope_key(session, epoch_id(epoch))
        self._newest_epoch = max(self._newest_epoch, epoch)
        return key

    def end_epoch(self, session: Session, epoch: int) -> None:
        """Destroy an old epoch's key, unless that was done."""
        token_keys.destroy_all(session, epoch_id(epoch))
        self.epochs.pop(epoch, None)

    def close(self, session: Session, reference: KeyReference, inner: bytes, *, resident: bool = False) -> bytes:
        """Return a blob: the inner envelope inside a fresh outer one."""
        header = blobs.header(reference, self.epoch, resident=resident)
        nonce = session.gcm.random(_NONCE)
        item = (nonce, inner, blobs.outer_associated_data(header, reference))
        return header + nonce + session.gcm.encrypt_many(self.epochs[self.epoch], [item])[0]

    def open(self, session: Session, reference: KeyReference, blob: bytes) -> tuple[ParsedBlob, bytes]:
        """Return a blob's parts and its inner envelope. Raises `InvalidBlob` if it is not this key version's."""
        parsed = blobs.parse(blob)
        if parsed.protection != reference.protection:
            raise InvalidBlob(f"the key blob is of protection level {parsed.protection}, not {reference.protection}")
        if parsed.material != form_of(reference).code:
            raise InvalidBlob(f"the key blob is not of spec {reference.spec} and usage {reference.usage}")
        key = self.epochs.get(parsed.epoch) or self._find_epoch(session, parsed.epoch)
        item = (parsed.nonce, parsed.outer, blobs.outer_associated_data(parsed.header, reference))
        inner = session.gcm.decrypt_many(key, [item])[0]
        if inner is None:
            raise InvalidBlob("the key blob is damaged or of another key version or token; restore the keystore")
        return parsed, inner

    def _find_epoch(self, session: Session, epoch: int) -> int:
        """Another process may have begun the epoch since this one started."""
        try:
            return self._take_up(session, epoch)
        except TokenKeyMissing:
            raise InvalidBlob(f"the key blob is of storage epoch {epoch}, whose key is not in this token") from None

    def wrap_software(self, session: Session, reference: KeyReference, material: bytes) -> bytes:
        """Return the inner envelope of SOFTWARE material."""
        nonce = session.gcm.random(_NONCE)
        item = (nonce, material, blobs.inner_associated_data(reference))
        return nonce + session.gcm.encrypt_many(self.software_key, [item])[0]

    def unwrap_software(self, session: Session, reference: KeyReference, inner: bytes) -> bytes:
        """Return SOFTWARE material. Raises `InvalidBlob`."""
        item = (inner[:_NONCE], inner[_NONCE:], blobs.inner_associated_data(reference))
        material = session.gcm.decrypt_many(self.software_key, [item])[0] if len(inner) > _NONCE else None
        if material is None:
            raise InvalidBlob("the key material inside the blob does not open with this token; restore the keystore")
        return material


def _supply(session: Session, key_id: bytes, kind: Kind | None) -> int:
    """Return the handle of a key that a token of an earlier release lacks, making it; 0 if the token refuses that.

    Workers may start at once. Each uses a key only after it saw it alone under its id; who sees another beside the
    one it made destroys its own and looks again. So no two workers ever use different keys.
    """
    for _ in range(_ATTEMPTS):
        if token_keys.find(session, key_id):
            break
        try:
            made = _create(session, key_id, kind)
        except ActionRefused:
            return 0
        if len(token_keys.find(session, key_id)) > 1:
            token_keys.destroy(session, made)
    if kind is None:
        return token_keys.require_mac_key(session, key_id)
    return token_keys.require_key_encryption_key(session, key_id, kind)


def _create(session: Session, key_id: bytes, kind: Kind | None) -> int:
    label = key_id.decode().replace(":", " ")
    if kind is None:
        return token_keys.create_mac_key(session, key_id, label)
    return token_keys.create_key_encryption_key(session, key_id, label, kind)


def kek_id(kind: Kind) -> bytes:
    """The CKA_ID of the key encryption key of a kind."""
    return KEK_PREFIX + kind.name.encode()


def epoch_id(epoch: int) -> bytes:
    """The CKA_ID of a storage epoch's key."""
    return EPOCH_PREFIX + str(epoch).encode()


def epoch_of(key_id: bytes) -> int:
    """The epoch whose key has this CKA_ID."""
    number = key_id.removeprefix(EPOCH_PREFIX)
    if not number.isdigit() or epoch_id(int(number)) != key_id:
        raise TokenKeyMissing("the token holds an epoch key with a malformed name; an operator must look at it")
    return int(number)
