"""Storage epochs and the token's health from the command line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.cli.conftest import CREATED, Terminal

from keyfold.cli import hsm
from keyfold.cli.token_health import finding, token_states, troubles
from keyfold.config import load_config
from keyfold.events.entities import Proposal, SealingKey
from keyfold.projections.rows import EpochTurn, StorageEpoch

LATER = "2999-01-31T12:00:00.000Z"


def epoch(number: int, ended: int, turned: int = 0) -> StorageEpoch:
    turns = tuple(EpochTurn(partition, 7, CREATED, partition * 10) for partition in range(turned))
    begun = (CREATED, "admin-1") if number > 1 else (None, None)
    over = (CREATED, "CKR_OK") if ended else (None, None)
    return StorageEpoch(number, ended, 3, *begun, *over, turns)


def refuse(terminal: Terminal, code: str, *verbs: str) -> None:
    terminal.prepare.append(
        lambda deployment: deployment.scripts.append(lambda got: code if got.command.verb in verbs else None)
    )


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other at once."""
    monkeypatch.setattr(hsm, "_PAUSE_S", 0)


def test_an_epoch_is_begun_and_the_sealing_key_rotated(terminal: Terminal) -> None:
    """Two commands, with the reason; a dry run sends the first only."""
    ran = terminal.done("--json", "hsm", "new-epoch", "--reason", "yearly")
    sent = [(got.command.verb, got.command.subject, got.command.data.reason) for got in ran.received]
    assert sent == [("BeginStorageEpoch", "registry", "yearly"), ("RotateSealingKey", "registry", "yearly")]
    assert (ran.document["status"], ran.document["command_id"]) == ("Begun", ran.received[0].command.id)
    (got,) = terminal.done("hsm", "new-epoch", "--dry-run").received
    assert got.command.data.dry_run


def test_where_approvals_are_needed_it_is_proposed(terminal: Terminal) -> None:
    """With what approvers are asked to agree to."""
    refuse(terminal, "ApprovalRequired", "BeginStorageEpoch")
    ran = terminal.done("--json", "hsm", "new-epoch", "--reason", "yearly")
    asked, proposed = (got.command for got in ran.received)
    assert (asked.verb, proposed.verb, proposed.data.arguments.verb) == (
        "BeginStorageEpoch", "ProposeCommand", "BeginStorageEpoch",
    )  # fmt: skip
    assert (ran.document["status"], ran.document["proposal"]) == ("Proposed", proposed.id)
    assert proposed.id != terminal.done("hsm", "new-epoch").out
    assert terminal("hsm", "new-epoch", "--dry-run").code == 1


def test_the_turn_is_followed(terminal: Terminal) -> None:
    """Each partition is told once, and the end is that the old key is destroyed."""
    terminal.projected.epochs_ = [epoch(1, 0), epoch(2, 0), epoch(2, 0, 1), epoch(2, 0, 3), epoch(2, 1, 3)]
    ran = terminal.done("--json", "hsm", "new-epoch", "--wait")
    told = [text for text in ran.err.splitlines() if "has turned" in text]
    assert [text.split("partition ")[1][0] for text in told] == ["0", "1", "2"]
    assert (ran.document["epoch"], ran.document["ended"], ran.document["answer"]) == (2, 1, "CKR_OK")


def test_a_turn_that_is_under_way_is_followed_too(terminal: Terminal) -> None:
    """Nothing is begun a second time."""
    refuse(terminal, "InvalidState", "BeginStorageEpoch")
    assert terminal.done("--json", "hsm", "new-epoch").document == {"status": "UnderWay"}
    terminal.projected.epochs_ = [epoch(3, 2, 3)]
    ran = terminal.done("--json", "hsm", "new-epoch", "--wait")
    assert (ran.document["epoch"], len(ran.received)) == (3, 1)


