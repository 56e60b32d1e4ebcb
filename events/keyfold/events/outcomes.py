"""Events about what the HSM worker did: exactly one outcome for each command that policy accepted.

What the worker keeps (wrapped material, sealing keys) is in `keystore`, what it was told to do in policy's events.
"""

from keyfold.events.arguments import KeySpec, Protection
from keyfold.events.event import Code, Count, Event, Version
from keyfold.events.streams import Fingerprint, KeyId, Name, Uuid
from keyfold.events.strictjson import Frozen


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

    `mac` is HMAC-SHA-256 under a key derived from the caller's reply key, over SHA-256(opened body) ‖ SHA-256(reply).
    """

    class Data(OutcomeData):
        key_id: KeyId
        items: Count
        bytes: Count
        versions: dict[str, Count]
        failures: dict[Code, list[Count]]
        mac: Fingerprint

    type_name = "keyfold.key.used.v1"
    data: Data


class KeyMaterialGenerated(Outcome):
    """Material of one version exists; its wrapped form is in the keystore in the same transaction."""

    class Data(OutcomeData):
        key_id: KeyId
        version: Version
        key_spec: KeySpec
        protection: Protection
        blob_digest: Fingerprint

    type_name = "keyfold.key.material-generated.v1"
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
