"""What every service process does alike: arguments, logging, running until it is told to stop, one line when it fails.

It makes nothing of a service's own; each `__main__` is its service's composition root.
"""

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import uvloop

from keyfold.config import Config, load_config, serving_at
from keyfold.events.building import build_models
from keyfold.events.errors import KeyfoldError
from keyfold.logging import configure_logging, get_logger

EXIT_FAILED: Final = 3
_log = get_logger()

Serve = Callable[[Config, str], Coroutine[Any, Any, None]]


async def until_signalled(work: Coroutine[Any, Any, None]) -> None:
    """Run until SIGTERM, SIGINT or the end of `work`, whose error is raised; cancel it and wait for it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(work), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, KeyfoldError):
                await task


async def closing(*stops: Callable[[], Awaitable[None]]) -> None:
    """Stop parts in order; one that fails does not keep the others from stopping."""
    for stop in stops:
        try:
            await stop()
        except KeyfoldError as error:
            _log.warning("stop-failed", code=error.code)


def add_telemetry(parser: argparse.ArgumentParser) -> None:
    """Let the command line say where this process serves metrics and health, whatever the settings say."""
    parser.add_argument("--telemetry", metavar="HOST:PORT", help="serve metrics and health there; port 0: a free one")


def main(name: str, serve: Serve) -> None:
    """Parse arguments and serve; a typed error ends the process with one line and exit code 3."""
    parser = argparse.ArgumentParser(prog=f"keyfold.{name}")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--instance", default="0", help="a stable name that keeps partitions over a restart")
    add_telemetry(parser)
    arguments = parser.parse_args()
    config = serving_at(load_config(arguments.config), arguments.telemetry)
    configure_logging(name, config.log_level)
    build_models()
    try:
        uvloop.run(serve(config, arguments.instance))
    except KeyfoldError as error:
        _log.error("stopped", code=error.code, reason=str(error))
        raise SystemExit(EXIT_FAILED) from None
