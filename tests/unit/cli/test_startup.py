"""What a start of the program imports, and that the tables of commands say what the commands say."""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

import keyfold.client
from keyfold.cli import audit, commands, exits, key_commands, lazy, main, registry
from keyfold.cli.lazy import Lazy, LazyGroup, group_of
from keyfold.config import CONFIG_FILE, Config, save_config
from keyfold.events.errors import KeyfoldError

KEY = "01890a5d-ac96-774b-bcce-b302099a8057"
TABLES = {
    "keyfold": commands.COMMANDS,
    "key": key_commands.app.info.cls.table,  # type: ignore[union-attr]
    "policy": registry.policies.info.cls.table,  # type: ignore[union-attr]
    "audit": audit.app.info.cls.table,  # type: ignore[union-attr]
}
ROWS = [(group, row) for group, table in TABLES.items() for row in table]
HEAVY = {
    "aiohttp", "aiokafka", "cedarpy", "cryptography", "joserfc", "numpy", "pkcs11", "prometheus_client", "psycopg",
    "pyarrow", "pydantic", "rich", "structlog", "uvloop",
}  # fmt: skip
OF_ANY_COMMAND = {"cryptography", "pydantic"}
OF_THE_PROJECTIONS = OF_ANY_COMMAND | {"psycopg", "uvloop"}
OF_A_CLIENT = OF_ANY_COMMAND | {"aiokafka", "uvloop"}


def loaded(*words: str, data: Path, **environment: str) -> set[str]:
    """Run a command line in a fresh interpreter, and return the modules that are loaded in the end."""
    program = (
        "import json, sys; from keyfold.cli import main; code = main.run(sys.argv[1:]); "
        "sys.stdout.write('\\n' + json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--data", str(data), *words],
        capture_output=True, text=True, check=True, timeout=60, env={**os.environ, **environment},
    )  # fmt: skip
    return set(json.loads(done.stdout.splitlines()[-1]))


def libraries(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} & HEAVY


# The tables


@pytest.mark.parametrize(("group", "row"), ROWS, ids=lambda part: part if isinstance(part, str) else part.name)
def test_a_table_says_what_the_command_says(group: str, row: Lazy) -> None:
    """The first sentence of the command's own help, word for word; and the command is there under its name."""
    command = row.load()
    assert command.name == row.name
    assert row.help == sentence(command.help)


def sentence(text: str) -> str:
    """The first sentence of a help, as Typer finds it for a table with room enough."""
    short: str = TyperCommand("any", help=text).get_short_help_str(1000)
    return short


def test_help_is_what_it_would_be_with_everything_imported() -> None:
    """Each group's help, at each width, is the one of a group that has all its commands loaded."""
    groups = [typer.main.get_command(main.app)]
    for group in groups:
        assert isinstance(group, TyperGroup)
        for width in (40, 60, 80, 200):
            assert help_of(group, width) == help_of(imported(group), width)
        groups += [command for command in group.commands.values() if isinstance(command, TyperGroup)]
    assert len(groups) == 22


def imported(group: TyperGroup) -> TyperGroup:
    """The same group as Typer makes it of commands that are there."""
    return TyperGroup(
        name=group.name, commands=dict(group.commands.items()), params=group.params, help=group.help,
        epilog=group.epilog, rich_markup_mode=None, no_args_is_help=group.no_args_is_help,
        context_settings=group.context_settings,
    )  # fmt: skip


def help_of(group: TyperGroup, width: int) -> str:
    context: Any = group.make_context("keyfold", [], resilient_parsing=True, terminal_width=width)
    return str(group.get_help(context))


# A group of commands that are imported when they are used


def test_looking_at_names_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, their number and whether one is there come from the table; only looking a command up loads it, once."""
    asked: list[str] = []
    real = importlib.import_module

    def noted(name: str) -> Any:
        asked.append(name)
        return real(name)

    monkeypatch.setattr(lazy, "import_module", noted)
    group = group_of(Lazy("key", "key_commands:app", "Keys."), Lazy("up", "lifecycle:up", "Start."))(
        name="any", rich_markup_mode=None, commands={"first": TyperCommand("first", help="Known.")}
    )
    assert isinstance(group, LazyGroup)
    assert list(group.commands) == ["first", "key", "up"]
    assert len(group.commands) == 3
    assert "up" in group.commands
    assert "down" not in group.commands
    assert group.commands.get("down") is None
    assert "Start." in help_of(group, 80)
    assert asked == []
    assert group.commands["up"] is group.commands["up"]
    assert asked == ["keyfold.cli.lifecycle"]


def test_a_mistyped_command_is_told_what_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    """As with commands that are there."""
    assert main.run(["statsu"]) == exits.USAGE
    assert "No such command 'statsu'. Did you mean 'status'?" in capsys.readouterr().err


# What a start imports


@pytest.mark.parametrize(
    ("words", "needed"), [(["--help"], set()), (["--nope"], set()), ([], {"pydantic"}), (["statsu"], {"pydantic"})]
)
def test_the_help_needs_no_library(words: list[str], needed: set[str], tmp_path: Path) -> None:
    """The program's help and its complaints about words come without any library but the command line's own.

    Typer reads values, here of --data, with pydantic where an option has one.
    """
    modules = loaded(*words, data=tmp_path)
    assert libraries(modules) == needed
    assert {name for name in modules if name.startswith("keyfold.")} == {
        "keyfold.cli", "keyfold.cli.commands", "keyfold.cli.exits", "keyfold.cli.lazy", "keyfold.cli.main",
        "keyfold.cli.session", "keyfold.events", "keyfold.events.errors", "keyfold.logging",
    }  # fmt: skip


@pytest.mark.parametrize("group", [name for name in TABLES if name not in {"keyfold", "policy"}])
def test_the_help_of_a_group_needs_little(group: str, tmp_path: Path) -> None:
    """A group's help imports none of its commands."""
    assert libraries(loaded(group, "--help", data=tmp_path)) <= {"pydantic"}


