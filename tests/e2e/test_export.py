"""From a running deployment to an archive that proves itself, and protected context values on the way."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import CommandLine

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

SECRET = "Nakamura-4711"
POLICY = 'permit(principal == Principal::"alice", action, resource);'
PROTECTED = ("--protected-context", f"patient={SECRET}", "--tenant", "clinic-a", "--context", "kind=letter")


@pytest.fixture(scope="module")
def used(keyfold: CommandLine) -> CommandLine:
    """A deployment whose keys were used, under a protected context too."""
    keyfold.done("key", "create", "--alias", "alias/letters")
    keyfold.done("key", "create", "--spec", "HMAC_256", "--alias", "alias/context/clinic-a")
    keyfold.done("principal", "register", "alice")
    keyfold.done("policy", "put", "alice", "-", stdin=POLICY)
    (keyfold.folder / "letter").write_text("text")
    keyfold.done("--as", "alice", "encrypt", "alias/letters", "letter", *PROTECTED)
    return keyfold


def records(directory: Path) -> list[dict[str, Any]]:
    """What an archive's JSON lines hold."""
    files = sorted(directory.glob("events/*/*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def exported(line: CommandLine, *words: str, least: int = 0) -> int:
    """Export until so many records are archived: checkpoints follow the log within a second."""
    end = time.monotonic() + 60
    while True:
        done = line.done("--json", "audit", "export", "archive", *words).document
        count = sum(each["records"] for each in done)
        if count >= least or time.monotonic() > end:
            return count


def test_an_archive_grows_and_verifies_offline(used: CommandLine) -> None:
    """It is verified from the fingerprint alone, grows by what is new, and says what was damaged."""
    deployment = used.done("--json", "status").document["deployment"]
    before = exported(used, "--format", "both", "--segment-rows", "5", least=15)
    used.done("audit", "checkpoints", "--save", "kept")
    used.done("--as", "alice", "decrypt", "letter.kf", "-o", "again", *PROTECTED)
    assert exported(used, "--from-checkpoint", "kept.0", least=before + 4) >= before + 4
    verify = ("audit", "verify", "--archive", "archive", "--deployment", deployment)
    used.done("--data", str(used.folder / "nothing"), *verify)
    manifest = json.loads((used.folder / "archive/manifest.json").read_text())
    assert any(each["consistency"] for each in manifest["checkpoints"])
    target = used.folder / "archive" / manifest["segments"][0]["files"][0]["path"]
    content = target.read_bytes()
    target.write_bytes(content[:100] + b"?" + content[101:])
    broken = used(*verify)
    assert (broken.code, target.name in broken.err) == (4, True)
    target.write_bytes(content)
    used.done(*verify)


def test_the_log_never_has_a_protected_value(used: CommandLine) -> None:
    """Its digest is there, is what `context-digest` says, finds the uses, and opens the file by itself."""
    digest = used.done(
        "--as", "alice", "audit", "context-digest", "patient", "-", "--tenant", "clinic-a", stdin=SECRET
    ).out.strip()
    exported(used)
    text = json.dumps(records(used.folder / "archive"))
    assert SECRET not in text
    assert digest in text
    assert digest in used.done("--json", "audit", "query", "--context", f"patient={digest}").out
    given = ("--context", f"patient={digest}", "--context", "kind=letter")
    used.done("--as", "alice", "decrypt", "letter.kf", "-o", "by-digest", *given)
    assert (used.folder / "by-digest").read_text() == "text"


def test_direct_ciphertexts_and_re_encryption(used: CommandLine) -> None:
    """Without an envelope, and moved to the key's newest version, the same context opens it."""
    used.done("--as", "alice", "encrypt", "alias/letters", "letter", "-o", "direct", "--direct", *PROTECTED)
    used.done("key", "rotate", "alias/letters")
    used.done("--as", "alice", "re-encrypt", "direct", "-o", "moved", *PROTECTED)
    used.done("--as", "alice", "decrypt", "moved", "-o", "opened", *PROTECTED)
    assert (used.folder / "opened").read_text() == "text"


def test_a_forgotten_tenant(used: CommandLine) -> None:
    """Without its key no digest is made any more: what was encrypted opens by the context as it was logged only."""
    digest = used.done(
        "--as", "alice", "audit", "context-digest", "patient", "-", "--tenant", "clinic-a", stdin=SECRET
    ).out.strip()
    used.done("key", "schedule-deletion", "alias/context/clinic-a", "--seconds", "1")
    end = time.monotonic() + 60
    while "Destroyed" not in used.done("key", "describe", "alias/context/clinic-a").out:
        assert time.monotonic() < end
    refused = used("--as", "alice", "decrypt", "letter.kf", "-o", "gone", *PROTECTED)
    assert refused.code == 1, refused
    assert SECRET not in refused.err
    given = ("--context", f"patient={digest}", "--context", "kind=letter")
    used.done("--as", "alice", "decrypt", "letter.kf", "-o", "kept-context", *given)
    assert (used.folder / "kept-context").read_text() == "text"
