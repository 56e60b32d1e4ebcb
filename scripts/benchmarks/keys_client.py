"""What a client sees of many keys: how fast they are created, and how long a key takes that was not used lately.

Through the SDK, with everything on. Keys are spread over the partitions as ids fall.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal

from keyfold.client import Keyfold
from keyfold.config import Config
from keyfold.events.errors import AlreadyExists
from keyfold.events.signatures import Signer
from keyfold.events.streams import key_stream, partition_of
from keyfold.identity import IdentityUnusable, create_identity

Protection = Literal["SOFTWARE", "HSM"]
PRINCIPAL: Final = "keys"
DESCRIPTION: Final = "benchmark"
ITEM: Final = b"x" * 32
CONTEXT: Final = {"tenant": "bench"}
POLICY: Final = """
permit(principal == Principal::"keys", action in [Action::"CreateKey", Action::"Encrypt"], resource);
"""
PATIENCE: Final[dict[str, Any]] = {"call_timeout_s": 890.0, "command_lifetime_s": 890.0}
"""Settings of a client whose commands outlast a restart, up to the longest lifetime that there is."""


def connect(config: Config, name: str = PRINCIPAL, **settings: Any) -> Keyfold:
    """Return a client to be entered."""
    identity = config.identities_directory / f"{name}.json"
    return Keyfold.connect(bootstrap_servers=config.bootstrap_servers, identity=identity, **settings)


async def register(config: Config) -> None:
    """Register the principal that creates and uses the keys."""
    with suppress(IdentityUnusable):
        create_identity(config.identities_directory / f"{PRINCIPAL}.json", PRINCIPAL, config.deployment or "")
    document = json.loads((config.identities_directory / f"{PRINCIPAL}.json").read_text())
    async with connect(config, "admin-1") as admin:
        with suppress(AlreadyExists):
            await admin.register_principal(PRINCIPAL, Signer(bytes.fromhex(document["ed25519"])).public_key)
        await admin.put_policy("bench-keys", POLICY)


async def create(config: Config, protection: Protection, count: int, in_flight: int) -> tuple[list[str], float]:
    """Create keys with so many commands in flight; return their ids and the seconds that it took."""
    found: list[str] = []
    left = iter(range(count))
    async with connect(config) as kms:

        async def caller() -> None:
            for _ in left:
                found.append((await kms.create_key(protection=protection, description=DESCRIPTION)).key_id)

        begin = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(min(in_flight, count))))
        return found, time.perf_counter() - begin


async def encrypt_each(kms: Keyfold, keys: Iterable[str]) -> list[float]:
    """Encrypt one item with each key, one after the other; return the seconds of each."""
    taken = []
    for key in keys:
        begin = time.perf_counter()
        await kms.encrypt(key, ITEM, context=CONTEXT)
        taken.append(time.perf_counter() - begin)
    return taken


async def encrypt_all(kms: Keyfold, keys: Sequence[str], in_flight: int = 64) -> None:
    """Encrypt one item with each key, many at once."""
    left = iter(keys)

    async def caller() -> None:
        await encrypt_each(kms, left)

    await asyncio.gather(*(caller() for _ in range(min(in_flight, len(keys)))))


def one_of_each(keys: Iterable[str], partitions: int) -> list[str]:
    """Return a key of each partition that has any."""
    found: dict[int, str] = {}
    for key in keys:
        found.setdefault(partition_of(key_stream(key), partitions), key)
    return list(found.values())


def milliseconds(taken: Sequence[float]) -> tuple[float, float]:
    """Return median and 99th percentile."""
    ordered = sorted(taken)
    return statistics.median(ordered) * 1e3, ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3
