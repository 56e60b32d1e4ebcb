"""What is asked of Cedar and what it answers, as plain values. It holds no rule and evaluates nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from keyfold.events.arguments import Protection, Tags
from keyfold.events.entities import Key, Principal
from keyfold.events.specs import KeySpec

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

    `reason` is why the caller says it acts, `source` the host or workload instance that it names: signed claims, not
    facts. `cause` is a `RotateKey`'s ("requested" or "usage-budget"). `target` is the name of the principal that the
    command is about. `approvals` are the names of the principals whose approvals of the proposal count.
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
    reason: str = ""
    source: str = ""
    cause: str = ""
    target: str | None = None
    approvals: tuple[str, ...] = ()


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
