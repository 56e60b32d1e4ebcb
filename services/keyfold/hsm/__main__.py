"""The HSM worker process: `python -m keyfold.hsm --config FILE`. Its one composition root.

`python -m keyfold.hsm inventory --config FILE` compares token, keystore and log instead (`keyfold.hsm.inventory_run`).
"""

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final
from uuid import uuid4

from keyfold.bus import BusSettings, KafkaBus
from keyfold.config import Config, ConfigError, mark_ready
from keyfold.custody import (
    Custody,
    HandleCache,
    InMemory,
    InToken,
    MemoryOperations,
    SealingKeys,
    TokenOperations,
    find_capabilities,
)
from keyfold.events import topics
from keyfold.hsm.answers import Answers
from keyfold.hsm.capabilities_duty import CapabilitiesDuty
from keyfold.hsm.control_verbs import ControlVerbs
from keyfold.hsm.data_verbs import DataVerbs
from keyfold.hsm.dispatcher import Dispatcher
from keyfold.hsm.engine import Engine
from keyfold.hsm.errors import DeploymentMismatch
from keyfold.hsm.inventory_run import inventory
from keyfold.hsm.keyring import Keyring
from keyfold.hsm.partition import Parts
from keyfold.hsm.sealing_duties import SealingDuties
from keyfold.hsm.service import Service
from keyfold.hsm.settings import HsmSettings
from keyfold.hsm.status import publisher, token_file
from keyfold.hsm.tokens import open_tokens, require, worker_tokens
from keyfold.hsm.vitals import HsmVitals
from keyfold.hsm.watch import TokenWatch
from keyfold.identity import load_identity
from keyfold.log import Author, DeadLetters, RegistryFollower, require_partitions
from keyfold.process import closing, main, until_signalled
from keyfold.telemetry.serving import Served, served
from keyfold.token import Token

_SWITCH_S: Final = 0.001


def clock_ms() -> int:
    """Return this machine's time."""
    return time.time_ns() // 1_000_000


async def serve(config: Config, instance: str) -> None:
    """Open the tokens, probe them, then run until SIGTERM or SIGINT."""
    if config.deployment is None:
        raise ConfigError("the settings name no deployment; run the root ceremony (keyfold init) first")
    async with served(config, "hsm", instance) as telemetry:
        await _open(config, instance, telemetry)


async def _open(config: Config, instance: str, telemetry: Served) -> None:
    settings = HsmSettings()
    # While a thread computes on SoftHSM, the event loop gets Python's lock back after this long at the latest.
    sys.setswitchinterval(_SWITCH_S)
    with ExitStack() as stack:
        kms, seal = await open_tokens(config, stack)
        custody, sealing = Custody(kms), SealingKeys(seal)
        custody.attach()
        require("kms", custody.probe())
        require("seal", sealing.probe())
        # Trying the token takes a second: before anything is owned, so that no take-over waits for it.
        await asyncio.to_thread(find_capabilities, custody)
        threads = stack.enter_context(ThreadPoolExecutor(config.session_pool_size + 1, "token"))
        await _serve(config, instance, settings, (kms, seal, custody, sealing, threads), telemetry)


async def _serve(
    config: Config,
    instance: str,
    settings: HsmSettings,
    tokens: tuple[Token, Token, Custody, SealingKeys, ThreadPoolExecutor],
    telemetry: Served,
) -> None:
    kms, seal, custody, sealing, threads = tokens
    bus = KafkaBus(BusSettings.of(config, f"keyfold-hsm-{instance}"))
    sender, follower = bus.sender(), RegistryFollower(bus, config.deployment or "")
    author = _author(config, follower)
    keyring = Keyring(bus, follower, sealing, config.partitions, clock_ms)
    cache = HandleCache(settings.open_handles)
    control = ControlVerbs(custody, cache, sealing, lambda: str(uuid4()))
    engine = Engine(keyring, _data_verbs(kms, custody, cache, keyring), control, Answers(author), clock_ms)
    tended = worker_tokens(kms, seal, custody, sealing, cache)
    watch = TokenWatch(settings, tended, publisher(config, instance, clock_ms))
    parts = Parts(
        bus=bus,
        author=author,
        follower=follower,
        keyring=keyring,
        dispatcher=Dispatcher(engine, threads, settings, watch, config.session_pool_size),
        cache=cache,
        duties=SealingDuties(sealing, control.token, clock_ms),
        sender=sender,
        dead_letters=DeadLetters(sender, "hsm"),
        settings=settings,
        partitions=config.partitions,
        custody=custody,
        capabilities=CapabilitiesDuty(lambda: find_capabilities(custody), clock_ms),
        clock_ms=clock_ms,
    )
    await _run(config, instance, parts, telemetry)


def _author(config: Config, follower: RegistryFollower) -> Author:
    signer = load_identity(config.identities_directory / "hsm.json").signer
    name = signer.fingerprint
    return Author(config.deployment or "", "hsm", name, signer.sign, lambda: follower.require_licence("hsm", name))


def _data_verbs(kms: Token, custody: Custody, cache: HandleCache, keyring: Keyring) -> DataVerbs:
    return DataVerbs(
        custody,
        cache,
        {"HSM": InToken(kms), "SOFTWARE": InMemory(custody.derived)},
        {"HSM": TokenOperations(kms), "SOFTWARE": MemoryOperations()},
        sealing_keys=keyring,
        clock_ms=clock_ms,
    )


async def _run(config: Config, instance: str, parts: Parts, telemetry: Served) -> None:
    """Connect, serve until told to stop, and leave nothing open."""
    follower, keyring = parts.follower, parts.keyring
    try:
        await parts.sender.start()
        await follower.start()
        if follower.deployment_entity.partitions != config.partitions:
            raise DeploymentMismatch("the log has another number of partitions than the settings file says")
        await require_partitions(parts.bus, config.partitions, topics.AUTHORIZED, topics.KEYSTORE)
        await keyring.start()
        service = Service(parts, instance, lambda: mark_ready(config, "hsm"))
        HsmVitals(parts, service).tell(telemetry)
        await until_signalled(parts.dispatcher.watch.beside(service.run()))
    finally:
        await closing(keyring.stop, follower.stop, parts.sender.stop)
        token_file(config, instance).unlink(missing_ok=True)
        await asyncio.to_thread(parts.cache.clear)


if __name__ == "__main__":
    if sys.argv[1:2] == ["inventory"]:
        sys.exit(inventory(sys.argv[2:]))
    main("hsm", serve)
