"""Writes what the third stage tells into the store of alerts, and waits where that is away. It decides nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from keyfold.analytics.acts import Act
from keyfold.analytics.alerts import act_row, alert_of
from keyfold.analytics.incidents import Changed
from keyfold.logging import get_logger
from keyfold.projections.alerts import AlertStore
from keyfold.projections.errors import StoreUnavailable

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0
_log = get_logger()


class StoredAlerts:
    """See `alerting.AlertWriter`. Alerts wait on their topic meanwhile, so nothing is lost however long it takes."""

    def __init__(self, store: AlertStore, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._store, self._sleep = store, sleep

    async def write(self, changes: Sequence[Changed], acts: Sequence[Act]) -> None:
        """Write all of it. Raises `StoreRefused`, which the same alerts would meet again."""
        alerts, rows = [alert_of(each) for each in changes], [act_row(each) for each in acts]
        pause = FIRST_PAUSE_S
        while True:
            try:
                await self._store.write(alerts, rows)
            except StoreUnavailable as error:
                _log.warning("alerts-wait-for-store", alerts=len(alerts), reason=str(error))
                await self._sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                return

    async def close(self) -> None:
        """Release the store's connection."""
        await self._store.close()
