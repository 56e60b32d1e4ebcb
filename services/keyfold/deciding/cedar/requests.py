"""What is asked of Cedar and what it answers, as plain values. It holds no rule and evaluates nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from keyfold.events.commands import KeySpec, Protection, Tags
from keyfold.events.entities import Key, Principal

REGISTRY_ID: Final = "registry"


class Creation(NamedTuple):
    """What a `CreateKey` asks for, while there is no key yet."""

    protection: Protection
    key_spec: KeySpec
    tags: Tags


class Request(NamedTuple):
    """One command as authorization sees it. A named tuple, because it is made for every command.

    `action` is the verb. `resource_id` is the key's id when `is_key`, else `registry`. `key` is the key as it is
    before the command; `creation` stands in for it while it does not exist. `contexts` are the command's distinct
    encryption contexts (none counts as one empty context). `bytes` is the size of the items; `now_ms` is the broker
    time of the decision, in milliseconds since 1970.
    """

    principal: Principal
    action: str
    key: Key | None
    resource_id: str
    is_key: bool
    creation: tuple[Protection, KeySpec, Tags] | None
    contexts: Sequence[Mapping[str, str]]
    items: int
    bytes: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, with the ids of the policies that determined it, sorted.

    Ids are `registry/<policy>#<n>` and `key/<policy>#<n>`, n counting the statements of a text from 0.
    `error:<id>` is a statement that could not be evaluated, `error:registry/<policy>` a whole text that could not be
    read, `error:request` a request that Cedar does not take. A denial without ids is the default: nothing permits it.
    """

    allowed: bool
    policies: tuple[str, ...]
