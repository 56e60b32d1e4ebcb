"""The command line as a person uses it: exit codes, JSON, what is refused, and what survives a restart."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.conftest import CommandLine

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

POLICY = """
permit(principal == Principal::"alice", action, resource)
when { resource is Registry || (context.encryption_context.hasTag("tenant")
       && context.encryption_context.getTag("tenant") == "7") };
"""


@pytest.fixture(scope="module")
def orders(keyfold: CommandLine) -> str:
    """A key with an alias, and alice, who may use it for tenant 7."""
    (keyfold.folder / "alice.cedar").write_text(POLICY)
    created = keyfold.done("--json", "key", "create", "--alias", "alias/orders", "--description", "orders")
    keyfold.done("principal", "register", "alice")
    keyfold.done("policy", "put", "alice", "alice.cedar")
    key_id: str = created.document["key_id"]
    return key_id


def eventually(check: Callable[[], bool], seconds: float = 20.0) -> None:
    """Projections follow the log a moment later."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_everything_runs_and_is_healthy(keyfold: CommandLine) -> None:
    """`up` is idempotent; `status` and `doctor` find nothing wrong."""
    keyfold.done("up")
    status = keyfold.done("--json", "status").document
    assert {part["name"] for part in status["parts"] if part["state"] == "running"} >= {
        "kafka", "postgres", "policy", "hsm", "projector", "scheduler"
    }  # fmt: skip
    keyfold.done("doctor")


def test_a_file_comes_back(keyfold: CommandLine, orders: str) -> None:
    """Alice protects a file for tenant 7 and gets it back; without the context it stays closed."""
    source = keyfold.folder / "orders.csv"
    source.write_bytes(b"4711;bicycle;499\n" * 20_000)
    keyfold.done("--as", "alice", "encrypt", "alias/orders", "orders.csv", "--context", "tenant=7")
    assert b"bicycle" not in Path(f"{source}.kf").read_bytes()
    keyfold.done("--as", "alice", "decrypt", "orders.csv.kf", "-o", "again.csv", "--context", "tenant=7")
    assert (keyfold.folder / "again.csv").read_bytes() == source.read_bytes()
    refused = keyfold("--as", "alice", "decrypt", "orders.csv.kf", "-o", "wrong.csv", "--context", "tenant=8")
    assert (refused.code, "AccessDenied" in refused.err) == (1, True)
    assert not (keyfold.folder / "wrong.csv").exists()


def test_administrators_use_no_keys(keyfold: CommandLine, orders: str) -> None:
    """Administrators manage keys; using one is refused, with a machine-readable error."""
    refused = keyfold("--json", "encrypt", "alias/orders", "-", "--direct", stdin="secret")
    assert refused.code == 1
    assert "AccessDenied" in refused.err + refused.out
    assert "secret" not in refused.err + refused.out


def test_rotate_disable_enable(keyfold: CommandLine, orders: str) -> None:
    """Old versions decrypt after a rotation; a disabled key serves nobody until it is enabled."""
    words = ("encrypt", "alias/orders", "-", "-o", "hello.kf", "--direct", "--context", "tenant=7")
    keyfold.done("--as", "alice", *words, stdin="hello")
    keyfold.done("key", "rotate", "alias/orders")
    words = ("--as", "alice", "decrypt", "hello.kf", "-o", "-", "--context", "tenant=7")
    assert keyfold.done(*words).out == "hello"
    keyfold.done("key", "disable", "alias/orders", "--reason", "test")
    refused = keyfold(*words)
    assert (refused.code, "KeyDisabled" in refused.err) == (1, True)
    keyfold.done("key", "enable", "alias/orders")
    assert keyfold.done(*words).out == "hello"


def test_the_trail_tells_it(keyfold: CommandLine, orders: str) -> None:
    """Who did what is in the audit trail; denials can be asked for alone."""
    shown = keyfold.done("--json", "events", "show", "--key", "alias/orders", "--denied")
    assert "AccessDenied" in shown.out
    described = keyfold.done("--json", "key", "describe", "alias/orders")
    assert orders in described.out


def test_a_deletion_that_has_come_is_done_by_the_scheduler(keyfold: CommandLine) -> None:
    """With the development setting a short wait is allowed; then the key is destroyed, by the scheduler."""
    key_id = keyfold.done("--json", "key", "create").document["key_id"]
    keyfold.done("key", "schedule-deletion", key_id, "--seconds", "1")
    eventually(lambda: "Destroyed" in keyfold.done("key", "describe", key_id).out, seconds=60)
    assert "scheduler" in keyfold.done("events", "show", "--key", key_id).out


def test_usage_errors_and_unknown_names(keyfold: CommandLine) -> None:
    """A wrong command line is 2; what does not exist is refused with 1."""
    assert keyfold("no-such-command").code == 2
    unknown = keyfold("key", "describe", "alias/nowhere")
    assert unknown.code == 1
    assert unknown.err.count("\n") == 1


def test_projections_are_rebuilt(keyfold: CommandLine, orders: str) -> None:
    """A rebuild fills a new schema from the log and swaps it in; nothing is lost."""
    before = keyfold.done("--json", "key", "describe", orders).document
    keyfold.done("projections", "rebuild")
    assert keyfold.done("--json", "key", "describe", orders).document == before


def test_data_survives_down_and_up(keyfold: CommandLine, orders: str) -> None:
    """`down` stops everything; after `up` old ciphertexts open."""
    keyfold.done("down")
    assert keyfold("key", "describe", orders).code == 3
    keyfold.done("up")
    words = ("--as", "alice", "decrypt", "hello.kf", "-o", "-", "--context", "tenant=7")
    assert keyfold.done(*words).out == "hello"
