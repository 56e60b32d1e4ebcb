"""`keyfold principal …`: who may sign commands. Their signing keys are in `signing_keys`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from keyfold.cli import output, signing_keys
from keyfold.cli.arguments import (
    Ends,
    NoWait,
    PrincipalName,
    Reason,
    TagPairs,
    Trial,
    how,
    optional_moment,
    pairs,
    public_key,
)
from keyfold.cli.exits import UsageError
from keyfold.cli.session import now_ms, of
from keyfold.cli.signing_keys import passing_key, require_no_service
from keyfold.cli.writing import write
from keyfold.client.identifiers import check_name
from keyfold.config import Config
from keyfold.events.arguments import PrincipalType
from keyfold.events.entities import Principal
from keyfold.events.errors import Refusal
from keyfold.events.signatures import SignatureAlgorithm
from keyfold.identity import create_identity, load_identity, principal_path

app = typer.Typer(name="principal", help="Who may sign commands.", no_args_is_help=True)
app.add_typer(signing_keys.app)

PublicKey = Annotated[
    str | None, typer.Option("--public-key", metavar="HEX", help="Its public key, if the private one is elsewhere.")
]
Group = Annotated[list[str] | None, typer.Option("--group", metavar="GROUP", help="A group it belongs to.")]


@app.command()
def register(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The principal's name: a-z, 0-9, '.', '_', '-'.")],
    *,
    group: Group = None,
    tag: TagPairs = None,
    kind: Annotated[PrincipalType, typer.Option("--type", help="Who it is; policies may ask.")] = "workload",
    expires: Ends = None,
    key: PublicKey = None,
    algorithm: Annotated[SignatureAlgorithm, typer.Option(help="Of the key that is made here.")] = "Ed25519",
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Register a principal; without --public-key, make its identity file (0600) in the identities directory.

    Example: keyfold principal register alice --group analysts --tag team=shop
    """
    session, tags, until = of(context), pairs(tag, "--tag"), optional_moment(expires)
    config = session.config
    path = principal_path(config.identities_directory, check_name(name)) if key is None and not dry_run else None
    with _kept_unless_refused(path):
        raw, used = public_key(key) if key is not None else _own_key(config, path, name, algorithm)
        require_no_service(config, raw)
        write(
            session,
            lambda kms: kms.register_principal(
                name, raw, algorithm=used, groups=group or (), tags=tags, principal_type=kind, expires_at=until,
                **how(reason, dry_run),
            ),
            lambda _: f"principal {name} is registered" + (f"; its identity file is {path}" if path else ""),
            no_wait=no_wait,
            more=lambda _: {"principal": name, "public_key": raw.hex(), "algorithm": used, "identity": path},
        )  # fmt: skip


@contextmanager
def _kept_unless_refused(path: Path | None) -> Iterator[None]:
    """Remove a file that is made inside, if the command is refused: then certainly nobody needs it.

    After any other error it may have been registered, and is kept.
    """
    existed = path is None or path.exists()
    try:
        yield
    except Refusal:
        if path is not None and not existed:
            path.unlink(missing_ok=True)
        raise


def _own_key(
    config: Config, path: Path | None, name: str, algorithm: SignatureAlgorithm
) -> tuple[bytes, SignatureAlgorithm]:
    """Make the identity, or take the one that an attempt before made: then its registration is repeated.

    Without a path, for a dry run, the key is forgotten.
    """
    if path is None:
        signer = passing_key(algorithm)
    elif path.exists():
        identity = load_identity(path)
        if identity.name != name or identity.deployment != config.deployment:
            raise UsageError(f"{path} belongs to somebody else; move it away or choose another name")
        signer = identity.signer
    else:
        signer = create_identity(path, name, config.deployment or "", algorithm=algorithm).signer
    return signer.public_key, signer.algorithm


@app.command()
def update(
    context: typer.Context,
    name: PrincipalName,
    *,
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="GROUP", help="All groups that it belongs to from now on.")
    ] = None,
    no_groups: Annotated[bool, typer.Option("--no-groups", help="It belongs to no group any more.")] = False,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="All tags that it has from now on.")
    ] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="It has no tags any more.")] = False,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="WHEN", help="When it ends: 30d, 12h, a time (UTC), or never.")
    ] = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Replace a principal's groups, its tags or its end; what is not named stays as it is.

    Example: keyfold principal update alice --group analysts --group auditors --expires 90d
    """
    if (group and no_groups) or (tag and no_tags):
        raise UsageError("give groups (tags) or take all of them away, not both")
    groups = [] if no_groups else group
    tags = {} if no_tags else pairs(tag, "--tag") if tag else None
    until = expires if expires == "never" else optional_moment(expires)
    if groups is None and tags is None and until is None:
        raise UsageError("nothing is to be changed; name groups, tags or an end")
    write(
        of(context),
        lambda kms: kms.update_principal(name, groups=groups, tags=tags, expires_at=until, **how(reason, dry_run)),
        lambda _: f"principal {name} is changed",
        no_wait=no_wait,
    )


@app.command()
def suspend(
    context: typer.Context,
    name: PrincipalName,
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Refuse what a principal signs until it is resumed. A --reason is kept with the principal.

    Example: keyfold principal suspend alice --reason "on leave"
    """
    write(
        of(context),
        lambda kms: kms.suspend_principal(name, **how(reason, dry_run)),
        lambda _: f"principal {name} is suspended",
        no_wait=no_wait,
    )


@app.command()
def resume(
    context: typer.Context,
    name: PrincipalName,
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Let a suspended principal act again.

    Example: keyfold principal resume alice
    """
    write(
        of(context),
        lambda kms: kms.resume_principal(name, **how(reason, dry_run)),
        lambda _: f"principal {name} may act again",
        no_wait=no_wait,
    )


@app.command()
def revoke(
    context: typer.Context,
    name: PrincipalName,
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Refuse everything that a principal signs from now on. Its name is not used again.

    Example: keyfold principal revoke alice
    """
    write(
        of(context),
        lambda kms: kms.revoke_principal(name, **how(reason, dry_run)),
        lambda _: f"principal {name} is revoked",
        no_wait=no_wait,
    )


@app.command()
def show(context: typer.Context, name: PrincipalName) -> None:
    """Show a principal and its signing keys.

    Example: keyfold principal show alice
    """
    session = of(context)
    found = signing_keys.principal_of(session, name)
    about = output.pairs(
        [
            ("principal", found.principal),
            ("status", _status(found) + (f" ({found.reason})" if found.reason else "")),
            ("type", found.principal_type),
            ("groups", found.groups),
            ("tags", found.tags),
            ("since", found.registered_at),
            ("until", found.expires_at),
            ("issuer", f"{found.issuer}, {found.token_subject}" if found.issuer else None),
        ]
    )
    session.show(found, f"{about}\n\n{signing_keys.table(found)}")


@app.command("list")
def list_(context: typer.Context) -> None:
    """List principals, revoked ones too.

    Example: keyfold principal list
    """
    session = of(context)
    found = session.ask(lambda queries: queries.principals())
    now = now_ms()
    rows = [
        (p.principal, _status(p), p.principal_type, p.groups, p.tags, p.registered_at, len(p.usable_keys(now)))
        for p in found
    ]
    headers = ("PRINCIPAL", "STATUS", "TYPE", "GROUPS", "TAGS", "SINCE", "USABLE KEYS")
    session.show(found, output.table(headers, rows))


def _status(principal: Principal) -> str:
    """There is no event for an end that has come, so it is told here."""
    return "Expired" if principal.status == "Active" and principal.expired(now_ms()) else principal.status
