"""The data directory: whose it is, what `reset` may delete, the lock and the remembered ports."""

import errno
import os
import shutil
import stat
from collections import namedtuple
from pathlib import Path

import pytest

from keyfold.embedded import DataDirectoryError, NoDiskSpace, PortInUse, StackBusy
from keyfold.embedded import directory as module
from keyfold.embedded.directory import DataDirectory


def test_a_new_directory_is_private(tmp_path: Path) -> None:
    """Only the owner reads what will hold PINs and keys."""
    directory = DataDirectory(tmp_path / "a" / "data")
    directory.prepare()
    directory.prepare()
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert directory.exists()


def test_a_strangers_directory_is_neither_used_nor_deleted(tmp_path: Path) -> None:
    """A directory with other files in it is refused by `up` and by `reset`, untouched."""
    (tmp_path / "thesis.tex").write_text("years of work")
    directory = DataDirectory(tmp_path)
    with pytest.raises(DataDirectoryError, match="not empty"):
        directory.prepare()
    with pytest.raises(DataDirectoryError, match="left alone"):
        directory.delete()
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_reset_does_not_follow_links(tmp_path: Path) -> None:
    """Links inside are removed, not what they point to; a link to a data directory is refused."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    (directory.path / "link").symlink_to(outside)
    (tmp_path / "alias").symlink_to(directory.path)
    with pytest.raises(DataDirectoryError):
        DataDirectory(tmp_path / "alias").delete()
    directory.delete()
    assert not directory.path.exists()
    assert (outside / "kept").exists()


def test_deleting_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    """`reset` twice is as good as once."""
    DataDirectory(tmp_path / "none").delete()


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the directory and says what to do."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataDirectoryError, match=r"Permission denied.*choose one that you may write to"):
        DataDirectory(tmp_path / "data").prepare()


def test_an_almost_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started on a file system that would fill up at once."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(0, 0, 7 << 20))
    with pytest.raises(NoDiskSpace, match="only 7 MiB are free"):
        DataDirectory(tmp_path / "data").prepare()


def test_one_command_at_a_time(tmp_path: Path) -> None:
    """A second command waits, then says that it is another's turn."""
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    with directory.lock(), pytest.raises(StackBusy), directory.lock(wait_s=0.2):
        pass
    with directory.lock(wait_s=0):
        pass


def test_ports_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part keeps its port, two parts never share one, and a wanted port replaces the remembered one."""
    monkeypatch.setattr(module, "_is_free", lambda _port: True)
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    first, second = directory.port("kafka"), directory.port("postgres")
    assert first != second
    assert DataDirectory(directory.path).port("kafka") == first
    assert directory.port("kafka", 25_000) == 25_000
    assert directory.port("kafka") == 25_000


def test_a_port_in_use_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the port, the part and the file in which it can be changed."""
    monkeypatch.setattr(module, "_is_free", lambda _port: False)
    with pytest.raises(PortInUse, match=r"port 2222 of kafka.*ports\.json"):
        DataDirectory(tmp_path).require_free("kafka", 2222)
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    with pytest.raises(PortInUse, match="no free port"):
        directory.port("kafka")
