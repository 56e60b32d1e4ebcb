"""`keyfold key compromise`: mark versions as compromised, and rotate at once. What used them: `key blast-radius`."""

from typing import Annotated, Any

import typer

from keyfold.cli import exits
from keyfold.cli.arguments import KeyName, NoWait, Reason, Trial, how, past
from keyfold.cli.session import of
from keyfold.cli.writing import write
from keyfold.client import Compromise, DryRun, Keyfold
from keyfold.events.errors import KeyfoldError

app = typer.Typer()


@app.command()
def compromise(
    context: typer.Context,
    key: KeyName,
    *,
    occurred_at: Annotated[
        str, typer.Option(metavar="WHEN", help="Since when: a time (UTC), or 30d, 12h, 15m, 90s ago.")
    ],
    version: Annotated[
        list[int] | None, typer.Option("--version", min=1, metavar="N", help="Which; may be repeated. Else all.")
    ] = None,
    rotate: Annotated[bool, typer.Option("--rotate/--no-rotate", help="Rotate the key right behind it.")] = True,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Mark versions of a key as compromised: they protect nothing any more, and open only for whom a policy names.

    The key is rotated at once, so that protecting goes on under a fresh version. Exit code 1 if only that was refused.

    Example: keyfold key compromise alias/orders --occurred-at 2h --reason "found in a log file"
    """
    since = past(occurred_at, "--occurred-at")

    async def send(kms: Keyfold) -> Compromise | DryRun:
        return await kms.mark_key_compromised(
            key, since, versions=sorted(set(version)) if version else None, rotate=rotate, **how(reason, dry_run)
        )

    done = write(of(context), send, lambda done: _told(key, done), no_wait=no_wait, more=_about)
    if done is not None and isinstance(done.rotation, KeyfoldError):
        raise typer.Exit(exits.REFUSED)


def _about(done: Compromise) -> dict[str, Any]:
    rotation = done.rotation
    if isinstance(rotation, KeyfoldError):
        return {"rotation": {"error": exits.describe(rotation)}}
    return {"rotation": None if rotation is None else {"command_id": rotation.command_id, "version": rotation.version}}


def _told(key: str, done: Compromise) -> str:
    rotation, marked = done.rotation, f"{key} is marked as compromised"
    if rotation is None:
        return f"{marked}; rotate it: keyfold key rotate {key}"
    if isinstance(rotation, KeyfoldError):
        return f"{marked}, but was not rotated: {rotation.code}: {rotation}"
    return f"{marked}; version {rotation.version} protects from now on"
