"""`keyfold key create` and `list`. Keys are shown in `key_show`; what changes them is in the other `key_…` modules."""

from typing import Annotated

import typer

from keyfold.cli import output
from keyfold.cli.arguments import (
    NotAfter,
    NotBefore,
    NoWait,
    Reason,
    RotateAt,
    TagPairs,
    Trial,
    bound,
    pairs,
    period,
)
from keyfold.cli.session import of
from keyfold.cli.writing import write
from keyfold.client import DryRun, Keyfold, KeyMetadata
from keyfold.events.arguments import MAX_PROTECTED_ITEMS, Origin, Protection
from keyfold.events.key_states import KeyState
from keyfold.events.specs import KeySpec, KeyUsage
from keyfold.projections.ports import Queries
from keyfold.projections.rows import KeySummary

app = typer.Typer()


@app.command()
def create(
    context: typer.Context,
    *,
    spec: Annotated[KeySpec, typer.Option(help="What kind of key; `keyfold capabilities` shows what is offered.")] = (
        "SYMMETRIC_DEFAULT"
    ),
    usage: Annotated[
        KeyUsage | None, typer.Option(help="What it is for, where its spec has several usages (RSA, ECC_NIST_P…).")
    ] = None,
    protection: Annotated[
        Protection, typer.Option(help="HSM: used inside the token. SOFTWARE: in the worker's memory, faster.")
    ] = "HSM",
    origin: Annotated[Origin, typer.Option(help="EXTERNAL: its material comes by `keyfold import`.")] = "KEYFOLD",
    not_before: NotBefore = None,
    not_after: NotAfter = None,
    rotation_period: Annotated[
        str | None, typer.Option(metavar="PERIOD", help="Days, 90 to 2560; spans like 90s in development only.")
    ] = None,
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
    """Create a key: AES-256-GCM, unless --spec says otherwise.

    Example: keyfold key create --alias alias/orders --description "customer orders" --tag team=shop

    Example: keyfold key create --spec ECC_NIST_P256 --usage SIGN_VERIFY --rotation-period 365
    """
    session, tags = of(context), pairs(tag, "--tag")
    start, end = bound(not_before, "--not-before"), bound(not_after, "--not-after")
    every = None if rotation_period is None else period(rotation_period, "--rotation-period")

    async def work(kms: Keyfold) -> KeyMetadata | DryRun:
        key = await kms.create_key(
            key_spec=spec, key_usage=usage, origin=origin, protection=protection, not_before=start, not_after=end,
            rotation_period=every, description=description, tags=tags, usage_budget=usage_budget,
            rotate_at_percent=rotate_at or None, reason=reason, dry_run=dry_run,
        )  # fmt: skip
        if alias is not None and not isinstance(key, DryRun):
            await kms.create_alias(alias, key.key_id, reason=reason)
        return key

    write(session, work, lambda key: _created(key, alias, origin), no_wait=no_wait)


def _created(key: KeyMetadata, alias: str | None, origin: Origin) -> str:
    named = f"; {alias} names it" if alias is not None else ""
    waits = "; it waits for its material: keyfold import" if origin == "EXTERNAL" else ""
    return f"key {key.key_id} created, {key.key_spec}, {key.protection}{named}{waits}"


@app.command("list")
def list_(
    context: typer.Context,
    *,
    status: Annotated[
        KeyState | None, typer.Option("--status", "--state", help="Only keys that are in this state now.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000,
) -> None:
    """List keys.

    Example: keyfold key list --status Enabled
    """
    session = of(context)
    keys = session.ask(lambda queries: _listed(queries, status, limit))
    session.show(keys, _table(keys))


async def _listed(queries: Queries, state: str | None, limit: int) -> list[KeySummary]:
    found: list[KeySummary] = []
    after: str | None = None
    while len(found) < limit:
        page = await queries.list_keys(after=after, limit=min(500, limit - len(found)), state=state)
        found += page.keys
        after = page.next
        if after is None:
            break
    return found


def _table(keys: list[KeySummary]) -> str:
    headers = ("KEY", "STATE", "SPEC", "PROTECTION", "VERSION", "CREATED", "BY", "ALIASES", "DESCRIPTION")
    rows = [
        (
            k.key_id, k.state, k.key_spec, k.protection, k.current_version, k.created_at, k.created_by, k.aliases,
            k.description,
        )
        for k in keys
    ]  # fmt: skip
    return output.table(headers, rows, empty="no keys")
