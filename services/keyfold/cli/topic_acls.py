"""`keyfold topics acl`: the access rules that the brokers should enforce, printed or set."""

from typing import Annotated, Any

import typer

from keyfold.bus import BusSettings
from keyfold.bus.access import allow
from keyfold.cli.exits import UsageError
from keyfold.cli.output import table
from keyfold.cli.session import Session, of
from keyfold.config import load_config
from keyfold.events.topic_access import ROLES, AccessRule, access_rules, default_principals


def acl(
    context: typer.Context,
    *,
    role: Annotated[
        list[str] | None, typer.Option(metavar="ROLE[=USER]", help="Only this role, as this Kafka user; repeatable.")
    ] = None,
    commands: Annotated[bool, typer.Option("--commands", help="Print arguments for Kafka's own kafka-acls.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Set them; it takes an administrator of the cluster.")] = False,
) -> None:
    """Show what each role may do on the brokers, or set it: nobody else can write what a service writes.

    Without --role, all roles, each as the user keyfold-ROLE. A rule that is set already is left as it is. The
    deployment need not have begun: the ceremony itself needs these rules.

    Example: keyfold topics acl --role client=shop --apply
    """
    session = of(context)
    rules = access_rules(_users(role))
    if apply:
        session.run(_apply(session, rules))
    if commands:
        session.show([rule.command() for rule in rules], "\n".join(rule.command() for rule in rules))
        return
    rows = [(rule.principal, rule.operation, rule.resource, rule.name, rule.pattern) for rule in rules]
    session.show(rules, table(("PRINCIPAL", "OPERATION", "RESOURCE", "NAME", "PATTERN"), rows))


async def _apply(session: Session, rules: list[AccessRule]) -> Any:
    count = await allow(BusSettings.of(load_config(session.settings_file), "keyfold-cli"), rules)
    session.say(f"{count} access rules are set")


def _users(roles: list[str] | None) -> list[tuple[str, str]]:
    known = default_principals()
    if not roles:
        return list(known.items())
    found = []
    for word in roles:
        name, _, user = word.partition("=")
        if name not in known:
            raise UsageError(f"there is no role {name}; known are {', '.join(ROLES)}")
        found.append((name, user or known[name]))
    return found