def test_showing_a_key_needs_the_projections_only(deployment: Path) -> None:
    """It meets Postgres and no bus, no client, no Cedar, no token, no archive."""
    modules = loaded("key", "show", KEY, data=deployment)
    assert libraries(modules) <= OF_THE_PROJECTIONS
    assert not {"keyfold.bus", "keyfold.client.connection", "keyfold.deciding", "keyfold.log"} & modules


def test_changing_a_key_needs_a_client_only(deployment: Path) -> None:
    """It meets the bus; no Cedar, no token, no archive, no numpy."""
    modules = loaded("key", "enable", KEY, "--as", "nobody", data=deployment)
    assert "keyfold.client.connection" in modules
    assert libraries(modules) <= OF_A_CLIENT
    assert not {"keyfold.deciding", "keyfold.log", "keyfold.ceremony", "keyfold.projections.store"} & modules


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    """The data directory of a deployment that cannot be reached."""
    nowhere = "host=127.0.0.1 port=1 user=nobody dbname=none"
    config = Config(
        data_directory=tmp_path, bootstrap_servers="127.0.0.1:1", deployment="ab" * 32, postgres_dsn=nowhere,
        postgres_reader_dsn=nowhere, pkcs11_module=Path("none"), pins_directory=tmp_path, identities_directory=tmp_path,
    )  # fmt: skip
    save_config(config)
    return tmp_path


# What is named instead of imported


def names_of_errors() -> list[str]:
    return [kind for kinds, _ in exits._CODES for kind in kinds if isinstance(kind, str)]


@pytest.mark.parametrize("name", names_of_errors())
def test_errors_that_are_named_exist(name: str) -> None:
    """A class that moved would lose its exit code without a word."""
    module, _, kind = name.rpartition(".")
    found = getattr(importlib.import_module(module), kind)
    assert issubclass(found, KeyfoldError)
    assert f"{found.__module__}.{found.__qualname__}" == name
    assert exits.exit_code(found("any")) == next(code for kinds, code in exits._CODES if name in kinds)


def test_the_clients_names_are_where_they_are_said_to_be() -> None:
    """What type checkers are told and what is imported when it is asked for are the same, and are all exports."""
    tree = ast.parse(Path(keyfold.client.__file__).read_text("utf-8"))
    told = {
        name.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keyfold.client.")
        for name in node.names
    }
    assert told == {name: f"keyfold.client.{module}" for name, module in keyfold.client._MODULES.items()}
    assert sorted(told) == sorted(keyfold.client.__all__)
    for name, module in told.items():
        assert getattr(keyfold.client, name) is getattr(importlib.import_module(module or ""), name)
    with pytest.raises(AttributeError, match="nothing"):
        _ = keyfold.client.nothing


# What is put off


LOGGED = """
import os, sys
from keyfold.cli.session import quiet_logging
quiet_logging()
before = "structlog" in sys.modules
from keyfold.logging import get_logger
get_logger().error("any-action")
print(before)
"""


@pytest.mark.parametrize("debug", ["", "1"])
def test_log_lines_are_shown_to_who_asks_for_them(debug: str) -> None:
    """A library's line is written nowhere without KEYFOLD_DEBUG, and the library that writes it is not loaded."""
    done = subprocess.run(
        [sys.executable, "-c", LOGGED], capture_output=True, text=True, check=True, timeout=30,
        env={**os.environ, "KEYFOLD_DEBUG": debug},
    )  # fmt: skip
    assert done.stdout.strip() == str(bool(debug))
    assert ("any-action" in done.stderr) == bool(debug)


STARTED = """
import sys
from keyfold import process
from keyfold.events.strictjson import Frozen
import keyfold.policy.service

def waiting(base=Frozen):
    found = [child for child in base.__subclasses__() if not child.__pydantic_complete__]
    return found + [model for child in base.__subclasses__() for model in waiting(child)]

async def serve(config, instance):
    print(len(waiting()))

print(len(waiting()))
process.main("policy", serve)
"""


def test_a_service_builds_its_models_before_it_serves(deployment: Path) -> None:
    """Models wait for their first use, but not for a service's first command."""
    done = subprocess.run(
        [sys.executable, "-c", STARTED, "--config", str(deployment / CONFIG_FILE)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    before, serving = map(int, done.stdout.split())
    assert before > 100
    assert serving == 0
