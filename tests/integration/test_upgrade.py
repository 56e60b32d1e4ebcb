"""A deployment of a release before analytics becomes one of this release, by the steps of docs/operations.md."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyfold.embedded import SERVICES, Stack
from keyfold.events import topics

pytestmark = [pytest.mark.stack, pytest.mark.token, pytest.mark.timeout(280)]

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "services" / "keyfold" / "ceremony" / "policies"
OTHERS = [name for name in SERVICES if name != "analytics"]


class Machine:
    """The data directory, and the program as an operator calls it."""

    def __init__(self, data: Path) -> None:
        self.data, self.identities = data, data / "identities"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(self.data), "--json"]
        return subprocess.run([*program, *words], capture_output=True, text=True, timeout=150, check=False)

    def done(self, *words: str) -> tuple[Any, str]:
        """Return the document and what was told beside it."""
        ran = self.run(*words)
        assert ran.returncode == 0, f"{words}: {ran.stderr}"
        return json.loads(ran.stdout), ran.stderr

    def log(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.data / "logs" / f"{name}.log").read_text().splitlines()]


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Machine]:
    """A deployment that has just been stopped, for the new release to be installed."""
    stack = Stack(tmp_path / "data")
    try:
        stack.start_infrastructure()
        begin = [sys.executable, "-m", "tests.support.older_release", str(stack.directory.path)]
        subprocess.run(begin, cwd=ROOT, timeout=120, check=True, capture_output=True)
        stack.stop()
        yield Machine(stack.directory.path)
    finally:
        stack.reset()


def test_the_documented_steps_bring_analytics(older: Machine) -> None:
    """`up` works without it and says how to add it; renewing and `up` add it; nothing else is to be known."""
    up, told = older.done("up")
    assert [name for name in SERVICES if up["parts"].get(name) == "running"] == OTHERS
    assert "analytics" not in up["parts"]
    for line in (
        f"created {', '.join(row.name for row in topics.TOPICS if row.internal)}",
        "keyfold.alerts has message.timestamp.type=LogAppendTime now, not CreateTime",
        "analytics is left out: it has no identity; `keyfold ceremony renew` makes it, then `up`",
    ):
        assert f"keyfold: {line}\n" in told
    assert older.done("status")[0]["healthy"]
    assert [check["verdict"] for check in doctor(older) if check["name"] == "certificate of analytics"] == ["warning"]

    assert "analytics" in older.done("ceremony", "renew")[0]["services"]
    older.done("policy", "put", "administrators", str(POLICIES / "administrators.cedar"))
    older.done("policy", "put", "analytics", str(POLICIES / "analytics.cedar"))
    registered, _ = older.done("principal", "register", "analytics", "--group", "analytics")
    assert registered["identity"] == str(older.identities / "analytics-principal.json")

    up, told = older.done("up")
    assert [name for name in SERVICES if up["parts"].get(name) == "running"] == list(SERVICES)
    assert not [line for line in told.splitlines() if "topic" in line or "left out" in line]
    assert older.done("topics", "apply")[0] == {"created": [], "altered": []}
    assert [check["verdict"] for check in doctor(older) if check["name"] == "certificate of analytics"] == ["ok"]
    assert "acting-off" not in {line["action"] for line in older.log("analytics")}
    service, principal = (
        json.loads((older.identities / f"analytics{end}.json").read_text()) for end in ("", "-principal")
    )
    assert service["ed25519"] != principal["ed25519"]


def doctor(machine: Machine) -> list[dict[str, str]]:
    checks: list[dict[str, str]] = machine.done("doctor")[0]["checks"]
    return checks
