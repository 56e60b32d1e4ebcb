"""`keyfold doctor`: looks for what is wrong and says what to do about it. Changes nothing."""

import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import typer

from keyfold.cli import exits, health, output
from keyfold.cli.broker_health import broker_settings
from keyfold.cli.parts import is_down, is_embedded
from keyfold.cli.readiness import readiness
from keyfold.cli.session import Session, of
from keyfold.cli.status import measure
from keyfold.config import Config
from keyfold.embedded import Stack
from keyfold.embedded.directory import DataDirectory
from keyfold.embedded.kafka_jars import java
from keyfold.embedded.softhsm import softhsm_module
from keyfold.events.errors import KeyfoldError
from keyfold.identity import SERVICES

Verdict = Literal["ok", "warning", "problem"]

_FREE_BYTES: Final = 512 * 1024 * 1024
_CERTIFICATE_DAYS: Final = 14
_SEALING_KEY_AGE_S: Final = 25 * 3600
_CLOCK_MS: Final = 30_000
_LAG: Final = 1000
_ADVICE: Final = {
    "start": "wait: it is starting; if it stays so, see its log",
    "event-loop": "it is stuck: start it again, and report it with its log",
    "main-loop": "it is stuck: start it again, and report it with its log",
    "registry": "look at the brokers: it may decide nothing before it has read partition 0 of the events to its end",
    "brokers": "start the brokers, or correct bootstrap_servers and the setting `kafka`",
    "connected": "start what it waits for; it tries again by itself",
    "partitions": "wait: it is taking them over; if it stays so, see its log",
    "stopped": "see its log for what is wrong with the log, then start it again",
    "halted": "understand it, then `keyfold projections rebuild`",
    "token": "see docs/operations.md, the token's health; what needs no token goes on",
    "store": "start Postgres; it tries again by itself",
    "projections": "start Postgres and the projector",
    "lag": "wait; if it grows, see its log and the machine's load",
    "log": "keep the evidence, and ask whoever runs the log: it was changed, or the witness was deceived",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `advice` says what to do, unless all is well."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def doctor(context: typer.Context) -> None:
    """Look for what is wrong: programs, disk, ports, processes, brokers, database, clock, certificates, keys, lag.

    Exit code 3 if there is a problem; warnings alone are 0.

    Example: keyfold doctor
    """
    session = of(context)
    checks = [*_machine(session), *_deployment(session)]
    rows = [(check.verdict, check.name, check.found, check.advice) for check in checks]
    session.show({"checks": checks}, output.table(("", "LOOKED AT", "FOUND", "WHAT TO DO"), rows))
    if any(check.verdict == "problem" for check in checks):
        raise typer.Exit(exits.UNAVAILABLE)


def _machine(session: Session) -> Iterator[Check]:
    embedded = is_embedded(Stack(session.data))
    if embedded or not session.settings_file.exists():  # else brokers and tokens are elsewhere
        yield _attempt("java", lambda: _java_version(java()))
        yield _attempt("softhsm", lambda: str(softhsm_module()))
    yield _disk(session.data)
    directory = DataDirectory(session.data)
    if directory.exists():
        yield from _secrets(directory)
        if embedded:
            yield from _parts(session)


def _deployment(session: Session) -> Iterator[Check]:
    try:
        config = session.config
    except KeyfoldError as error:
        yield Check("settings", "problem", error.code, str(error))
        return
    if is_down(Stack(session.data)):
        return
    yield Check("settings", "ok", f"deployment {(config.deployment or '')[:16]}…")
    found = session.run(_measured(session, config))
    yield _answers("brokers", found["brokers"], "start them (`keyfold up`), or correct bootstrap_servers")
    yield _broker_settings(found["broker settings"])
    yield from _projections(found["projector"])
    for service in ("policy", "hsm"):
        yield _lag(service, found[service])
    yield from _notary(found["notary"])
    yield _sealing_key(found["sealing_key"])
    yield from _certificates(found["certificates"])
    yield from _readiness(config)


async def _measured(session: Session, config: Config) -> dict[str, health.Finding]:
    found = await measure(session, config)
    found["broker settings"] = await health.probe(lambda: broker_settings(config))
    return {**found, "certificates": await health.probe(lambda: health.certificates(session, config))}


def _attempt(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", look())
    except KeyfoldError as error:
        return Check(name, "problem", "missing", str(error))


def _java_version(launcher: str) -> str:
    told = subprocess.run([launcher, "-version"], capture_output=True, text=True, timeout=20, check=False).stderr
    return (told.splitlines() or ["unknown version"])[0]


def _disk(data: Path) -> Check:
    place = next(path for path in (data, *data.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < _FREE_BYTES:
        return Check("disk", "problem", f"{free >> 20} MiB free", f"make room on the file system of {data}")
    return Check("disk", "ok", f"{free >> 20} MiB free")


def _secrets(directory: DataDirectory) -> Iterator[Check]:
    """PINs and identities must be readable by their owner only."""
    open_files = [
        str(path)
        for folder in ("pins", "identities")
        for path in (directory.path / folder).glob("*")
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_files:
        yield Check("secrets", "problem", f"others may read {', '.join(open_files)}", "chmod 600 them; renew them")
    else:
        yield Check("secrets", "ok", "PINs and identities are private")


def _parts(session: Session) -> Iterator[Check]:
    stack = Stack(session.data)
    wanted = stack.wanted()
    if not wanted:
        yield Check("processes", "problem", "nothing runs", "run `keyfold up`")
    for part in stack.status():
        if part.state == "failed":
            yield Check(part.name, "problem", f"died ({part.restarts} restarts)", f"see {part.log}")
        elif part.name in wanted:
            yield Check(part.name, "ok", f"{part.state}, pid {part.pid}")
    for name in ("kafka", "postgres"):
        if name not in wanted and stack.directory.has_port(name):
            yield _attempt(f"port of {name}", lambda name=name: _port(stack.directory, name))  # type: ignore[misc]


def _port(directory: DataDirectory, name: str) -> str:
    port = directory.port(name)
    directory.require_free(name, port)
    return f"{port} is free"


def _answers(name: str, finding: health.Finding, advice: str) -> Check:
    if finding:
        return Check(name, "ok", ", ".join(f"{key} {value}" for key, value in finding.facts.items()))
    return Check(name, "problem", finding.error or "", advice)


def _broker_settings(finding: health.Finding) -> Check:
    if not finding:
        return Check("broker settings", "warning", finding.error or "", "let somebody look who may read them")
    told = [f"broker {node}: {'; '.join(each)}" for node, each in finding.facts["differences"].items()]
    if told:
        return Check("broker settings", "problem", ". ".join(told), "correct them, and restart the brokers one by one")
    return Check("broker settings", "ok", f"{finding.facts['brokers']} brokers are set as they must be")


def _projections(finding: health.Finding) -> Iterator[Check]:
    if not finding:
        yield Check("projections", "problem", finding.error or "", "start Postgres and the projector (`keyfold up`)")
        return
    facts = finding.facts
    if facts["halted"]:
        reasons = "; ".join(f"partition {number}: {reason}" for number, reason in facts["halted"].items())
        yield Check("projections", "problem", f"halted: {reasons}", "understand it, then `keyfold projections rebuild`")
    else:
        yield _lag("projector", finding)
    if facts["reports"]:
        yield Check(
            "log", "warning", f"{facts['reports']} records were not believed", "see the projector's log: who wrote?"
        )
    if facts["ahead_of_clock_ms"] > _CLOCK_MS:
        yield Check(
            "clock", "problem", f"the log is {facts['ahead_of_clock_ms'] / 1000:.0f} s ahead", "correct the clocks"
        )
    else:
        yield Check("clock", "ok", "not behind the log")


def _readiness(config: Config) -> Iterator[Check]:
    """What each process says of itself, where it serves that."""
    for told in readiness(config):
        name = f"readiness of {told.process}"
        if told.error is not None:
            yield Check(name, "problem", told.error, "start it, or correct telemetry.services in the settings")
        elif told.ready:
            yield Check(name, "ok", "ready")
        else:
            found = "; ".join(f"{check}: {reason}" for check, reason in told.reasons)
            advice = [_ADVICE.get(check, "see its log") for check, _ in told.reasons]
            yield Check(name, "problem", found or "not ready", "; ".join(dict.fromkeys(advice)))


def _lag(name: str, finding: health.Finding) -> Check:
    if not finding:
        return Check(name, "problem", finding.error or "", f"see the log of {name}")
    behind = finding.facts["lag"]
    if behind > _LAG:
        return Check(
            name, "warning", f"{behind} records behind", "wait; if it grows, see its log and the machine's load"
        )
    return Check(name, "ok", f"{behind} records behind")


def _notary(finding: health.Finding) -> Iterator[Check]:
    """A partition that the notary does not sign any more is the loudest thing that a log can say."""
    yield _lag("notary", finding)
    for partition, code in finding.facts.get("stopped", {}).items():
        advice = "see the notary's log, and docs/operations.md: the log may have been changed"
        yield Check(f"checkpoints of partition {partition}", "problem", f"none are signed: {code}", advice)
    if finding.facts.get("untrusted"):
        found = f"{finding.facts['untrusted']} records were not authentic"
        yield Check("leaves of the log", "warning", found, "see the notary's log: who wrote?")


def _sealing_key(finding: health.Finding) -> Check:
    if not finding:
        return Check("sealing key", "problem", finding.error or "", "start Postgres and the projector")
    age = finding.facts["age_s"]
    if age is None:
        return Check("sealing key", "problem", "there is none", "start the hsm worker: it publishes the first one")
    if age > _SEALING_KEY_AGE_S:
        return Check(
            "sealing key", "warning", f"{age // 3600} hours old", "start the scheduler: it rotates it every day"
        )
    return Check("sealing key", "ok", f"{age // 60} minutes old")


def _certificates(finding: health.Finding) -> Iterator[Check]:
    if not finding:
        yield Check("certificates", "problem", finding.error or "", "start the brokers; is the log this deployment's?")
        return
    left = finding.facts["days_left"]
    for service in sorted(SERVICES - left.keys()):
        verdict: Verdict = "warning" if service == "analytics" else "problem"
        yield Check(f"certificate of {service}", verdict, "there is none", "run `keyfold ceremony renew`")
    for service, days in left.items():
        soon = days < _CERTIFICATE_DAYS
        advice = "run `keyfold ceremony renew`" if soon else ""
        yield Check(f"certificate of {service}", "warning" if soon else "ok", f"{days} days left", advice)
