"""How every ceremony is held: alone in its data directory, with the root identity open, adding to the head of the log.

What is added is the ceremony's own business.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from keyfold.bus import Bus, BusUnavailable, InDoubt, Writer
from keyfold.ceremony import tokens
from keyfold.ceremony.errors import CeremonyRefused
from keyfold.ceremony.head import TRANSACTIONAL_ID, WAIT_SECONDS, Head, append, at_rest, read_head, settle
from keyfold.config import Config
from keyfold.events import facts
from keyfold.events.signatures import check_public_key, fingerprint
from keyfold.log import Author
from keyfold.token import Module, TokenSigner

Compose = Callable[[Head], list[facts.Event]]
_ATTEMPTS: Final = 3
_PAUSE_S: Final = 0.5


@contextmanager
def alone(config: Config) -> Iterator[None]:
    """One ceremony at a time in a data directory; between machines the writer's fence decides."""
    handle = os.open(config.data_directory / "ceremony.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CeremonyRefused("another ceremony is at work in this data directory; wait for it") from None
        yield
    finally:
        os.close(handle)


@contextmanager
def root_identity(module: Module, config: Config) -> Iterator[tuple[TokenSigner, str]]:
    """The root identity, open for the length of the block, and the deployment that it is the root of."""
    with tokens.root_signer(module, config.pins_directory) as root:
        yield root, deployment_of(root)


def deployment_of(root: TokenSigner) -> str:
    """Return the fingerprint of the root identity. Raises ValueError for a key that anybody could sign for."""
    check_public_key(root.public_key)
    return fingerprint(root.public_key)


def require_deployment(head: Head, deployment: str) -> None:
    """Raise `CeremonyRefused` unless the log is this root's."""
    if head.deployment != deployment:
        raise CeremonyRefused("the log is not of this root token; run `keyfold init` or check the cluster")


async def add(bus: Bus, author: Author, compose: Compose) -> bool:
    """Let `compose` say what to add to the head as it is, and add it; False where it adds nothing.

    A commit in doubt is settled by the next writer's start: then the head shows whether it happened.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        writer = bus.writer(TRANSACTIONAL_ID)
        try:
            return await _add_once(bus, writer, author, compose)
        except (InDoubt, BusUnavailable):
            if attempt == _ATTEMPTS:
                raise
        finally:
            await writer.stop()
        await asyncio.sleep(_PAUSE_S * attempt)
    return False


async def _add_once(bus: Bus, writer: Writer, author: Author, compose: Compose) -> bool:
    await writer.start()
    await settle(bus, writer)
    head = await read_head(bus)
    events = compose(head)
    if not events:
        return False
    await append(writer, author, head.chain, events)
    if not await at_rest(bus, WAIT_SECONDS):
        raise InDoubt("the ceremony is committed, but readers do not see it; trying again")
    return True
