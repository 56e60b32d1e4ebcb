"""The notary process: `python -m keyfold.notary --config FILE`. Its one composition root."""

import asyncio
from contextlib import ExitStack

from keyfold.bus import BusSettings, KafkaBus
from keyfold.config import Config, ConfigError, export_softhsm2_conf, mark_ready
from keyfold.events import topics
from keyfold.events.signatures import fingerprint
from keyfold.log import Author, DeadLetters, TrustKeeper, require_partitions
from keyfold.notary.in_token import InToken
from keyfold.notary.notary import ROLE, Parts, clock_ms, require_licence
from keyfold.notary.service import Service
from keyfold.notary.settings import NotarySettings
from keyfold.notary.vitals import NotaryVitals
from keyfold.process import closing, main, until_signalled
from keyfold.telemetry.serving import Served, served
from keyfold.token import load_module, open_token


async def serve(config: Config, instance: str) -> None:
    """Open the token, then run until SIGTERM or SIGINT."""
    if config.deployment is None:
        raise ConfigError("the settings name no deployment; run the root ceremony (keyfold init) first")
    async with served(config, ROLE, instance) as telemetry:
        await _open(config, config.deployment, instance, telemetry)


async def _open(config: Config, deployment: str, instance: str, telemetry: Served) -> None:
    with ExitStack() as stack:
        export_softhsm2_conf(config)
        module = load_module(config.pkcs11_module)
        token = stack.enter_context(open_token(module, ROLE, config.pins_directory / ROLE))
        await _serve(config, deployment, instance, await asyncio.to_thread(InToken, token), telemetry)


async def _serve(config: Config, deployment: str, instance: str, token: InToken, telemetry: Served) -> None:
    bus = KafkaBus(BusSettings.of(config, f"keyfold-notary-{instance}"))
    sender, keeper = bus.sender(), TrustKeeper(bus, deployment, config.partitions)
    author = Author(
        deployment,
        ROLE,
        fingerprint(token.public_key),
        token.sign,
        lambda: require_licence(keeper.trust, token, clock_ms()),
    )
    parts = Parts(
        bus=bus,
        keeper=keeper,
        token=token,
        author=author,
        dead_letters=DeadLetters(sender, ROLE),
        settings=NotarySettings(),
        partitions=config.partitions,
    )
    try:
        await sender.start()
        await keeper.catch_up()
        await require_partitions(bus, config.partitions, topics.TILES)
        author.check()
        service = Service(parts, instance, lambda: mark_ready(config, ROLE))
        NotaryVitals(parts, service).tell(telemetry)
        await until_signalled(service.run())
    finally:
        await closing(keeper.stop, sender.stop)


if __name__ == "__main__":
    main(ROLE, serve)
