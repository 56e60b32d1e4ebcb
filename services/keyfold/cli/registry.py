"""`keyfold alias …`, `keyfold principal …`, `keyfold policy …`: names, people and rules."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from keyfold.cli import output
from keyfold.cli.arguments import KeyName, NoWait, pairs, read_text
from keyfold.cli.exits import UsageError
from keyfold.cli.projected import key_id_of
from keyfold.cli.session import of
from keyfold.cli.writing import write
from keyfold.client import Completed, Keyfold
from keyfold.client.identifiers import check_name
from keyfold.config import Config
from keyfold.events.entities import Alias, Principal
from keyfold.events.errors import NotFound, Refusal
from keyfold.identity import create_identity, load_identity
from keyfold.projections.rows import PolicyRow

aliases = typer.Typer(name="alias", help="Names for keys.", no_args_is_help=True)
principals = typer.Typer(name="principal", help="Who may sign commands.", no_args_is_help=True)
policies = typer.Typer(name="policy", help="Who may do what: Cedar policies.", no_args_is_help=True)

AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="A name, like alias/orders.")]
OnKey = Annotated[str | None, typer.Option("--key", metavar="KEY", help="On this key only, not for all.")]
PolicyName = Annotated[str, typer.Argument(metavar="NAME", help="The policy's name.")]


@aliases.command("create")
def alias_create(context: typer.Context, alias: AliasArgument, key: KeyName, *, no_wait: NoWait = False) -> None:
    """Give a key a name.

    Example: keyfold alias create alias/orders 01890a5d-ac96-774b-bcce-b302099a8057
    """

    async def verb(kms: Keyfold) -> Completed:
        return await kms.create_alias(alias, await kms.resolve(key))

    write(of(context), verb, lambda _: f"{alias} names {key}", no_wait=no_wait)


@aliases.command("update")
def alias_update(context: typer.Context, alias: AliasArgument, key: KeyName, *, no_wait: NoWait = False) -> None:
    """Let an alias name another key.

    Example: keyfold alias update alias/orders 01890a5d-ac96-774b-bcce-b302099a8057
    """

    async def verb(kms: Keyfold) -> Completed:
        return await kms.update_alias(alias, await kms.resolve(key))

    write(of(context), verb, lambda _: f"{alias} names {key} now", no_wait=no_wait)


@aliases.command("delete")
def alias_delete(context: typer.Context, alias: AliasArgument, *, no_wait: NoWait = False) -> None:
    """Remove a name; its key stays.

    Example: keyfold alias delete alias/orders
    """
    write(of(context), lambda kms: kms.delete_alias(alias), lambda _: f"{alias} is gone", no_wait=no_wait)


@aliases.command("list")
def alias_list(context: typer.Context) -> None:
    """List names.

    Example: keyfold alias list
    """
    session = of(context)
    config = session.config

    async def work() -> tuple[Alias, ...]:
        async with session.queries(config) as queries:
            return await queries.aliases()

    found = session.run(work())
    rows = [(alias.alias, alias.key_id, alias.updated_at) for alias in found]
    session.show(found, output.table(("ALIAS", "KEY", "SINCE"), rows, empty="no aliases"))


@principals.command("register")
def principal_register(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The principal's name: a-z, 0-9, '.', '_', '-'.")],
    *,
    group: Annotated[list[str] | None, typer.Option(help="A group it belongs to.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Tags that policies may mention.")] = None,
    public_key: Annotated[
        str | None, typer.Option(metavar="HEX", help="Its Ed25519 public key, if the private one is elsewhere.")
    ] = None,
    no_wait: NoWait = False,
) -> None:
    """Register a principal; without --public-key, make its identity file (0600) in the identities directory.

    Example: keyfold principal register alice --group analysts --tag team=shop
    """
    session, tags = of(context), pairs(tag, "--tag")
    config = session.config
    check_name(name)
    made: Path | None = None
    path: Path | None = None
    if public_key is None:
        path = config.identities_directory / f"{name}.json"
        made = None if path.exists() else path
        key = _own_key(config, path, name)
    else:
        key = _hex(public_key)
    try:
        write(
            session,
            lambda kms: kms.register_principal(name, key, groups=group or (), tags=tags),
            lambda _: f"principal {name} is registered" + (f"; its identity file is {path}" if path else ""),
            no_wait=no_wait,
            more={"principal": name, "public_key": key.hex(), "identity": path},
        )
    except Refusal:
        # Refused means certainly not registered; after any other error the file may be needed.
        if made is not None:
            made.unlink()
        raise


def _own_key(config: Config, path: Path, name: str) -> bytes:
    """Make the identity, or take the one that an attempt before made: then its registration is repeated."""
    if not path.exists():
        return create_identity(path, name, config.deployment or "").signer.public_key
    identity = load_identity(path)
    if identity.name != name or identity.deployment != config.deployment:
        raise UsageError(f"{path} belongs to somebody else; move it away or choose another name")
    return identity.signer.public_key


def _hex(text: str) -> bytes:
    with suppress(ValueError):
        return bytes.fromhex(text)
    raise UsageError("--public-key takes 64 hexadecimal digits")


@principals.command("revoke")
def principal_revoke(
    context: typer.Context, name: Annotated[str, typer.Argument(help="The principal.")], *, no_wait: NoWait = False
) -> None:
    """Refuse everything that a principal signs from now on. Its name is not used again.

    Example: keyfold principal revoke alice
    """
    write(of(context), lambda kms: kms.revoke_principal(name), lambda _: f"principal {name} is revoked",
          no_wait=no_wait)  # fmt: skip


@principals.command("list")
def principal_list(context: typer.Context) -> None:
    """List principals, revoked ones too.

    Example: keyfold principal list
    """
    session = of(context)
    config = session.config

    async def work() -> tuple[Principal, ...]:
        async with session.queries(config) as queries:
            return await queries.principals()

    found = session.run(work())
    rows = [(p.principal, p.status, p.groups, p.tags, p.registered_at, p.signing_key[:16]) for p in found]
    headers = ("PRINCIPAL", "STATUS", "GROUPS", "TAGS", "SINCE", "SIGNING KEY")
    session.show(found, output.table(headers, rows))


@policies.command("put")
def policy_put(
    context: typer.Context,
    name: PolicyName,
    source: Annotated[str, typer.Argument(metavar="FILE", help="Cedar text; - for standard input.")],
    *,
    key: OnKey = None,
    no_wait: NoWait = False,
) -> None:
    """Put a Cedar policy under a name, for all or on one key; it replaces one of the same name.

    Example: keyfold policy put analysts-read analysts.cedar --key alias/orders
    """
    text = read_text(source)
    write(
        of(context),
        lambda kms: kms.put_policy(name, text, key=key),
        lambda _: f"policy {name} holds" + (f" on {key}" if key else ""),
        no_wait=no_wait,
    )


@policies.command("delete")
def policy_delete(context: typer.Context, name: PolicyName, *, key: OnKey = None, no_wait: NoWait = False) -> None:
    """Remove a policy.

    Example: keyfold policy delete analysts-read --key alias/orders
    """
    write(of(context), lambda kms: kms.delete_policy(name, key=key), lambda _: f"policy {name} is gone",
          no_wait=no_wait)  # fmt: skip


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
