"""`keyfold audit verify`: whose log it is meant to be is said by who asks; the exit code tells whether it holds."""

import asyncio
import importlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.audited_log import AuditedLog, honest
from tests.support.notary_log import witness_key
from tests.support.people import DEPLOYMENT, PARTITIONS

from keyfold.auditing.database import Compared
from keyfold.auditing.findings import Finding
from keyfold.auditing.partition import Window
from keyfold.auditing.verifying import Wanted
from keyfold.cli import exits, main
from keyfold.cli.audit.progress import Progress
from keyfold.cli.exits import UsageError
from keyfold.config import KafkaSecurity

LOG = (14, 90)
MODULE: Any = importlib.import_module("keyfold.cli.audit.verify")
"""By its name: the package has the command under the same one."""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `audit verify --archive` over a log; the archive itself is played."""

    def running(log: AuditedLog, *arguments: str, deployment: str | None = DEPLOYMENT) -> tuple[int, str, str]:
        sizes = SimpleNamespace(size=lambda partition: len(log.kept[partition]))
        archive = SimpleNamespace(
            manifest=sizes, partitions=log.partitions, deployment=log.deployment, records=log.records,
            checkpoints=log.checkpoints, ends=log.ends,
        )  # fmt: skip
        monkeypatch.setattr(MODULE, "ArchiveSource", lambda _directory: archive)
        pinned = () if deployment is None else ("--deployment", deployment)
        code = main.run(["--data", str(tmp_path), "audit", "verify", "--archive", str(tmp_path), *pinned, *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return running


def test_an_honest_log_is_exit_code_0(run: Run) -> None:
    """And the summary says what was checked."""
    code, out, _ = run(honest(*LOG))
    assert code == exits.OK
    assert "the log holds" in out
    assert "signatures" in out


def test_a_log_that_differs_is_exit_code_4(run: Run) -> None:
    """The first line names the first record, for people and as data."""
    log = honest(*LOG).copy()
    del log.kept[1][20]
    code, out, err = run(log)
    assert code == exits.INTEGRITY
    assert out.startswith("FIRST  partition 1 leaf 2")
    assert err == ""
    code, out, _ = run(log, "--json")
    data = json.loads(out)
    assert code == exits.INTEGRITY
    assert (data["holds"], data["first"]["partition"]) == (False, 1)
    assert data["first"]["code"] in {"ChainGap", "OrderBroken"}


def test_whose_log_it_is_must_be_said(run: Run) -> None:
    """An archive's own word does not count; another fingerprint is another log."""
    code, _, err = run(honest(*LOG), deployment=None)
    assert code == exits.USAGE
    assert "--deployment" in err
    code, _, err = run(honest(*LOG), deployment="0" * 64)
    assert code == exits.INTEGRITY
    assert "NotRooted" in err


def test_kept_checkpoints_and_witnesses_are_asked(run: Run, tmp_path: Path) -> None:
    """Files and verifier keys go into the verification."""
    log = honest(*LOG).copy()
    kept = tmp_path / "kept.checkpoint"
    first, mine, *rest = [log.publish(partition, witness="witness") for partition in range(log.partitions)]
    kept.write_bytes(mine)
    log.notes = [first, *rest]
    asked = ("--checkpoint", str(kept), "--witness", str(witness_key("witness")), "--json")
    code, out, _ = run(log, *asked)
    sizes = {str(partition): len(records) for partition, records in log.kept.items()}
    assert (code, json.loads(out)["cosigned"]) == (exits.OK, {"witness": sizes})
    log.kept[1] = log.kept[1][:-30]
    code, out, _ = run(log, *asked)
    assert code == exits.INTEGRITY
    assert "Truncated" in out
    code, out, _ = run(honest(*LOG), "--since-checkpoint", str(kept), "--json")
    assert code == exits.OK
    assert json.loads(out)["partitions"][1]["full"] == 0


def test_all_rows_that_differ_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the database a hundred findings are shown, whatever their number is."""
    compared = Compared(rows=500)
    for number in range(250):
        compared.findings.add(Finding(None, None, None, "", "RowInvented", "no row", str(number)))

    async def played(*_arguments: object) -> Compared:
        return compared

    class Played:
        config = SimpleNamespace(
            bootstrap_servers="unused:1", kafka=KafkaSecurity(), partitions=PARTITIONS, postgres_reader_dsn=""
        )

    log = honest(*LOG)
    monkeypatch.setattr(MODULE, "compare", played)
    monkeypatch.setattr(MODULE, "KafkaOpener", lambda *_arguments: lambda: log)
    report = asyncio.run(MODULE._verify(Played(), Wanted(DEPLOYMENT), None, database=True))
    assert (report.count, len(report.findings), report.rows) == (250, 100, 500)
    assert report.first is not None


def test_arguments_that_make_no_sense_are_usage(run: Run) -> None:
    """Each says what to correct."""
    for arguments, told in (
        (("--witness", "nonsense"), "verifier key"),
        (("--from", "yesterday"), "is no leaf"),
        (("--database",), "--database compares"),
        (("--checkpoint", "/nowhere"), "/nowhere"),
        (("--partition", "99"), "there is no partition 99"),
    ):
        code, _, err = run(honest(*LOG), *arguments)
        assert (code, told in err) == (exits.USAGE, True), err


def test_places_are_leaves_or_times() -> None:
    """A number is a leaf, anything else the one form of times."""
    assert MODULE._window("12", "2026-01-31T12:00:00.000Z") == Window(12, None, None, 1_769_860_800_000)
    assert MODULE._window("1970-01-01T00:00:01.000Z", "30") == Window(0, 30, 1000, None)
    with pytest.raises(UsageError):
        MODULE._window("-1", None)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_only() -> None:
    """Share and rate; nothing where standard error is a file."""
    shown, hidden = Terminal(), io.StringIO()
    for out in (shown, hidden):
        progress = Progress({0: 50, 1: 150}, out)
        progress._last -= 10
        progress(1, 100)
        progress.end()
    assert "50%" in shown.getvalue()
    assert "100 records" in shown.getvalue()
    assert hidden.getvalue() == ""
