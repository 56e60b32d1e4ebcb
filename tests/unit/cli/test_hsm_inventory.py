"""`keyfold hsm inventory`: what the worker's program reports is shown, and its errors are told in one line."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from keyfold.cli import exits, hsm_inventory
from keyfold.cli.hsm_inventory import InventoryFailed, human, take
from keyfold.cli.session import Session

FINDING = {"kind": "orphan", "subject": "stray", "place": "kms", "detail": "no event states this key"}
REPORT = {"ok": False, "findings": [FINDING], "versions": 3, "sealing_keys": 1, "epochs": [1, 2], "token_keys": 5}


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session(tmp_path)
    monkeypatch.setattr(hsm_inventory, "_settings", lambda each: each.settings_file)
    return made


def prints(monkeypatch: pytest.MonkeyPatch, text: str, code: int) -> list[list[str]]:
    """Let the worker's program print this and end so; returns how it was started."""
    started: list[list[str]] = []

    def run(program: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        started.append(program)
        return subprocess.CompletedProcess(program, code, text, "")

    monkeypatch.setattr(subprocess, "run", run)
    return started


def test_a_report_is_handed_on_with_its_exit_code(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program gets the settings file and nothing secret."""
    started = prints(monkeypatch, json.dumps(REPORT), exits.INTEGRITY)
    assert take(session) == (REPORT, exits.INTEGRITY)
    assert started[0][1:] == ["-m", "keyfold.hsm", "inventory", "--config", str(session.settings_file)]


@pytest.mark.parametrize(
    ("text", "code", "kind"),
    [
        (
            '{"error": {"code": "PinUnusable", "message": "the PIN file is gone", "retriable": false}}',
            3,
            InventoryFailed,
        ),
        ('{"error": {"code": "ChainGap", "message": "a gap", "retriable": false}}', 4, exits.Differs),
        ("", 1, InventoryFailed),
        ('{"ok": true}', 1, InventoryFailed),
    ],
)
def test_what_the_program_could_not_do_is_one_error(
    session: Session, monkeypatch: pytest.MonkeyPatch, text: str, code: int, kind: type[Exception]
) -> None:
    """Unavailable where a part does not answer, integrity where the log is not authentic."""
    prints(monkeypatch, text, code)
    with pytest.raises(kind):
        take(session)


def test_findings_are_a_table() -> None:
    """After the sums; and one line where nothing is amiss."""
    assert "stray" in human(REPORT)
    assert "nothing is amiss" in human({**REPORT, "ok": True, "findings": []})
