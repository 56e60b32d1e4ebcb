"""Re-encryption campaigns over lists: lines, the journal, and that a crash loses and repeats nothing."""

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.campaigns import Died, Service, expected, line, made, rewrapper, write
from tests.unit.cli.conftest import KEY

from keyfold.cli.exits import UsageError
from keyfold.cli.rewrap import lists
from keyfold.cli.rewrap.items import Tally, item_of_line, line_with, reference_of
from keyfold.cli.rewrap.journal import Journal
from keyfold.cli.rewrap.lists import Lines, ListOutput


@pytest.mark.parametrize(
    ("text", "context", "reference"),
    [
        (line(made(3)), {"fixed": "1"}, (KEY, 3)),
        (line(made(3), context={"a": "b"}), {"a": "b"}, (KEY, 3)),
        (line(made(3), other=1), {"fixed": "1"}, (KEY, 3)),
        (b"no base64!\n", {}, None), (b'{"ciphertext": 7}\n', {}, None), (b"{torn\n", {}, None), (b"[]\n", {}, None),
        (line(made(3), context={"a": 1}), {}, None), (line(b"KFENV"), {"fixed": "1"}, None),
    ],
)  # fmt: skip
def test_lines_are_read(text: bytes, context: dict[str, str], reference: Any) -> None:
    """Base64, or JSON with a ciphertext and perhaps a context; a fixed context holds where there is none."""
    item = item_of_line("line 1", text, {"fixed": "1"})
    assert (item.context, item.reference) == (context, reference)


def test_a_line_keeps_its_form() -> None:
    """Other fields stay."""
    assert line_with(line(made(1)), made(9)) == line(made(9))
    changed = json.loads(line_with(line(made(1), id=7, context={"ä": "b"}), made(9)))
    assert changed == {"ciphertext": base64.b64encode(made(9)).decode(), "id": 7, "context": {"ä": "b"}}


@given(st.binary(max_size=400))
def test_no_line_breaks_it(text: bytes) -> None:
    """It is a ciphertext or it is none."""
    item = item_of_line("line 1", text, {})
    assert item.reference is None or item.reference == reference_of(item.ciphertext)


def test_a_journal_goes_on_behind_its_last_whole_line(tmp_path: Path) -> None:
    """A torn line was never noted; another campaign's journal is refused."""
    path, about = tmp_path / "j", {"of": 1}
    journal = Journal.open(path, about)
    assert journal.state is None
    journal.note({"at": 1})
    journal.note({"at": 2})
    journal.close()
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        again = Journal.open(path, about)
        assert again.state in (None, {"at": 1}, {"at": 2})
        again.note({"at": 3})
        again.close()
        assert json.loads(path.read_bytes().splitlines()[-1]) == {"at": 3}
    with pytest.raises(UsageError, match="another campaign"):
        Journal.open(path, {"of": 2})


@pytest.mark.parametrize("content", [b"precious", b"{}\n", b'{"of":2}\n', b'{"of":1}\nprecious'[2:]])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """What somebody else wrote is refused, and stays as it is."""
    path = tmp_path / "j"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no journal"):
        Journal.open(path, {"of": 1})
    assert path.read_bytes() == content


class Run:
    """One run of a campaign over the file `in`, which may die at the step `die_at`."""

    def __init__(self, service: Service, die_at: int | None = None) -> None:
        self.service, self.die_at, self.steps = service, die_at, 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.die_at:
            raise Died

    def __call__(self) -> Tally:
        return asyncio.run(self._run())

    async def _run(self) -> Tally:
        source = Lines(Path("in"), {}, 2)
        kept = ListOutput(Path("out"), Journal.open(Path("out.journal"), {"of": source.identity()}))
        worker = rewrapper(self.service)
        try:
            for batch in () if kept.over else source.read(kept.at, kept.line_number):
                self.step()
                kept.keep(batch, await worker.rewrap(batch.items))
                self.step()
            kept.finish()
        finally:
            kept.close()
        return kept.tally


def test_a_list_is_moved(folder: Path) -> None:
    """As many lines come out; the failure stays in its place and is listed with its line."""
    lines = write()
    tally = Run(Service())()
    assert Path("out").read_bytes().splitlines(keepends=True) == expected(lines)
    assert tally.outcomes == {"moved": 6, "failed": 1}
    assert (tally.before, tally.after) == ({(KEY, 1): 6}, {(KEY, 9): 6})
    assert json.loads(Path("out.failed").read_text()) == {"place": "line 3", "code": "NotACiphertext"}
    assert sorted(path.name for path in folder.iterdir()) == ["in", "out", "out.failed"]


def noted_is_written() -> None:
    """What the journal says must be on the disk before it says so."""
    journal = Path("out.journal")
    noted = [json.loads(text) for text in journal.read_bytes().splitlines()[1:]] if journal.exists() else []
    if noted and Path("out.part").exists():
        assert Path("out.part").stat().st_size >= noted[-1]["output"]
        assert Path("out.failed").stat().st_size >= noted[-1]["failures"]


def flushes(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Let every flush to disk, and every rename, be a step before and after which the process may die."""
    real = {name: getattr(os, name) for name in ("fsync", "replace")}

    def around(name: str) -> Any:
        def call(*arguments: Any) -> Any:
            run.step()
            done = real[name](*arguments)
            run.step()
            noted_is_written()
            return done

        return call

    for name in real:
        monkeypatch.setattr(os, name, around(name))


def test_a_crash_at_any_point_loses_nothing_and_doubles_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same line goes on; at most one batch is asked for again."""
    lines = write()
    die_at, died = 1, True
    while died:
        for path in folder.glob("out*"):
            path.unlink()
        service = Service()
        run, died = Run(service, die_at), False
        with monkeypatch.context() as patched:
            flushes(patched, run)
            try:
                run()
            except Died:
                died = True
        if not Path("out").exists() or Path("out.journal").exists():
            tally = Run(service)()
            assert tally.outcomes == {"moved": 6, "failed": 1}
        assert Path("out").read_bytes().splitlines(keepends=True) == expected(lines)
        assert Path("out.failed").read_text().count("\n") == 1
        assert len(service.asked) <= 8
        assert not Path("out.journal").exists()
        die_at += 1
    assert die_at > 20


def test_torn_output_is_cut_off(folder: Path) -> None:
    """What stands behind the noted ends was never noted."""
    lines = write()
    with pytest.raises(Died):
        Run(Service(), die_at=4)()
    for name in ("out.part", "out.failed", "out.journal"):
        with Path(name).open("ab") as file:
            file.write(b'{"torn' * 1000)
    Run(Service())()
    assert Path("out").read_bytes().splitlines(keepends=True) == expected(lines)


def test_an_output_that_was_shortened_is_refused(folder: Path) -> None:
    """The journal says what must be there."""
    write()
    with pytest.raises(Died):
        Run(Service(), die_at=4)()
    Path("out.part").write_bytes(b"")
    with pytest.raises(UsageError, match="shorter"):
        Run(Service())()


def test_batches_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By items and bytes; a line without an end is refused before it fills the memory."""
    monkeypatch.setattr(lists, "BATCH_BYTES", 150)
    Path("in").write_bytes(line(made()) * 10)
    assert [len(batch.items) for batch in Lines(Path("in"), {}, 500).read()] == [3, 3, 3, 1]
    monkeypatch.setattr(lists, "_LONGEST_LINE", 50)
    with pytest.raises(UsageError, match="too long"):
        list(Lines(Path("in"), {}, 500).read())
