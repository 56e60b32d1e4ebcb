"""Commands: what producers ask for, as closed, strict models, one per verb.

The value of a command record is one CloudEvents 1.0 document. Secrets are never in it: they travel in the sealed body
beside it. Parsing says whether a document is a command; whether it may be obeyed is `keyfold.policy`'s business.
"""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints

from keyfold.events import strictjson
from keyfold.events.errors import InvalidCommand, UnsupportedVersion
from keyfold.events.signatures import check_public_key
from keyfold.events.streams import AliasName, Fingerprint, KeyId, Name, Stream, Uuid
from keyfold.events.strictjson import Frozen
from keyfold.events.times import Instant

TYPE_PREFIX: Final = "keyfold.command."
MAX_ITEMS: Final = 1000
MAX_CONTEXT_BYTES: Final = 8 * 1024
MAX_CONTEXTS_BYTES: Final = 64 * 1024
MAX_LIFETIME_MS: Final = 15 * 60_000

Protection = Literal["HSM", "SOFTWARE"]
KeySpec = Literal["SYMMETRIC_DEFAULT"]
Text = Annotated[str, StringConstraints(max_length=1024)]
Tags = Annotated[dict[Annotated[str, StringConstraints(min_length=1, max_length=128)], Text], Field(max_length=50)]
PolicyText = Annotated[str, StringConstraints(min_length=1, max_length=32_768)]


def _usable(public_key: str) -> str:
    check_public_key(bytes.fromhex(public_key))
    return public_key


PublicKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), AfterValidator(_usable)]


class ReplyAddress(Frozen):
    """Where the answer goes: topic, partition and the caller's correlation id."""

    topic: Annotated[str, StringConstraints(max_length=200)]
    partition: Annotated[int, Field(ge=0, le=100_000)]
    correlation_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


class NoArguments(Frozen):
    """For verbs that need none."""


class CreateKeyArguments(Frozen):
    key_spec: KeySpec = "SYMMETRIC_DEFAULT"
    protection: Protection = "HSM"
    description: Text = ""
    tags: Tags = Field(default_factory=dict)


class ScheduleKeyDeletionArguments(Frozen):
    """`pending_window_seconds` is 7 to 30 days; shorter only where the deployment is marked for development."""

    pending_window_seconds: Annotated[int, Field(ge=1, le=30 * 86_400)]


class ReasonArguments(Frozen):
    reason: Text = ""


class AliasArguments(Frozen):
    alias: AliasName
    key_id: KeyId


class AliasNameArguments(Frozen):
    alias: AliasName


class RegisterPrincipalArguments(Frozen):
    """`public_key` is the raw Ed25519 key, 64 hex digits."""

    principal: Name
    public_key: PublicKey
    algorithm: Literal["Ed25519"] = "Ed25519"
    groups: Annotated[list[Name], Field(max_length=50)] = Field(default_factory=list)
    tags: Tags = Field(default_factory=dict)


class PrincipalArguments(Frozen):
    principal: Name


class PutPolicyArguments(Frozen):
    """Cedar text under a name, on the registry or on the key whose stream the command is for."""

    policy: Name
    text: PolicyText


class PolicyArguments(Frozen):
    policy: Name


class DataKeyArguments(Frozen):
    number_of_bytes: Annotated[int, Field(ge=1, le=1024)] = 32


class ReEncryptArguments(Frozen):
    """`destination` maps each context index to the index of the context to encrypt under; empty keeps them."""

    destination: Annotated[list[Annotated[int, Field(ge=0, lt=MAX_ITEMS)]], Field(max_length=MAX_ITEMS)] = Field(
        default_factory=list
    )


class SealingKeyArguments(Frozen):
    sealing_key: Uuid


class CommandData(Frozen):
    """What every command says about itself. `sealing_key` names the key that the body is sealed to."""

    principal: Name
    signing_key: Fingerprint
    sealing_key: Uuid
    expires_at: Instant
    reply: ReplyAddress
    min_registry_revision: Annotated[int, Field(ge=0)] | None = None
    retry_of: Uuid | None = None


class DataPlaneData(CommandData):
    """What data-plane commands add: contexts, number of items and their total bytes."""

    contexts: Annotated[list[dict[str, str]], Field(min_length=1, max_length=MAX_ITEMS)]
    items: Annotated[int, Field(ge=1)]
    bytes: Annotated[int, Field(ge=0)]
    alias: AliasName | None = None


class Command(Frozen):
    """The CloudEvents attributes of every command; `subject` is the stream, `time` the producer's clock."""

    verb: ClassVar[str]
    scope: ClassVar[Literal["key", "registry", "principal", "any"]]
    data_plane: ClassVar[bool] = False

    specversion: Literal["1.0"]
    id: Uuid
    source: Annotated[str, StringConstraints(max_length=200)]
    type: str
    subject: Stream
    time: Instant
    datacontenttype: Literal["application/json"]
    data: CommandData


class CreateKey(Command):
    class Data(CommandData):
        arguments: CreateKeyArguments

    verb, scope = "CreateKey", "key"
    data: Data


class _Plain(Command):
    class Data(CommandData):
        arguments: NoArguments

    data: Data


class RotateKey(_Plain):
    verb, scope = "RotateKey", "key"


