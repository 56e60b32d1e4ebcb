"""Deciding the log again: nothing differs by itself, and of a changed rule exactly what it changes is told."""

import json
import os
import random
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.property.lasting import LastingArchive
from tests.support.archive import Archive
from tests.support.people import PARTITIONS, key_on
from tests.unit.cli.conftest import Terminal
from tests.unit.cli.policy_world import World, world
from tests.unit.deciding.replays import KEY_ID, ONE, asked, put, quiet, read

from keyfold.cli.exits import UsageError
from keyfold.cli.policy_simulate import Span
from keyfold.cli.policy_sources import Source
from keyfold.cli.session import Session
from keyfold.cli.time_travel import other_python, replay
from keyfold.cli.time_travel.other_python import run_elsewhere
from keyfold.cli.time_travel.replay import Difference, Totals, Wanted, differences
from keyfold.deciding import decide as deciding
from keyfold.deciding import limits, using
from keyfold.events import errors, facts
from keyfold.events.errors import NotFound
from keyfold.events.times import to_text

STANDING = {"PrincipalSuspended", "PrincipalRevoked", "PrincipalExpired"}


def small() -> Archive:
    """Uses by two principals, one of them denied; a policy is put between."""
    made = quiet()
    asked(made, ("CreateKey", ONE, {}), ("Encrypt", ONE, {}), ("Decrypt", ONE, {}), ("RotateKey", ONE, {}))
    asked(made, ("RotateKey", ONE, {}), by="carol")
    made.now_ms += 60_000
    asked(made, put("one", "permit (principal, action, resource);"))
    read(made)
    asked(made, ("Encrypt", ONE, {}), ("Decrypt", ONE, {"dry_run": True}), by="carol")
    return made


async def replayed(log: Source, wanted: Wanted | None = None) -> tuple[Totals, list[Difference]]:
    totals = Totals()
    return totals, [each async for each in differences(log, wanted or Wanted(), totals)]


def broken(*_: Any, **__: Any) -> NoReturn:
    raise errors.KeyVersionUnusable


@pytest.mark.parametrize("kind", [Archive, LastingArchive])
async def test_nothing_differs_by_itself(kind: type[Archive]) -> None:
    """Random deployments come out bit for bit, with valid signatures, from the log and from the trail."""
    made = await world(kind(random.Random(7)).live(40))  # noqa: S311 - choices of a test
    for log in (await made.log(), made.audit()):
        totals, found = await replayed(log, Wanted(signatures=True))
        assert found == []
        assert (totals.decisions, totals.reproduced) == (made.archive.decisions, made.archive.decisions)


async def test_a_changed_rule_shows_in_exactly_the_decisions_that_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are not chosen any more: every use that was let through differs, and nothing else does."""
    made = await world(small())
    let_through = {
        leaf.event.id
        for leaf in made.archive.log[1]
        if isinstance(leaf.event, facts.CommandAuthorized | facts.DryRunSucceeded)
    }
    monkeypatch.setattr(using, "_versions", broken)
    totals, found = await replayed(await made.log())
    assert {each.event_id for each in found} == let_through
    assert len(let_through) == totals.differ == 4
    assert totals.reproduced == totals.decisions - 4
    first = found[0]
    assert (first.partition, first.position, first.command_offset) == (1, 1, 1)
    assert (first.verb, first.principal, first.stream) == ("Encrypt", "alice", ONE)
    assert (first.logged, first.now) == (
        "keyfold.command.authorized.v1",
        "keyfold.command.denied.v1 KeyVersionUnusable",
    )
    assert {"type", "data.code"} <= set(first.differing)
    command = json.loads(made.archive.log[1][1].event.data.decision.command)
    assert first.command_id == command["id"]


async def test_a_changed_rule_in_a_long_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Principals that may not act are let through: each denial for that reason differs, and only these."""
    made = await world(Archive(random.Random(14)).live(60))  # noqa: S311 - choices of a test
    expected = {
        leaf.event.id
        for leaves in made.archive.log.values()
        for leaf in leaves
        if isinstance(leaf.event, facts.CommandDenied) and leaf.event.data.code in STANDING
    }
    monkeypatch.setattr(deciding, "check_standing", lambda *_: None)
    totals, found = await replayed(made.audit())
    assert {each.event_id for each in found} == expected
    assert totals.differ == len(expected) > 3


