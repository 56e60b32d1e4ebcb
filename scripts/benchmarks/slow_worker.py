"""The worker's middle without a log: dispatcher, engine and custody on a SoftHSM2 token of its own that can be slow.

Tickets are made as the worker's tests make them: really sealed, decided by nobody. Nothing is measured here.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey
from tests.support.faulty_token import FaultyToken, faulty
from tests.unit.hsm.deployment import Deployment, signer
from tests.unit.hsm.exchange import Order
from tests.unit.hsm.orders import create, new_key, use
from tests.unit.hsm.stand_ins import MemorySealing

from keyfold.custody import Custody, HandleCache, InToken, SealingPrivateKey, TokenOperations
from keyfold.embedded.softhsm import prepare_softhsm, softhsm_module
from keyfold.events import facts
from keyfold.events.chains import Accepted, Place
from keyfold.events.streams import partition_of
from keyfold.hsm.answers import Answers
from keyfold.hsm.control_verbs import ControlVerbs
from keyfold.hsm.data_verbs import DataVerbs
from keyfold.hsm.dispatcher import Dispatcher
from keyfold.hsm.engine import Engine
from keyfold.hsm.keyring import Keyring
from keyfold.hsm.keystore import Draft, Index
from keyfold.hsm.settings import HsmSettings
from keyfold.hsm.tickets import Ticket, read_ticket
from keyfold.log import Author
from keyfold.token import Module, create_token, load_module, open_token

SEALING_KEY: Final = "00000000-0000-4000-8000-000000000001"


class OneSealingKey(Keyring):
    """A keyring with one sealing key, which is open; it reads nothing."""

    def __init__(self, private_key: SealingPrivateKey) -> None:
        self._private_key = private_key

    def private(self, name: str, *, token: bool) -> SealingPrivateKey:  # noqa: ARG002 - the port's
        """Return the private half, whatever the name."""
        return self._private_key


@dataclass(frozen=True, slots=True)
class Site:
    """A token `kms` in a directory of its own, and how slow it is."""

    module: Module
    pin: Path
    faults: FaultyToken


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Make a token. Data calls give Python's lock away, as they do where a token is behind a network."""
    os.environ["SOFTHSM2_CONF"] = str(prepare_softhsm(folder))
    module = load_module(softhsm_module(), hold_lock=False)
    pin = folder / "pins" / "kms"
    try:
        create_token(module, "kms", pin, pin.with_suffix(".so"))
        with open_token(module, "kms", pin) as token:
            Custody(token).provision()
        with faulty(module) as faults:
            yield Site(module, pin, faults)
    finally:
        module.close()


class SlowWorker:
    """Executes commands on the keys that it made, one batch at a time."""

    def __init__(self, dispatcher: Dispatcher, deployment: Deployment) -> None:
        self._dispatcher, self._deployment = dispatcher, deployment
        self._draft = Draft(Index())

    async def create(self, count: int) -> list[str]:
        """Make keys in the token."""
        keys = [new_key() for _ in range(count)]
        await self.run([_ticket(create(self._deployment, key, "HSM")) for key in keys])
        return keys

    def encrypt(self, key_id: str, items: Sequence[bytes]) -> Ticket:
        """Return a ticket that encrypts these items."""
        given = [(0, item) for item in items]
        return _ticket(use(self._deployment, "Encrypt", key_id, given, protection="HSM"))

    async def run(self, tickets: Sequence[Ticket]) -> None:
        """Execute a batch. Raises RuntimeError if any of it failed."""
        works = await self._dispatcher.run(tickets, self._draft)
        failed = [each.data for work in works for each in work.events if isinstance(each, facts.OperationFailed)]
        if failed or len(works) != len(tickets):
            raise RuntimeError(f"{len(failed)} of {len(tickets)} commands failed: {failed[:1]}")


@contextmanager
def slow_worker(where: Site, sessions: int) -> Iterator[SlowWorker]:
    """Put a worker's middle together, as its process does it, with a pool of so many sessions."""
    mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    deployment, settings = Deployment(), HsmSettings()
    deployment.sealing_keys[SEALING_KEY] = public
    keyring = OneSealingKey(MLKEM768X25519PrivateKey(mlkem, x25519))
    author = Author(deployment.id, "hsm", signer("hsm").fingerprint, signer("hsm").sign)
    with (
        open_token(where.module, "kms", where.pin, pool_size=sessions) as token,
        ThreadPoolExecutor(sessions + 1) as threads,
    ):
        custody, cache = Custody(token), HandleCache(settings.open_handles)
        custody.attach()
        data_verbs = DataVerbs(
            custody,
            cache,
            {"HSM": InToken(token)},
            {"HSM": TokenOperations(token)},
            sealing_keys=keyring,
            clock_ms=lambda: deployment.now,
        )
        control_verbs = ControlVerbs(custody, cache, MemorySealing(), lambda: str(uuid4()))
        engine = Engine(keyring, data_verbs, control_verbs, Answers(author), lambda: deployment.now)
        yield SlowWorker(Dispatcher(engine, threads, settings, sessions=sessions), deployment)
        cache.clear()


def _ticket(order: Order) -> Ticket:
    entry = order.entry()
    return read_ticket(Accepted("policy", "", Place(), entry), partition_of(order.stream, 4))
