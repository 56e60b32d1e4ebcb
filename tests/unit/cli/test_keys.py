"""Keys as the command line shows them, and what it tells and asks before they are destroyed."""

import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from tests.unit.cli.conftest import CREATED, KEY, ORDERS, Terminal, a_key
from tests.unit.cli.test_transfer import Pipe

from keyfold.events.entities import Capabilities, ImportParameters, KeyVersion
from keyfold.events.errors import Unavailable
from keyfold.events.facts import Capability
from keyfold.projections.rows import LastUse, PublicKeyRow

OLD = KeyVersion(version=1, offset=3, created_at=CREATED, protected_items=7)
NOW = KeyVersion(version=2, offset=9, created_at=CREATED)
LATER = "2999-01-31T12:00:00.000Z"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files go."""
    monkeypatch.chdir(tmp_path)


def shown(terminal: Terminal, *versions: KeyVersion, **fields: Any) -> dict[str, Any]:
    terminal.projected.keys_[KEY] = a_key(*versions, **fields)
    document: dict[str, Any] = terminal.done("--json", "key", "show", ORDERS).document
    return document


@pytest.mark.parametrize(
    ("fields", "version", "state"),
    [
        ({}, {}, "Enabled"),
        ({"status": "Disabled"}, {}, "Disabled"),
        ({"status": "PendingDeletion", "deletion_date": LATER}, {"compromised_at": CREATED}, "PendingDeletion"),
        ({"origin": "EXTERNAL"}, {"material": False}, "PendingImport"),
        ({"origin": "EXTERNAL"}, {"valid_to": CREATED}, "PendingImport"),
        ({"not_before": LATER}, {"compromised_at": CREATED, "occurred_at": CREATED}, "Compromised"),
        ({"not_before": LATER}, {}, "PreActive"),
        ({"not_after": CREATED}, {}, "Expired"),
    ],
)
def test_the_state_is_the_one_of_now(
    terminal: Terminal, fields: dict[str, Any], version: dict[str, Any], state: str
) -> None:
    """What was decided, and what time has made of it."""
    current = NOW.model_copy(update=version)
    assert shown(terminal, OLD, current, **fields)["state"] == state
    assert f"state        {state}" in terminal.done("key", "describe", ORDERS).out


def test_versions_are_told_apart(terminal: Terminal) -> None:
    """Which is current, which are compromised, disabled, destroyed, and where material is missing."""
    marked = OLD.model_copy(update={"compromised_at": CREATED, "occurred_at": CREATED, "compromise_reason": "leaked"})
    gone = NOW.model_copy(update={"status": "Destroyed", "erased_at": LATER})
    awaited = KeyVersion(version=3, offset=12, created_at=CREATED, material=False)
    deleted = KeyVersion(version=4, offset=15, created_at=CREATED, material=False, material_offset=14)
    found = shown(terminal, marked, gone, awaited, deleted, current_version=1, origin="EXTERNAL")
    versions = {row["version"]: row for row in found["versions"]}
    assert [versions[n]["current"] for n in (1, 2, 3, 4)] == [True, False, False, False]
    assert [versions[n]["compromised"] for n in (1, 2)] == [True, False]
    assert [versions[n]["usable_material"] for n in (1, 3, 4)] == [True, False, False]
    lines = terminal.done("key", "versions", ORDERS).out.splitlines()[1:]
    assert f"compromised since {CREATED}" in lines[0]
    assert "1 (current)" in lines[0]
    assert f"certified {LATER}" in lines[1]
    assert [word in line for word, line in zip(("no", "awaited", "deleted"), lines[1:], strict=True)] == [True] * 3
    assert terminal.done("--json", "key", "versions", ORDERS).document == found["versions"]


def test_since_when_a_version_rests_is_told(terminal: Terminal) -> None:
    """It may be destroyed a week after it was disabled, or marked: both times are shown."""
    rests = OLD.model_copy(update={"status": "Disabled", "changed_at": CREATED})
    times = {"occurred_at": "2026-01-01T00:00:00.000Z", "compromised_at": "2026-02-01T00:00:00.000Z"}
    shown(terminal, rests, NOW.model_copy(update=times), current_version=2)
    lines = terminal.done("key", "versions", ORDERS).out.splitlines()[1:]
    assert f"Disabled since {CREATED} " in lines[0]
    assert "Active, compromised since 2026-01-01T00:00:00.000Z (marked 2026-02-01T00:00:00.000Z)" in lines[1]


def test_what_a_key_is_for_is_told(terminal: Terminal) -> None:
    """Spec, usage, protection, origin, validity, rotation, an open import and the public key."""
    terminal.projected.public_key_ = PublicKeyRow(KEY, 1, "RSA_2048", "SIGN_VERIFY", "AAAA")
    waits = ImportParameters(import_token=KEY, version=2, wrapping_algorithm="RSAES_OAEP_SHA_256", expires_at=LATER)
    terminal.projected.keys_[KEY] = a_key(
        key_spec="RSA_2048", key_usage="SIGN_VERIFY", origin="EXTERNAL", not_after=LATER,
        rotation_period_seconds=365 * 86_400, import_parameters=waits,
    )  # fmt: skip
    told = terminal.done("key", "show", ORDERS).out
    for words in (
        "RSA_2048, SIGN_VERIFY, HSM, imported", f"from the beginning to {LATER}", "every 365 days", "AAAA",
        f"version 2 is open until {LATER}", "alice",
    ):  # fmt: skip
        assert words in told, words
    assert terminal.done("--json", "key", "show", ORDERS).document["public_key"] == "AAAA"


def test_a_public_key_comes_from_the_directory(terminal: Terminal) -> None:
    """Believed by the worker's signature: no command is sent. PEM by default, DER if asked for."""
    key = terminal.done("--json", "key", "create", "--spec", "ECC_NIST_P256", "--usage", "SIGN_VERIFY").document[
        "key_id"
    ]
    ran = terminal.done("--json", "key", "public-key", key)
    assert ran.received == []
    assert (ran.document["version"], ran.document["key_spec"]) == (1, "ECC_NIST_P256")
    pem = load_pem_public_key(ran.document["public_key"].encode())
    terminal.done("key", "public-key", key, "--version", "1", "--output", "k.pem")
    terminal.done("key", "public-key", key, "--output", "k.der", "--format", "der")
    assert load_pem_public_key(Path("k.pem").read_bytes()) == load_der_public_key(Path("k.der").read_bytes()) == pem
    assert terminal("key", "public-key", key, "--version", "7").code != 0


