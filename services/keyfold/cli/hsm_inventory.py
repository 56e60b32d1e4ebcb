"""`keyfold hsm inventory`: does what the token holds agree with the keystore and the log?

Tokens are opened by the HSM worker's program only, so it is started with the deployment's settings, and what it prints
is shown.
"""

import json
import subprocess
import sys
from typing import Any, Final

import typer

from keyfold.cli import exits, output
from keyfold.cli.session import Session, of
from keyfold.events.errors import Unavailable

DEADLINE_S: Final = 600.0
_PROGRAM: Final = (sys.executable, "-m", "keyfold.hsm", "inventory", "--config")


class InventoryFailed(Unavailable):
    """The inventory could not be taken."""

    code = "InventoryFailed"


def inventory(context: typer.Context) -> None:
    """Compare token, keystore and log: orphans, ghosts, blobs that are not what the log states.

    Opens the tokens with the HSM worker's PINs, beside it. Exit code 4 if anything does not fit.

    Example: keyfold hsm inventory
    """
    session = of(context)
    report, code = take(session)
    session.show(report, human(report))
    if code:
        raise typer.Exit(code)


def take(session: Session) -> tuple[dict[str, Any], int]:
    """Run the worker's program; return what it reports, and the exit code. Raises `InventoryFailed`, `Differs`."""
    program = [*_PROGRAM, str(_settings(session))]
    try:
        done = subprocess.run(program, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        raise InventoryFailed(f"no answer within {DEADLINE_S:.0f} s; is the token slow?") from None
    report = _parsed(done.stdout)
    if "error" in report:
        told = f"{report['error']['code']}: {report['error']['message']}"
        raise exits.Differs(told) if done.returncode == exits.INTEGRITY else InventoryFailed(told)
    if done.returncode not in {exits.OK, exits.INTEGRITY}:
        raise InventoryFailed(f"the HSM worker's program ended with exit code {done.returncode}")
    return report, done.returncode


def human(report: dict[str, Any]) -> str:
    """Return the report for people."""
    about = [
        ("agree", report["ok"]),
        ("key versions", report["versions"]),
        ("sealing keys", report["sealing_keys"]),
        ("storage epochs", report["epochs"]),
        ("keys in tokens", report["token_keys"]),
    ]
    rows = [(each["kind"], each["subject"], each["place"], each["detail"]) for each in report["findings"]]
    table = output.table(("KIND", "WHAT", "WHERE", "DETAIL"), rows, empty="nothing is amiss")
    return f"{output.pairs(about)}\n\n{table}"


def _settings(session: Session) -> Any:
    """The settings file; asking for the settings first tells what is wrong with them in one line."""
    session.config  # noqa: B018 - raises `NotReady` and `ConfigError`
    return session.settings_file


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        raise InventoryFailed("the HSM worker's program printed no report; is this program whole?") from None
    return found if isinstance(found, dict) else {}
