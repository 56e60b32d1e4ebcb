"""`keyfold topics acl`: the access rules that the brokers should enforce, printed or set."""

from typing import Annotated, Any

import typer

from keyfold.bus import BusSettings
from keyfold.bus.access import allow
from keyfold.cli.output import table
from keyfold.cli.session import Session, of
from keyfold.cli.topic_users import ApplyOption, RoleOption, users_of
from keyfold.config import load_config
from keyfold.events.topic_access import AccessRule, access_rules, default_principals


def acl(
    context: typer.Context,
    *,
    role: RoleOption = None,
    commands: Annotated[bool, typer.Option("--commands", help="Print arguments for Kafka's own kafka-acls.")] = False,
    apply: ApplyOption = False,
) -> None:
    """Show what each role may do on the brokers, or set it: nobody else can write what a service writes.

    Without --role, all roles, each as the user keyfold-ROLE. A rule that is set already is left as it is. The
    deployment need not have begun: the ceremony itself needs these rules.

    Example: keyfold topics acl --role client=shop --apply
    """
    session = of(context)
    rules = access_rules(users_of(role, default_principals()))
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
