"""Whether what a lock file pins is known to be vulnerable, as pip-audit says, where a database can be reached.

A package that the database does not know was not checked; neither was anything where it cannot be reached. Both are
said, and are no failure: what is wrong is a finding.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from supply_chain.locks import ROOT

TOOL: Final = "pip-audit==2.10.1"

_DEADLINE_S: Final = 300
_UNREACHED: Final = ("Could not connect", "not redirecting", "network may be blocking", "Max retries", "timed out")


class AuditFailed(Exception):
    """The check itself could not be carried out, for another reason than a database out of reach."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked up, what of it is vulnerable (a line each), and what the database did not know."""

    checked: int
    findings: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def text(self) -> str:
        """For a person, with a last line that says how much was checked."""
        lines = list(self.findings)
        if not self.checked:
            return "nothing was checked: no database of vulnerabilities could be reached"
        if self.unknown:
            lines.append(f"not checked, since the database does not know them: {', '.join(self.unknown)}")
        return "\n".join([*lines, f"{self.checked} packages checked, {len(self.findings)} vulnerabilities found"])


def audit(lock: Path, service: str) -> Report:
    """Ask the database about each package of a lock. Raises `AuditFailed`."""
    command = [str(_tool()), "--requirement", str(lock), "--disable-pip", "--require-hashes"]
    command += ["--format", "json", "--progress-spinner", "off", "--vulnerability-service", service]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DEADLINE_S)
    except subprocess.TimeoutExpired:
        return Report(0)
    return report(done.stdout, done.stderr)


def report(stdout: str, stderr: str) -> Report:
    """Understand what pip-audit wrote. Raises `AuditFailed` where it is neither a result nor a network's absence."""
    try:
        packages: list[dict[str, Any]] = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError):
        if any(words in stderr for words in _UNREACHED):
            return Report(0)
        last = (stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise AuditFailed(f"pip-audit gave no result: {last}") from None
    findings = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none'}"
        for package in packages
        for found in package.get("vulns", [])
    ]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    return Report(len(packages) - len(unknown), tuple(findings), tuple(unknown))


def _tool() -> Path:
    """The program, in an environment of its own, which is made once."""
    home = ROOT / ".venv" / "pip-audit"
    program = home / "bin" / "pip-audit"
    if not program.exists():
        steps = [[sys.executable, "-m", "venv", str(home)], [str(home / "bin" / "pip"), "install", "--quiet", TOOL]]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False, timeout=_DEADLINE_S)
            if done.returncode:
                raise AuditFailed(f"{TOOL} could not be installed: {done.stderr.strip().splitlines()[-1:]}")
    return program
