"""Encryption contexts on the command line: clear values, and those of which the log sees a tenant's digest only."""

from collections.abc import Sequence
from typing import Annotated

import typer

from keyfold.cli.arguments import pairs
from keyfold.cli.exits import UsageError
from keyfold.client import protect

ProtectedPairs = Annotated[
    list[str] | None,
    typer.Option(
        "--protected-context",
        metavar="NAME=VALUE",
        help="Encryption context whose value is kept from the log: a digest under the key of --tenant stands there.",
    ),
]
Tenant = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Whose key (alias/context/NAME) makes the digests.")
]


def contexts(clear: Sequence[str] | None, protected: Sequence[str] | None, tenant: str | None) -> dict[str, str]:
    """Return a context as the client takes it. Raises `UsageError`, `InvalidArgument`."""
    found = pairs(clear)
    if protected and tenant is None:
        raise UsageError("--protected-context needs --tenant: whose key makes the digest")
    for name, value in pairs(protected, "--protected-context").items():
        if name in found:
            raise UsageError(f"the context's {name} is given in clear and protected; choose one")
        found[name] = protect(value, tenant=tenant or "")
    return found
