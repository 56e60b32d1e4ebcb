"""`keyfold key validity` and `key rotation …`: from when to when a key protects, and how often it is rotated."""

from typing import Annotated

import typer

from keyfold.cli.arguments import KeyName, NoWait, Reason, Trial, bound, how, period
from keyfold.cli.exits import UsageError
from keyfold.cli.session import of
from keyfold.cli.writing import write

app = typer.Typer()
rotation = typer.Typer(name="rotation", help="Rotation by period.", no_args_is_help=True)
app.add_typer(rotation)


@app.command()
def validity(
    context: typer.Context,
    key: KeyName,
    *,
    not_before: Annotated[
        str | None, typer.Option(metavar="WHEN", help="It protects from then on; `never`: without such a bound.")
    ] = None,
    not_after: Annotated[
        str | None, typer.Option(metavar="WHEN", help="It only opens and verifies from then on; `never`: no bound.")
    ] = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Say from when to when a key protects. WHEN is 30d, 12h, 15m, 90s from now, a time (UTC), or `never`.

    What is not said stays as it is.

    Example: keyfold key validity alias/orders --not-after 2027-12-31T00:00:00.000Z
    """
    start, end = bound(not_before, "--not-before"), bound(not_after, "--not-after")
    if start is None and end is None:
        raise UsageError("say --not-before or --not-after (or both)")
    write(
        of(context),
        lambda kms: kms.update_key_validity(key, not_before=start, not_after=end, **how(reason, dry_run)),
        lambda _: f"the validity of {key} is changed",
        no_wait=no_wait,
    )


@rotation.command()
def enable(
    context: typer.Context,
    key: KeyName,
    every: Annotated[
        str, typer.Argument(metavar="PERIOD", help="Days, 90 to 2560; spans like 90s or 1h in development only.")
    ],
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Rotate a key whenever its version is so old; the scheduler does it.

    Example: keyfold key rotation enable alias/orders 365
    """
    span = period(every, "PERIOD")
    write(
        of(context),
        lambda kms: kms.enable_key_rotation(key, span, **how(reason, dry_run)),
        lambda _: f"{key} is rotated every {span}",
        no_wait=no_wait,
    )


@rotation.command()
def disable(
    context: typer.Context, key: KeyName, *, reason: Reason = None, dry_run: Trial = False, no_wait: NoWait = False
) -> None:
    """Rotate a key by its usage budget and by hand only.

    Example: keyfold key rotation disable alias/orders
    """
    write(
        of(context),
        lambda kms: kms.disable_key_rotation(key, **how(reason, dry_run)),
        lambda _: f"{key} is not rotated by period any more",
        no_wait=no_wait,
    )
