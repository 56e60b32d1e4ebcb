"""`keyfold grant …`: what one principal may do with one key, beyond what policies permit."""

from typing import Annotated, Final, get_args

import typer

from keyfold.cli import output
from keyfold.cli.arguments import (
    KeyName,
    NoWait,
    PrincipalName,
    Reason,
    Trial,
    chosen,
    how,
    identifier,
    moment,
    pairs,
)
from keyfold.cli.projected import key_id_of
from keyfold.cli.session import Session, now_ms, of
from keyfold.cli.writing import write
from keyfold.client import Completed, DryRun, Keyfold
from keyfold.client.governance_verbs import GrantTerms
from keyfold.deciding.grants import holds
from keyfold.events.arguments import GrantAlgorithm, GrantVerb
from keyfold.events.entities import Entity, Grant
from keyfold.events.errors import NotFound
from keyfold.events.times import to_text
from keyfold.projections.ports import Queries

app = typer.Typer(name="grant", help="Who may do what with one key, until when and how often.", no_args_is_help=True)

GrantId = Annotated[str, typer.Argument(metavar="GRANT", help="The grant's id.", callback=identifier)]
Verbs = Annotated[list[str], typer.Option(metavar="VERB", help="What may be done, like Decrypt; may be repeated.")]
Until = Annotated[str, typer.Option(metavar="WHEN", help="When it ends: 30d, 12h, 15m, 90s from now, or a time.")]
Subset = Annotated[
    list[str] | None,
    typer.Option("--context-subset", metavar="NAME=VALUE", help="A pair that every encryption context must have."),
]
Equals = Annotated[
    list[str] | None,
    typer.Option("--context-equals", metavar="NAME=VALUE", help="A pair of the one context that is allowed."),
]
OfKey = Annotated[str | None, typer.Option("--key", metavar="KEY", help="Its key; else the projections are asked.")]
_ALGORITHMS: Final[tuple[str, ...]] = tuple(name for kind in get_args(GrantAlgorithm) for name in get_args(kind))


