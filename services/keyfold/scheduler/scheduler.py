"""The shell: looks at what is due, sends it, rests. One round after the other, each with a deadline.

A crash at any point loses nothing: what was not carried out is still due, and what was is refused or changes nothing
when it is sent again.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from keyfold.client import Completed, SealingKeyPeriod
from keyfold.events.errors import KeyfoldError
from keyfold.events.times import to_text
from keyfold.logging import get_logger
from keyfold.scheduler.duties import Agenda, Duty, sealing_duties
from keyfold.scheduler.settings import SchedulerSettings

_AT_ONCE: Final = 100

_log = get_logger()


class DueKey(Protocol):
    """A key whose waiting period is over."""

    @property
    def key_id(self) -> str: ...


class DueDeletions(Protocol):
    """Where due keys are looked up; `keyfold.projections.ports.Queries` is one."""

    async def due_deletions(self, now: str, limit: int = 100) -> Sequence[DueKey]:
        """Return keys pending deletion whose date is not after `now`, the longest due first."""


class Commands(Protocol):
    """What the scheduler sends; `keyfold.client.Keyfold` is one."""

    async def destroy_key(self, key_id: str, *, timeout_s: float | None = None) -> Completed: ...

    async def rotate_sealing_key(self, *, timeout_s: float | None = None) -> Completed: ...

    async def erase_sealing_key(self, sealing_key: str, *, timeout_s: float | None = None) -> Completed: ...

    def sealing_keys(self) -> list[SealingKeyPeriod]: ...


class Scheduler:
    """One scheduler; a second one beside it only sends commands that are refused."""

    def __init__(
        self, kms: Commands, due: DueDeletions, settings: SchedulerSettings, clock_ms: Callable[[], int]
    ) -> None:
        self._kms, self._due, self._settings, self._clock_ms = kms, due, settings, clock_ms
        self._times = settings.times()
        self._agenda = Agenda(self._times)

    async def run(self, stop: asyncio.Event) -> None:
        """Do rounds until stopped."""
        while not stop.is_set():
            await self.round()
            try:
                async with asyncio.timeout(self._settings.interval_s):
                    await stop.wait()
            except TimeoutError:
                continue

    async def round(self) -> int:
        """Send what is due and does not rest; return how many commands were carried out."""
        now = self._clock_ms()
        duties = sealing_duties(self._kms.sealing_keys(), now, self._times)
        try:
            async with asyncio.timeout(self._settings.command_timeout_s):
                keys = await self._due.due_deletions(to_text(now), _AT_ONCE)
            duties += [Duty("DestroyKey", key.key_id) for key in keys]
        except (KeyfoldError, TimeoutError) as error:
            _log.warning("due-deletions-unknown", reason=str(error) or "no answer in time")
        ready = self._agenda.ready(duties, now)
        return sum(await asyncio.gather(*(self._carry_out(duty) for duty in ready)))

    async def _carry_out(self, duty: Duty) -> bool:
        try:
            done = await self._send(duty)
        except KeyfoldError as error:
            self._agenda.failed(duty, self._clock_ms(), retriable=error.retriable)
            _log.warning("duty-failed", verb=duty.verb, target=duty.target, code=error.code, reason=str(error))
            return False
        self._agenda.done(duty, self._clock_ms())
        _log.info("duty-done", verb=duty.verb, target=duty.target, command=done.command_id)
        return True

    async def _send(self, duty: Duty) -> Completed:
        timeout_s = self._settings.command_timeout_s
        match duty.verb:
            case "DestroyKey":
                return await self._kms.destroy_key(duty.target, timeout_s=timeout_s)
            case "RotateSealingKey":
                return await self._kms.rotate_sealing_key(timeout_s=timeout_s)
            case "EraseSealingKey":
                return await self._kms.erase_sealing_key(duty.target, timeout_s=timeout_s)
