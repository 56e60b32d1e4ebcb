"""`keyfold projections …`, `keyfold topics …`, `keyfold ceremony …`: what an operator does now and then."""

import asyncio
from typing import Annotated, Any, Final

import typer

from keyfold.ceremony import ADMINISTRATORS, SERVICE_ROLES, renew, reset_policies
from keyfold.cli import output
from keyfold.cli.exits import NotReady, UsageError
from keyfold.cli.rebuild_at.command import drop, list_, rebuilt_at
from keyfold.cli.session import Session, now_ms, of
from keyfold.cli.topic_acls import acl
from keyfold.cli.topic_quotas import quotas_
from keyfold.cli.topic_table import apply
from keyfold.events import topics as topic_table
from keyfold.projections.ports import SchemaStatus, lag
from keyfold.projections.rows import Progress
from keyfold.projections.store import PostgresSchemas

projections = typer.Typer(name="projections", help="What the projections know, and rebuilding them.",
                          no_args_is_help=True)  # fmt: skip
topics = typer.Typer(name="topics", help="The topics of the cluster.", no_args_is_help=True)
ceremony = typer.Typer(name="ceremony", help="What needs the root identity.", no_args_is_help=True)

_PAUSE_S: Final = 0.1

projections.command("list")(list_)
projections.command()(drop)


@projections.command()
def status(context: typer.Context) -> None:
    """Show which schema is live, how far each partition is folded, and what was not believed.

    Example: keyfold projections status
    """
    session = of(context)
    facts = session.run(_status(session))
    rows = [
        (p["partition"], p["next"], p["lag"], p["position"], p["last_time"], p["halted"]) for p in facts["partitions"]
    ]
    about = [(name, facts[name]) for name in ("live", "phase", "generation", "current", "reports")]
    table = output.table(("PARTITION", "NEXT", "LAG", "EVENTS", "LAST EVENT", "HALTED"), rows)
    session.show(facts, f"{output.pairs(about)}\n\n{table}")


async def _status(session: Session) -> dict[str, Any]:
    config = session.config
    admin = session.bus(config).admin()
    async with session.queries(config) as queries:
        schema: SchemaStatus = await queries.status()
        progress: tuple[Progress, ...] = await queries.progress()
        reports = len(await queries.reports(limit=1000))
    await admin.start()
    try:
        behind = lag(progress, await admin.end_offsets(topic_table.EVENTS))
    finally:
        await admin.stop()
    partitions = [{**output.plain(row), "lag": behind.get(row.partition, 0)} for row in progress]
    return {**output.plain(schema), "reports": reports, "partitions": partitions}


@projections.command()
def rebuild(
    context: typer.Context,
    *,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only ask for it.")] = False,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long to wait for it.")] = 600,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Instead fill a schema of its own with the state as of then.")
    ] = None,
    schema: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --at: its name; by default keyfold_at_<time>.")
    ] = None,
) -> None:
    """Fill a fresh schema from the start of the log while the present one serves, then swap them.

    With --at the live schema is not touched, and no projector is needed; interrupted, the same command goes on.

    Example: keyfold projections rebuild

    Example: keyfold projections rebuild --at 2026-01-31T12:00:00.000Z
    """
    session = of(context)
    if at is not None:
        past = rebuilt_at(session, at, schema)
        session.show(past, f"{past['schema']} has {past['events']} events, as of {past['as_of']}")
        return
    if schema is not None:
        raise UsageError("--schema goes with --at")
    facts = session.run(_rebuild(session, None if no_wait else timeout))
    told = (
        "a rebuild was asked for" if no_wait else f"rebuilt; {facts['live']} is live, generation {facts['generation']}"
    )
    session.show(facts, told)


async def _rebuild(session: Session, timeout_s: float | None) -> dict[str, Any]:
    schemas = PostgresSchemas(session.config.postgres_dsn)
    loop = asyncio.get_running_loop()
    try:
        before = await schemas.status()
        await schemas.request_rebuild()
        now = before
        deadline = loop.time() + (timeout_s or 0)
        while timeout_s is not None and now.generation <= before.generation:
            if loop.time() > deadline:
                raise NotReady(f"the rebuild is not done after {timeout_s:.0f} s ({now.phase}); is the projector up?")
            await asyncio.sleep(_PAUSE_S)
            now = await schemas.status()
    finally:
        await schemas.close()
    facts: dict[str, Any] = output.plain(now)
    return facts


topics.command("apply")(apply)
topics.command("acl")(acl)
topics.command("quotas")(quotas_)


@ceremony.command("renew")
def ceremony_renew(
    context: typer.Context,
    *,
    service: Annotated[list[str] | None, typer.Option(help="Only this service; may be repeated.")] = None,
) -> None:
    """Certify the services' signing keys for another 90 days. Opens the root token.

    A service that came with a later release gets its identity file, and its first certificate.

    Example: keyfold ceremony renew
    """
    session = of(context)
    config = session.config
    if unknown := set(service or ()) - set(SERVICE_ROLES):
        raise UsageError(f"there is no service {', '.join(sorted(unknown))}; known are {', '.join(SERVICE_ROLES)}")
    done = session.run(renew(config, session.bus(config), now_ms, tuple(service or SERVICE_ROLES)))
    session.show(done, f"{', '.join(done.services)} certified until {done.not_after}")


@ceremony.command("reset-policies")
def ceremony_reset_policies(
    context: typer.Context,
    *,
    reason: Annotated[str, typer.Option(help="Why; it stays in the log.")],
    administrator: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Whose identity file administers; may be repeated.")
    ] = None,
    revoke: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A principal to revoke; may be repeated.")
    ] = None,
) -> None:
    """Put the first policies and administrators back when nobody else can. Opens the root token.

    The registry's other policies are gone afterwards. Without --administrator, those of the beginning are restored.

    Example: keyfold ceremony reset-policies --reason "a policy forbids everything"
    """
    session = of(context)
    config = session.config
    done = session.run(
        reset_policies(
            config,
            session.bus(config),
            now_ms,
            reason=reason,
            revoked=tuple(revoke or ()),
            administrators=tuple(administrator or ADMINISTRATORS),
        )
    )
    told = [("policies", done.policies), ("removed", done.removed), ("administrators", done.administrators)]
    session.show(done, output.pairs([*told, ("revoked", done.revoked)]))
