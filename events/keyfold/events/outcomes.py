"""Events about what the HSM worker did: exactly one outcome for each command that policy accepted.

What the worker keeps (wrapped material, sealing keys) is in `keystore`, what it was told to do in policy's events.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from keyfold.events.arguments import Protection
from keyfold.events.event import Attributes, Code, Count, Event, Version
from keyfold.events.specs import KeySpec, KeyUsage, WrappingAlgorithm
from keyfold.events.streams import Fingerprint, KeyId, Name, Uuid
from keyfold.events.strictjson import Frozen
from keyfold.events.times import Instant

PublicKeyText = Annotated[str, StringConstraints(max_length=8192, pattern=r"^[A-Za-z0-9+/]+={0,2}$")]
CheckValue = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{6}$")]


class OutcomeData(Frozen):
    """`offset` and `command_digest` name the command; exactly one outcome exists per accepted command."""

    offset: Count
    command_id: Uuid
    command_digest: Fingerprint
    principal: Name
    verb: str


class Outcome(Event):
    """What the HSM worker did with one accepted command."""

    role = "hsm"
    data: OutcomeData


class KeyUsed(Outcome):
    """Items by version used, failures by item index, and one MAC that only the caller can recompute.

    `versions` counts each item once; `opened` counts, of ReEncrypt, by the version that items were under before.
    `mac` is HMAC-SHA-256 under a key derived from the caller's reply key, over SHA-256(opened body) ‖ SHA-256(reply).
    """

    class Data(OutcomeData):
        key_id: KeyId
        items: Count
        bytes: Count
        versions: dict[str, Count]
        opened: dict[str, Count] = Field(default_factory=dict)
        failures: dict[Code, list[Count]]
        mac: Fingerprint

    type_name = "keyfold.key.used.v1"
    data: Data


class _MaterialData(OutcomeData):
    key_id: KeyId
    version: Version
    key_spec: KeySpec
    key_usage: KeyUsage = "ENCRYPT_DECRYPT"
    protection: Protection
    blob_digest: Fingerprint
    public_key: PublicKeyText | None = None
    attributes: Attributes = Field(default_factory=dict)


class KeyMaterialGenerated(Outcome):
    """Material of one version exists; its wrapped form is in the keystore in the same transaction.

    `public_key` is SubjectPublicKeyInfo (DER) in base64, `attributes` what the token said of the key when it was made.
    """

    class Data(_MaterialData):
        pass

    type_name = "keyfold.key.material-generated.v1"
    data: Data


class KeyMaterialImported(Outcome):
    """Material that the caller brought is there. `key_check_value` is three bytes: enough to compare, not to guess.

    Of an AES key: the first bytes of the encrypted zero block (PKCS #11, CKA_CHECK_VALUE).
    """

    class Data(_MaterialData):
        import_token: Uuid
        key_check_value: CheckValue
        valid_to: Instant | None = None

    type_name = "keyfold.key.material-imported.v1"
    data: Data


class ImportParametersCreated(Outcome):
    """The wrapping key of one import: its public half, and what the token said of it."""

    class Data(OutcomeData):
        key_id: KeyId
        import_token: Uuid
        version: Version
        wrapping_algorithm: WrappingAlgorithm
        public_key: PublicKeyText
        expires_at: Instant
        attributes: Attributes

    type_name = "keyfold.key.import-parameters-created.v1"
    data: Data


class KeyUseCeased(Outcome):
    """The worker has passed a disabling or destroying command; no later use of the key came before it."""

    class Data(OutcomeData):
        key_id: KeyId
        erased_versions: list[Version]

    type_name = "keyfold.key.use-ceased.v1"
    data: Data


class CommandCompleted(Outcome):
    """A command that left no key used: control verbs, and random bytes (with count and MAC)."""

    class Data(OutcomeData):
        items: Count = 0
        bytes: Count = 0
        mac: Fingerprint | None = None

    type_name = "keyfold.command.completed.v1"
    data: Data


class OperationFailed(Outcome):
    class Data(OutcomeData):
        key_id: KeyId | None
        code: Code

    type_name = "keyfold.operation.failed.v1"
    data: Data
