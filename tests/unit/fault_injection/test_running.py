"""A result is told to programs and people, and by the exit code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_injection import main as program
from fault_injection.faults import Planned
from fault_injection.recovery import Injected, Recovery
from fault_injection.running import Result, Wanted, slow_stops
from tests.support.log_story import Finding

FAULT = Injected("kill", "hsm-0", 0.0, 1.0)
FINDING = Finding("told", "0192", "Encrypt was acknowledged, and has 0 outcomes")


def result(*findings: Finding) -> Result:
    """Return what a run of one fault has found."""
    recovered = Recovery(FAULT, {"Encrypt": 0.5, "CreateKey": 1.0}, {"Encrypt": 1, "CreateKey": 0}, 1.5, 2.0)
    return Result(Wanted(7, 1.0, ["kill"]), [recovered], list(findings), {"acknowledged": 5}, {"events": 9})


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Callable[[Result], list[Wanted]]:
    """Let the program have this result without running anything; returns what was asked for."""
    asked: list[Wanted] = []

    def play(found: Result) -> list[Wanted]:
        async def run(_place: Path, wanted: Wanted, _say: Any, *, keep: bool) -> Result:
            asked.append(wanted)
            return found

        monkeypatch.setattr(program, "run", run)
        monkeypatch.setattr(program.signal, "signal", lambda *_: None)
        return asked

    return play


def test_the_exit_code_tells_whether_anything_is_wrong(
    played: Callable[[Result], list[Wanted]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 where all holds, else 1; both ways the table is shown, and written where it was asked for."""
    asked = played(result())
    arguments = ["run", "--seed", "7", "--minutes", "1", "--faults", "kill", "--data", str(tmp_path / "data")]
    assert program.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "| kill | hsm-0 | 1.0 | 1 | 0.5 | 1.0 | 1.5 | 2.0 |  |" in capsys.readouterr().out
    assert asked == [Wanted(7, 1.0, ["kill"])]
    written = json.loads((tmp_path / "out" / "faults.json").read_text())
    assert (written["seed"], written["findings"], written["told"]) == (7, [], {"acknowledged": 5})
    assert "Everything holds." in (tmp_path / "out" / "faults.md").read_text()
    played(result(FINDING))
    assert program.main(arguments) == 1
    assert str(FINDING) in capsys.readouterr().out
    assert result(FINDING).as_data()["findings"][0]["rule"] == "told"


def test_a_stop_that_is_not_graceful_is_a_finding() -> None:
    """A service has ten seconds to stop."""
    planned = Planned("rolling", "every service", 0.0)
    quick, slow = ("stopped in 1.0 to 2.0 s",), ("stopped in 1.0 to 12.0 s", "WRONG: hsm-0 took 12.0 s to stop")
    assert slow_stops(planned, Injected("rolling", "every service", 0.0, 1.0, quick)) == []
    (finding,) = slow_stops(planned, Injected("rolling", "every service", 0.0, 1.0, slow))
    assert finding.what == "WRONG: hsm-0 took 12.0 s to stop"
