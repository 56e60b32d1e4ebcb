"""`keyfold audit`: the log proves itself. Each command is in a module of its own."""

import typer

from keyfold.cli.audit.check_proof import check_proof
from keyfold.cli.audit.checkpoints import checkpoints
from keyfold.cli.audit.context_digest import context_digest
from keyfold.cli.audit.export import export
from keyfold.cli.audit.keys import keys
from keyfold.cli.audit.prove import prove
from keyfold.cli.audit.query import query
from keyfold.cli.audit.verify import verify

app = typer.Typer(name="audit", help="What the log proves: verify it, prove events, keep copies.", no_args_is_help=True)

app.command()(verify)
app.command()(prove)
app.command()(check_proof)
app.command()(keys)
app.command()(checkpoints)
app.command()(query)
app.command()(export)
app.command()(context_digest)
