"""`keyfold audit context-digest`: what the log has in the place of a protected context value, to search for it."""

from typing import Annotated

import typer

from keyfold.cli.session import of
from keyfold.client import protect


def context_digest(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name in the encryption context.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value; - reads it from standard input.")],
    *,
    tenant: Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose key (alias/context/NAME) is used.")],
) -> None:
    """Print the digest of a protected value, as contexts in the log have it. It takes one `GenerateMac`.

    Example: keyfold --as auditor audit query --context patient="$(keyfold --as auditor audit context-digest patient -
    --tenant clinic-a < patient.txt)"
    """
    session = of(context)
    text = typer.get_text_stream("stdin").read().removesuffix("\n") if value == "-" else value
    about = {name: protect(text, tenant=tenant)}

    async def work() -> dict[str, str]:
        async with session.client(session.config) as kms:
            return await kms.context_as_logged(about)

    logged = session.run(work())
    session.show({"name": name, "digest": logged[name]}, logged[name])
