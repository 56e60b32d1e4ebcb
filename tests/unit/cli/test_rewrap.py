"""Re-encryption campaigns over lists: what is moved, what stays, and that a crash loses and repeats nothing."""

import asyncio
import base64
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.conftest import CREATED, KEY, ORDERS, Terminal, a_key

from keyfold.cli.exits import UsageError
from keyfold.cli.rewrap import lists
from keyfold.cli.rewrap.campaign import Plan, Rewrapper
from keyfold.cli.rewrap.items import Item, Result, Tally, item_of_line, line_with, reference_of
from keyfold.cli.rewrap.journal import Journal
from keyfold.cli.rewrap.lists import Lines, ListOutput
from keyfold.events.ciphertext import header
from keyfold.events.entities import KeyVersion
from keyfold.events.errors import (
    AccessDenied,
    InvalidCiphertext,
    KeyDisabled,
    KeyfoldError,
    RateLimited,
    Unavailable,
)

OTHER = "01890a5d-ac96-774b-bcce-b302099a8058"


def made(version: int = 1, body: str = "body", key: str = KEY) -> bytes:
    """A ciphertext, as far as its header goes."""
    return header(UUID(key).bytes, version, 1) + body.encode().ljust(40, b".")


def line(ciphertext: bytes, **more: Any) -> bytes:
    """A line of a list."""
    text = base64.b64encode(ciphertext).decode()
    return (json.dumps({"ciphertext": text, **more}) if more else text).encode() + b"\n"


class Service:
    """Re-encrypts to version 9 of the key, or of the destination; `troubles` come first, one at each call."""

    def __init__(self, *troubles: KeyfoldError | None) -> None:
        self.troubles, self.calls = list(troubles), 0
        self.asked: list[bytes] = []
        self.bad: dict[bytes, KeyfoldError] = {}
        self.denied: set[str] = set()

    async def re_encrypt_batch(
        self, key: str, ciphertexts: Sequence[bytes], *, destination_key: str | None, contexts: Sequence[Any],
        reason: str | None,
    ) -> list[bytes | KeyfoldError]:  # fmt: skip
        self.calls += 1
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble
        if any(context.get("t") in self.denied for context in contexts):
            raise AccessDenied
        self.asked += ciphertexts
        answers = [self.bad.get(each, None) for each in ciphertexts]
        return [
            answer or made(9, each[26:].decode(), destination_key or key)
            for answer, each in zip(answers, ciphertexts, strict=True)
        ]


async def no_sleep(_: float) -> None:
    return


def rewrapper(service: Service, **plan: Any) -> Rewrapper:
    return Rewrapper(service, Plan(KEY, **plan), lambda _: None, no_sleep)


def items(*ciphertexts: bytes, contexts: Sequence[dict[str, str]] | None = None) -> list[Item]:
    return [Item.of(f"line {n}", each, (contexts or [{}] * len(ciphertexts))[n]) for n, each in enumerate(ciphertexts)]


def outcomes(results: Sequence[Result]) -> list[Any]:
    return [result.code or result.outcome for result in results]


async def test_only_what_is_the_keys_and_older_is_moved() -> None:
    """Other keys', the current version's and what is no ciphertext stay as they are; the last is a failure."""
    service = Service()
    given_ = items(made(1), made(9), made(1, key=OTHER), b"none")
    results = await rewrapper(service, current=9).rewrap(given_)
    assert outcomes(results) == ["moved", "kept", "kept", "NotACiphertext"]
    assert [result.ciphertext for result in results[1:]] == [item.ciphertext for item in given_[1:]]
    assert results[0].ciphertext == made(9)
    assert service.asked == [made(1)]


async def test_to_another_key_everything_of_the_key_is_moved() -> None:
    """Also what is under its newest version."""
    results = await rewrapper(Service(), current=9, destination=OTHER).rewrap(
        items(made(1), made(9), made(1, key=OTHER))
    )
    assert [reference_of(result.ciphertext) for result in results] == [(OTHER, 9), (OTHER, 9), (OTHER, 1)]
    assert outcomes(results) == ["moved", "moved", "kept"]


async def test_what_may_pass_is_tried_again() -> None:
    """Whole batches and single items; what was answered is not asked again."""
    service = Service(Unavailable("x"), RateLimited())
    service.bad[made(1, "late")] = Unavailable("x")

    async def later(_: float) -> None:
        if service.calls >= 4:
            service.bad.clear()

    worker = Rewrapper(service, Plan(KEY), lambda _: None, later)
    assert outcomes(await worker.rewrap(items(made(1, "a"), made(1, "late")))) == ["moved", "moved"]
    assert service.asked.count(made(1, "a")) == 1
    assert service.asked.count(made(1, "late")) == 3


async def test_it_is_not_tried_for_ever() -> None:
    """Pauses grow up to a bound; then the trouble is raised, and nothing of the batch counts."""
    pauses: list[float] = []

    async def slept(pause: float) -> None:
        pauses.append(pause)

    service = Service(*[Unavailable("x")] * 100)
    with pytest.raises(Unavailable):
        await Rewrapper(service, Plan(KEY, retry_s=60), lambda _: None, slept).rewrap(items(made()))
    assert pauses == sorted(pauses)
    assert (max(pauses) <= 30, 60 <= sum(pauses) <= 90) == (True, True)


async def test_an_item_that_fails_stays_as_it_is() -> None:
    """With its code; the others are moved."""
    service = Service()
    service.bad[made(1, "bad")] = InvalidCiphertext()
    results = await rewrapper(service).rewrap(items(made(1, "a"), made(1, "bad"), made(1, "b")))
    assert outcomes(results) == ["moved", "InvalidCiphertext", "moved"]
    assert results[1].ciphertext == made(1, "bad")


