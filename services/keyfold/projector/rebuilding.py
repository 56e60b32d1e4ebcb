"""Blue/green: keeps the status of the schemas, and takes a rebuild from its request to the swap, one step per look.

Workers fill the building schema; this module only decides when to close the live one and when to swap. Every step is
idempotent and kept in Postgres, so any number of projectors may do this, and a crash between two steps costs nothing.
"""

import asyncio
import contextlib
import math
from typing import Final, Protocol

from keyfold.events.errors import KeyfoldError
from keyfold.logging import get_logger
from keyfold.projections.ports import Schemas, SchemaStatus
from keyfold.projector.settings import ProjectorSettings

_MOMENT_S: Final = 0.05
_log = get_logger()


class Clock(Protocol):
    """Returns seconds of a monotone clock."""

    def __call__(self) -> float: ...


class Rebuilding:
    """Advances a rebuild. `status` is what was seen last."""

    def __init__(self, schemas: Schemas, status: SchemaStatus, settings: ProjectorSettings, clock: Clock) -> None:
        self._schemas, self._settings, self._clock = schemas, settings, clock
        self._swapping_since: float | None = None
        self._not_before = -math.inf
        self._completing: asyncio.Task[None] | None = None
        self._completed_for = status
        self.status = status

    async def look(self) -> SchemaStatus:
        """Read the status, do what is next, and return the status after it.

        A rebuild of a newer release is left to that one; one of an older release is given up for one of our own. Raises
        `StoreUnavailable`, and `SchemaNewer` once a newer release has swapped.
        """
        self.status = await self._schemas.status()
        step = self.status
        await self._forget_unless_for(step)
        if step.building is not None and step.building_is == "newer":
            return self.status
        if step.building is not None and step.building_is == "older":
            step = self.status = await self._schemas.cancel_rebuild()
        if step.phase == "steady" and (step.requested or not step.current):
            self.status = await self._schemas.begin_rebuild()
            _log.info("rebuild-begun", building=self.status.building)
        elif step.phase == "building":
            await self._close_when_near()
        elif step.phase == "swapping":
            await self._swap()
        return self.status

    async def _close_when_near(self) -> None:
        if self._clock() < self._not_before:
            return
        remaining = await self._schemas.remaining()
        if remaining is not None and remaining <= self._settings.swap_below_records and await self._is_complete():
            self.status = await self._schemas.close_live()
            self._swapping_since, self._completing = None, None

    async def _is_complete(self) -> bool:
        """Let the building schema be given its indexes, beside everything else; say whether it has them.

        The live schema is closed only afterwards: nothing is written to either while the indexes are made.
        """
        if self._completing is None:
            self._completed_for = self.status
            self._completing = asyncio.create_task(self._schemas.complete_building(), name="projector-indexes")
        await asyncio.wait({self._completing}, timeout=_MOMENT_S)
        if not self._completing.done():
            return False
        try:
            self._completing.result()
        except BaseException:
            self._completing = None
            raise
        return True

    async def _forget_unless_for(self, step: SchemaStatus) -> None:
        """Give up what was made, or is, for another rebuild: another projector may have swapped, and begun again."""
        if self._completing is not None and step != self._completed_for:
            completing, self._completing = self._completing, None
            completing.add_done_callback(_unheard)
            completing.cancel()
            await asyncio.wait({completing}, timeout=_MOMENT_S)

    async def stop(self) -> None:
        """Give up what goes on beside."""
        if self._completing is not None:
            self._completing.cancel()
            with contextlib.suppress(asyncio.CancelledError, KeyfoldError):
                await self._completing

    async def _swap(self) -> None:
        """Swap as soon as the building schema has what the live one had; let the live one go on if that takes long."""
        now = self._clock()
        since = self._swapping_since = now if self._swapping_since is None else self._swapping_since
        if await self._schemas.swap():
            self._swapping_since = None
            self.status = await self._schemas.status()
            _log.info("schema-swapped", live=self.status.live, generation=self.status.generation)
            await self._drop_idle()
        elif now - since > self._settings.swap_patience_s:
            self._swapping_since, self._not_before = None, now + self._settings.swap_again_after_s
            self.status = await self._schemas.reopen_live()
            _log.warning("swap-postponed", building=self.status.building)

    async def _drop_idle(self) -> None:
        try:
            await self._schemas.drop_idle()
        except KeyfoldError as error:
            # It costs disk space only, and the next rebuild removes it.
            _log.warning("idle-schema-kept", code=error.code, reason=str(error))


def _unheard(task: asyncio.Task[None]) -> None:
    """Take note of how a task ended that nobody asks any more."""
    if not task.cancelled():
        task.exception()
