"""The policy process: `python -m keyfold.policy --config FILE`. Its one composition root."""

import argparse
import asyncio
import signal
from contextlib import suppress
from pathlib import Path

import uvloop

from keyfold.bus import BusSettings, KafkaBus
from keyfold.config import Config, load_config, mark_ready
from keyfold.events.errors import KeyfoldError
from keyfold.identity import load_identity
from keyfold.log import Author, DeadLetters, RegistryFollower
from keyfold.logging import configure_logging, get_logger
from keyfold.policy.processor import Parts
from keyfold.policy.service import Service

_log = get_logger()


async def serve(config: Config, instance: str) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    identity = load_identity(config.identities_directory / "policy.json")
    deployment = config.deployment or ""
    bus = KafkaBus(BusSettings(bootstrap_servers=config.bootstrap_servers, client_id=f"keyfold-policy-{instance}"))
    sender = bus.sender()
    await sender.start()
    follower = RegistryFollower(bus, deployment)
    author = Author(deployment, "policy", identity.signer.fingerprint, identity.signer.sign)
    parts = Parts(bus, author, follower, sender, DeadLetters(sender, "policy"))
    service = Service(parts, identity.signer, instance, lambda: mark_ready(config, "policy"))
    task = asyncio.create_task(service.run())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for each in (task, stopped):
            each.cancel()
            with suppress(asyncio.CancelledError, KeyfoldError):
                await each
        await follower.stop()
        await sender.stop()


def main() -> None:
    """Parse arguments and serve; a typed error ends the process with one line."""
    parser = argparse.ArgumentParser(prog="keyfold.policy")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--instance", default="0")
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    configure_logging("policy", config.log_level)
    try:
        uvloop.run(serve(config, arguments.instance))
    except KeyfoldError as error:
        _log.error("stopped", code=error.code, reason=str(error))
        raise SystemExit(3) from None


if __name__ == "__main__":
    main()
