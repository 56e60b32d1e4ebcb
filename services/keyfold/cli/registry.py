"""`keyfold alias …`, `keyfold policy …`: names and rules."""

from typing import Annotated, Final

import typer

from keyfold.cli import output
from keyfold.cli.arguments import KeyName, NoWait, Reason, Trial, how, read_text
from keyfold.cli.lazy import Lazy, group_of
from keyfold.cli.projected import key_id_of
from keyfold.cli.session import of
from keyfold.cli.writing import write
from keyfold.client import Completed, Keyfold
from keyfold.deciding.cedar import validate_policy
from keyfold.events.errors import NotFound
from keyfold.projections.rows import PolicyRow

aliases = typer.Typer(name="alias", help="Names for keys.", no_args_is_help=True)
_LOOKING: Final = (
    Lazy(
        "explain",
        "policy_explain:policy_explain",
        "Say why a command was answered as it was: who asked what, by which policies, grants and limits.",
    ),
    Lazy(
        "simulate",
        "policy_simulate:policy_simulate",
        "Ask proposed policies about every command in the log: what would be denied, what would be allowed.",
    ),
    Lazy(
        "suggest",
        "policy_suggest:policy_suggest",
        "Write the least Cedar that permits what a principal really did: verbs, keys and encryption contexts.",
    ),
)
policies = typer.Typer(
    name="policy", help="Who may do what: Cedar policies.", no_args_is_help=True, cls=group_of(*_LOOKING)
)

AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="A name, like alias/orders.")]
OnKey = Annotated[str | None, typer.Option("--key", metavar="KEY", help="On this key only, not for all.")]
PolicyName = Annotated[str, typer.Argument(metavar="NAME", help="The policy's name.")]
PolicyFile = Annotated[str, typer.Argument(metavar="FILE", help="Cedar text; - for standard input.")]


@aliases.command("create")
def alias_create(
    context: typer.Context,
    alias: AliasArgument,
    key: KeyName,
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Give a key a name.

    Example: keyfold alias create alias/orders 01890a5d-ac96-774b-bcce-b302099a8057
    """

    async def verb(kms: Keyfold) -> Completed:
        return await kms.create_alias(alias, await kms.resolve(key), **how(reason, dry_run))

    write(of(context), verb, lambda _: f"{alias} names {key}", no_wait=no_wait)


@aliases.command("update")
def alias_update(
    context: typer.Context,
    alias: AliasArgument,
    key: KeyName,
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Let an alias name another key.

    Example: keyfold alias update alias/orders 01890a5d-ac96-774b-bcce-b302099a8057
    """

    async def verb(kms: Keyfold) -> Completed:
        return await kms.update_alias(alias, await kms.resolve(key), **how(reason, dry_run))

    write(of(context), verb, lambda _: f"{alias} names {key} now", no_wait=no_wait)


@aliases.command("delete")
def alias_delete(
    context: typer.Context,
    alias: AliasArgument,
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Remove a name; its key stays.

    Example: keyfold alias delete alias/orders
    """
    write(
        of(context),
        lambda kms: kms.delete_alias(alias, **how(reason, dry_run)),
        lambda _: f"{alias} is gone",
        no_wait=no_wait,
    )


@aliases.command("list")
def alias_list(context: typer.Context) -> None:
    """List names.

    Example: keyfold alias list
    """
    session = of(context)
    found = session.ask(lambda queries: queries.aliases())
    rows = [(alias.alias, alias.key_id, alias.updated_at) for alias in found]
    session.show(found, output.table(("ALIAS", "KEY", "SINCE"), rows, empty="no aliases"))


@policies.command("put")
def policy_put(
    context: typer.Context,
    name: PolicyName,
    source: PolicyFile,
    *,
    key: OnKey = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Put a Cedar policy under a name, for all or on one key; it replaces one of the same name.

    Example: keyfold policy put analysts-read analysts.cedar --key alias/orders
    """
    text = read_text(source)
    validate_policy(text)  # policy would only say that it is refused: here it can be said where and why
    write(
        of(context),
        lambda kms: kms.put_policy(name, text, key=key, **how(reason, dry_run)),
        lambda _: f"policy {name} holds" + (f" on {key}" if key else ""),
        no_wait=no_wait,
    )


@policies.command("validate")
def policy_validate(context: typer.Context, source: PolicyFile) -> None:
    """Check a Cedar policy against the schema, here, without a deployment. Exit code 1 if it could not be put.

    Example: keyfold policy validate analysts.cedar
    """
    validate_policy(read_text(source))
    of(context).show({"valid": True}, f"{source} can be put")


@policies.command("delete")
def policy_delete(
    context: typer.Context,
    name: PolicyName,
    *,
    key: OnKey = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Remove a policy.

    Example: keyfold policy delete analysts-read --key alias/orders
    """
    write(
        of(context),
        lambda kms: kms.delete_policy(name, key=key, **how(reason, dry_run)),
        lambda _: f"policy {name} is gone",
        no_wait=no_wait,
    )


@policies.command("list")
def policy_list(context: typer.Context, *, key: OnKey = None) -> None:
    """List policies: all, or those of one key.

    Example: keyfold policy list --key alias/orders
    """
    session = of(context)
    found = session.run(_policies(context, key))
    rows = [(row.policy, row.stream, row.updated_at, " ".join(row.text.split())[:80]) for row in found]
    session.show(found, output.table(("POLICY", "ON", "SINCE", "TEXT"), rows, empty="no policies"))


@policies.command("show")
def policy_show(context: typer.Context, name: PolicyName, *, key: OnKey = None) -> None:
    """Show a policy's text.

    Example: keyfold policy show administrators
    """
    session = of(context)
    stream_is_key = key is not None
    found = [
        row
        for row in session.run(_policies(context, key))
        if row.policy == name and (row.stream != "registry") == stream_is_key
    ]
    if not found:
        raise NotFound(f"there is no policy {name}; `keyfold policy list` shows which there are (--key for a key's)")
    session.show(found[0], found[0].text.rstrip())


async def _policies(context: typer.Context, key: str | None) -> tuple[PolicyRow, ...]:
    session = of(context)
    config = session.config
    async with session.queries(config) as queries:
        stream = None if key is None else f"key/{await key_id_of(queries, key)}"
        return await queries.policies(stream=stream)
