"""The commands that look at policies from the log: explain, simulate, suggest. They change nothing."""

import typer

from keyfold.cli.policy_explain import policy_explain
from keyfold.cli.policy_simulate import policy_simulate
from keyfold.cli.policy_suggest import policy_suggest


def register(policies: typer.Typer) -> None:
    """Add the commands to the group `policy`."""
    policies.command("explain")(policy_explain)
    policies.command("simulate")(policy_simulate)
    policies.command("suggest")(policy_suggest)
