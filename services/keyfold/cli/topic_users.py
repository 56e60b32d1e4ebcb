"""The option `--role ROLE[=USER]` of what is set on the brokers for Kafka users."""

from collections.abc import Mapping
from typing import Annotated

import typer

from keyfold.cli.exits import UsageError

RoleOption = Annotated[
    list[str] | None, typer.Option(metavar="ROLE[=USER]", help="Only this role, as this Kafka user; repeatable.")
]
ApplyOption = Annotated[bool, typer.Option("--apply", help="Set them; it takes an administrator of the cluster.")]


def users_of(roles: list[str] | None, known: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (role, Kafka user) of what the option names, by default of all that are known. Raises `UsageError`."""
    if not roles:
        return list(known.items())
    found = []
    for word in roles:
        name, _, user = word.partition("=")
        if name not in known:
            raise UsageError(f"there is no role {name} here; known are {', '.join(known)}")
        found.append((name, user or known[name]))
    return found
