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
from keyfold.ceremony.head import (
    ROLE,
    TRANSACTIONAL_ID,
    WAIT_SECONDS,
    Head,
    append,
    at_rest,
    open_roles,
    read_head,
    settle,
)
from keyfold.config import Config
from keyfold.events import facts, topics
from keyfold.events.signatures import check_public_key, fingerprint
from keyfold.log import Author, transactional_id
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


async def add(bus: Bus, author: Author, compose: Compose, *, before_policy: bool = False) -> bool:
    """Let `compose` say what to add to the head as it is, and add it; False where it adds nothing.

    `before_policy` is for events that change what policy decides from: no decision of it then stands behind the event
    without having seen it. A commit in doubt is settled by the next writer's start: then the head shows whether it
    happened.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        writer = bus.writer(TRANSACTIONAL_ID)
        policy = bus.writer(transactional_id("policy", 0)) if before_policy else None
        try:
            return await _add_once(bus, writer, policy, author, compose)
        except (InDoubt, BusUnavailable):
            if attempt == _ATTEMPTS:
                raise
        finally:
            await writer.stop()
            if policy is not None:
                await policy.stop()
        await asyncio.sleep(_PAUSE_S * attempt)
    return False


async def _add_once(bus: Bus, writer: Writer, policy: Writer | None, author: Author, compose: Compose) -> bool:
    await writer.start()
    await settle(bus, writer)
    if policy is not None:
        await _take_turn(bus, policy)
    head = await read_head(bus)
    events = compose(head)
    if not events:
        return False
    await append(policy or writer, author, head.chain, events)
    if not await at_rest(bus, WAIT_SECONDS):
        raise InDoubt("the ceremony is committed, but readers do not see it; trying again")
    return True


async def _take_turn(bus: Bus, policy: Writer) -> None:
    """Write in the place of the registry's policy processor.

    Starting its writer fences it. If it takes over before our commit, our commit fails and is tried again; if after,
    it reads what we wrote before it decides anything. So what root says and what policy decides have one order.
    """
    await policy.start()
    if await at_rest(bus, WAIT_SECONDS):
        return
    if await open_roles(bus) != {ROLE}:
        raise InDoubt("a transaction of the policy processor is not settled; start policy, then try again")
    # Ours, of the attempt before: nobody was told of it (see `settle`), and only this writer can end it.
    await policy.end_open([(topics.EVENTS, 0)], commit=False)
