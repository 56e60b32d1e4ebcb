"""Telemetry of a running process: starts what its settings ask for, looks once a second, and stops with it.

Nothing here ends the process: an address that cannot be had is told in the log, and the service goes on without.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keyfold.config import Config, ConfigError, Telemetry, write_private
from keyfold.logging import get_logger
from keyfold.telemetry.endpoint import Endpoint, Pages
from keyfold.telemetry.lag import LagWatch
from keyfold.telemetry.metrics import CHECK, LOOP_DELAY, READY
from keyfold.telemetry.tracing import using
from keyfold.telemetry.vitals import Vitals

if TYPE_CHECKING:
    from keyfold.telemetry.otel import Exporting

LOOK_SECONDS: Final = 1.0
ADDRESS_SUFFIX: Final = ".telemetry"
_log = get_logger()


class Served:
    """What a service hands its probes to. Where telemetry is off, nothing is ever asked."""

    def __init__(self, vitals: Vitals, *, is_on: bool) -> None:
        self.vitals, self._is_on = vitals, is_on
        self._tasks: list[asyncio.Task[None]] = []

    def watch(self, lag: LagWatch) -> None:
        """Ask how far behind the process is from now on, and count that among its checks."""
        self.vitals.add(lag.checks)
        if self._is_on:
            self._tasks.append(asyncio.create_task(lag.run(), name="telemetry-lag"))

    def begin(self) -> None:
        """Look once a second."""
        if self._is_on:
            self._tasks.append(asyncio.create_task(_look(self.vitals), name="telemetry-look"))

    async def stop(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def served(config: Config, service: str, instance: str = "0") -> AsyncIterator[Served]:
    """Serve what the settings ask for while the block runs, and say on this machine where."""
    async with serving(config.telemetry, service, address_file(config, service, instance)) as told:
        yield told


@asynccontextmanager
async def serving(settings: Telemetry, service: str, tell: Path | None = None) -> AsyncIterator[Served]:
    """The same for who has no settings file. `tell` is the file that names the address.

    Raises `ConfigError` where traces are asked for and cannot be made.
    """
    told = Served(Vitals(service), is_on=settings.port is not None)
    traces = _exporting(settings, service, tell)
    endpoint = _started(settings, told.vitals)
    if endpoint is not None and tell is not None:
        _tell(tell, settings.host, endpoint.port)
    told.begin()
    try:
        with using(traces.tracer) if traces is not None else nullcontext():
            yield told
    finally:
        await told.stop()
        if traces is not None:
            await asyncio.to_thread(traces.stop)
        if endpoint is not None:
            await asyncio.to_thread(endpoint.stop)
            _forget(tell)


def address_file(config: Config, service: str, instance: str) -> Path:
    """Where a process of this machine says at which address it serves its health."""
    return config.run_directory / f"{service}-{instance}{ADDRESS_SUFFIX}"


def _started(settings: Telemetry, vitals: Vitals) -> Endpoint | None:
    if settings.port is None:
        return None
    endpoint = Endpoint(Pages(vitals))
    try:
        endpoint.start(settings.host, settings.port)
    except (OSError, TimeoutError) as error:
        reason = error.strerror or type(error).__name__
        _log.error("telemetry-not-served", host=settings.host, port=settings.port, reason=reason)
        return None
    _log.info("telemetry-served", host=settings.host, port=endpoint.port)
    return endpoint


def _exporting(settings: Telemetry, service: str, tell: Path | None) -> "Exporting | None":
    if settings.traces is None:
        return None
    try:
        from keyfold.telemetry.otel import Exporting

        instance = "0" if tell is None else tell.name.removesuffix(ADDRESS_SUFFIX)
        return Exporting(settings.traces, settings.trace_ratio, service, instance)
    except ImportError:
        raise ConfigError("traces need the extra: pip install keyfold[otel]; or leave telemetry.traces out") from None


def _forget(file: Path | None) -> None:
    if file is not None:
        file.unlink(missing_ok=True)


def _tell(file: Path, host: str, port: int) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(file, json.dumps({"pid": os.getpid(), "host": host, "port": port}) + "\n")
    except OSError as error:
        _log.warning("telemetry-address-not-told", reason=error.strerror or type(error).__name__)


async def _look(vitals: Vitals) -> None:
    shown: set[str] = set()
    while True:
        due = time.monotonic() + LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
        LOOP_DELAY.observe(max(0.0, time.monotonic() - due))
        vitals.look()
        ok, checks = vitals.ready()
        READY.set(ok)
        for check in checks:
            CHECK.labels(check.name).set(check.ok)
        for gone in shown - {check.name for check in checks}:
            CHECK.remove(gone)
        shown = {check.name for check in checks}
