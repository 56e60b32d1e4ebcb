"""Acting on incidents: a severe one leads to a proposal, or to the command itself, as the principal `analytics`.

It has no rights of its own: what it sends is decided by policy like anybody's, needs whatever approvals are asked for,
and is in the log. It sends two verbs and no other: `DisableKey` of a key and `SuspendPrincipal` of a principal that an
incident is about. Nothing is ever undone here.

The steps for one incident, each of which may be the last before a crash:
 1. what the record says became of a command about it, stands, and is not done again;
 2. that a command is being sent is recorded. If we crash here, it is not forgotten: the record says so, and the
    incident comes again, as it is not acknowledged;
 3. the command is sent under an id that follows from incident, verb and target. If we crash here, it is sent again
    under the same id, which policy does not decide twice, and which no second proposal can have;
 4. what became of it is recorded.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from keyfold.analytics.findings import HOUR_MS, SEVERITIES, Severity, uuid_of
from keyfold.analytics.incidents import Incident
from keyfold.analytics.observations import KEY, PRINCIPAL
from keyfold.client import Completed
from keyfold.config import ConfigError
from keyfold.events.errors import AlreadyExists, IdempotencyConflict, KeyfoldError
from keyfold.events.times import to_text
from keyfold.logging import get_logger
from keyfold.projections.responses import ResponseOutcome, ResponseRow, Responses

ACTING_FILE: Final = "acting.json"
SERVICES: Final = ("principal/scheduler", "principal/analytics")
_log = get_logger()


class ActingSettings(BaseModel):
    """What is done about incidents, and about which.

    `never` are entities that nothing is done about, beside the services' own principals; administrators belong there,
    and policy protects them once more. At most `most_an_hour` commands are sent in an hour,
    `most_an_incident` about one incident (whose worst finding may come to be about others), and none about one whose
    last finding ended `longest_age_hours` ago. One is tried `attempts`
    times, a first pause of `pause_s` between two doubling, and waits `command_timeout_s` for its answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["off", "propose", "issue"] = "propose"
    minimum_severity: Severity = "high"
    disable_keys: bool = True
    suspend_principals: bool = True
    never: tuple[str, ...] = ("principal/admin-1", "principal/admin-2")
    most_an_hour: int = Field(default=10, ge=0)
    most_an_incident: int = Field(default=3, ge=0)
    longest_age_hours: float = Field(default=1.0, gt=0)
    proposal_hours: float = Field(default=24.0, gt=0, le=24 * 30)
    attempts: int = Field(default=3, ge=1, le=10)
    pause_s: float = Field(default=1.0, ge=0)
    command_timeout_s: float = Field(default=10.0, gt=0)


def load_acting(path: Path) -> ActingSettings:
    """Read the settings; the defaults where there is no file. Raises `ConfigError`."""
    try:
        return ActingSettings.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return ActingSettings()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings file {path} cannot be read: {error}") from None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, problem["loc"])) or "file"
        raise ConfigError(f"the settings file {path} is wrong: {where}: {problem['msg']}") from None


class Commands(Protocol):
    """How commands are sent; `keyfold.client.Keyfold` is one, and `connecting.Connecting`."""

    async def once(
        self,
        command_id: str,
        verb: str,
        key: str | None = None,
        *,
        arguments: dict[str, Any],
        reason: str,
        timeout_s: float,
    ) -> Completed:
        """Send a control verb under this id. See `keyfold.client.once`."""


class Step(NamedTuple):
    """One command that an incident asks for: `DisableKey` or `SuspendPrincipal`, and the entity that it is about."""

    verb: str
    target: str

    @property
    def key(self) -> str | None:
        """The key's id, where the target is one."""
        return self.target.removeprefix(KEY) if self.verb == "DisableKey" else None

    def arguments(self, reason: str) -> dict[str, Any]:
        """Return the command's arguments."""
        if self.verb == "DisableKey":
            return {"reason": reason}
        return {"principal": self.target.removeprefix(PRINCIPAL), "reason": reason}