def test_capabilities_are_a_table(terminal: Terminal) -> None:
    """As the worker found them; before it has looked there is nothing to show."""
    offered = Capability(
        key_spec="ML_DSA_44", key_usage="SIGN_VERIFY", protection="SOFTWARE", algorithms=["ML_DSA_SHAKE_256"]
    )
    terminal.projected.capabilities_ = Capabilities(
        module="SoftHSM 2.6", capabilities=(offered,), imports={"RSAES_OAEP_SHA_256": "software"}, found_at=CREATED
    )
    assert terminal.done("--json", "capabilities").document["capabilities"][0]["key_spec"] == "ML_DSA_44"
    told = terminal.done("capabilities").out
    assert all(word in told for word in ("ML_DSA_44", "SOFTWARE", "ML_DSA_SHAKE_256", "SoftHSM 2.6"))


@pytest.mark.parametrize(
    "words", [["key", "schedule-deletion", ORDERS, "--days", "7"], ["key", "destroy-now", ORDERS, "--yes"]]
)
def test_what_still_needs_a_key_is_told_before(terminal: Terminal, words: list[str]) -> None:
    """Its last use by version, its names, and who has grants; the command is sent all the same."""
    terminal.projected.last_use_ = (LastUse(KEY, 1, CREATED, "alice", 7),)
    ran = terminal.done(*words)
    assert [got.command.verb for got in ran.received] in (["ScheduleKeyDeletion"], ["DestroyKeyNow"])
    warnings = [line for line in ran.err.splitlines() if "warning" in line]
    assert f"version 1 was used last at {CREATED} by alice" in warnings[0]
    assert ORDERS in warnings[1]