def test_the_end_of_an_earlier_epoch_is_not_taken_for_this_ones(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the projections show that one has begun, the last one's end is all that they know."""
    terminal.projected.epochs_ = [epoch(2, 1, 3), epoch(3, 1), epoch(3, 2, 3)]
    looks: list[int] = []

    async def audit(*_: Any, **__: Any) -> Any:
        looks.append(1)
        if len(looks) == 1:
            return SimpleNamespace(rows=(), next=None)
        terminal.projected.epochs_ = terminal.projected.epochs_[-2:]
        return SimpleNamespace(rows=(SimpleNamespace(outcome="completed"),), next=None)

    monkeypatch.setattr(terminal.projected, "audit", audit)
    ran = terminal.done("--json", "hsm", "new-epoch", "--wait")
    assert (ran.document["epoch"], ran.document["ended"]) == (3, 2)


def test_projections_that_do_not_follow_are_told(terminal: Terminal) -> None:
    """Exit code 3: the epoch has begun, and how its turn goes is not known."""
    terminal.projected.epochs_, terminal.projected.rows_ = [epoch(2, 1, 3)], ()
    ran = terminal("--json", "hsm", "new-epoch", "--wait", "--timeout", "1")
    assert (ran.code, "do not show yet that an epoch has begun" in ran.err) == (3, True)


def test_it_is_not_followed_for_ever(terminal: Terminal) -> None:
    """Exit code 3; `hsm status` shows what is missing."""
    terminal.projected.epochs_ = [epoch(2, 0, 1)]
    ran = terminal("--json", "hsm", "new-epoch", "--wait", "--timeout", "1")
    assert (ran.code, "hsm status" in ran.err) == (3, True)


@pytest.mark.parametrize(("status", "code"), [("Executed", 0), ("Denied", 3), ("Failed", 3)])
def test_approvals_are_waited_for(terminal: Terminal, status: Any, code: int) -> None:
    """Until the proposal is carried out, or never will be."""
    refuse(terminal, "ApprovalRequired", "BeginStorageEpoch")
    terminal.projected.epochs_ = [epoch(2, 1, 3)]
    found = Proposal(
        proposal="01890a5d-ac96-774b-bcce-b302099a8059", stream="registry", digest="0" * 64, command="{}",
        body_digest="0" * 64, signature="", verb="BeginStorageEpoch", proposer="admin-1", created_at=CREATED,
        expires_at=LATER, status=status,
    )  # fmt: skip

    async def proposal(_: str) -> Proposal:
        return found

    terminal.projected.proposal = proposal  # type: ignore[method-assign]
    assert terminal("hsm", "new-epoch", "--wait", "--timeout", "1").code == code


def test_a_refused_rotation_of_the_sealing_key_is_left_to_the_scheduler(terminal: Terminal) -> None:
    """The epoch has begun all the same."""
    refuse(terminal, "AccessDenied", "RotateSealingKey")
    ran = terminal.done("hsm", "new-epoch")
    assert "left to the scheduler" in ran.err


@pytest.fixture
def say(terminal: Terminal) -> Callable[..., None]:
    """Writes what a worker says of its token."""
    folder = terminal.data / "run"
    folder.mkdir()

    def write(instance: str = "hsm", pid: int = os.getpid(), **facts: Any) -> None:
        told = {"pid": pid, "instance": instance, "state": "Healthy", "code": "", "reason": "", "since_ms": 0}
        (folder / f"hsm-{instance}.token").write_text(
            json.dumps({**told, "sessions": 1, "sessions_wished": 1, **facts})
        )

    return write


def test_the_status_is_told(terminal: Terminal, say: Any) -> None:
    """Epoch, turn, sealing keys and token."""
    say(state="Degraded", code="SlowToken")
    terminal.projected.epochs_ = [epoch(2, 1, 2)]
    terminal.projected.sealing_keys_ = (
        SealingKey(sealing_key="01890a5d-ac96-774b-bcce-b302099a8059", public_key="", published_at=CREATED),
    )
    ran = terminal.done("--json", "hsm", "status")
    assert (ran.document["storage_epoch"]["epoch"], ran.document["serving"]) == (2, True)
    assert ran.document["sealing_keys"]["open"] == 1
    told = terminal.done("hsm", "status").out
    assert all(word in told for word in ("2 of 3 partitions", "Degraded", "SlowToken", "admin-1"))


@pytest.mark.parametrize("state", ["Unavailable", "Missing", "Locked", "Replaced"])
def test_a_token_that_is_down_is_exit_code_3(terminal: Terminal, say: Any, state: str) -> None:
    """Also where another worker's serves."""
    say()
    say("two", state=state, code="X", reason="why")
    ran = terminal("--json", "hsm", "status")
    assert (ran.code, ran.document["serving"]) == (3, False)
    assert "why" in terminal("hsm", "status").out
    found = finding(load_config(terminal.data / "keyfold.json"))
    assert (found.facts, found.error) == ({"state": state, "code": "X"}, f"two: {state} (X)")


def test_a_token_that_serves_is_a_finding_without_an_error(terminal: Terminal, say: Any) -> None:
    """For `keyfold status`; where no worker is on this machine, nothing is found, and nothing is wrong."""
    config = load_config(terminal.data / "keyfold.json")
    assert (finding(config).facts, bool(finding(config))) == ({}, True)
    say(state="Degraded", code="SlowToken")
    assert (finding(config).facts["state"], bool(finding(config))) == ("Degraded", True)


def test_what_ended_processes_said_does_not_count(terminal: Terminal, say: Any) -> None:
    """Nor does a file that is none."""
    say(pid=2**22 + 7, state="Missing")
    say("odd", pid="x")
    (terminal.data / "run" / "hsm-torn.token").write_text('{"pid"')
    (terminal.data / "run" / "hsm-list.token").write_text("[]")
    states = token_states(load_config(terminal.data / "keyfold.json"))
    assert (states, troubles(states)) == ([], None)
    assert "no HSM worker" in terminal.done("hsm", "status").out
    assert Path(terminal.data / "run").is_dir()
