"""`keyfold limit …`: how much may be done: rate limits and quotas."""

from typing import Annotated

import typer

from keyfold.cli import output
from keyfold.cli.arguments import NoWait, Reason, Trial, how, seconds
from keyfold.cli.session import of
from keyfold.cli.writing import write
from keyfold.events.arguments import LimitKind, LimitScope, LimitUnit

app = typer.Typer(name="limit", help="How much may be done: rate limits and quotas.", no_args_is_help=True)

Kind = Annotated[LimitKind, typer.Option(help="rate: refilled steadily. quota: counted anew in each period.")]
LimitName = Annotated[str, typer.Argument(metavar="NAME", help="The limit's name.")]


@app.command()
def put(
    context: typer.Context,
    name: LimitName,
    amount: Annotated[int, typer.Argument(min=1, help="How much in each period.")],
    *,
    period: Annotated[str, typer.Option(metavar="SPAN", help="The period: 1s, 1m, 1h, 30d.")],
    kind: Kind = "rate",
    unit: Annotated[LimitUnit, typer.Option(help="What is counted.")] = "commands",
    burst: Annotated[int | None, typer.Option(min=1, help="How much of a rate at once; else the amount.")] = None,
    per: Annotated[
        LimitScope, typer.Option(help="Counted for each principal, or each principal and key.")
    ] = "principal",
    principal: Annotated[str | None, typer.Option(metavar="NAME", help="Only for this principal.")] = None,
    group: Annotated[str | None, typer.Option(metavar="GROUP", help="Only for this group's principals.")] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only for this key.")] = None,
    verb: Annotated[list[str] | None, typer.Option(metavar="VERB", help="Only for this verb; may be repeated.")] = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Put a limit under a name; it replaces one of the same name.

    Example: keyfold limit put decrypts 100 --period 1m --unit items --verb Decrypt --group analysts
    """
    span = seconds(period, "--period")
    write(
        of(context),
        lambda kms: kms.put_limit(
            name, kind, amount, span, unit=unit, burst=burst, per=per, principal=principal, group=group, key=key,
            verbs=verb or (), **how(reason, dry_run),
        ),
        lambda _: f"limit {name}: {amount} {unit} in {period}",
        no_wait=no_wait,
    )  # fmt: skip


@app.command()
def delete(
    context: typer.Context, name: LimitName, *, reason: Reason = None, dry_run: Trial = False, no_wait: NoWait = False
) -> None:
    """Remove a limit.

    Example: keyfold limit delete decrypts
    """
    write(
        of(context),
        lambda kms: kms.delete_limit(name, **how(reason, dry_run)),
        lambda _: f"limit {name} is gone",
        no_wait=no_wait,
    )


@app.command("list")
def list_(context: typer.Context) -> None:
    """List limits.

    Example: keyfold limit list
    """
    session = of(context)
    found = session.ask(lambda queries: queries.limits())
    rows = [
        (
            limit.limit,
            limit.limit_kind,
            f"{limit.amount} {limit.unit} in {limit.period_seconds} s",
            limit.burst if limit.limit_kind == "rate" else None,
            limit.per,
            limit.principal or limit.group,
            limit.key_id,
            limit.verbs,
        )
        for limit in found
    ]
    headers = ("LIMIT", "KIND", "AMOUNT", "BURST", "PER", "FOR", "KEY", "VERBS")
    session.show(found, output.table(headers, rows, empty="no limits"))
