"""The composition of all commands, and the one place where errors become exit codes."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.exceptions import Abort, TyperException

from keyfold.cli import exits
from keyfold.cli.commands import COMMANDS
from keyfold.cli.lazy import group_of
from keyfold.cli.session import (
    DATA_VARIABLE,
    DEFAULT_PRINCIPAL,
    PRINCIPAL_VARIABLE,
    Session,
    buffered_output,
    default_data,
    quiet_logging,
)

_EPILOG: Final = (
    "Exit codes: 0 done, 1 refused, 2 usage, 3 unavailable, 4 integrity. Global options may stand anywhere."
)
_VALUED: Final = frozenset({"--data", "--as"})
_FLAGS: Final = frozenset({"--json"})

app = typer.Typer(
    name="keyfold",
    help="Keyfold: a key management system whose only truth is an event log.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=group_of(*COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    context: typer.Context,
    *,
    data: Annotated[
        Path | None, typer.Option(envvar=DATA_VARIABLE, help="The data directory.", show_default=False)
    ] = None,
    principal: Annotated[
        str,
        typer.Option("--as", envvar=PRINCIPAL_VARIABLE, help="Who acts: a name with an identity file here, or a file."),
    ] = DEFAULT_PRINCIPAL,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, errors too.")] = False,
) -> None:
    """Keyfold: a key management system whose only truth is an event log."""
    context.obj = Session((data or default_data()).expanduser().absolute(), principal, as_json)


def main() -> None:
    """The program `keyfold`."""
    buffered_output()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    ordered = globals_first(arguments)
    as_json = "--json" in ordered
    quiet_logging()
    try:
        code = typer.main.get_command(app).main(ordered, prog_name="keyfold", standalone_mode=False)
    except (KeyboardInterrupt, Abort):
        sys.stderr.write("keyfold: interrupted\n")
        return exits.INTERRUPTED
    except TyperException as error:
        return _usage(error, as_json=as_json)
    except BrokenPipeError:
        # Whoever read our output has enough; Python must not complain about it again while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except Exception as error:  # noqa: BLE001 - the last resort: a bug is told in one line, too
        return _tell(error, as_json=as_json)
    return code if isinstance(code, int) else exits.OK


def globals_first(arguments: list[str]) -> list[str]:
    """Move global options to the front, wherever they stand before a `--`."""
    front: list[str] = []
    rest: list[str] = []
    remaining = list(arguments)
    while remaining:
        word = remaining.pop(0)
        if word == "--":
            rest += [word, *remaining]
            break
        if word in _FLAGS or any(word.startswith(f"{name}=") for name in _VALUED):
            front.append(word)
        elif word in _VALUED and remaining:
            front += [word, remaining.pop(0)]
        else:
            rest.append(word)
    return front + rest


def _usage(error: TyperException, *, as_json: bool) -> int:
    """Typer's own complaints: unknown commands and options, missing arguments."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if message.startswith("Usage:"):  # a group without a command: its message is its help
        if not as_json:
            sys.stderr.write(message + "\n")
            return exits.USAGE
        message = "a command is missing"
    told = exits.UsageError(f"{message} (keyfold --help shows what there is)")
    return _tell(told, as_json=as_json)


def _tell(error: Exception, *, as_json: bool) -> int:
    code = exits.exit_code(error)
    if os.environ.get("KEYFOLD_DEBUG"):
        sys.excepthook(type(error), error, error.__traceback__)
    sys.stderr.write(exits.render(error, as_json=as_json) + "\n")
    return code


if __name__ == "__main__":
    main()
