"""Where bytes come from and go: nothing half done is ever seen, and files are private."""

import io
import stat
import sys
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from keyfold.cli import transfer
from keyfold.cli.exits import UsageError
from keyfold.cli.transfer import Again, write_secret


class Pipe:
    """Standard output or input, as far as it matters here."""

    def __init__(self, content: bytes = b"", *, terminal: bool = False) -> None:
        self.buffer = io.BytesIO(content)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def fail_half_way(target: str) -> None:
    with transfer._writing(target) as file:
        file.write(b"not yet known to be authentic")
        raise ValueError("cut off")


def test_again_gives_every_byte_once() -> None:
    """What was read to see the magic is read again, in pieces of any size."""
    for step in (1, 3, 5, 100):
        source = Again(b"KFENV", cast(BinaryIO, io.BytesIO(b"rest of it")))
        found = b""
        while piece := source.read(step):
            found += piece
        assert found == b"KFENVrest of it"


def test_output_appears_only_when_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gets nothing of work that failed half-way, and all of work that ended well."""
    out = Pipe()
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(ValueError, match="cut off"):
        fail_half_way("-")
    assert out.buffer.getvalue() == b""
    with transfer._writing("-") as target:
        target.write(b"complete")
    assert out.buffer.getvalue() == b"complete"


def test_large_output_is_held_outside_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a limit it is in a file without a name."""
    monkeypatch.setattr(transfer, "_IN_MEMORY", 10)
    out = Pipe()
    monkeypatch.setattr(sys, "stdout", out)
    with transfer._writing("-") as target:
        target.write(b"x" * 1000)
    assert out.buffer.getvalue() == b"x" * 1000


def test_a_file_keeps_its_content_when_work_fails(tmp_path: Path) -> None:
    """The destination is as it was before, and no remains lie beside it."""
    target = tmp_path / "out"
    target.write_bytes(b"before")
    with pytest.raises(ValueError, match="cut off"):
        fail_half_way(str(target))
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_secrets_are_private(tmp_path: Path) -> None:
    """A data key in clear is readable by its owner only."""
    write_secret(tmp_path / "key", b"k")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_missing_directory_is_told_before_anything_is_done(tmp_path: Path) -> None:
    """Not after a large file was encrypted."""
    with pytest.raises(UsageError, match="no directory"), transfer._writing(str(tmp_path / "no" / "out")):
        pytest.fail("the work began")


def test_a_terminal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file and without a pipe there is nothing to read."""
    monkeypatch.setattr(sys, "stdin", Pipe(terminal=True))
    with pytest.raises(UsageError), transfer.reading_from("-"):
        pytest.fail("it reads")
