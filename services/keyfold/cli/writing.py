"""How commands that change something run: connect as the principal, do it, wait for the projections, print.

A dry run goes the same way and changes nothing; what it would have told is not told.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from keyfold.cli.projected import wait_for
from keyfold.cli.session import Session
from keyfold.client import Completed, DryRun, Keyfold, KeyMetadata
from keyfold.client.data_verbs import Use
from keyfold.identity import Identity

Done = TypeVar("Done", bound=Completed | KeyMetadata)


def write(
    session: Session,
    verb: Callable[[Keyfold], Awaitable[Done | DryRun]],
    told: Callable[[Done], str],
    *,
    no_wait: bool = False,
    more: Callable[[Done], dict[str, Any]] | None = None,
    identity: Identity | None = None,
) -> Done | None:
    """Carry out one control verb, as `identity` or who acts, and print what became of it; None after a dry run."""
    config = session.config

    async def work() -> Done | DryRun:
        async with session.client(config, identity) as kms:
            done = await verb(kms)
        if not no_wait:
            await wait_for(session, config, done.command_id)
        return done

    done = session.run(work())
    if isinstance(done, DryRun):
        tell_dry_run(session, done)
        return None
    session.show({**_facts(done), **(more(done) if more else {})}, told(done))
    return done


def try_out(session: Session, trial: Callable[[Keyfold], Awaitable[DryRun]]) -> None:
    """Find out whether a use of a key would be authorized, and print it."""
    config = session.config

    async def work() -> DryRun:
        async with session.client(config) as kms:
            return await trial(kms)

    tell_dry_run(session, session.run(work()))


def try_use(
    session: Session,
    verb: str,
    key: str,
    use: Use,
    *,
    context: Mapping[str, str] | None = None,
    size_bytes: int = 0,
    arguments: Mapping[str, Any] | None = None,
) -> None:
    """Find out whether a data-plane verb would be authorized for one item; arguments that are None are not said."""
    said = {name: value for name, value in (arguments or {}).items() if value is not None}

    async def trial(kms: Keyfold) -> DryRun:
        return await kms.dry_run(verb, key, context=context or {}, size_bytes=size_bytes, arguments=said, **use)

    try_out(session, trial)


def tell_dry_run(session: Session, done: DryRun) -> None:
    """Print that a command would have been authorized. A denial never comes here: it is an error."""
    facts = {"dry_run": True, "command_id": done.command_id, "decision": done.decision}
    session.show(facts, f"it would be allowed; nothing was done (command {done.command_id})")


def _facts(done: Completed | KeyMetadata) -> dict[str, Any]:
    names = ("key_id", "version", "key_spec", "protection", "registry_revision", "command_id")
    facts = {name: getattr(done, name, None) for name in names}
    return {name: value for name, value in facts.items() if value not in {None, 0}}
