"""`keyfold key create`, `describe`, `list`: keys as they are. What changes them is in `key_life`."""

from typing import Annotated, Literal

import typer

from keyfold.cli import key_life, output
from keyfold.cli.arguments import KeyName, NoWait, Reason, RotateAt, TagPairs, Trial, pairs
from keyfold.cli.projected import key_of
from keyfold.cli.session import of
from keyfold.cli.writing import write
from keyfold.client import DryRun, Keyfold, KeyMetadata
from keyfold.events.arguments import MAX_PROTECTED_ITEMS
from keyfold.events.entities import Key
from keyfold.projections.ports import Queries
from keyfold.projections.rows import KeySummary, Usage, VersionRow

app = typer.Typer(name="key", help="Create keys and lead them through their life.", no_args_is_help=True)
app.add_typer(key_life.app)

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
    tag: TagPairs = None,
    alias: Annotated[str | None, typer.Option(help="Also give it this name, like alias/orders.")] = None,
    usage_budget: Annotated[
        int, typer.Option(min=1, max=MAX_PROTECTED_ITEMS, help="Items that one version may protect.")
    ] = MAX_PROTECTED_ITEMS,
    rotate_at: RotateAt = 95,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Create a key (AES-256-GCM).

    Example: keyfold key create --alias alias/orders --description "customer orders" --tag team=shop
    """
    session, tags = of(context), pairs(tag, "--tag")

    async def work(kms: Keyfold) -> KeyMetadata | DryRun:
        key = await kms.create_key(
            protection=protection,
            description=description,
            tags=tags,
            usage_budget=usage_budget,
            rotate_at_percent=rotate_at or None,
            reason=reason,
            dry_run=dry_run,
        )
        if alias is not None and not isinstance(key, DryRun):
            await kms.create_alias(alias, key.key_id, reason=reason)
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


def _table(keys: list[KeySummary]) -> str:
    headers = ("KEY", "STATUS", "PROTECTION", "VERSION", "CREATED", "BY", "ALIASES", "DESCRIPTION")
    rows = [
        (k.key_id, k.status, k.protection, k.current_version, k.created_at, k.created_by, k.aliases, k.description)
        for k in keys
    ]
    return output.table(headers, rows, empty="no keys")


def _budget(key: Key) -> str:
    rotated = f"rotated at {key.rotate_at_percent} %" if key.rotate_at_percent else "not rotated by itself"
    return f"{key.usage_budget} items a version, {rotated}"


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
            ("budget", _budget(key)),
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