class ActingOnIncidents:
    """See `alerting.Actor`. One at a time; a second process beside it sends the same commands under the same ids."""

    def __init__(
        self,
        kms: Commands,
        responses: Responses,
        settings: ActingSettings,
        clock_ms: Callable[[], int],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._kms, self._responses, self._settings = kms, responses, settings
        self._clock_ms, self._sleep = clock_ms, sleep

    async def act(self, incident: Incident) -> None:
        """Do what the incident asks for, once for each target. What is refused or fails is told, and left."""
        try:
            step = wanted(incident, self._settings)
            if step is None or self._is_over(incident):
                return
            done = await self._responses.of_incident(incident.id)
            for row in done:
                begun = Step(row.verb, row.target)
                if row.outcome == "sending" and may(begun, self._settings):
                    await self._responses.record(await self._sent(incident, begun, row))
            known = any((each.verb, each.target) == step for each in done)
            if not known and len(done) < self._settings.most_an_incident:
                await self._responses.record(await self._begun(incident, step))
        except KeyfoldError as error:
            # Without the record it is not known what was done: nothing more is sent before the incident comes again.
            _log.warning("acting-failed", incident=incident.id, code=error.code, reason=str(error))

    def _is_over(self, incident: Incident) -> bool:
        over = self._clock_ms() - incident.until_ms > self._settings.longest_age_hours * HOUR_MS
        if over:
            _log.info("not-acted", incident=incident.id, reason="its last finding is too old")
        return over

    async def _begun(self, incident: Incident, step: Step) -> ResponseRow:
        """Record that a command is being sent, if not too many were, and send it; return what became of it."""
        row = ResponseRow(incident.id, step.verb, step.target, "withheld", to_text(self._clock_ms()))
        if await self._responses.sent_since(to_text(max(0, self._clock_ms() - HOUR_MS))) >= self._settings.most_an_hour:
            return _told(row)
        row = replace(row, outcome="sending", command_id=command_id_of(incident.id, step))
        await self._responses.record(row)
        # If we crash from here on, the command was perhaps sent: whoever comes sends it again, under the same id.
        return await self._sent(incident, step, row)

    async def _sent(self, incident: Incident, step: Step, row: ResponseRow) -> ResponseRow:
        """Send a command until it is answered, a bounded number of times; return what became of it."""
        for attempt in range(self._settings.attempts):
            if attempt:
                await self._sleep(self._settings.pause_s * (1 << (attempt - 1)))
            row = replace(row, attempts=attempt + 1)
            try:
                await self._send(command_id_of(incident.id, step), incident, step)
            except (AlreadyExists, IdempotencyConflict) as error:
                return _told(replace(row, outcome="repeated", code=error.code))
            except KeyfoldError as error:
                row = replace(row, outcome="failed" if error.retriable else "refused", code=error.code)
                if not error.retriable:
                    return _told(row)
            else:
                outcome: ResponseOutcome = "proposed" if self._settings.mode == "propose" else "issued"
                return _told(replace(row, outcome=outcome, code=None))
        return _told(row)

    async def _send(self, command_id: str, incident: Incident, step: Step) -> None:
        reason = f"incident {incident.id}: {incident.sentence}"[:1024]
        verb, arguments = step.verb, step.arguments(reason)
        if self._settings.mode == "propose":
            ends = self._clock_ms() + int(self._settings.proposal_hours * HOUR_MS)
            verb, arguments = "ProposeCommand", {"verb": verb, "arguments": arguments, "expires_at": to_text(ends)}
        await self._kms.once(
            command_id,
            verb,
            step.key,
            arguments=arguments,
            reason=reason,
            timeout_s=self._settings.command_timeout_s,
        )


def wanted(incident: Incident, settings: ActingSettings) -> Step | None:
    """Return what an incident asks for, if it is open and its suspect's finding severe enough: to stop that one.

    What else its findings name is not touched: a principal that reads every key is no reason to disable these. Nor is
    anybody whom others could bring it upon (`incidents.blames`), and what others bring about makes no suspect worse.
    """
    if settings.mode == "off" or incident.state == "closed":
        return None
    severity, entity = incident.suspect_severity, incident.suspect
    if not entity or SEVERITIES.index(severity) < SEVERITIES.index(settings.minimum_severity):
        return None
    step = Step("DisableKey" if entity.startswith(KEY) else "SuspendPrincipal", entity)
    return step if may(step, settings) else None


def may(step: Step, settings: ActingSettings) -> bool:
    """Tell whether the settings allow a command, whatever incident asks for it."""
    if step.target in {*settings.never, *SERVICES}:
        return False
    return settings.disable_keys if step.verb == "DisableKey" else settings.suspend_principals


def command_id_of(incident: str, step: Step) -> str:
    """Return the id of the command for an incident and target, always the same; a UUID (version 8)."""
    return uuid_of("keyfold-response-v1", incident, step.verb, step.target)


def _told(row: ResponseRow) -> ResponseRow:
    said = {"incident": row.incident, "verb": row.verb, "target": row.target, "outcome": row.outcome, "code": row.code}
    if row.outcome in {"proposed", "issued", "repeated"}:
        _log.info("acted", **said)
    else:
        _log.warning("not-acted", **said)
    return row
