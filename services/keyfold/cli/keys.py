"""`keyfold key …`: the life of keys."""

from datetime import timedelta
from typing import Annotated, Final, Literal

import typer

from keyfold.cli import output
from keyfold.cli.arguments import KeyName, NoWait, pairs
from keyfold.cli.exits import UsageError
from keyfold.cli.projected import key_of
from keyfold.cli.session import of
from keyfold.cli.writing import write
from keyfold.client import Completed, Keyfold, KeyMetadata
from keyfold.events.entities import Key
from keyfold.projections.ports import Queries
from keyfold.projections.rows import KeySummary, Usage, VersionRow

app = typer.Typer(name="key", help="Create keys and lead them through their life.", no_args_is_help=True)

_SHORTEST_WAIT: Final = timedelta(days=7)

Status = Literal["Enabled", "Disabled", "PendingDeletion", "Destroyed", "Failed"]


@app.command()
def create(
    context: typer.Context,
    *,
    protection: Annotated[
        Literal["HSM", "SOFTWARE"],
        typer.Option(help="HSM: used inside the token. SOFTWARE: in the worker's memory, faster."),
    ] = "HSM",
    description: Annotated[str, typer.Option(help="What it is for; public.")] = "",
    tag: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Tags that policies may mention.")] = None,
    alias: Annotated[str | None, typer.Option(help="Also give it this name, like alias/orders.")] = None,
    no_wait: NoWait = False,
) -> None:
    """Create a key (AES-256-GCM).

    Example: keyfold key create --alias alias/orders --description "customer orders" --tag team=shop
    """
    session, tags = of(context), pairs(tag, "--tag")

    async def work(kms: Keyfold) -> KeyMetadata:
        key = await kms.create_key(protection=protection, description=description, tags=tags)
        if alias is not None:
            await kms.create_alias(alias, key.key_id)
        return key

    named = f"; {alias} names it" if alias is not None else ""
    write(session, work, lambda key: f"key {key.key_id} created, {key.protection}{named}", no_wait=no_wait)


@app.command()
def describe(context: typer.Context, key: KeyName) -> None:
    """Show a key, its versions, its names and its use.

    Example: keyfold key describe alias/orders
    """
    session = of(context)
    config = session.config

    async def work() -> tuple[Key, tuple[VersionRow, ...], tuple[str, ...], tuple[Usage, ...]]:
        async with session.queries(config) as queries:
            return await described(queries, key)

    found, versions, aliases, usage = session.run(work())
    session.show(
        {**found.model_dump(mode="json"), "versions": versions, "aliases": aliases, "usage": usage},
        description(found, versions, aliases, usage),
    )


async def described(
    queries: Queries, name: str
) -> tuple[Key, tuple[VersionRow, ...], tuple[str, ...], tuple[Usage, ...]]:
    """Return a key with what the projections know about it."""
    found = await key_of(queries, name)
    return (
        found,
        await queries.key_versions(found.key_id),
        tuple(alias.alias for alias in await queries.aliases(key_id=found.key_id)),
        await queries.usage(stream=f"key/{found.key_id}"),
    )


