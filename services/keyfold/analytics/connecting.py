"""The client by which analytics acts: connected when there is something to send, and again when that failed.

Analytics reads and alerts whether or not it can act. So nothing is connected at the start, and what fails is the
command that was to be sent.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from keyfold.analytics.acting import ACTING_FILE, ActingOnIncidents, load_acting
from keyfold.bus import BusSettings
from keyfold.client import Completed, Keyfold
from keyfold.config import Config
from keyfold.logging import get_logger
from keyfold.projections.store.responses import PostgresResponses

IDENTITY_FILE: Final = "analytics-principal.json"
_log = get_logger()


class Connecting:
    """See `acting.Commands`. `connect` makes a client that was not entered before."""

    def __init__(self, connect: Callable[[], Keyfold]) -> None:
        self._connect = connect
        self._kms: Keyfold | None = None
        self._lock = asyncio.Lock()

    async def once(
        self,
        command_id: str,
        verb: str,
        key: str | None = None,
        *,
        arguments: Mapping[str, Any],
        reason: str,
        timeout_s: float,
    ) -> Completed:
        """Send a command; connect first, if need be. Raises what the client does."""
        async with self._lock:
            kms = self._kms
            if kms is None:
                kms = self._connect()
                await kms.__aenter__()
                self._kms = kms
        return await kms.once(command_id, verb, key, arguments=arguments, reason=reason, timeout_s=timeout_s)

    async def close(self) -> None:
        """End the connection, if there is one."""
        kms, self._kms = self._kms, None
        if kms is not None:
            await kms.__aexit__(None, None, None)


class Acting:
    """Everything that acting needs, put together: `actor` is None where analytics does not act."""

    def __init__(self, config: Config, instance: str) -> None:
        settings = load_acting(config.data_directory / ACTING_FILE)
        identity = config.identities_directory / IDENTITY_FILE
        bus = BusSettings.of(config, f"keyfold-analytics-{instance}-acting")
        self._responses = PostgresResponses(config.postgres_dsn)
        self._commands = Connecting(
            lambda: Keyfold.connect(identity=identity, bus_settings=bus, deployment=config.deployment)
        )
        self.actor: ActingOnIncidents | None = None
        if settings.mode == "off" or not identity.exists():
            _log.info("acting-off", mode=settings.mode, identity=identity.exists())
        else:
            self.actor = ActingOnIncidents(
                self._commands, self._responses, settings, lambda: time.time_ns() // 1_000_000
            )

    async def close(self) -> None:
        """Release connections."""
        await self._commands.close()
        await self._responses.close()
