"""`keyfold status`: the health of every part, and how far each service is behind."""

import asyncio
from typing import Any, Final

import typer

from keyfold.cli import exits, health, output, token_health
from keyfold.cli.parts import is_down, shown
from keyfold.cli.readiness import analytics_lag
from keyfold.cli.session import Session, of
from keyfold.config import Config
from keyfold.embedded import SERVICES, PartStatus, Stack

PROBES: Final = ("brokers", "policy", "hsm", "notary", "projector", "sealing_key", "token", "analytics")


def status(context: typer.Context) -> None:
    """Show the health of every part, each service's lag and the registry revision. Exit code 3 if anything is wrong.

    Example: keyfold status
    """
    session = of(context)
    config = session.config
    stack = Stack(session.data)
    parts = shown(stack)
    facts = (
        dict.fromkeys(PROBES, health.Finding(error="stopped"))
        if is_down(stack)
        else session.run(measure(session, config))
    )
    healthy = _is_healthy(parts, facts)
    told = {name: {**finding.facts, "error": finding.error} for name, finding in facts.items()}
    session.show(
        {
            "deployment": config.deployment,
            "healthy": healthy,
            "parts": [output.plain(part) for part in parts],
            **told,
        },
        _human(config, parts, told, healthy=healthy),
    )
    if not healthy:
        raise typer.Exit(exits.UNAVAILABLE)


def _is_healthy(parts: list[PartStatus], facts: dict[str, health.Finding]) -> bool:
    services_run = all(part.state == "running" for part in parts if part.name != "supervisor")
    stopped = facts["projector"].facts.get("halted") or facts["notary"].facts.get("stopped")
    return services_run and all(facts.values()) and not stopped


async def measure(session: Session, config: Config) -> dict[str, health.Finding]:
    """Run all probes at once; findings by name."""
    bus = session.bus(config)
    async with session.queries(config) as queries:
        found = await asyncio.gather(
            health.probe(lambda: health.brokers(config, bus)),
            health.probe(lambda: health.service_lag("policy", bus)),
            health.probe(lambda: health.service_lag("hsm", bus)),
            health.probe(lambda: health.notary(bus)),
            health.probe(lambda: health.projected(queries, bus)),
            health.probe(lambda: health.sealing_key(queries)),
        )
    analytics = await asyncio.to_thread(analytics_lag, config)
    told = health.Finding({} if analytics is None else {"lag": analytics})
    return dict(zip(PROBES, (*found, token_health.finding(config), told), strict=True))


def _human(config: Config, parts: list[PartStatus], told: dict[str, dict[str, Any]], *, healthy: bool) -> str:
    rows: list[tuple[object, ...]] = [
        (
            part.name,
            part.state,
            part.pid,
            part.restarts,
            _lag(told, part.name),
            _problem(told, part.name),
        )
        for part in parts
    ]
    missing = [name for name in ("brokers", "sealing_key", "token") if told[name]["error"]]
    if not parts:
        rows = [(name, "elsewhere", None, 0, _lag(told, name), _problem(told, name)) for name in SERVICES]
    projector, key, token = told["projector"], told["sealing_key"], told["token"]
    about = [
        ("deployment", config.deployment),
        ("brokers", config.bootstrap_servers),
        ("registry revision", projector.get("registry_revision")),
        ("last event", projector.get("last_event")),
        ("last checkpoint", told["notary"].get("signed_at")),
        ("sealing key", f"{key['age_s']} s old" if key.get("age_s") is not None else None),
        *([("token", " ".join(filter(None, (token["state"], token["code"]))))] if token.get("state") else []),
        ("healthy", healthy),
        *((name, told[name]["error"]) for name in missing),
    ]
    table = output.table(("PART", "STATE", "PID", "RESTARTS", "LAG", "PROBLEM"), rows)
    return f"{table}\n\n{output.pairs(about)}"


def _problem(told: dict[str, dict[str, Any]], name: str) -> str | None:
    found = told.get(name) or {}
    stopped = found.get("stopped") or {}
    not_signed = ", ".join(f"partition {partition}: {code}" for partition, code in stopped.items())
    return found.get("error") or (f"not signed: {not_signed}" if not_signed else None)


def _lag(told: dict[str, dict[str, Any]], name: str) -> int | None:
    lag = told.get(name, {}).get("lag")
    return lag if isinstance(lag, int) else None