@app.command("list")
def list_(
    context: typer.Context,
    *,
    status: Annotated[Status | None, typer.Option(help="Only keys in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000,
) -> None:
    """List keys.

    Example: keyfold key list --status Enabled
    """
    session = of(context)
    config = session.config

    async def work() -> list[KeySummary]:
        async with session.queries(config) as queries:
            return await _listed(queries, status, limit)

    keys = session.run(work())
    session.show(keys, _table(keys))


async def _listed(queries: Queries, status: str | None, limit: int) -> list[KeySummary]:
    found: list[KeySummary] = []
    after: str | None = None
    while len(found) < limit:
        page = await queries.list_keys(after=after, limit=min(500, limit - len(found)), status=status)
        found += page.keys
        after = page.next
        if after is None:
            break
    return found


@app.command()
def rotate(context: typer.Context, key: KeyName, *, no_wait: NoWait = False) -> None:
    """Make a new version, which protects from now on; older versions still decrypt.

    Example: keyfold key rotate alias/orders
    """
    write(of(context), lambda kms: kms.rotate_key(key), lambda done: f"{key} has version {done.version}",
          no_wait=no_wait)  # fmt: skip


@app.command()
def enable(context: typer.Context, key: KeyName, *, no_wait: NoWait = False) -> None:
    """Let a disabled key be used again.

    Example: keyfold key enable alias/orders
    """
    write(of(context), lambda kms: kms.enable_key(key), lambda _: f"{key} is enabled", no_wait=no_wait)


@app.command()
def disable(
    context: typer.Context,
    key: KeyName,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the key.")] = "",
    no_wait: NoWait = False,
) -> None:
    """Stop all use of a key: no command that comes after this one is served.

    Example: keyfold key disable alias/orders --reason "suspected misuse"
    """
    write(of(context), lambda kms: kms.disable_key(key, reason=reason), lambda _: f"{key} is disabled", no_wait=no_wait)


@app.command("schedule-deletion")
def schedule_deletion(
    context: typer.Context,
    key: KeyName,
    *,
    days: Annotated[int | None, typer.Option(min=1, max=30, help="The waiting period, 7 to 30.")] = None,
    seconds: Annotated[int | None, typer.Option(min=1, help="A shorter one, where development allows it.")] = None,
    no_wait: NoWait = False,
) -> None:
    """Destroy a key after a waiting period; until then the deletion can be cancelled.

    Example: keyfold key schedule-deletion alias/orders --days 7
    """
    if (days is None) == (seconds is None):
        raise UsageError("give the waiting period with --days (or --seconds in development)")
    window = timedelta(days=days) if days is not None else timedelta(seconds=seconds or 0)
    session = of(context)
    if window < _SHORTEST_WAIT and not session.config.development:
        raise UsageError("the waiting period is 7 to 30 days (shorter only in a deployment begun with --development)")
    write(
        session,
        lambda kms: kms.schedule_key_deletion(key, window),
        lambda _: f"{key} will be destroyed after {window}",
        no_wait=no_wait,
    )


@app.command("cancel-deletion")
def cancel_deletion(context: typer.Context, key: KeyName, *, no_wait: NoWait = False) -> None:
    """Take a scheduled deletion back; the key is disabled then.

    Example: keyfold key cancel-deletion alias/orders
    """

    def told(_done: Completed) -> str:
        return f"{key} will not be destroyed; it is disabled"

    write(of(context), lambda kms: kms.cancel_key_deletion(key), told, no_wait=no_wait)


def _table(keys: list[KeySummary]) -> str:
    headers = ("KEY", "STATUS", "PROTECTION", "VERSION", "CREATED", "BY", "ALIASES", "DESCRIPTION")
    rows = [
        (k.key_id, k.status, k.protection, k.current_version, k.created_at, k.created_by, k.aliases, k.description)
        for k in keys
    ]
    return output.table(headers, rows, empty="no keys")


def description(key: Key, versions: tuple[VersionRow, ...], aliases: tuple[str, ...], usage: tuple[Usage, ...]) -> str:
    """Return what a person wants to know about a key."""
    facts = output.pairs(
        [
            ("key", key.key_id),
            ("status", key.status + (f" ({key.reason})" if key.reason else "")),
            ("deletion", key.deletion_date),
            ("spec", f"{key.key_spec}, {key.protection}"),
            ("created", f"{key.created_at} by {key.created_by}"),
            ("description", key.description),
            ("tags", key.tags),
            ("aliases", aliases),
            ("policies", [policy.policy for policy in key.policies]),
        ]
    )
    table = output.table(
        ("VERSION", "STATUS", "CREATED", "PROTECTED", "USED", "LAST USED", "ERASED"),
        [
            (v.version, v.status, v.created_at, v.protected_items, v.used_items, v.last_used_at, v.erased_at)
            for v in versions
        ],
    )
    used = output.table(
        ("PRINCIPAL", "VERB", "VERSION", "COMMANDS", "ITEMS", "FAILED", "LAST"),
        [(u.principal, u.verb, u.version, u.commands, u.items, u.failed_items, u.last_used_at) for u in usage],
        empty="not used yet",
    )
    return f"{facts}\n\n{table}\n\n{used}"
