"""What control verbs return: the facts of the answer, as frozen values."""

from dataclasses import dataclass, field
from typing import Any

from keyfold.client.answers import Answer
from keyfold.events.arguments import Protection


@dataclass(frozen=True, slots=True)
class KeyMetadata:
    """A key just created. `version` is its current version, from 1; 0 where the answer was repeated without it."""

    key_id: str
    version: int
    key_spec: str
    protection: Protection
    command_id: str


@dataclass(frozen=True, slots=True)
class Completed:
    """A control verb that was carried out. `summary` is the service's own; it may name more in later versions.

    `registry_revision` is set by verbs of the registry: this client's later commands wait for it everywhere.
    """

    command_id: str
    key_id: str | None = None
    version: int = 0
    registry_revision: int | None = None
    summary: dict[str, Any] = field(default_factory=dict)


def completed(answer: Answer) -> Completed:
    """Return the facts of an answer."""
    data = answer.data
    return Completed(data.command_id, data.key_id, data.version, data.registry_revision, answer.summary)
