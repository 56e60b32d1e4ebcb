"""A worker on tokens whose library can be made to fail, and the watch over them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.faulty_token import FaultyToken
from tests.unit.hsm.deployment import PARTITIONS, Deployment
from tests.unit.hsm.exchange import Order, results
from tests.unit.hsm.orders import create, new_key, use
from tests.unit.hsm.worker import SETTINGS, Worker, worker

from keyfold.custody import Custody, InMemory, InToken, MaterialProvider, SealingKeys
from keyfold.hsm.dispatcher import Dispatcher
from keyfold.hsm.health import State
from keyfold.hsm.settings import HsmSettings
from keyfold.hsm.tokens import worker_tokens
from keyfold.hsm.watch import TokenWatch
from keyfold.token import Module, Token, create_token, open_token

ITEM = [(0, b"x")]
QUICK = SETTINGS.model_copy(update={"token_check_s": 0.05, "slow_call_s": 0.03, "slow_memory_s": 0.2})
PATIENT = QUICK.model_copy(update={"token_retry_s": 5.0})


@dataclass
class Site:
    """Tokens `kms` and `seal` in a directory of their own, and the faults in their library."""

    module: Module
    pins: Path
    tokens: Path
    kms: Path
    seal: Path
    faults: FaultyToken

    @property
    def away(self) -> Path:
        """Where the tokens are while they are gone."""
        return self.tokens.with_name("away")


def made_site(module: Module, pins: Path, tokens: Path, faults: FaultyToken) -> Site:
    """Make both tokens, and what the worker needs in the first."""
    create_token(module, "kms", pins / "kms", pins / "kms.so")
    (kms,) = tokens.iterdir()
    create_token(module, "seal", pins / "seal", pins / "seal.so")
    (seal,) = set(tokens.iterdir()) - {kms}
    with open_token(module, "kms", pins / "kms") as opened:
        Custody(opened).provision()
    return Site(module, pins, tokens, kms, seal, faults)


@dataclass
class Tended:
    """A worker with a watched token."""

    worker: Worker
    watch: TokenWatch
    kms: Token

    async def becomes(self, *states: State) -> None:
        """Wait until the token's state is one of these."""
        await within(lambda: self.watch.state in states)


@asynccontextmanager
async def tended(
    deployment: Deployment, site: Site, sessions: int = 1, settings: HsmSettings = QUICK
) -> AsyncIterator[Tended]:
    """A worker on the site's tokens, put together as its process does it."""
    with (
        open_token(site.module, "kms", site.pins / "kms", pool_size=sessions) as kms,
        open_token(site.module, "seal", site.pins / "seal", pool_size=sessions) as seal,
        ThreadPoolExecutor(sessions) as threads,
    ):
        custody, sealing = Custody(kms), SealingKeys(seal)
        custody.attach()
        providers: dict[Any, MaterialProvider] = {"HSM": InToken(kms), "SOFTWARE": InMemory(custody.derived)}
        async with worker(deployment, custody=custody, sealing=sealing, providers=providers, settings=settings) as made:
            watch = TokenWatch(settings, worker_tokens(kms, seal, custody, sealing, made.parts.cache))
            engine = made.parts.dispatcher.engine
            made.parts = replace(made.parts, dispatcher=Dispatcher(engine, threads, settings, watch, sessions))
            checking = asyncio.create_task(watch.run())
            await made.owned(*range(PARTITIONS))
            try:
                yield Tended(made, watch, kms)
            finally:
                await made.stop()
                checking.cancel()
                await asyncio.wait([checking])


async def within(condition: Callable[[], bool]) -> None:
    """Wait until something is so; at most ten seconds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def a_key(deployment: Deployment, made: Tended) -> str:
    """A key in the token."""
    key_id = new_key()
    (answer,) = await made.worker.execute(create(deployment, key_id, "HSM"))
    assert answer.data.code is None
    return key_id


def encrypt(deployment: Deployment, key_id: str) -> Order:
    """One small item is encrypted in the token."""
    return use(deployment, "Encrypt", key_id, ITEM, protection="HSM")


def codes(deployment: Deployment, orders: list[Order]) -> list[str | None]:
    """What became of each order, which has one outcome and one reply."""
    assert all(len(deployment.replies(order)) == 1 for order in orders)
    return [getattr(deployment.outcome(order).data, "code", None) for order in orders]


async def opens(deployment: Deployment, made: Tended, key_id: str, ciphertext: bytes) -> None:
    """What was encrypted before is decrypted: no handle was taken for another key's."""
    order = use(deployment, "Decrypt", key_id, [(0, ciphertext)], protection="HSM")
    (answer,) = await made.worker.execute(order)
    assert results(answer) == [b"x"]
