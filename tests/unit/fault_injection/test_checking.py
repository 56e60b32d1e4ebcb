"""The rules that fault injection adds can fail: each lie that they are there for is found.

Those that it takes from the fault tests are shown to fail in `tests/faults/test_kill_checker.py`, the auditor's own in
`tests/unit/auditing`, leaks in `test_leaks.py`, recovery in `test_recovery.py`.
"""

import asyncio
from pathlib import Path
from types import SimpleNamespace

from fault_injection import checking
from tests.support.audited_log import AuditedLog, honest
from tests.support.honest_log import KEY_ID, HonestLog
from tests.support.log_checker import check_log
from tests.support.people import DEPLOYMENT, PARTITIONS

from keyfold.auditing import verifying
from keyfold.embedded.directory import DataDirectory
from keyfold.events import facts


def rules(log: HonestLog, told: dict[str, str], doubtful: tuple[str, ...] = ()) -> list[str]:
    """Return the rules that are broken."""
    story = check_log(DEPLOYMENT, PARTITIONS, log.logs())
    checking.exactly_once(story, told)
    checking.founded(story, doubtful)
    return [finding.rule for finding in story.findings]


def test_what_was_acknowledged_and_done_once_is_sound() -> None:
    """One outcome, of that verb."""
    log = HonestLog().tell()
    assert not rules(log, {log.use_key().data.command_id: "Encrypt"})


def test_an_acknowledged_command_without_outcome_is_found() -> None:
    """A caller was told of what the log does not have."""
    assert rules(HonestLog().tell(), {"0" * 32: "Encrypt"}) == ["told"]


def test_an_acknowledged_command_with_two_outcomes_is_found() -> None:
    """Executed twice."""
    log = HonestLog().tell()
    event = log.decide(log.command("Encrypt"))
    done = log.execute(event, facts.KeyUsed, **log.used())
    log.execute(event, facts.KeyUsed, say=False, **log.used())
    assert "told" in rules(log, {done.data.command_id: "Encrypt"})


def test_an_acknowledged_command_that_failed_is_found() -> None:
    """A caller was told that it was done, and the log says that it was not."""
    log = HonestLog().tell()
    failed = log.execute(
        log.decide(log.command("Encrypt")), facts.OperationFailed, say=False, key_id=KEY_ID, code="Expired"
    )
    assert rules(log, {failed.data.command_id: "Encrypt"}) == ["told"]


def test_an_acknowledged_command_that_did_something_else_is_found() -> None:
    """A caller was told of another verb."""
    log = HonestLog().tell()
    assert rules(log, {log.use_key().data.command_id: "Decrypt"}) == ["told"]


def test_a_version_is_unusable_only_after_a_failed_rotation() -> None:
    """Otherwise a key that is always enabled was refused for no reason."""
    log = HonestLog().tell()
    refusal = f"Encrypt on key/{KEY_ID} was refused: KeyVersionUnusable"
    assert rules(log, {}, (refusal,)) == ["caller"]
    event = log.decide(log.command("RotateKey"))
    log.execute(event, facts.OperationFailed, say=False, key_id=KEY_ID, code="TokenUnavailable")
    assert not rules(log, {}, (refusal,))


def audited(log: AuditedLog) -> list[str]:
    """Return what an auditor's report comes to."""
    report = asyncio.run(verifying.verify(log, verifying.Wanted(DEPLOYMENT)))
    return [finding.where for finding in checking.unsound(report)]


def test_what_the_auditor_finds_is_a_finding() -> None:
    """An honest log has none; a record that was taken out, and one without a checkpoint, are found."""
    log = honest(14, 90)
    assert audited(log) == []
    cut = log.copy()
    cut.kept[3].pop()
    assert "Truncated" in audited(cut)
    report = SimpleNamespace(findings=[], partitions=[SimpleNamespace(leaves=5, covered=4)])
    (finding,) = checking.unsound(report)  # type: ignore[arg-type]
    assert finding.where == "notary"


def test_secrets_are_looked_for_in_every_place(tmp_path: Path) -> None:
    """A plaintext in a broker's segments, a made secret in Postgres' files, a PIN in a log: each is found."""
    system = SimpleNamespace(
        directory=DataDirectory(tmp_path), config=SimpleNamespace(pins_directory=tmp_path / "pins"), logs=lambda: logs
    )
    segment, table = tmp_path / "kafka-2" / "data" / "0.log", tmp_path / "postgres" / "data" / "base" / "1"
    logs = [tmp_path / "hsm-0.log"]
    for path in (segment, table, tmp_path / "pins" / "kms"):
        path.parent.mkdir(parents=True)
    marker, made, pin = b"M" * 24, b"S" * 32, b"12345678"
    (tmp_path / "pins" / "kms").write_bytes(pin + b"\n")

    def found() -> set[str]:
        return {finding.where for finding in checking.leaks(system, marker, [made])}  # type: ignore[arg-type]

    for path in (segment, table, *logs):
        path.write_bytes(b"nothing")
    assert found() == set()
    segment.write_bytes(b"xx" + marker + b"order 1")
    table.write_text(f"row {made.hex()}")
    logs[0].write_bytes(b"pin is " + pin)
    assert found() == {"a plaintext", "secret 0 that was made", "the PIN kms"}
