"""`init`, `up`, `down`, `reset`: the life of a deployment on this machine."""

import sys
from typing import Annotated

import typer

from keyfold.ceremony import Initialised
from keyfold.cli import parts, system
from keyfold.cli.exits import UsageError
from keyfold.cli.output import pairs
from keyfold.cli.session import Session, of
from keyfold.config import load_config

Development = Annotated[
    bool,
    typer.Option("--development", help="Allow what production refuses, such as short waits before a key is destroyed. "
                 "Fixed when the deployment begins."),
]  # fmt: skip


def init(
    context: typer.Context,
    *,
    development: Development = False,
    existing: Annotated[
        bool, typer.Option("--existing", help="The settings file names a cluster that runs already: start nothing.")
    ] = False,
) -> None:
    """Hold the root ceremony: tokens, keys, two administrators, and the first records of the log.

    Does nothing to a deployment that exists. `keyfold up` does this by itself when it is needed.

    Example: keyfold --data /srv/keyfold init
    """
    session = of(context)
    if existing:
        done = system.initialise_existing(session, load_config(session.settings_file))
    else:
        done = _init_embedded(session, development=development)
    began = "began" if done.created else "exists"
    session.show(
        {"deployment": done.deployment, "created": done.created, "administrators": done.administrators},
        f"deployment {done.deployment} {began}\n"
        + "\n".join(f"administrator {path.stem}: {path}" for path in done.administrators),
    )


def _init_embedded(session: Session, *, development: bool) -> Initialised:
    stack = session.stack(development=development)
    before = parts.running(stack)
    try:
        config = stack.start_infrastructure(["kafka"])
        done = system.begin(session, config)
        stack.set_deployment(done.deployment)
    finally:
        system.stop_what_was_started(stack, before)
    return done


def up(context: typer.Context, *, development: Development = False) -> None:
    """Start Kafka, Postgres and all services, and hold the root ceremony if it has not been held; then return.

    What runs goes on running; a supervisor starts again what dies. `keyfold down` stops it.

    Example: keyfold up
    """
    session = of(context)
    stack = session.stack(development=development)
    config = system.bring_up(session, stack)
    states = {part.name: part.state for part in stack.status()}
    session.show(
        {"data": session.data, "deployment": config.deployment, "brokers": config.bootstrap_servers, "parts": states},
        pairs(
            [
                ("deployment", config.deployment),
                ("data", session.data),
                ("brokers", config.bootstrap_servers),
                ("running", [name for name, state in states.items() if state == "running"]),
            ]
        ),
    )


def down(context: typer.Context) -> None:
    """Stop everything that runs in the data directory, and nothing else. The data stays.

    Example: keyfold down
    """
    session = of(context)
    stack = session.stack()
    stopped = sorted(parts.running(stack))
    stack.stop()
    session.show({"stopped": stopped}, f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


def reset(
    context: typer.Context,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Stop everything and DELETE the data directory: log, tokens, keys, database. What was encrypted is lost.

    Example: keyfold reset --yes
    """
    session = of(context)
    stack = session.stack()
    existed = stack.directory.exists()
    if existed and not yes:
        _confirm(f"This deletes {stack.directory.path} and every key in it. Go on?")
    stack.reset()
    gone = stack.directory.path
    session.show({"deleted": gone if existed else None}, f"deleted {gone}" if existed else f"there is no {gone}")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("this deletes keys; say so with --yes")
    typer.confirm(question, abort=True, err=True)
