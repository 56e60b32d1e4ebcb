"""`keyfold topics quotas`: how much each Kafka user may ask of the brokers, printed or set."""

from typing import Annotated

import typer

from keyfold.bus import BusSettings
from keyfold.bus.quotas import limit
from keyfold.cli.output import table
from keyfold.cli.session import of
from keyfold.cli.topic_users import ApplyOption, RoleOption, users_of
from keyfold.config import load_config
from keyfold.events.quotas import LIMITED, quotas
from keyfold.events.topic_access import default_principals


def quotas_(
    context: typer.Context,
    *,
    role: RoleOption = None,
    commands: Annotated[bool, typer.Option("--commands", help="Print arguments for Kafka's kafka-configs.")] = False,
    apply: ApplyOption = False,
) -> None:
    """Show how much clients, auditors and witnesses may ask of the brokers, or set it: none of them delays others.

    Services have no quota. Each client needs its own line, `--role client=USER`.

    Example: keyfold topics quotas --role client=shop --apply
    """
    session = of(context)
    known = {name: user for name, user in default_principals().items() if name in LIMITED}
    rows = quotas(users_of(role, known))
    if apply:
        settings = BusSettings.of(load_config(session.settings_file), "keyfold-cli")
        session.say(f"quotas of {session.run(limit(settings, rows))} users are set")
    if commands:
        session.show([row.command() for row in rows], "\n".join(row.command() for row in rows))
        return
    cells = [(r.user, r.producer_byte_rate, r.consumer_byte_rate, r.request_percentage) for r in rows]
    session.show(rows, table(("USER", "PRODUCES BYTES/S", "CONSUMES BYTES/S", "REQUESTS %"), cells))