async def test_the_state_is_what_was_logged_not_what_would_be_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """One decision that would come out otherwise does not make those after it differ."""
    made = await world(small())
    real = limits.charges
    monkeypatch.setattr(deciding.limits, "charges", lambda command, *rest: _refuse(command) or real(command, *rest))
    totals, found = await replayed(await made.log())
    assert [(each.verb, each.now) for each in found] == [("CreateKey", "keyfold.command.denied.v1 RateLimited")]
    assert totals.differ == 1


def _refuse(command: Any) -> None:
    if command.verb == "CreateKey":
        raise errors.RateLimited


async def test_only_what_is_wanted_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By time, partition and key; what is before is replayed all the same."""
    made = await world(small())
    log = await made.log()
    monkeypatch.setattr(using, "_versions", broken)
    late = Span(to_text(made.archive.now_ms))
    assert [each.principal for each in (await replayed(log, Wanted(late)))[1]] == ["carol", "carol"]
    early = Span(None, to_text(made.archive.now_ms))
    assert [each.principal for each in (await replayed(log, Wanted(early)))[1]] == ["alice", "alice"]
    totals, found = await replayed(log, Wanted(partition=0))
    assert (totals.decisions, found) == (made.archive.decisions - 7, [])
    totals, found = await replayed(log, Wanted(key=KEY_ID))
    assert (totals.decisions, len(found)) == (7, 4)
    with pytest.raises(NotFound, match="no partition 9"):
        await replayed(log, Wanted(partition=9))
    with pytest.raises(NotFound):
        await replayed(log, Wanted(key="alias/none"))


async def test_other_keys_of_the_partition_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are replayed, since they may share limits and policies, and not told."""
    archive, other = small(), key_on(1, int(KEY_ID.replace("-", ""), 16) + 1)
    asked(archive, ("CreateKey", other, {}), ("Encrypt", other, {}))
    log = await (await world(archive)).log()
    monkeypatch.setattr(using, "_versions", broken)
    totals, found = await replayed(log, Wanted(key=other.removeprefix("key/")))
    assert (totals.decisions, [each.stream for each in found]) == (2, [other])


async def test_signatures_are_checked_if_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision whose signature is not its principal's is told, though it comes out the same."""
    made = await world(small())
    monkeypatch.setattr(replay, "check_signature", _not_his)
    totals, found = await replayed(await made.log())
    assert (totals.bad_signatures, found) == (0, [])
    totals, found = await replayed(await made.log(), Wanted(signatures=True))
    assert totals.bad_signatures == totals.decisions == totals.reproduced == len(found)
    assert found[0].why == "the signature is not the principal's: no"


def _not_his(_: Any) -> NoReturn:
    raise errors.SignatureInvalid("no")


async def test_what_knew_more_than_there_is_to_read_is_told() -> None:
    """The projections of the registry lag: those decisions are not made again, and not called different."""
    made = await world(small())
    await made.project({0: 5})
    said: list[str] = []
    totals = Totals()
    found = [each async for each in differences(made.audit(), Wanted(partition=1), totals, said.append)]
    assert (found, totals.decisions, totals.not_replayed) == ([], 0, 1)
    assert "partition 1" in said[0]


async def test_memory_does_not_grow_with_the_log() -> None:
    """Ten times as many uses of the same keys take no more than a little more at the peak."""
    peaks = []
    for uses in (40, 400):
        made = quiet()
        asked(made, ("CreateKey", ONE, {}))
        asked(made, *[("Encrypt", ONE, {})] * uses)
        log = _Written(await world(made))
        await replayed(log)
        tracemalloc.start()
        await replayed(log)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 500_000


class _Written:
    """The leaves of an archive, one after the other."""

    def __init__(self, made: World) -> None:
        self._log, self.partitions = made.archive.log, PARTITIONS

    async def read(self, partition: int) -> Any:
        for leaf in self._log[partition]:
            yield leaf

    def leaves(self) -> int:
        return len(self._log[0])

    async def key_id(self, key: str) -> str:
        return key


