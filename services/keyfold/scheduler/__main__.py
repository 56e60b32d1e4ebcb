"""`python -m keyfold.scheduler --config FILE`: the composition root of the scheduler. It decides nothing."""

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path

import uvloop

from keyfold.bus import BusSettings
from keyfold.client import Keyfold
from keyfold.config import Config, ConfigError, load_config, mark_ready, serving_at
from keyfold.events.building import build_models
from keyfold.events.errors import KeyfoldError
from keyfold.logging import configure_logging, get_logger
from keyfold.process import add_telemetry
from keyfold.projections.store import PostgresQueries
from keyfold.scheduler.key_sets import open_key_sets
from keyfold.scheduler.scheduler import Scheduler
from keyfold.scheduler.settings import SchedulerSettings
from keyfold.scheduler.vitals import SchedulerVitals
from keyfold.telemetry.serving import served

_IDENTITY = "scheduler.json"
_KEY_SETS = "issuers"
_CONNECT_AGAIN_S = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(prog="keyfold.scheduler", description="Sends what time triggers, as commands.")
    parser.add_argument("--config", type=Path, required=True, help="the settings file")
    add_telemetry(parser)
    try:
        given = parser.parse_args(arguments)
        config = serving_at(load_config(given.config), given.telemetry)
        configure_logging("scheduler", config.log_level)
        build_models()
        uvloop.run(_serve(config))
    except KeyfoldError as error:
        sys.stderr.write(f"scheduler: {error}\n")
        return 1
    return 0


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if config.deployment is None:
        raise ConfigError("the settings name no deployment; run the root ceremony (keyfold init) first")
    async with served(config, "scheduler") as telemetry:
        telemetry.vitals.add((vitals := SchedulerVitals()).checks)
        await _work(config, config.deployment, stop, vitals)


async def _work(config: Config, deployment: str, stop: asyncio.Event, vitals: SchedulerVitals) -> None:
    settings = SchedulerSettings()
    queries = PostgresQueries(config.postgres_reader_dsn)
    try:
        async with open_key_sets(config.data_directory / _KEY_SETS, settings.key_set_timeout_s) as key_sets:
            while not stop.is_set():
                kms = Keyfold.connect(
                    bus_settings=BusSettings.of(config, "keyfold-scheduler"),
                    identity=config.identities_directory / _IDENTITY,
                    deployment=deployment,
                )
                scheduler = Scheduler(kms, queries, key_sets, settings, lambda: time.time_ns() // 1_000_000)
                if await _serve_connected(config, kms, scheduler, stop, vitals):
                    return
                await _rest(stop)
    finally:
        await queries.close()


async def _serve_connected(
    config: Config, kms: Keyfold, scheduler: Scheduler, stop: asyncio.Event, vitals: SchedulerVitals
) -> bool:
    """Serve until stopped; False where no connection came about: the services may still be starting."""
    try:
        await kms.__aenter__()
    except KeyfoldError as error:
        if not error.retriable:
            raise
        vitals.trouble = error.code
        get_logger().warning("not-connected", code=error.code, reason=str(error))
        return False
    try:
        mark_ready(config, "scheduler")
        vitals.scheduler = scheduler
        await scheduler.run(stop)
    finally:
        vitals.scheduler = None
        await kms.__aexit__(None, None, None)
    return True


async def _rest(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_CONNECT_AGAIN_S):
            await stop.wait()
    except TimeoutError:
        return


if __name__ == "__main__":
    sys.exit(main())
