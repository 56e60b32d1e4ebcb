"""How commands that change something run: connect as the principal, do it, wait for the projections, print."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from keyfold.cli.projected import wait_for
from keyfold.cli.session import Session
from keyfold.client import Completed, Keyfold, KeyMetadata

Done = TypeVar("Done", Completed, KeyMetadata)


def write(
    session: Session,
    verb: Callable[[Keyfold], Awaitable[Done]],
    told: Callable[[Done], str],
    *,
    no_wait: bool = False,
    more: dict[str, Any] | None = None,
) -> Done:
    """Carry out one control verb and print what became of it."""
    config = session.config

    async def work() -> Done:
        async with session.client(config) as kms:
            done = await verb(kms)
        if not no_wait:
            await wait_for(session, config, done.command_id)
        return done

    done = session.run(work())
    session.show({**_facts(done), **(more or {})}, told(done))
    return done


def _facts(done: Completed | KeyMetadata) -> dict[str, Any]:
    names = ("key_id", "version", "key_spec", "protection", "registry_revision", "command_id")
    facts = {name: getattr(done, name, None) for name in names}
    return {name: value for name, value in facts.items() if value not in {None, 0}}
