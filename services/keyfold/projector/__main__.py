"""`python -m keyfold.projector --config FILE`: composes the projector from the settings and runs it until a signal."""

import argparse
import asyncio
import contextlib
import signal
import socket
import sys

import uvloop

from keyfold.bus import BusSettings, KafkaBus
from keyfold.config import Config, ConfigError, load_config, mark_ready, serving_at
from keyfold.events.building import build_models
from keyfold.events.errors import KeyfoldError
from keyfold.logging import configure_logging, get_logger
from keyfold.process import add_telemetry
from keyfold.projections.store import PostgresSchemas
from keyfold.projector.process import Parts, Projector
from keyfold.projector.settings import ProjectorSettings
from keyfold.projector.vitals import ProjectorVitals
from keyfold.telemetry.serving import served

NAME = "projector"


def compose(config: Config, instance_id: str) -> tuple[Projector, ProjectorVitals]:
    """Make the projector of one deployment. Raises `ConfigError` before the root ceremony has run."""
    if config.deployment is None:
        raise ConfigError("the settings name no deployment; run `keyfold init` first")
    settings = ProjectorSettings()
    parts = Parts(
        bus=KafkaBus(BusSettings.of(config, "keyfold-projector")),
        schemas=PostgresSchemas(config.postgres_dsn, deadline_s=settings.store_deadline_s),
        deployment=config.deployment,
        partitions=config.partitions,
        instance_id=instance_id,
        settings=settings,
    )
    projector = Projector(parts, lambda: mark_ready(config, NAME))
    return projector, ProjectorVitals(parts.bus, projector)


async def _serve(config: Config, instance: str) -> None:
    projector, vitals = compose(config, f"{NAME}-{instance}")
    async with served(config, NAME, instance) as telemetry:
        vitals.tell(telemetry)
        await _run(projector)


async def _run(projector: Projector) -> None:
    task = asyncio.ensure_future(projector.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> int:
    """Return 0 after a signal, 1 with one line that says why otherwise."""
    parser = argparse.ArgumentParser(prog="python -m keyfold.projector", description=__doc__)
    parser.add_argument("--config", required=True, help="the deployment's settings file")
    parser.add_argument("--instance", default=socket.gethostname(), help="name of this process across restarts")
    add_telemetry(parser)
    arguments = parser.parse_args()
    try:
        config = serving_at(load_config(arguments.config), arguments.telemetry)
        configure_logging(NAME, config.log_level)
        build_models()
        uvloop.run(_serve(config, arguments.instance))
    except (KeyfoldError, ExceptionGroup) as failure:
        errors = _expected(failure)
        if not errors:
            raise
        for error in errors:
            get_logger().critical("projector-stopped", code=error.code, reason=str(error))
        return 1
    return 0


def _expected(failure: KeyfoldError | ExceptionGroup[Exception]) -> list[KeyfoldError]:
    """The errors that need no traceback; none if there is any other."""
    if isinstance(failure, KeyfoldError):
        return [failure]
    known, others = failure.split(KeyfoldError)
    if known is None or others is not None:
        return []
    return [error for error in known.exceptions if isinstance(error, KeyfoldError)]


if __name__ == "__main__":
    sys.exit(main())
