"""Reading what the projections say, and waiting until they say what was just done.

Commands are answered before the projections have folded them (milliseconds). A command line that writes and then reads
must not be surprised by that: writes wait, for a short time, until their own audit rows are there.
"""

import asyncio
from typing import Final

from keyfold.cli.session import Session
from keyfold.client.identifiers import is_alias
from keyfold.config import Config
from keyfold.events.entities import Key
from keyfold.events.errors import KeyfoldError, NotFound, Unavailable
from keyfold.projections.ports import AuditFilter, Queries

WAIT_S: Final = 5.0
_PAUSE_S: Final = 0.02
_OUTCOMES: Final = frozenset({"completed", "failed", "denied", "dry-run"})


async def settled(queries: Queries, command_id: str, wait_s: float = WAIT_S) -> bool:
    """Wait until a command's outcome is in the audit trail; say whether it came in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    pause = _PAUSE_S
    while loop.time() < deadline:
        page = await queries.audit(AuditFilter(command_id=command_id), limit=10)
        if any(row.outcome in _OUTCOMES for row in page.rows):
            return True
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.25)
    return False


async def wait_for(session: Session, config: Config, command_id: str) -> None:
    """Wait for a command's rows; that they are late is told, and is no error: the command is done."""
    try:
        async with session.queries(config) as queries:
            done = await settled(queries, command_id)
    except Unavailable:
        done = False
    except KeyfoldError as error:
        session.say(f"done, but the projections cannot be read: {error}")
        return
    if not done:
        session.say("done, but the projections do not show it yet; see `keyfold status`")


async def key_id_of(queries: Queries, key: str) -> str:
    """Return the id of a key named by id or alias. Raises `NotFound`, `InvalidArgument`."""
    if not is_alias(key):
        return key
    found = await queries.resolve_alias(key)
    if found is None:
        raise NotFound(f"there is no {key}; `keyfold alias list` shows which there are")
    return found.key_id


async def key_of(queries: Queries, key: str) -> Key:
    """Return a key named by id or alias. Raises `NotFound`, `InvalidArgument`."""
    found = await queries.describe_key(await key_id_of(queries, key))
    if found is None:
        raise NotFound(f"there is no key {key}; `keyfold key list` shows which there are")
    return found
