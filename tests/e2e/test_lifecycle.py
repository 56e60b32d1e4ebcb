"""A deployment from the ceremony to the reset, as one person types it; the tests build on each other, in this order."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import CommandLine

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

USE = 'permit(principal == Principal::"bob", action, resource);'
PARTS = {"kafka", "postgres", "policy", "hsm", "notary", "projector", "scheduler", "analytics", "supervisor"}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A command line on a data directory that does not exist yet."""
    folder = tmp_path_factory.mktemp("lifecycle")
    made = CommandLine(folder / "data", folder)
    try:
        yield made
    finally:
        made("reset", "--yes")


def running(line: CommandLine) -> set[str]:
    """Return the parts that run; `status` ends with 3 where any is missing."""
    return {part["name"] for part in line("--json", "status").document["parts"] if part["state"] == "running"}


def started(line: CommandLine, *words: str) -> subprocess.Popen[bytes]:
    """Start a command that stays, in a process of its own."""
    program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(line.data), *words]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=line.folder)


def until_it_serves(process: subprocess.Popen[bytes]) -> None:
    """Read what the demonstration says until it says that it serves."""
    assert process.stderr is not None
    said = []
    for text in process.stderr:
        said.append(text)
        if b"serving" in text:
            return
    pytest.fail(f"it ended: {b''.join(said).decode()}")


def test_init_begins_a_deployment_and_leaves_nothing_running(line: CommandLine) -> None:
    """The ceremony needs brokers; they are stopped again. Nothing secret is printed."""
    done = line.done("--json", "init")
    assert done.document["created"] is True
    assert len(done.document["deployment"]) == 64
    assert running(line) == set()
    for pin in (line.data / "pins").iterdir():
        assert pin.read_text().strip() not in done.out + done.err


def test_what_is_down_says_how_to_start_it(line: CommandLine) -> None:
    """Reading and writing alike: exit code 3, one line."""
    for words in (("key", "list"), ("key", "create"), ("events", "show")):
        answer = line(*words)
        assert (answer.code, answer.err.count("\n")) == (3, 1), answer
        assert "keyfold up" in answer.err
    assert line("doctor").code == 3


def test_ctrl_c_stops_what_the_demonstration_started(line: CommandLine) -> None:
    """It serves after the demonstration; Ctrl-C ends it well, and nothing of it runs afterwards."""
    letter = line.folder / "letter.txt"
    letter.write_text("a distinctive line that is nowhere else in this deployment\n" * 20)
    demo = started(line, "demo", str(letter))
    until_it_serves(demo)
    assert running(line) == PARTS
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=90)
    assert demo.returncode == 0
    assert running(line) == set()


def test_a_port_that_is_taken_is_one_line(line: CommandLine) -> None:
    """Another program on the broker's remembered port: nothing is started on another one behind the user's back."""
    port = json.loads((line.data / "ports.json").read_text())["kafka"]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        answer = line("up")
    line("down")
    assert answer.code == 3
    assert f"port {port}" in answer.err.splitlines()[-1]


def test_up_goes_on_with_the_same_deployment(line: CommandLine) -> None:
    """What `init` began is what runs; the keys of the demonstration are there."""
    before = line.done("--json", "init").document
    assert before["created"] is False
    assert line.done("--json", "up").document["deployment"] == before["deployment"]
    assert running(line) == PARTS
    assert "alias/demo" in line.done("key", "list").out


def test_a_broken_off_demonstration_leaves_what_ran_before(line: CommandLine) -> None:
    """SIGTERM in the middle of it: what was up stays up, and the next one works."""
    demo = started_with_output(line, "demo", str(line.folder / "letter.txt"))
    assert demo.stdout is not None
    assert demo.stdout.readline(), "it ended before it said anything"
    time.sleep(0.5)
    demo.send_signal(signal.SIGTERM)
    demo.communicate(timeout=90)
    assert demo.returncode in {0, 130}
    assert running(line) == PARTS
    line.done("demo", "--once", str(line.folder / "letter.txt"))
    assert running(line) == PARTS


@pytest.fixture(scope="module")
def bob(line: CommandLine) -> str:
    """A principal who may use every key."""
    line.done("principal", "register", "bob")
    line.done("policy", "put", "bob", "-", stdin=USE)
    return "bob"