# The command


@pytest.fixture
def replaying(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> Terminal:
    """A command line whose log is an archive's, as it was decided before a test changes a rule."""
    archived = small()

    @asynccontextmanager
    async def opened(session: Session, *, trail: bool, archive: Path | None = None) -> AsyncIterator[Source]:
        made = await world(archived)
        if archive is not None:
            await made.project({0: 5})
        yield made.audit() if trail or archive is not None else await made.log()

    monkeypatch.setattr(replay, "opened", opened)
    return terminal


def test_a_faultless_log_ends_with_zero(replaying: Terminal) -> None:
    """With a summary, for people and as one document a line."""
    assert "differ" in replaying.done("replay", "--signatures").out
    told = replaying.done("--json", "replay", "--partition", "1").out.splitlines()
    assert [json.loads(line)["summary"]["reproduced"] for line in told] == [7]


def test_a_difference_ends_with_four(replaying: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is one line, and the summary is the last."""
    monkeypatch.setattr(using, "_versions", broken)
    ran = replaying("--json", "replay")
    *found, summary = [json.loads(line) for line in ran.out.splitlines()]
    assert (ran.code, len(found), summary["summary"]["differ"]) == (4, 4, 4)
    assert found[0]["difference"]["verb"] == "Encrypt"
    ran = replaying("replay", "--key", KEY_ID)
    assert (ran.code, ran.out.count("would be keyfold.command.denied.v1 KeyVersionUnusable")) == (4, 4)


def test_what_cannot_be_read_to_its_end_is_no_success(replaying: Terminal, tmp_path: Path) -> None:
    """Projections or an archive that lag can be read again later."""
    assert replaying("replay", "--archive", str(tmp_path)).code == 3


def test_arguments_that_contradict_each_other(replaying: Terminal) -> None:
    """A key is on one partition."""
    assert replaying("replay", "--partition", "1", "--key", KEY_ID).code == 2
    assert replaying("replay", "--from", "2099-01-01T00:00:00.000Z").code == 2


# Another installation


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return path


def test_another_version_decides(replaying: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is run with the same arguments, without what would lead it to our code, and its exit code is ours."""
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    seen = tmp_path / "seen"
    python = script(
        tmp_path / "python",
        f"""
import json, os, sys
if sys.argv[1] == "-c":
    print("/opt/other/keyfold/deciding/remaking.py")
    sys.exit(0)
json.dump([sys.argv[1:], os.environ.get("PYTHONPATH"), os.environ["PYTHONSAFEPATH"]], open({str(seen)!r}, "w"))
sys.exit(4)
""",
    )
    words = ("--from", "2026-01-01T00:00:00.000Z", "--key", KEY_ID, "--signatures", "--trail")
    ran = replaying("--json", "replay", "--python", str(python), *words)
    assert ran.code == 4
    assert "deciding with the code in /opt/other/keyfold/deciding" in ran.err
    arguments, path, safe = json.loads(seen.read_text())
    session = ["--data", str(replaying.data), "--as", "admin-1", "--json"]
    assert arguments == ["-m", "keyfold.cli.main", *session, "replay", *_sorted(words)]
    assert (path, safe) == (None, "1")


def _sorted(words: tuple[str, ...]) -> list[str]:
    """As they are passed on: values first, then flags."""
    return [word for word in words if not word.startswith("--signatures") and word != "--trail"] + list(words[-2:])


def test_a_version_without_the_command_is_told(tmp_path: Path) -> None:
    """And so is a program that is none."""
    session = Session(tmp_path)
    without = script(tmp_path / "old", "import sys; sys.exit('ModuleNotFoundError: no module named replay')")
    with pytest.raises(UsageError, match=r"has no `keyfold replay` \(ModuleNotFoundError"):
        run_elsewhere(session, without, [])
    with pytest.raises(UsageError, match="cannot be run: FileNotFoundError"):
        run_elsewhere(session, tmp_path / "none", [])


def test_this_very_code_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody believes that another version agreed."""
    monkeypatch.setattr(other_python, "_environment", lambda: dict(os.environ))
    assert other_python._code_of(Path(sys.executable)).name == "remaking.py"
