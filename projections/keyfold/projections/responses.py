"""What analytics did about incidents, as stored with them: rows, and the port of writing and reading them.

As the alerts beside it, it is no projection. Postgres and memory pass one suite. Instants are text as in events.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

ResponseOutcome = Literal["sending", "proposed", "issued", "repeated", "refused", "failed", "withheld"]


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """One command about an incident, by what it is for: the incident, the verb and its target (`key/…`, `principal/…`).

    `sending` stands before the command is sent: it may have been, and its answer is not known. The others say what
    became of it: `proposed` and `issued`, that it was carried out, with the command's id, which is a proposal's too;
    `repeated`, that it was sent before, and its answer is not known here. `refused`, for the reason `code`, and
    `failed`, after `attempts`, are final; `withheld` is what was not sent because too many were.
    """

    incident: str
    verb: str
    target: str
    outcome: ResponseOutcome
    at: str
    command_id: str | None = None
    code: str | None = None
    attempts: int = 0


class Responses(Protocol):
    """The record of responses. `StoreUnavailable` where it does not answer."""

    async def record(self, response: ResponseRow) -> None:
        """Write one; the first of the same incident, verb and target that is not `sending` stands."""

    async def of_incident(self, incident: str) -> tuple[ResponseRow, ...]:
        """Return those of an incident, the first first."""

    async def sent_since(self, since: str) -> int:
        """Count those since a time, inclusive, that were not withheld."""

    async def close(self) -> None: ...
