"""The HSM worker process: `python -m keyfold.hsm --config FILE`. Its one composition root."""

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final
from uuid import uuid4

from keyfold.bus import BusSettings, KafkaBus
from keyfold.config import Config, ConfigError, export_softhsm2_conf, mark_ready
from keyfold.custody import Custody, HandleCache, InMemory, InToken, SealingKeys
from keyfold.hsm.answers import Answers
from keyfold.hsm.control_verbs import ControlVerbs
from keyfold.hsm.data_verbs import DataVerbs
from keyfold.hsm.dispatcher import Dispatcher
from keyfold.hsm.engine import Engine
from keyfold.hsm.errors import DeploymentMismatch, ProbeFailed
from keyfold.hsm.keyring import Keyring
from keyfold.hsm.partition import Parts
from keyfold.hsm.sealing_duties import SealingDuties
from keyfold.hsm.service import Service
from keyfold.hsm.settings import HsmSettings
from keyfold.identity import load_identity
from keyfold.log import Author, DeadLetters, RegistryFollower
from keyfold.process import closing, main, until_signalled
from keyfold.token import ProbeReport, Token, load_module, open_token

_SWITCH_S: Final = 0.001


def clock_ms() -> int:
    """Return this machine's time."""
    return time.time_ns() // 1_000_000


def open_tokens(config: Config, stack: ExitStack) -> tuple[Token, Token]:
    """Open the tokens `kms` and `seal`; they are closed with the stack."""
    export_softhsm2_conf(config)
    module = load_module(config.pkcs11_module)
    kms, seal = (
        stack.enter_context(
            open_token(module, label, config.pins_directory / label, pool_size=config.session_pool_size)
        )
        for label in ("kms", "seal")
    )
    return kms, seal


def require(token: str, report: ProbeReport) -> None:
    """Refuse to serve with a token that allows any deviation. Raises `ProbeFailed`."""
    if not report.ok:
        raise ProbeFailed(token, report)


async def serve(config: Config, instance: str) -> None:
    """Open the tokens, probe them, then run until SIGTERM or SIGINT."""
    if config.deployment is None:
        raise ConfigError("the settings name no deployment; run the root ceremony (keyfold init) first")
    settings = HsmSettings()
    # While a thread computes on SoftHSM, the event loop gets Python's lock back after this long at the latest.
    sys.setswitchinterval(_SWITCH_S)
    with ExitStack() as stack:
        kms, seal = open_tokens(config, stack)
        custody, sealing = Custody(kms), SealingKeys(seal)
        custody.attach()
        require("kms", custody.probe())
        require("seal", sealing.probe())
        threads = stack.enter_context(ThreadPoolExecutor(config.session_pool_size, "token"))
        await _serve(config, instance, settings, (kms, custody, sealing, threads))


async def _serve(
    config: Config, instance: str, settings: HsmSettings, tokens: tuple[Token, Custody, SealingKeys, ThreadPoolExecutor]
) -> None:
    kms, custody, sealing, threads = tokens
    signer = load_identity(config.identities_directory / "hsm.json").signer
    deployment = config.deployment or ""
    bus = KafkaBus(BusSettings(bootstrap_servers=config.bootstrap_servers, client_id=f"keyfold-hsm-{instance}"))
    sender, follower = bus.sender(), RegistryFollower(bus, deployment)
    name = signer.fingerprint
    author = Author(deployment, "hsm", name, signer.sign, lambda: follower.require_licence("hsm", name))
    keyring = Keyring(bus, follower, sealing, config.partitions, clock_ms)
    cache = HandleCache(settings.open_handles)
    engine = Engine(
        keyring,
        DataVerbs(custody, cache, {"HSM": InToken(kms), "SOFTWARE": InMemory(custody.derived)}),
        ControlVerbs(custody, cache, sealing, lambda: str(uuid4())),
        Answers(author),
        clock_ms,
    )
    dispatcher = Dispatcher(engine, threads, settings)
    duties = SealingDuties(sealing, engine.control_verbs, clock_ms)
    letters = DeadLetters(sender, "hsm")
    parts = Parts(
        bus, author, follower, keyring, dispatcher, cache, duties, sender, letters, settings, config.partitions
    )
    try:
        await sender.start()
        await follower.start()
        if follower.deployment_entity.partitions != config.partitions:
            raise DeploymentMismatch("the log has another number of partitions than the settings file says")
        await keyring.start()
        await until_signalled(Service(parts, instance, lambda: mark_ready(config, "hsm")).run())
    finally:
        await closing(keyring.stop, follower.stop, sender.stop)
        await asyncio.to_thread(cache.clear)


if __name__ == "__main__":
    main("hsm", serve)
