"""The worker on tokens of its own in SoftHSM2, process after process: the log and the tokens outlive each."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.unit.hsm.deployment import PARTITIONS, Deployment
from tests.unit.hsm.worker import Worker, worker

from keyfold.custody import Custody, InMemory, InToken, MemoryOperations, SealingKeys, TokenOperations
from keyfold.hsm.inventory import Held, Keystore, Log, Report, reconcile
from keyfold.token import Module, Token, create_token, open_token
from keyfold.token.listing import stored_keys

_numbers = itertools.count()


@dataclass(frozen=True)
class Tokens:
    """The tokens `kms` and `seal` of one deployment, opened."""

    kms: Token
    seal: Token

    def custody(self) -> Custody:
        """Custody as a process that starts has it."""
        made = Custody(self.kms)
        made.attach()
        return made

    def sealing(self) -> SealingKeys:
        """Sealing keys as a process that starts has them."""
        return SealingKeys(self.seal)

    def stored(self) -> list[tuple[str, bytes]]:
        """Class and CKA_ID of every key that the token `kms` stores."""
        with self.kms.manager() as session:
            return stored_keys(session)

    def inventory(self, deployment: Deployment) -> Report:
        """Compare what the tokens hold with what keystore and events say."""
        sealing = frozenset(str(UUID(bytes=name)) for name in self.sealing().list_ids())
        keystore, log = Keystore(), Log()
        for partition in range(PARTITIONS):
            for record in deployment.keystore(partition):
                keystore.fold(record)
            for event in deployment.events(partition):
                log.fold(event)
        return reconcile(Held(frozenset(key_id for _, key_id in self.stored()), sealing), keystore, log)

    @asynccontextmanager
    async def process(self, deployment: Deployment, **options: Any) -> AsyncIterator[Worker]:
        """A worker process from its start to its death. What it made in the token and did not state stays there."""
        custody = self.custody()
        sides: dict[str, Any] = {
            "providers": {"HSM": InToken(self.kms), "SOFTWARE": InMemory(custody.derived)},
            "operations": {"HSM": TokenOperations(self.kms), "SOFTWARE": MemoryOperations()},
        }
        async with worker(deployment, custody=custody, sealing=self.sealing(), **sides, **options) as running:
            try:
                yield running
            finally:
                await running.stop()
                running.parts.cache.clear()


@contextmanager
def fresh_tokens(module: Module, directory: Path) -> Iterator[Tokens]:
    """Fresh tokens, provisioned; PINs lie in the directory."""
    number = next(_numbers)
    names = [f"kms-{number}", f"seal-{number}"]
    for name in names:
        create_token(module, name, directory / f"{name}.pin", directory / f"{name}.so")
    with (
        open_token(module, names[0], directory / f"{names[0]}.pin") as kms,
        open_token(module, names[1], directory / f"{names[1]}.pin") as seal,
    ):
        Custody(kms).provision()
        yield Tokens(kms, seal)
