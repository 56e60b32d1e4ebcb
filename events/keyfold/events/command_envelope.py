"""What all commands have in common: the CloudEvents envelope, what each says about itself, the bounds of its contexts.

The models of the verbs are in `commands`.
"""

import re
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, TypeVar

from pydantic import Field, StringConstraints

from keyfold.events import arguments as args
from keyfold.events import strictjson
from keyfold.events.arguments import MAX_ITEMS
from keyfold.events.errors import InvalidCommand
from keyfold.events.streams import AliasName, Fingerprint, Name, Stream, Uuid
from keyfold.events.strictjson import Frozen
from keyfold.events.times import Instant

TYPE_PREFIX: Final = "keyfold.command."
MAX_CONTEXT_BYTES: Final = 8 * 1024
MAX_CONTEXTS_BYTES: Final = 64 * 1024
MAX_LIFETIME_MS: Final = 15 * 60_000
_SOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}")


class ReplyAddress(Frozen):
    """Where the answer goes: topic, partition and the caller's correlation id."""

    topic: Annotated[str, StringConstraints(max_length=200)]
    partition: Annotated[int, Field(ge=0, le=100_000)]
    correlation_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


Arguments = TypeVar("Arguments", bound=Frozen)


class CommandData(Frozen, Generic[Arguments]):
    """What every command says about itself. `sealing_key` names the key that the body is sealed to.

    `reason` is the caller's word for why, which policies may ask for. A `dry_run` is decided and recorded only. With
    `receipt` the caller wants the record of the outcome beside the answer.
    """

    principal: Name
    signing_key: Fingerprint
    sealing_key: Uuid
    expires_at: Instant
    reply: ReplyAddress
    min_registry_revision: Annotated[int, Field(ge=0)] | None = None
    retry_of: Uuid | None = None
    reason: args.Text | None = None
    dry_run: bool = False
    receipt: bool = False
    arguments: Arguments


class DataPlaneData(CommandData[Arguments], Generic[Arguments]):
    """What data-plane commands add: contexts, number of items and their total bytes.

    `proposal` names the approved proposal that this command carries out.
    """

    contexts: Annotated[list[dict[str, str]], Field(min_length=1, max_length=MAX_ITEMS)]
    items: Annotated[int, Field(ge=1)]
    bytes: Annotated[int, Field(ge=0)]
    alias: AliasName | None = None
    proposal: Uuid | None = None


class _Envelope(Frozen):
    """The CloudEvents attributes of every command; `subject` is the stream, `time` the producer's clock.

    `source` is `principal/<name>`, or `principal/<name>/<host>` where the caller says on which host or as which
    workload instance it acts: its claim, signed, but nothing that the network proves.
    """

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


class Command(_Envelope, Generic[Arguments]):
    """A command of the control plane."""

    data: CommandData[Arguments]


class DataPlaneCommand(Command[Arguments], Generic[Arguments]):
    """A command that uses a key on items."""

    data_plane = True
    data: DataPlaneData[Arguments]


def peek_reply(value: bytes) -> ReplyAddress | None:
    """Find the reply address in a document that is not a valid command, so that its author can be told."""
    try:
        data: Any = strictjson.loads(value).get("data")
        return ReplyAddress.model_validate(data["reply"])
    except (InvalidCommand, ValueError, TypeError, KeyError):
        return None


def check_scope(command: Command[Any]) -> None:
    """Refuse a command whose stream does not fit its verb. Raises `InvalidCommand`."""
    subject = command.subject
    fits = {
        "key": subject.startswith("key/"),
        "registry": subject == "registry",
        "principal": subject == f"principal/{command.data.principal}",
        "any": subject.startswith("key/") or subject == "registry",
    }[command.scope]
    if not fits:
        raise InvalidCommand(f"{command.verb} does not belong on stream {subject}")
    own = f"principal/{command.data.principal}"
    host = command.source.removeprefix(f"{own}/")
    if command.source != own and (host == command.source or _SOURCE.fullmatch(host) is None):
        raise InvalidCommand("source must name the principal, and after a slash at most a host")


def source_of(command: Command[Any]) -> str:
    """Return the host or workload instance that the caller names; empty where it names none."""
    return command.source.partition("/")[2].partition("/")[2]
