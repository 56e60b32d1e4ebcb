"""The command line without a deployment: its shape, its help, and how words are read."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from keyfold.cli import main, session
from keyfold.cli.arguments import pairs
from keyfold.cli.exits import UsageError


@pytest.mark.parametrize(
    ("typed", "ordered"),
    [
        (["key", "list", "--json"], ["--json", "key", "list"]),
        (["encrypt", "k", "--as", "alice", "f"], ["--as", "alice", "encrypt", "k", "f"]),
        (["status", "--data=/x"], ["--data=/x", "status"]),
        (["decrypt", "--", "--json"], ["decrypt", "--", "--json"]),
        (["status", "--data"], ["status", "--data"]),
    ],
)
def test_global_options_may_stand_anywhere(typed: list[str], ordered: list[str]) -> None:
    """They are moved to the front, but not what follows a `--`."""
    assert main.globals_first(typed) == ordered


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


EVERY = dict(commands(typer.main.get_command(main.app)))


@pytest.mark.parametrize("path", sorted(EVERY), ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    """What it does, and a line that can be typed; the line begins with the program and names the command."""
    text = EVERY[path].help or ""
    assert "Example: " in text
    example = text.split("Example: ", 1)[1].splitlines()[0]
    assert all(word in example.split() for word in ("keyfold", *path))


def test_the_commands_are_these() -> None:
    """Users' scripts name them; removing one is a decision."""
    assert {" ".join(path) for path in EVERY} == {
        "init", "up", "down", "reset", "status", "doctor", "demo", "history", "who-could", "replay",
        "key create", "key describe", "key list", "key rotate", "key enable", "key disable", "key schedule-deletion",
        "key cancel-deletion", "key destroy-now", "key tag", "key untag", "key budget",
        "key show", "key versions", "key public-key", "key validity", "key rotation enable", "key rotation disable",
        "key disable-version", "key enable-version", "key destroy-version", "key compromise", "key blast-radius",
        "key import-parameters", "import", "key delete-material", "key erasure-certificate", "key check-certificate",
        "capabilities", "hsm new-epoch", "hsm status", "hsm inventory",
        "alias create", "alias update", "alias delete", "alias list",
        "principal register", "principal update", "principal suspend", "principal resume", "principal revoke",
        "principal show", "principal list",
        "principal key add", "principal key rotate", "principal key revoke", "principal key list",
        "principal key thumbprint",
        "issuer put", "issuer keys", "issuer delete", "issuer list", "login",
        "policy put", "policy validate", "policy delete", "policy list", "policy show",
        "policy explain", "policy simulate", "policy suggest",
        "grant create", "grant retire", "grant revoke", "grant list", "grant show",
        "proposal create", "proposal list", "proposal show", "proposal approve", "proposal deny", "proposal cancel",
        "limit put", "limit delete", "limit list",
        "encrypt", "decrypt", "re-encrypt", "rewrap", "data-key", "data-key-pair", "random",
        "sign", "verify", "mac", "verify-mac", "derive", "encapsulate", "decapsulate",
        "events show", "events tail", "audit verify", "audit prove", "audit check-proof", "audit keys",
        "audit checkpoints", "audit query", "audit export", "audit context-digest",
        "witness init", "witness run", "witness show",
        "alerts tail", "alerts list", "alerts show", "alerts ack", "alerts close", "alerts suppress",
        "alerts unsuppress", "alerts suppressions", "analytics detectors", "analytics backtest", "analytics report",
        "projections status", "projections rebuild", "projections list", "projections drop",
        "topics apply", "topics acl", "topics quotas", "database grants", "database migrate",
        "backup create", "backup check", "backup restore",
        "ceremony renew", "ceremony reset-policies",
    }  # fmt: skip


def test_no_secret_is_an_argument() -> None:
    """No option takes a key, a PIN or a plaintext by value: others can read command lines."""
    for path, command in EVERY.items():
        for parameter in command.params:
            assert not {"pin", "password", "secret", "private_key"} & {parameter.name}, path
            assert parameter.name != "plaintext" or parameter.metavar == "FILE", path


@pytest.mark.parametrize("words", [["bogus"], ["key"], ["key", "describe"], ["random", "x"], ["status", "--nope"]])
def test_a_wrong_command_line_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2; with `--json` one object that says so."""
    assert main.run([*words, "--json"]) == 2
    told = json.loads(capsys.readouterr().err)["error"]
    assert told["code"] == "UsageError"


def test_without_a_deployment_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and exit code 3."""
    assert main.run(["--data", str(tmp_path / "none"), "key", "list"]) == 3
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "keyfold up" in line


def test_reset_leaves_foreign_directories_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory that is not Keyfold's is not deleted, however often one says yes."""
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main.run(["--data", str(tmp_path), "reset", "--yes"]) == 3
    assert "not a Keyfold data directory" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_reset_asks_and_does_nothing_where_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --yes and without a terminal it refuses."""
    home = tmp_path / "data"
    home.mkdir()
    (home / ".keyfold-data").touch()
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main.run(["--data", str(home), "reset"]) == 2
    assert home.exists()
    assert "--yes" in capsys.readouterr().err


def test_the_data_directory_does_not_depend_on_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a checkout it is `.keyfold` there; otherwise the user's data directory."""
    monkeypatch.chdir(tmp_path)
    root = session.checkout()
    assert root is not None
    assert session.default_data() == root / ".keyfold"
    monkeypatch.setattr(session, "checkout", lambda: None)
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert session.default_data() == Path("/somewhere/keyfold")


def test_unbuffered_output_is_buffered_all_the_same() -> None:
    """A raw standard output would lose what a short write leaves over; PYTHONUNBUFFERED must not bring that back."""
    program = "from keyfold.cli.session import buffered_output as b; b(); import sys; print(type(sys.stdout.buffer))"
    done = subprocess.run([sys.executable, "-u", "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "BufferedWriter" in done.stdout


def test_pairs() -> None:
    """NAME=VALUE; the value may hold further equals signs."""
    assert pairs(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    assert pairs(None) == {}


@pytest.mark.parametrize("words", [["a"], ["=1"], ["a=1", "a=2"]])
def test_wrong_pairs_are_refused(words: list[str]) -> None:
    """No name, no equals sign, or a name twice."""
    with pytest.raises(UsageError):
        pairs(words)
