"""What is asked of Cedar and what it answers, as plain values. It holds no rule and evaluates nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from keyfold.events.arguments import Origin, Protection, Tags
from keyfold.events.entities import Key, Principal
from keyfold.events.specs import KeySpec

REGISTRY_ID: Final = "registry"
CREATING: Final = "Creating"


class Creation(NamedTuple):
    """What a `CreateKey` asks for, while there is no key yet. `key_usage` is empty where it names none of several."""

    protection: Protection
    key_spec: KeySpec
    tags: Tags
    key_usage: str = "ENCRYPT_DECRYPT"
    origin: Origin = "KEYFOLD"


class Traits(NamedTuple):
    """What policies are told of a key beside its id, tags and creator: as it is, or as it would be created."""

    protection: str = ""
    key_spec: str = ""
    key_usage: str = ""
    origin: str = ""
    status: str = ""
    compromised: bool = False


class Request(NamedTuple):
    """One command as authorization sees it. A named tuple, because it is made for every command.

    `action` is the verb, or `UseCompromisedVersion`, which is asked about beside one. `resource_id` is the key's id
    when `is_key`, else `registry`. `key` is the key as it is before the command; `creation` stands in for it while it
    does not exist. `contexts` are the command's distinct encryption contexts (none counts as one empty context).
    `bytes` is the size of the items; `now_ms` is the broker time of the decision, in milliseconds since 1970.

    `status` is the key's effective state at that time; None leaves it to the key's own status. What depends on time
    in it is found by whoever asks.

    `reason` is why the caller says it acts, `source` the host or workload instance that it names: signed claims, not
    facts. `cause` is that of a `RotateKey` or a `DeleteImportedKeyMaterial`. `target` is the name of the principal that
    the command is about. `approvals` are the names of the principals whose approvals of the proposal count.
    `algorithm`, `message_type` and `key_version` are what the command names of them, empty and 0 where it names none;
    `destination` is the id of the other key of `ReEncryptFrom` and `ReEncryptTo`, `proposes` the verb that a
    `ProposeCommand` proposes.
    """

    principal: Principal
    action: str
    key: Key | None
    resource_id: str
    is_key: bool
    creation: Creation | None
    contexts: Sequence[Mapping[str, str]]
    items: int
    bytes: int
    now_ms: int
    reason: str = ""
    source: str = ""
    cause: str = ""
    target: str | None = None
    approvals: tuple[str, ...] = ()
    status: str | None = None
    algorithm: str = ""
    message_type: str = ""
    key_version: int = 0
    destination: str = ""
    proposes: str = ""

    def traits(self) -> Traits:
        """Return what policies are told of the key; nothing where there is none."""
        key, creation = self.key, self.creation
        if key is not None:
            status = key.status if self.status is None else self.status
            compromised = key.current.compromised
            return Traits(key.protection, key.key_spec, key.key_usage, key.origin, status, compromised)
        if self.is_key and creation is not None:
            asked = creation.protection, creation.key_spec, creation.key_usage, creation.origin
            return Traits(*asked, status=CREATING)
        return Traits()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, with the ids of the policies that determined it, sorted.

    Ids are `registry/<policy>#<n>` and `key/<policy>#<n>`, n counting the statements of a text from 0.
    `error:<id>` is a statement that could not be evaluated, `error:registry/<policy>` a whole text that could not be
    read, `error:request` a request that Cedar does not take. A denial without ids is the default: nothing permits it,
    and nothing forbids it in any context. `uncovered` then holds the indexes of the contexts that no policy permits (0
    for a request without contexts): what a grant may still allow. Of every other verdict it is empty.

    `approvals` tells, of a denial, that an applicable policy asks for approvals: more of them may change the answer.
    """

    allowed: bool
    policies: tuple[str, ...]
    uncovered: tuple[int, ...] = ()
    approvals: bool = False
