"""Envelopes of files, with a client on a deployment in memory."""

import asyncio
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from keyfold.client import Keyfold
from keyfold.client.envelope import (
    EnvelopeInvalid,
    FileJob,
    decrypt_file,
    decrypt_files,
    encrypt_file,
    encrypt_files,
    files,
)
from keyfold.events.errors import AccessDenied, InvalidCiphertext


def names(directory: Path) -> set[str]:
    return set(os.listdir(directory))


@pytest.fixture
async def key_id(kms: Keyfold) -> str:
    """A key."""
    return (await kms.create_key()).key_id


async def test_a_file_comes_back(kms: Keyfold, deployment: Any, key_id: str, tmp_path: Path) -> None:
    """By alias, under a context, also in place; what was written is its owner's only."""
    await deployment.publish_alias("alias/files", key_id)
    path, plaintext = tmp_path / "a", os.urandom(200_000)
    path.write_bytes(plaintext)
    assert await encrypt_file(kms, "alias/files", path, path, context={"name": "a"}) == len(plaintext)
    assert plaintext[:100] not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await decrypt_file(kms, path, tmp_path / "b", context={"name": "a"}, key="alias/files") == len(plaintext)
    assert (tmp_path / "b").read_bytes() == plaintext


async def test_many_files_take_one_command_each_way(kms: Keyfold, deployment: Any, key_id: str, tmp_path: Path) -> None:
    """And every file has a data key and a context of its own."""
    for n in range(20):
        (tmp_path / f"{n}").write_bytes(b"%d" % n * 1000)
    before = len(deployment.received)
    sealing = [FileJob(tmp_path / f"{n}", tmp_path / f"{n}.kf", {"n": str(n)}) for n in range(20)]
    assert all(result.error is None for result in await encrypt_files(kms, key_id, sealing))
    opening = [FileJob(tmp_path / f"{n}.kf", tmp_path / f"{n}.out", {"n": str(n)}) for n in range(20)]
    results = await decrypt_files(kms, opening)
    assert [result.size_bytes for result in results] == [len(b"%d" % n) * 1000 for n in range(20)]
    assert all((tmp_path / f"{n}.out").read_bytes() == b"%d" % n * 1000 for n in range(20))
    assert [got.command.verb for got in deployment.received[before:]] == ["GenerateDataKey", "Decrypt"]
    assert await encrypt_files(kms, key_id, []) == await decrypt_files(kms, []) == []


async def test_a_broken_file_costs_itself_only(kms: Keyfold, key_id: str, tmp_path: Path) -> None:
    """And leaves nothing behind, neither under its name nor beside it."""
    out = tmp_path / "out"
    out.mkdir()
    for n in range(5):
        (tmp_path / f"{n}").write_bytes(os.urandom(200_000))
    await encrypt_files(kms, key_id, [FileJob(tmp_path / f"{n}", tmp_path / f"{n}.kf") for n in range(5)])
    content = (tmp_path / "0.kf").read_bytes()
    (tmp_path / "0.kf").write_bytes(content[:-1])
    (tmp_path / "1.kf").write_bytes(b"no envelope")
    (tmp_path / "2.kf").unlink()
    (out / "0").write_bytes(b"what was here before")
    jobs = [FileJob(tmp_path / f"{n}.kf", out / f"{n}", {"wrong": "x"} if n == 3 else {}) for n in range(5)]
    errors = [result.error for result in await decrypt_files(kms, jobs)]
    assert [type(error) for error in errors] == [
        EnvelopeInvalid, EnvelopeInvalid, FileNotFoundError, InvalidCiphertext, type(None),
    ]  # fmt: skip
    assert {path.name for path in out.iterdir()} == {"0", "4"}
    assert (out / "0").read_bytes() == b"what was here before"


async def test_one_file_that_fails_raises(kms: Keyfold, deployment: Any, key_id: str, tmp_path: Path) -> None:
    """What went wrong, whoever found it."""
    with pytest.raises(FileNotFoundError):
        await encrypt_file(kms, key_id, tmp_path / "nothing", tmp_path / "b")
    (tmp_path / "a").write_bytes(b"x")
    await encrypt_file(kms, key_id, tmp_path / "a", tmp_path / "a.kf")
    with pytest.raises(EnvelopeInvalid, match="another key"):
        await decrypt_file(kms, tmp_path / "a.kf", tmp_path / "b", key=kms.new_key_id())
    deployment.scripts.append(lambda got: "AccessDenied")
    with pytest.raises(AccessDenied):
        await encrypt_file(kms, key_id, tmp_path / "a", tmp_path / "b")
    with pytest.raises(AccessDenied):
        await decrypt_file(kms, tmp_path / "a.kf", tmp_path / "b")
    assert names(tmp_path) == {"a", "a.kf"}


async def test_a_file_that_changes_while_it_is_read_is_refused(
    kms: Keyfold, key_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data key that was opened is not used for another header."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x")
        await encrypt_file(kms, key_id, tmp_path / name, tmp_path / f"{name}.kf")
    open_data_keys = files._open_data_keys

    async def swap(*args: Any) -> Any:
        (tmp_path / "b.kf").replace(tmp_path / "a.kf")
        return await open_data_keys(*args)

    monkeypatch.setattr(files, "_open_data_keys", swap)
    with pytest.raises(EnvelopeInvalid, match="changed while it was read"):
        await decrypt_file(kms, tmp_path / "a.kf", tmp_path / "out")


async def test_cancelling_leaves_no_file(
    kms: Keyfold, key_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread stops at its next chunk."""
    (tmp_path / "a").write_bytes(bytes(10_000_000))
    reading = asyncio.Event()
    loop = asyncio.get_running_loop()
    read = files._Stoppable.read

    def slow(self: Any, size: int) -> bytes:
        loop.call_soon_threadsafe(reading.set)
        time.sleep(0.005)
        return read(self, size)

    monkeypatch.setattr(files._Stoppable, "read", slow)
    task = asyncio.ensure_future(encrypt_file(kms, key_id, tmp_path / "a", tmp_path / "b"))
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(200):
        if names(tmp_path) == {"a"}:
            return
        await asyncio.sleep(0.01)
    pytest.fail("a file was left")


def test_a_crash_before_the_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new content is flushed before it takes the name."""
    target, order = tmp_path / "a", []
    target.write_bytes(b"old")
    fsync, replace = os.fsync, Path.replace

    def flush(fd: int) -> None:
        order.append("fsync")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", flush)

    def note(self: Path, to: Path) -> Path:
        assert target.read_bytes() == b"old"
        order.append("rename")
        return replace(self, to)

    monkeypatch.setattr(Path, "replace", note)
    with files.atomic_output(target) as file:
        file.write(b"new")
    assert (order, target.read_bytes()) == (["fsync", "rename", "fsync"], b"new")
