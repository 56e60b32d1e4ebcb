"""The worker on tokens of its own in SoftHSM2, process after process: the log and the tokens outlive each."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.hsm.deployment import Deployment, Worker, worker

from keyfold.custody import Custody, InMemory, InToken, MemoryOperations, SealingKeys, TokenOperations
from keyfold.token import Token, create_token, load_module, open_token
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

    @asynccontextmanager
    async def process(self, deployment: Deployment, **options: Any) -> AsyncIterator[Worker]:
        """A worker process from its start to its death. What it made in the token and did not state stays there."""
        custody = self.custody()
        sides = {
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
def fresh_tokens(module_path: Path, directory: Path) -> Iterator[Tokens]:
    """Fresh tokens, provisioned; PINs lie in the directory."""
    module, number = load_module(module_path), next(_numbers)
    names = [f"kms-{number}", f"seal-{number}"]
    try:
        for name in names:
            create_token(module, name, directory / f"{name}.pin", directory / f"{name}.so")
        with (
            open_token(module, names[0], directory / f"{names[0]}.pin") as kms,
            open_token(module, names[1], directory / f"{names[1]}.pin") as seal,
        ):
            Custody(kms).provision()
            yield Tokens(kms, seal)
    finally:
        module.close()
