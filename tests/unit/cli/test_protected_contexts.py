"""Protected context values from the command line: the log has digests; files open with the values, or with digests."""

from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import KEY, Terminal
from tests.unit.cli.test_transfer import Pipe

SECRET = "Nakamura-4711"
PROTECTED = ["--protected-context", f"patient={SECRET}", "--tenant", "clinic-a", "--context", "kind=letter"]


@pytest.fixture
def tenant_key(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The HMAC key of a tenant under its alias, and a file to encrypt."""
    monkeypatch.chdir(tmp_path)
    Path("letter").write_bytes(b"text")
    key_id: str = terminal.done("--json", "key", "create", "--spec", "HMAC_256").document["key_id"]

    def named(deployment: Any) -> None:
        start = deployment.start

        async def started() -> None:
            await start()
            await deployment.publish_alias("alias/context/clinic-a", key_id)

        deployment.start = started

    terminal.prepare.append(named)
    return key_id


def logged(terminal: Terminal) -> Any:
    """The one context of the last command that has some; no command has the value in clear."""
    assert all(SECRET.encode() not in (got.record.value or b"") for got in terminal.received)
    return next(got.data.contexts for got in reversed(terminal.received) if got.command.verb != "GenerateMac")[0]


def test_a_file_opens_with_the_value_and_with_the_digest(terminal: Terminal, tenant_key: str) -> None:
    """An envelope binds what is logged."""
    terminal.done("encrypt", KEY, "letter", "-o", "letter.kf", *PROTECTED)
    digest = logged(terminal)["patient"]
    assert digest.startswith(f"hmac-sha256:{tenant_key}:")
    terminal.done("decrypt", "letter.kf", "-o", "a", *PROTECTED)
    assert logged(terminal) == {"patient": digest, "kind": "letter"}
    terminal.done("decrypt", "letter.kf", "-o", "b", "--context", f"patient={digest}", "--context", "kind=letter")
    assert Path("a").read_bytes() == Path("b").read_bytes() == b"text"
    assert terminal("decrypt", "letter.kf", "-o", "c", "--context", "kind=letter").code == 4


def test_the_other_commands_that_take_contexts(terminal: Terminal, tenant_key: str) -> None:
    """Direct ciphertexts, data keys, key pairs, and trials of them."""
    terminal.done("encrypt", KEY, "letter", "-o", "letter.kf", *PROTECTED)
    digest = logged(terminal)["patient"]
    for words in (
        ["encrypt", KEY, "letter", "-o", "sealed", "--direct"],
        ["data-key", KEY],
        ["data-key-pair", KEY, "--spec", "ECC_NIST_P256"],
        ["encrypt", KEY, "letter", "--dry-run"],
        ["decrypt", "letter.kf", "--dry-run"],
        ["data-key", KEY, "--dry-run"],
    ):
        terminal.done(*words, *PROTECTED)
        assert logged(terminal)["patient"] == digest


def test_the_digest_can_be_asked_for(terminal: Terminal, tenant_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a search, by argument or, so that it is on no command line, by standard input; one GenerateMac each."""
    terminal.done("encrypt", KEY, "letter", "-o", "sealed", *PROTECTED)
    digest = logged(terminal)["patient"]
    asked = terminal.done("audit", "context-digest", "patient", SECRET, "--tenant", "clinic-a")
    assert (asked.out.strip(), [got.command.verb for got in asked.received]) == (digest, ["GenerateMac"])
    monkeypatch.setattr("sys.stdin", Pipe(f"{SECRET}\n".encode()))
    piped = terminal.done("--json", "audit", "context-digest", "patient", "-", "--tenant", "clinic-a").document
    assert piped == {"name": "patient", "digest": digest}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--protected-context", "patient=4711"], "--tenant"),
        (["--protected-context", "patient=4711", "--tenant", "a", "--context", "patient=1"], "in clear and protected"),
        (["--protected-context", "patient", "--tenant", "a"], "NAME=VALUE"),
        (["--protected-context", "a=4711", "--protected-context", "a=2", "--tenant", "a"], "twice"),
        (["--protected-context", "patient=4711", "--tenant", "a/b"], "tenant"),
    ],
)
def test_what_makes_no_sense_is_told(terminal: Terminal, tenant_key: str, words: list[str], told: str) -> None:
    """Before anything is sent, and without the value."""
    ran = terminal("encrypt", KEY, "letter", *words)
    assert (ran.code, ran.received) == (2, [])
    assert told in ran.err
    assert "4711" not in ran.err