@pytest.mark.parametrize("error", [KeyDisabled(), AccessDenied()])
async def test_what_strikes_everything_ends_the_campaign(error: KeyfoldError) -> None:
    """A disabled key, or a caller who may not at all."""
    with pytest.raises(type(error)):
        await rewrapper(Service(error, error)).rewrap(items(made(1, "a"), made(1, "b")))


async def test_a_context_that_is_denied_costs_only_its_items() -> None:
    """Policies permit by context. Where all are denied, it is the caller who may not."""
    service = Service()
    service.denied = {"8"}
    contexts = [{"t": "7"}, {"t": "8"}, {"t": "7"}]
    given_ = items(made(1, "a"), made(1, "b"), made(1, "c"), contexts=contexts)
    assert outcomes(await rewrapper(service).rewrap(given_)) == ["moved", "AccessDenied", "moved"]
    service.denied = {"7", "8"}
    with pytest.raises(AccessDenied):
        await rewrapper(service).rewrap(given_)


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


def write(count: int = 7) -> list[bytes]:
    """A list with a failure in the middle, and one line of another form."""
    lines = [line(made(1, f"item {n}")) for n in range(count)]
    lines[2] = b"no ciphertext\n"
    lines[4] = line(made(1, "item 4"), id=4)
    Path("in").write_bytes(b"".join([*lines[:3], b"\n", *lines[3:]]))
    return lines


def expected(lines: list[bytes]) -> list[bytes]:
    return [line_with(each, made(9, f"item {n}".ljust(40, "."))) if n != 2 else each for n, each in enumerate(lines)]


class Died(BaseException):
    """The process ends here."""


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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files lie."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


@pytest.fixture
def command(terminal: Terminal, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Terminal, Service]]:
    """The command line with a service that re-encrypts."""
    from keyfold.client import Keyfold

    service = Service()

    async def re_encrypt_batch(_: Keyfold, key: str, ciphertexts: Sequence[bytes], **options: Any) -> Any:
        return await service.re_encrypt_batch(key, ciphertexts, **options)

    monkeypatch.setattr(Keyfold, "re_encrypt_batch", re_encrypt_batch)
    old = KeyVersion(version=1, offset=3, created_at=CREATED)
    terminal.projected.keys_[KEY] = a_key(old, old.model_copy(update={"version": 2, "offset": 5}))
    return iter([(terminal, service)])


def test_a_campaign_from_the_command_line(command: Any) -> None:
    """It reports references before and after, and ends with 1 where something failed."""
    terminal, service = next(command)
    write()
    ran = terminal("--json", "rewrap", ORDERS, "in", "-o", "out", "--batch", "3")
    assert ran.code == 1
    assert {name: ran.document[name] for name in ("moved", "kept", "failed")} == {"moved": 6, "kept": 0, "failed": 1}
    assert ran.document["before"] == [{"key_id": KEY, "version": 1, "count": 6}]
    assert ran.document["after"] == [{"key_id": KEY, "version": 9, "count": 6}]
    assert (ran.document["failures"], service.calls) == ("out.failed", 3)
    assert terminal("rewrap", ORDERS, "in", "-o", "out").code == 2
    assert "BEFORE" in terminal("rewrap", ORDERS, "in", "-o", "two").out


def test_a_stopped_campaign_goes_on(command: Any) -> None:
    """The error that stopped it is told; the same line does the rest. Another line is another campaign."""
    terminal, service = next(command)
    write()
    service.troubles = [None, KeyDisabled()]
    words = ["rewrap", ORDERS, "in", "-o", "out", "--batch", "2"]
    ran = terminal("--json", *words)
    assert (ran.code, "KeyDisabled" in ran.err, Path("out").exists()) == (1, True, False)
    refused = terminal(*words, "--context", "a=b")
    assert (refused.code, "another campaign" in refused.err) == (2, True)
    assert terminal("--json", *words).document["moved"] == 6
    assert len(service.asked) == 6


@pytest.mark.parametrize(
    "words",
    [
        [], ["in"], ["in", "-o", "in"], ["--topic", "t"], ["--topic", "t", "--output-topic", "t"],
        ["in", "--topic", "t"], ["in", "-o", "out", "--retry-for", "long"], ["in", "-o", "out", "--batch", "0"],
    ],
)  # fmt: skip
def test_a_campaign_must_say_from_where_to_where(command: Any, words: list[str]) -> None:
    """A usage error; nothing is written."""
    terminal, _ = next(command)
    write()
    assert terminal("rewrap", ORDERS, *words).code == 2
    assert sorted(path.name for path in Path().iterdir() if path.is_file()) == ["in"]


def test_references_are_counted_without_asking_anybody(command: Any) -> None:
    """May version 1 be deleted? Versions that nothing names are shown, too."""
    terminal, service = next(command)
    write()
    ran = terminal.done("--json", "rewrap", ORDERS, "in", "--report-only")
    assert ran.document == {"key_id": KEY, "references": {"1": 6, "2": 0}, "other_keys": 0, "unreadable": 1}
    assert (ran.received, service.calls, Path("out").exists()) == ([], 0, False)
    assert "NEEDED" in terminal.done("rewrap", ORDERS, "in", "--report-only").out


def test_a_tally_is_a_document_and_back() -> None:
    """So it survives in the journal."""
    tally = Tally()
    tally.count(items(made(1))[0], Result(made(9), "moved"))
    assert Tally.from_data(json.loads(json.dumps(tally.as_data()))) == tally