@app.command()
def create(
    context: typer.Context,
    key: KeyName,
    grantee: PrincipalName,
    *,
    verb: Verbs,
    expires: Until,
    subset: Subset = None,
    equals: Equals = None,
    algorithm: Annotated[list[str] | None, typer.Option(metavar="ALG", help="Only with this algorithm.")] = None,
    max_operations: Annotated[int | None, typer.Option(min=1, help="How many commands it covers.")] = None,
    max_items: Annotated[int | None, typer.Option(min=1, help="How many items it covers.")] = None,
    delegable: Annotated[bool, typer.Option("--delegable", help="Its grantee may grant parts of it further.")] = False,
    retiring: Annotated[str | None, typer.Option(metavar="NAME", help="Another principal that may retire it.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="GRANT", help="The grant that this is a part of.")] = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Let a principal use a key within these terms. Prints the grant's id.

    Example: keyfold grant create alias/orders alice --verb Decrypt --expires 30d --context-subset tenant=7
    """
    verbs: list[GrantVerb] = chosen(verb, get_args(GrantVerb), "--verb")
    terms = GrantTerms(expires_at=moment(expires), max_operations=max_operations, max_items=max_items, reason=reason)
    terms["encryption_context_subset"] = pairs(subset, "--context-subset") or None
    terms["encryption_context_equals"] = pairs(equals, "--context-equals") or None
    terms["algorithms"] = chosen(algorithm, _ALGORITHMS, "--algorithm") if algorithm else None
    terms |= {"delegable": delegable, "retiring_principal": retiring, "parent": parent}

    async def send(kms: Keyfold) -> Completed:
        grant = await kms.create_grant(key, grantee, verbs, dry_run=dry_run, **terms)
        return grant if isinstance(grant, DryRun) else Completed(grant)

    write(
        of(context),
        send,
        lambda done: f"grant {done.command_id}: {grantee} may {', '.join(verb)} with {key}",
        no_wait=no_wait,
        more=lambda done: {"grant": done.command_id},
    )


@app.command()
def retire(
    context: typer.Context,
    grant: GrantId,
    *,
    key: OfKey = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """End a grant that is not needed any more: by its grantee, or by who may retire it.

    Example: keyfold --as alice grant retire 01890a5d-ac96-774b-bcce-b302099a8057
    """
    session = of(context)
    on = key or _grant(session, grant).key_id
    write(
        session,
        lambda kms: kms.retire_grant(on, grant, **how(reason, dry_run)),
        lambda _: f"grant {grant} is retired",
        no_wait=no_wait,
    )


@app.command()
def revoke(
    context: typer.Context,
    grant: GrantId,
    *,
    key: OfKey = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """End a grant against its grantee's will: no command that comes after this one is covered by it.

    Example: keyfold grant revoke 01890a5d-ac96-774b-bcce-b302099a8057
    """
    session = of(context)
    on = key or _grant(session, grant).key_id
    write(
        session,
        lambda kms: kms.revoke_grant(on, grant, **how(reason, dry_run)),
        lambda _: f"grant {grant} is revoked",
        no_wait=no_wait,
    )


@app.command("list")
def list_(
    context: typer.Context,
    *,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only on this key.")] = None,
    grantee: Annotated[str | None, typer.Option(metavar="NAME", help="Only to this principal.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Only those that hold now.")] = False,
) -> None:
    """List grants, oldest first.

    Example: keyfold grant list --key alias/orders --live
    """
    session = of(context)

    async def work(queries: Queries) -> tuple[Grant, ...]:
        key_id = None if key is None else await key_id_of(queries, key)
        live_at = to_text(now_ms()) if live else None
        found = await queries.grants(key_id=key_id, grantee=grantee, live_at=live_at)
        return await _that_hold(queries, found) if live else found

    found = session.ask(work)
    rows = [(g.grant, _status(g), g.key_id, g.grantee, g.verbs, g.created_by, g.expires_at) for g in found]
    headers = ("GRANT", "STATUS", "KEY", "GRANTEE", "VERBS", "BY", "UNTIL")
    session.show(found, output.table(headers, rows, empty="no grants"))


@app.command()
def show(context: typer.Context, grant: GrantId) -> None:
    """Show a grant, its terms, and how much of it is used.

    Example: keyfold grant show 01890a5d-ac96-774b-bcce-b302099a8057
    """
    session = of(context)
    found = _grant(session, grant)
    about = [
        ("grant", found.grant),
        ("status", _status(found)),
        ("key", found.key_id),
        ("grantee", found.grantee),
        ("verbs", found.verbs),
        ("created", f"{found.created_at} by {found.created_by}"),
        ("until", found.expires_at),
        ("context must be", found.encryption_context_equals),
        ("context must have", found.encryption_context_subset),
        ("algorithms", found.algorithms),
        ("operations", _used(found.used_operations, found.max_operations)),
        ("items", _used(found.used_items, found.max_items)),
        ("delegable", found.delegable),
        ("retired by", found.retiring_principal),
        ("part of", found.parent),
    ]
    session.show(found, output.pairs(about))


async def _that_hold(queries: Queries, found: tuple[Grant, ...]) -> tuple[Grant, ...]:
    """Leave out those that have ended with a grant that they are a part of."""
    known: dict[str, Entity] = {f"grant/{grant.grant}": grant for grant in found}
    for key_id in {grant.key_id for grant in found if grant.parent is not None}:
        known |= {f"grant/{grant.grant}": grant for grant in await queries.grants(key_id=key_id)}
    return tuple(grant for grant in found if holds(grant, known, now_ms()))


def _grant(session: Session, grant: str) -> Grant:
    found = session.ask(lambda queries: queries.grant(grant))
    if found is None:
        raise NotFound(f"there is no grant {grant}; `keyfold grant list` shows which there are")
    return found


def _status(grant: Grant) -> str:
    """There is no event for an end that has come, so it is told here."""
    return "Expired" if grant.status == "Active" and not grant.live(now_ms()) else grant.status


def _used(used: int, most: int | None) -> str:
    return f"{used} of {most}" if most is not None else f"{used}, unlimited"
