"""What a record asks for, before it has an id, a time and a seal; so it can be asked again under another id."""

from dataclasses import dataclass, field, replace

from keyfold.client.receipts import Collector
from keyfold.events.streams import key_id_of, key_stream


@dataclass(frozen=True, slots=True)
class Intent:
    """A verb on a stream. `arguments` is JSON text; `alias` is the name by which the caller called the key.

    `reason` is the caller's word for why. A `dry_run` is decided only. `proposal` is the approved proposal that this
    one command carries out: such a command has one id for good, and is never divided. `command_id` is the id that the
    caller gave the command, which is then not asked again. `collector` takes the command's receipt, if one is wanted.
    """

    verb: str
    stream: str
    arguments: str = "{}"
    data_plane: bool = False
    alias: str | None = None
    retry_of: str | None = None
    reason: str | None = None
    dry_run: bool = False
    proposal: str | None = None
    command_id: str | None = None
    collector: Collector | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """What the caller knows the target by."""
        return self.alias or self.stream

    @property
    def key_id(self) -> str | None:
        """The key whose stream this is, if it is one's."""
        return key_id_of(self.stream)

    def on_key(self, key_id: str) -> "Intent":
        """The same on another key: where the alias points now."""
        return replace(self, stream=key_stream(key_id))
