"""What must hold after everything was broken: rules over the log, the projections, the proofs, and every file.

The rules over the log and its replies are those of `tests.support.log_checker` (one decision, ticket and outcome for
each command, in order; no reply without its event; nothing lost); projections and private states are compared with a
replay by `projection_checker`, and once more, with all signatures, trees and checkpoints, by `keyfold.auditing`, which
shares no code with them but the events. This module adds what callers were told, and the search for secrets.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.log_checker import Acknowledged
from tests.support.log_snapshot import TicketRecorder
from tests.support.log_story import Finding, Story
from tests.support.whole_system import WholeSystem

from fault_injection.deployment import Deployment
from fault_injection.leaks import search
from fault_injection.recovery import Recovery
from keyfold.auditing import verifying
from keyfold.auditing.database import compare
from keyfold.auditing.sources import KafkaSource
from keyfold.events import facts
from keyfold.projections.store import PostgresSnapshots


async def check_log(
    system: WholeSystem, told: Mapping[str, str], doubtful: Iterable[str], recorder: TicketRecorder
) -> tuple[Story, list[Finding]]:
    """Read the whole log and apply every rule; `told` has the verb of each command that was acknowledged, by id."""
    story = await system.check(Acknowledged(dict(told)), recorder)
    exactly_once(story, told)
    founded(story, doubtful)
    return story, story.findings


def exactly_once(story: Story, told: Mapping[str, str]) -> None:
    """What callers were told was done has exactly one outcome, of that verb, and no failure."""
    counts: Counter[str] = Counter()
    for _, outcome in story.outcomes():
        data = outcome.data
        if data.command_id not in told:
            continue
        counts[data.command_id] += 1
        if isinstance(outcome, facts.OperationFailed):
            story.find("told", data.command_id, f"was acknowledged, and the log says {outcome.data.code}")
        elif data.verb != told[data.command_id]:
            story.find("told", data.command_id, f"was acknowledged as {told[data.command_id]}, done as {data.verb}")
    for command_id, verb in told.items():
        if counts[command_id] != 1:
            story.find("told", command_id, f"{verb} was acknowledged, and has {counts[command_id]} outcomes")


def founded(story: Story, refusals: Iterable[str]) -> None:
    """A version of an enabled key was unusable only where the rotation that was to make one had failed."""
    failed = {
        outcome.data.key_id
        for _, outcome in story.outcomes()
        if isinstance(outcome, facts.OperationFailed) and outcome.data.verb == "RotateKey"
    }
    for refusal in refusals:
        if not any(key_id is not None and key_id in refusal for key_id in failed):
            story.find("caller", "a call", f"no rotation of that key had failed, and {refusal}")


async def audit(system: WholeSystem) -> tuple[dict[str, int], list[Finding]]:
    """Verify the log as an auditor does, from the fingerprint alone, and compare every row of the projections."""
    source = KafkaSource(system.bus(), system.deployment, system.config.partitions)
    report = await verifying.verify(source, verifying.Wanted(system.deployment))
    compared = await compare(source, report.heads.trust, PostgresSnapshots(system.config.postgres_reader_dsn))
    report.rows, report.compared = compared.rows, compared.findings
    leaves = sum(told.leaves for told in report.partitions)
    return {"leaves": leaves, "rows": report.rows}, unsound(report)


def unsound(report: verifying.Report) -> list[Finding]:
    """What an auditor found, and records that the notary has left without a checkpoint although all is quiet."""
    findings = [Finding("audit", each.code, str(each)) for each in report.findings]
    if uncovered := sum(told.leaves - told.covered for told in report.partitions):
        findings.append(Finding("audit", "notary", f"{uncovered} records have no checkpoint"))
    return findings


def leaks(system: Deployment, marker: bytes, samples: Iterable[bytes]) -> list[Finding]:
    """Search what brokers, Postgres and processes have written for what they must not know."""
    pins = system.config.pins_directory
    secrets = {"a plaintext": marker}
    secrets |= {f"secret {number} that was made": sample for number, sample in enumerate(samples)}
    secrets |= {f"the PIN {path.name}": path.read_bytes().strip() for path in sorted(pins.iterdir())}
    return [Finding("leak", leak.name, str(leak)) for leak in search(secrets, places(system))]


def places(system: Deployment) -> list[Path]:
    """Where no secret may be: what each broker and Postgres keep, and what every process said."""
    home = system.directory.path
    return [*sorted(home.glob("kafka-*/data")), home / "postgres" / "data", *system.logs()]


def recovered(recoveries: Iterable[Recovery]) -> list[Finding]:
    """After every fault, each verb and each partition is served again."""
    return [
        Finding("recovery", f"{each.fault.kind} {each.fault.target}", f"not served again: {_missing(each)}")
        for each in recoveries
        if not each.complete
    ]


def _missing(each: Recovery) -> str:
    verbs = [verb for verb, seconds in each.first.items() if seconds is None]
    return ", ".join(verbs) or "a partition"
