"""`keyfold key rotate`, `disable`, `tag`, `destroy-now` and so on: what changes a key."""

from datetime import timedelta
from typing import Annotated, Final

import typer

from keyfold.cli.arguments import KeyName, NoWait, Reason, RotateAt, Trial, how, pairs
from keyfold.cli.confirming import Yes, confirmed
from keyfold.cli.exits import UsageError
from keyfold.cli.session import of
from keyfold.cli.writing import write
from keyfold.client import Completed
from keyfold.events.arguments import MAX_PROTECTED_ITEMS

app = typer.Typer()

_SHORTEST_WAIT: Final = timedelta(days=7)


@app.command()
def rotate(
    context: typer.Context, key: KeyName, *, reason: Reason = None, dry_run: Trial = False, no_wait: NoWait = False
) -> None:
    """Make a new version, which protects from now on; older versions still decrypt.

    Example: keyfold key rotate alias/orders
    """
    write(
        of(context),
        lambda kms: kms.rotate_key(key, **how(reason, dry_run)),
        lambda done: f"{key} has version {done.version}",
        no_wait=no_wait,
    )


@app.command()
def enable(
    context: typer.Context, key: KeyName, *, reason: Reason = None, dry_run: Trial = False, no_wait: NoWait = False
) -> None:
    """Let a disabled key be used again.

    Example: keyfold key enable alias/orders
    """
    write(
        of(context),
        lambda kms: kms.enable_key(key, **how(reason, dry_run)),
        lambda _: f"{key} is enabled",
        no_wait=no_wait,
    )


@app.command()
def disable(
    context: typer.Context, key: KeyName, *, reason: Reason = None, dry_run: Trial = False, no_wait: NoWait = False
) -> None:
    """Stop all use of a key: no command that comes after this one is served. A --reason is kept with the key.

    Example: keyfold key disable alias/orders --reason "suspected misuse"
    """
    write(
        of(context),
        lambda kms: kms.disable_key(key, **how(reason, dry_run)),
        lambda _: f"{key} is disabled",
        no_wait=no_wait,
    )


@app.command("schedule-deletion")
def schedule_deletion(
    context: typer.Context,
    key: KeyName,
    *,
    days: Annotated[int | None, typer.Option(min=1, max=30, help="The waiting period, 7 to 30.")] = None,
    seconds: Annotated[int | None, typer.Option(min=1, help="A shorter one, where development allows it.")] = None,
    yes: Yes = False,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Destroy a key after a waiting period; until then the deletion can be cancelled.

    Tells before when its versions were used last and what still names or may use it; a terminal is asked.

    Example: keyfold key schedule-deletion alias/orders --days 7
    """
    if (days is None) == (seconds is None):
        raise UsageError("give the waiting period with --days (or --seconds in development)")
    window = timedelta(days=days) if days is not None else timedelta(seconds=seconds or 0)
    session = of(context)
    if window < _SHORTEST_WAIT and not session.config.development:
        raise UsageError("the waiting period is 7 to 30 days (shorter only in a deployment begun with --development)")
    if not dry_run:
        confirmed(session, key, f"Destroy {key} after {window}?", yes=yes, for_good=False)
    write(
        session,
        lambda kms: kms.schedule_key_deletion(key, window, **how(reason, dry_run)),
        lambda _: f"{key} will be destroyed after {window}",
        no_wait=no_wait,
    )


@app.command("cancel-deletion")
def cancel_deletion(
    context: typer.Context, key: KeyName, *, reason: Reason = None, dry_run: Trial = False, no_wait: NoWait = False
) -> None:
    """Take a scheduled deletion back; the key is disabled then.

    Example: keyfold key cancel-deletion alias/orders
    """

    def told(_done: Completed) -> str:
        return f"{key} will not be destroyed; it is disabled"

    write(of(context), lambda kms: kms.cancel_key_deletion(key, **how(reason, dry_run)), told, no_wait=no_wait)


@app.command("destroy-now")
def destroy_now(
    context: typer.Context,
    key: KeyName,
    *,
    yes: Yes = False,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Destroy a key at once, without a waiting period. Policies should ask for approvals: see `proposal create`.

    Example: keyfold key destroy-now alias/orders --yes --reason "the key was disclosed"
    """
    session = of(context)
    if not dry_run:
        confirmed(session, key, f"Destroy {key} now and for good?", yes=yes)
    write(
        session,
        lambda kms: kms.destroy_key_now(key, **how(reason, dry_run)),
        lambda _: f"{key} is destroyed",
        no_wait=no_wait,
    )


@app.command()
def tag(
    context: typer.Context,
    key: KeyName,
    tags: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="Tags; public, for policies to mention.")],
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Give a key tags; those of the same name are replaced.

    Example: keyfold key tag alias/orders team=shop data=cardholder
    """
    wanted = pairs(tags, "a tag")
    write(
        of(context),
        lambda kms: kms.tag_key(key, wanted, **how(reason, dry_run)),
        lambda _: f"{key} has the tags {', '.join(tags)}",
        no_wait=no_wait,
    )


@app.command()
def untag(
    context: typer.Context,
    key: KeyName,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The tags' names.")],
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Take tags away from a key.

    Example: keyfold key untag alias/orders team
    """
    write(
        of(context),
        lambda kms: kms.untag_key(key, names, **how(reason, dry_run)),
        lambda _: f"{key} has no tag {', '.join(names)} any more",
        no_wait=no_wait,
    )


@app.command()
def budget(
    context: typer.Context,
    key: KeyName,
    items: Annotated[int, typer.Argument(min=1, max=MAX_PROTECTED_ITEMS, help="Items that one version may protect.")],
    *,
    rotate_at: RotateAt = 95,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Say how many items each version of a key may protect, and when it is rotated by itself.

    Example: keyfold key budget alias/orders 1000000 --rotate-at 90
    """
    write(
        of(context),
        lambda kms: kms.update_usage_budget(key, items, rotate_at_percent=rotate_at or None, **how(reason, dry_run)),
        lambda _: f"each version of {key} may protect {items} items",
        no_wait=no_wait,
    )