def piped(line: CommandLine, *words: str, stdin: bytes) -> bytes:
    """Run a command between two pipes, with Python's output unbuffered, as it often is in containers."""
    program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(line.data), *words]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(program, input=stdin, capture_output=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pipes_carry_every_byte(line: CommandLine, bob: str) -> None:
    """Megabytes through standard input and output, both ways."""
    content = os.urandom(3_000_000)
    envelope = piped(line, "--as", bob, "encrypt", "alias/demo", "-c", "of=pipe", stdin=content)
    assert content[:64] not in envelope
    for _ in range(3):
        assert piped(line, "--as", bob, "decrypt", "-c", "of=pipe", stdin=envelope) == content


def test_what_was_changed_gives_nothing(line: CommandLine, bob: str) -> None:
    """Cut off, changed, or under another context: exit code 4, and not one byte of plaintext."""
    (line.folder / "plain").write_bytes(b"secret " * 50_000)
    line.done("--as", bob, "encrypt", "alias/demo", "plain", "-o", "whole.kf", "-c", "of=file")
    whole = (line.folder / "whole.kf").read_bytes()
    (line.folder / "cut.kf").write_bytes(whole[:-1])
    (line.folder / "changed.kf").write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    for name, context in (("cut.kf", "of=file"), ("changed.kf", "of=file"), ("whole.kf", "of=else")):
        answer = line("--as", bob, "decrypt", name, "-o", "-", "-c", context)
        assert (answer.code, answer.out) == (4, ""), (name, answer)
        assert line("--as", bob, "decrypt", name, "-o", "out", "-c", context).code == 4
        assert not (line.folder / "out").exists()


def test_data_keys_come_back(line: CommandLine, bob: str) -> None:
    """In clear only into a private file, when asked for; otherwise encrypted only, and `decrypt` opens it."""
    line.done("--as", bob, "data-key", "alias/demo", "--plaintext", "key.bin", "--output", "key.enc", "--bytes", "48")
    key = line.folder / "key.bin"
    assert (key.stat().st_size, key.stat().st_mode & 0o777) == (48, 0o600)
    line.done("--as", bob, "decrypt", "key.enc", "-o", "again.bin", "--key", "alias/demo")
    assert (line.folder / "again.bin").read_bytes() == key.read_bytes()
    without = line.done("--json", "--as", bob, "data-key", "alias/demo").document
    assert without["ciphertext"]
    assert without["plaintext_file"] is None


def test_re_encryption_moves_to_the_newest_version(line: CommandLine, bob: str) -> None:
    """The ciphertext changes, the plaintext does not; an envelope is told what to do instead."""
    line.done("--as", bob, "encrypt", "alias/demo", "-", "--direct", "-o", "old.bin", stdin="small")
    version = line.done("--json", "key", "rotate", "alias/demo").document["version"]
    line.done("--as", bob, "re-encrypt", "old.bin", "-o", "new.bin")
    assert int.from_bytes((line.folder / "new.bin").read_bytes()[21:25], "big") == version
    assert line.done("--as", bob, "decrypt", "new.bin", "-o", "-").out == "small"
    assert line("--as", bob, "re-encrypt", "whole.kf").code == 2


def test_the_log_itself_says_the_same_as_the_audit_trail(line: CommandLine) -> None:
    """`events show --log` verifies the log by its signatures; its rows are those of Postgres."""
    words = ("--json", "events", "show", "--key", "alias/demo", "-n", "100000")
    assert line.done(*words).document == line.done(*words, "--log").document


def test_events_are_followed(line: CommandLine, bob: str) -> None:
    """`events tail` shows what happens after it was started, one document a line."""
    tail = started_with_output(line, "--json", "events", "tail", "-n", "0", "--verb", "GenerateRandom")
    try:
        time.sleep(4.0)
        line.done("--as", bob, "random", "5")
        assert tail.stdout is not None
        shown = [json.loads(tail.stdout.readline()) for _ in range(2)]
    finally:
        tail.send_signal(signal.SIGINT)
        tail.communicate(timeout=30)
    assert [row["event_type"] for row in shown] == ["keyfold.command.authorized.v1", "keyfold.command.completed.v1"]
    assert {row["principal"] for row in shown} == {bob}


def started_with_output(line: CommandLine, *words: str) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(line.data), *words]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def test_a_refused_registration_leaves_no_identity_behind(line: CommandLine, bob: str) -> None:
    """Bob may not register anybody unless a policy says so; the file that was made for it is gone again."""
    text = 'forbid(principal == Principal::"bob", action == Action::"RegisterPrincipal", resource);'
    line.done("policy", "put", "bob-is-no-administrator", "-", stdin=text)
    assert line("--as", bob, "principal", "register", "eve").code == 1
    assert not (line.data / "identities" / "eve.json").exists()


def test_certificates_are_renewed_while_everything_runs(line: CommandLine, bob: str) -> None:
    """The ceremony opens the root token beside the running services; they go on."""
    renewed = line.done("--json", "ceremony", "renew").document
    assert renewed["services"] == ["policy", "hsm", "projector", "notary", "analytics"]
    assert len(line.done("--as", bob, "random", "8").out.strip()) == 16


def test_short_waits_need_a_development_deployment(line: CommandLine) -> None:
    """This one was not begun with --development."""
    answer = line("key", "schedule-deletion", "alias/demo", "--seconds", "5")
    assert (answer.code, "--development" in answer.err) == (2, True)


def test_topics_are_as_they_must_be(line: CommandLine) -> None:
    """Applying the table again creates and alters nothing."""
    assert line.done("--json", "topics", "apply").document == {"created": [], "altered": []}


def test_reset_deletes_everything_and_nothing_else(line: CommandLine) -> None:
    """Not without --yes; afterwards the directory is gone and its neighbours are there."""
    refused = line("reset", stdin="")
    assert (refused.code, line.data.exists()) == (2, True)
    line.done("reset", "--yes")
    assert not line.data.exists()
    assert (line.folder / "letter.txt").exists()
    assert line.done("reset", "--yes").out.startswith("there is no")
    assert not _processes_of(line.data)


def _processes_of(data: Path) -> list[str]:
    """Return command lines that name the data directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(data).encode() in words:
            found.append(words.decode(errors="replace"))
    return found
