"""`python -m keyfold.hsm inventory --config FILE`: takes the inventory of one deployment and prints it as JSON.

It opens the tokens with the worker's PINs, reads keystore and events to their ends (committed, verified as every reader
does), and changes nothing. Workers may run meanwhile: what is found is looked at a second time, and only what stands
both times is reported, since the three are not read in one moment.

Exit code 0: all agree. 4: something does not fit, or the log is not authentic. 3: a part does not answer. Errors are
printed as JSON, too: `{"error": {"code": …, "message": …, "retriable": …}}`.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import uvloop

from keyfold.bus import Bus, BusSettings, KafkaBus
from keyfold.config import Config, ConfigError, export_softhsm2_conf, load_config
from keyfold.custody import SealingKeys
from keyfold.events import facts, topics
from keyfold.events.chains import ChainReader, ChainRepeat, read_event
from keyfold.events.errors import KeyfoldError, RecordError
from keyfold.events.statements import UntrustedRecord
from keyfold.hsm.inventory import Held, Keystore, Log, Report, reconcile
from keyfold.log import RegistryFollower
from keyfold.logging import configure_logging
from keyfold.token import Token, load_module, open_token
from keyfold.token.listing import stored_keys

AGREE: Final = 0
UNAVAILABLE: Final = 3
DIFFER: Final = 4

Look = Callable[[], Held]


def inventory(arguments: Sequence[str]) -> int:
    """Run the program with these arguments; return its exit code."""
    parser = argparse.ArgumentParser(prog="keyfold.hsm inventory")
    parser.add_argument("--config", type=Path, required=True)
    try:
        config = load_config(parser.parse_args(arguments).config)
        configure_logging("hsm-inventory", config.log_level)
        report = uvloop.run(_with_tokens(config))
    except KeyfoldError as error:
        _print({"error": {"code": error.code, "message": str(error), "retriable": error.retriable}})
        return DIFFER if isinstance(error, RecordError) else UNAVAILABLE
    _print({"ok": report.ok, **asdict(report)})
    return AGREE if report.ok else DIFFER


async def take(bus: Bus, deployment: str, partitions: int, look: Look) -> Report:
    """Take the inventory, twice if need be. `look` lists the tokens, in a thread. Raises `ChainGap`, `Unavailable`."""
    first = await _take(bus, deployment, partitions, look)
    if first.ok:
        return first
    second = await _take(bus, deployment, partitions, look)
    return replace(second, findings=tuple(each for each in second.findings if each in first.findings))


async def _take(bus: Bus, deployment: str, partitions: int, look: Look) -> Report:
    follower = RegistryFollower(bus, deployment)
    keystore, log = Keystore(), Log()
    try:
        await follower.start()
        held = await asyncio.to_thread(look)
        for partition in range(partitions):
            await _read(bus, follower, (topics.KEYSTORE, partition, partitions), keystore.fold)
            await _read(bus, follower, (topics.EVENTS, partition, partitions), log.fold)
    finally:
        await follower.stop()
    return reconcile(held, keystore, log)


async def _read(
    bus: Bus, follower: RegistryFollower, place: tuple[str, int, int], fold: Callable[[facts.Event], None]
) -> None:
    """Fold what is authentic in one partition; what is not is left out, as by every reader."""
    topic, partition, partitions = place
    chains = ChainReader(topic, partition, partitions)
    reader = bus.reader(topic, partition, committed=True)
    try:
        await reader.start(None)
        async for batch in reader.read_to_end():
            for record in batch:
                at = (record.key, record.value, record.headers, record.timestamp_ms)
                try:
                    fold(read_event(chains.accept(follower.trust, *at), topic))
                except (UntrustedRecord, ChainRepeat):
                    continue
    finally:
        await reader.stop()


async def _with_tokens(config: Config) -> Report:
    if config.deployment is None:
        raise ConfigError("the settings name no deployment; run the root ceremony (keyfold init) first")
    export_softhsm2_conf(config)
    bus = KafkaBus(BusSettings.of(config, "keyfold-hsm-inventory"))
    with ExitStack() as stack:
        module = load_module(config.pkcs11_module)
        kms, seal = [
            stack.enter_context(open_token(module, label, config.pins_directory / label)) for label in ("kms", "seal")
        ]
        return await take(bus, config.deployment, config.partitions, lambda: holds(kms, seal))


def holds(kms: Token, seal: Token) -> Held:
    """List what the two tokens hold."""
    with kms.manager() as session:
        ids = frozenset(key_id for _, key_id in stored_keys(session))
    return Held(ids, frozenset(str(UUID(bytes=each)) for each in SealingKeys(seal).list_ids()))


def _print(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