def test_only_its_own_use_is_told_of_a_version(terminal: Terminal) -> None:
    """Names and grants are the key's."""
    terminal.projected.last_use_ = (LastUse(KEY, 1, CREATED, "alice", 7), LastUse(KEY, 2, CREATED, "bob", 7))
    ran = terminal.done("key", "destroy-version", ORDERS, "2", "--yes")
    assert ran.err.count("warning") == 1
    assert "by bob" in ran.err


def test_without_projections_the_warning_is_that_there_is_none(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is kept from stopping a key."""

    async def broken(_: str) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(terminal.projected, "describe_key", broken)
    ran = terminal.done("key", "destroy-now", ORDERS, "--yes")
    assert "cannot say what still needs" in ran.err
    assert [got.command.verb for got in ran.received] == ["DestroyKeyNow"]


@pytest.mark.parametrize("answer", [True, False])
def test_a_terminal_is_asked(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    """No is an interruption: nothing is sent."""
    monkeypatch.setattr(sys, "stdin", Pipe(terminal=True))

    def confirm(question: str, **_: Any) -> None:
        assert "Destroy" in question
        if not answer:
            raise typer.Abort

    monkeypatch.setattr(typer, "confirm", confirm)
    for words in (
        ["schedule-deletion", ORDERS, "--days", "7"],
        ["destroy-now", ORDERS],
        ["destroy-version", ORDERS, "1"],
    ):
        ran = terminal("key", *words)
        assert (ran.code, len(ran.received)) == ((0, 1) if answer else (130, 0)), ran.err
        assert terminal("key", *words, "--dry-run").code == 0


def test_what_is_destroyed_for_good_must_be_meant(terminal: Terminal) -> None:
    """Without a terminal nobody can be asked; a scheduled deletion can be taken back, so that it goes on."""
    for words in (["destroy-now", ORDERS], ["destroy-version", ORDERS, "1"]):
        ran = terminal("key", *words)
        assert (ran.code, ran.received, "--yes" in ran.err) == (2, [], True)
    assert len(terminal.done("key", "schedule-deletion", ORDERS, "--days", "7").received) == 1


def test_a_compromised_key_is_rotated_right_behind(terminal: Terminal) -> None:
    """Two commands; a time may be said as how long ago it was."""
    ran = terminal.done("--json", "key", "compromise", ORDERS, "--occurred-at", "2h", "--reason", "leaked")
    mark, rotation = (got.command for got in ran.received)
    assert (mark.verb, rotation.verb, rotation.data.arguments.cause) == (
        "MarkKeyCompromised",
        "RotateKey",
        "compromise",
    )
    assert mark.data.arguments.occurred_at < mark.time
    assert (mark.data.arguments.reason or mark.data.reason, mark.data.arguments.versions) == ("leaked", None)
    assert ran.document["rotation"] == {"command_id": rotation.id, "version": 2}
    assert "version 3 protects" in terminal.done("key", "compromise", ORDERS, "--occurred-at", "2h").out


def test_a_mark_stands_where_the_rotation_is_refused(terminal: Terminal) -> None:
    """It is told, with exit code 1."""
    terminal.prepare.append(
        lambda deployment: deployment.scripts.append(
            lambda got: "AccessDenied" if got.command.verb == "RotateKey" else None
        )
    )
    ran = terminal("--json", "key", "compromise", ORDERS, "--occurred-at", "1d")
    assert (ran.code, [got.command.verb for got in ran.received]) == (1, ["MarkKeyCompromised", "RotateKey"])
    assert ran.document["rotation"]["error"]["code"] == "AccessDenied"
    assert "was not rotated" in terminal("key", "compromise", ORDERS, "--occurred-at", "1d").out