class EnableKey(_Plain):
    verb, scope = "EnableKey", "key"


class CancelKeyDeletion(_Plain):
    verb, scope = "CancelKeyDeletion", "key"


class DestroyKey(_Plain):
    """Sent by the scheduler when the waiting period is over."""

    verb, scope = "DestroyKey", "key"


class RotateSealingKey(_Plain):
    """Sent by the scheduler once a day."""

    verb, scope = "RotateSealingKey", "registry"


class DisableKey(Command):
    class Data(CommandData):
        arguments: ReasonArguments

    verb, scope = "DisableKey", "key"
    data: Data


class ScheduleKeyDeletion(Command):
    class Data(CommandData):
        arguments: ScheduleKeyDeletionArguments

    verb, scope = "ScheduleKeyDeletion", "key"
    data: Data


class _AliasCommand(Command):
    class Data(CommandData):
        arguments: AliasArguments

    data: Data


class CreateAlias(_AliasCommand):
    verb, scope = "CreateAlias", "registry"


class UpdateAlias(_AliasCommand):
    verb, scope = "UpdateAlias", "registry"


class DeleteAlias(Command):
    class Data(CommandData):
        arguments: AliasNameArguments

    verb, scope = "DeleteAlias", "registry"
    data: Data


class RegisterPrincipal(Command):
    class Data(CommandData):
        arguments: RegisterPrincipalArguments

    verb, scope = "RegisterPrincipal", "registry"
    data: Data


class RevokePrincipal(Command):
    class Data(CommandData):
        arguments: PrincipalArguments

    verb, scope = "RevokePrincipal", "registry"
    data: Data


class PutPolicy(Command):
    class Data(CommandData):
        arguments: PutPolicyArguments

    verb, scope = "PutPolicy", "any"
    data: Data


class DeletePolicy(Command):
    class Data(CommandData):
        arguments: PolicyArguments

    verb, scope = "DeletePolicy", "any"
    data: Data


class EraseSealingKey(Command):
    """Sent by the scheduler when nothing sealed to a retired key can be valid any more."""

    class Data(CommandData):
        arguments: SealingKeyArguments

    verb, scope = "EraseSealingKey", "registry"
    data: Data


class DataPlaneCommand(Command):
    data_plane = True

    class Data(DataPlaneData):
        arguments: NoArguments

    data: Data


class Encrypt(DataPlaneCommand):
    verb, scope = "Encrypt", "key"


class Decrypt(DataPlaneCommand):
    verb, scope = "Decrypt", "key"


class ReEncrypt(Command):
    data_plane = True

    class Data(DataPlaneData):
        arguments: ReEncryptArguments

    verb, scope = "ReEncrypt", "key"
    data: Data


class _DataKeyCommand(Command):
    data_plane = True

    class Data(DataPlaneData):
        arguments: DataKeyArguments

    data: Data


class GenerateDataKey(_DataKeyCommand):
    verb, scope = "GenerateDataKey", "key"


class GenerateDataKeyWithoutPlaintext(_DataKeyCommand):
    verb, scope = "GenerateDataKeyWithoutPlaintext", "key"


class GenerateRandom(_DataKeyCommand):
    verb, scope = "GenerateRandom", "principal"


COMMANDS: Final[tuple[type[Command], ...]] = (
    CreateKey, RotateKey, EnableKey, DisableKey, ScheduleKeyDeletion, CancelKeyDeletion, DestroyKey,
    Encrypt, Decrypt, ReEncrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, GenerateRandom,
    CreateAlias, UpdateAlias, DeleteAlias, RegisterPrincipal, RevokePrincipal, PutPolicy, DeletePolicy,
    RotateSealingKey, EraseSealingKey,
)  # fmt: skip
BY_VERB: Final = {model.verb: model for model in COMMANDS}
_BY_TYPE: Final = {f"{TYPE_PREFIX}{model.verb}.v1": model for model in COMMANDS}


def type_of(verb: str) -> str:
    """Return the CloudEvents type of a verb's current version."""
    return f"{TYPE_PREFIX}{verb}.v1"


def parse_command(value: bytes) -> Command:
    """Parse exact bytes. Raises `InvalidCommand`, or `UnsupportedVersion` for a type that is not known here."""
    kind = strictjson.loads(value).get("type")
    model = _BY_TYPE.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise UnsupportedVersion
    return strictjson.parse(model, value)


def peek_reply(value: bytes) -> ReplyAddress | None:
    """Find the reply address in a document that is not a valid command, so that its author can be told."""
    try:
        data: Any = strictjson.loads(value).get("data")
        return ReplyAddress.model_validate(data["reply"])
    except (InvalidCommand, ValueError, TypeError, KeyError):
        return None


def check_scope(command: Command) -> None:
    """Refuse a command whose stream does not fit its verb. Raises `InvalidCommand`."""
    subject = command.subject
    fits = {
        "key": subject.startswith("key/"),
        "registry": subject == "registry",
        "principal": subject == f"principal/{command.data.principal}",
        "any": not subject.startswith("principal/"),
    }[command.scope]
    if not fits:
        raise InvalidCommand(f"{command.verb} does not belong on stream {subject}")
    if command.source != f"principal/{command.data.principal}":
        raise InvalidCommand("source must name the principal")
