"""Using keys from the command line with a reason, for an approved proposal, or only as a trial."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from tests.unit.cli.conftest import KEY, ORDERS, Terminal

from keyfold.events.ciphertext import header

ID = "01890a5d-ac96-774b-bcce-b302099a8059"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files lie."""
    monkeypatch.chdir(tmp_path)
    Path("orders.csv").write_bytes(b"4711;bicycle" * 100)
    return tmp_path


def test_a_file_goes_and_comes_with_a_reason_and_a_proposal(terminal: Terminal) -> None:
    """Each takes one command, which says both."""
    how = ["--context", "t=7", "--reason", "backup", "--proposal", ID]
    sent = terminal.done("encrypt", ORDERS, "orders.csv", *how).received
    sent += terminal.done("decrypt", "orders.csv.kf", "-o", "back.csv", *how).received
    assert Path("back.csv").read_bytes() == Path("orders.csv").read_bytes()
    assert [(got.command.verb, got.data.reason, got.data.proposal) for got in sent] == [
        ("GenerateDataKey", "backup", ID), ("Decrypt", "backup", ID),
    ]  # fmt: skip


def test_data_keys_and_random_bytes_say_the_reason(terminal: Terminal) -> None:
    """A data key may be what was approved."""
    (got,) = terminal.done("data-key", ORDERS, "--reason", "r", "--proposal", ID).received
    assert (got.command.verb, got.data.reason, got.data.proposal) == ("GenerateDataKeyWithoutPlaintext", "r", ID)
    (got,) = terminal.done("data-key", ORDERS, "--plaintext", "key.bin", "--reason", "r").received
    assert (got.command.verb, got.data.reason, got.data.proposal) == ("GenerateDataKey", "r", None)
    (got,) = terminal.done("random", "8", "--reason", "r").received
    assert got.data.reason == "r"


@pytest.mark.parametrize(
    ("words", "verb", "size"),
    [
        (["encrypt", ORDERS, "orders.csv"], "GenerateDataKey", 0),
        (["encrypt", ORDERS, "orders.csv", "--direct"], "Encrypt", 1200),
        (["data-key", ORDERS, "--bytes", "16"], "GenerateDataKeyWithoutPlaintext", 0),
        (["data-key", ORDERS, "--plaintext", "key.bin"], "GenerateDataKey", 0),
        (["random", "8"], "GenerateRandom", 0),
    ],
)
def test_a_use_can_be_tried(terminal: Terminal, words: list[str], verb: str, size: int) -> None:
    """The command that the use would send, as a dry run; no file is written."""
    before = sorted(path.name for path in Path().iterdir())
    about = [] if verb == "GenerateRandom" else ["--context", "t=7", "--proposal", ID]
    ran = terminal.done("--json", *words, *about, "--reason", "r", "--dry-run")
    (got,) = ran.received
    assert (got.command.verb, got.data.dry_run, got.data.reason, got.data.bytes) == (verb, True, "r", size)
    assert got.data.contexts == ([{"t": "7"}] if about else [{}])
    assert ran.document == {
        "dry_run": True, "command_id": got.command.id, "decision": ran.document["decision"],
    }  # fmt: skip
    assert sorted(path.name for path in Path().iterdir()) == before


@pytest.mark.parametrize(
    "words",
    [["data-key", ORDERS, "-o"], ["data-key", ORDERS, "--plaintext"], ["random", "8", "-o"]],
)
def test_where_a_key_goes_is_looked_at_first(terminal: Terminal, words: list[str]) -> None:
    """A command whose result would have nowhere to go is not sent."""
    ran = terminal(*words, "no/where")
    assert (ran.code, ran.received) == (2, [])


def test_opening_a_file_can_be_tried(terminal: Terminal) -> None:
    """Its header says which key would be asked, and about how much."""
    terminal.done("encrypt", KEY, "orders.csv", "--context", "t=7")
    before = sorted(path.name for path in Path().iterdir())
    (got,) = terminal.done("decrypt", "orders.csv.kf", "--context", "t=7", "--dry-run").received
    assert (got.command.verb, got.command.subject, got.data.dry_run) == ("Decrypt", f"key/{KEY}", True)
    assert got.data.bytes > 0
    assert sorted(path.name for path in Path().iterdir()) == before


def test_a_direct_ciphertext_can_be_tried(terminal: Terminal) -> None:
    """To decrypt and to encrypt again; an envelope cannot be encrypted again."""
    Path("direct").write_bytes(header(UUID(KEY).bytes, 1, 1) + b"x" * 40)
    (got,) = terminal.done("decrypt", "direct", "-o", "out", "--dry-run").received
    assert (got.command.verb, got.command.subject) == ("Decrypt", f"key/{KEY}")
    (got,) = terminal.done("re-encrypt", "direct", "--reason", "r", "--dry-run").received
    assert (got.command.verb, got.data.reason) == ("ReEncrypt", "r")
    terminal.done("encrypt", KEY, "orders.csv")
    assert terminal("re-encrypt", "orders.csv.kf", "--dry-run").code == 2


def test_a_denied_trial_is_refused(terminal: Terminal) -> None:
    """Exit code 1, as the use itself would be."""
    terminal.prepare.append(lambda deployment: deployment.scripts.append(lambda got: "ApprovalRequired"))
    ran = terminal("--json", "encrypt", ORDERS, "orders.csv", "--dry-run")
    assert (ran.code, json.loads(ran.err)["error"]["code"]) == (1, "ApprovalRequired")
