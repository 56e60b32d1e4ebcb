"""Signing keys and their files: rotated without a moment in which nobody knows which key is current."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import ORDERS, Terminal
from tests.unit.client.test_federation import ISSUER, NAME, token

from keyfold.cli import signing_keys
from keyfold.client import thumbprint
from keyfold.events.entities import Principal, PrincipalKey
from keyfold.events.errors import Unavailable
from keyfold.identity import create_identity, load_identity, prepare_successor, successor_path

SINCE = "2026-01-31T12:00:00.000Z"


def admin_with(*fingerprints: str, **fields: Any) -> Principal:
    keys = tuple(
        PrincipalKey(signing_key=each, public_key="00" * 32, algorithm="Ed25519", added_at=SINCE, **fields)
        for each in fingerprints
    )
    return Principal(principal="admin-1", keys=keys, registered_at=SINCE)


@pytest.fixture
def path(terminal: Terminal) -> Path:
    """The identity file that is rotated."""
    return terminal.identities / "admin-1.json"


@pytest.mark.parametrize("algorithm", ["Ed25519", "ML-DSA-65"])
def test_a_rotation_swaps_the_identity_file(terminal: Terminal, path: Path, algorithm: str) -> None:
    """Signed with the old key; afterwards the file holds the new one, and signs."""
    old = load_identity(path).signer
    ran = terminal.done("--json", "principal", "key", "rotate", "admin-1", "--algorithm", algorithm)
    new = load_identity(path).signer
    data = ran.received[0].command.data
    assert (data.signing_key, data.arguments.replaces) == (old.fingerprint, old.fingerprint)
    assert (data.arguments.public_key, data.arguments.algorithm) == (new.public_key.hex(), algorithm)
    assert new.fingerprint != old.fingerprint
    assert not successor_path(path).exists()
    assert ran.document["signing_key"] == new.fingerprint
    assert terminal.done("key", "rotate", ORDERS).received[0].command.data.signing_key == new.fingerprint


def test_a_rotation_that_fails_keeps_both_keys_and_says_so(terminal: Terminal, path: Path) -> None:
    """Whether it was refused or not answered: the next attempt uses the same new key."""
    old = load_identity(path).signer.fingerprint
    terminal.prepare.append(lambda deployment: deployment.scripts.append(lambda got: "AccessDenied"))
    ran = terminal("principal", "key", "rotate", "admin-1")
    waiting = load_identity(successor_path(path)).signer
    assert (ran.code, load_identity(path).signer.fingerprint) == (1, old)
    assert f"{path} holds the key that was current before" in ran.err
    assert str(successor_path(path)) in ran.err
    terminal.prepare.clear()
    terminal.projected.principals_.append(admin_with(old))
    ran = terminal.done("principal", "key", "rotate", "admin-1")
    assert ran.received[0].command.data.arguments.public_key == waiting.public_key.hex()
    assert load_identity(path).signer.fingerprint == waiting.fingerprint


def test_a_rotation_whose_answer_was_lost_is_finished(terminal: Terminal, path: Path) -> None:
    """If we crash before the swap, the projections tell that the new key is current; nothing is sent then."""
    new = prepare_successor(path).signer
    terminal.projected.principals_.append(admin_with(load_identity(path).signer.fingerprint, new.fingerprint))
    ran = terminal.done("principal", "key", "rotate", "admin-1")
    assert ran.received == []
    assert "was current already" in ran.out
    assert load_identity(path).signer.fingerprint == new.fingerprint
    assert not successor_path(path).exists()


def test_a_waiting_key_that_was_revoked_is_not_swapped_in(terminal: Terminal, path: Path) -> None:
    """It is asked about as any other: the service refuses it."""
    old, new = load_identity(path).signer.fingerprint, prepare_successor(path).signer
    terminal.projected.principals_.append(admin_with(new.fingerprint, status="Revoked"))
    terminal.prepare.append(lambda deployment: deployment.scripts.append(lambda got: "AlreadyExists"))
    ran = terminal("principal", "key", "rotate", "admin-1")
    assert (ran.code, len(ran.received), load_identity(path).signer.fingerprint) == (1, 1, old)


def test_a_crash_after_the_answer_leaves_both_files(
    terminal: Terminal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says which is which."""

    def crash(_path: Path) -> Any:
        raise Unavailable("the disk is away")

    monkeypatch.setattr(signing_keys, "swap_in_successor", crash)
    old = load_identity(path).signer.fingerprint
    ran = terminal("principal", "key", "rotate", "admin-1")
    assert ran.code == 3
    assert "finds out which is current" in ran.err
    assert load_identity(path).signer.fingerprint == old
    assert successor_path(path).exists()


def test_an_administrator_rotates_the_key_of_another(terminal: Terminal, path: Path) -> None:
    """In that one's identity file, signed with their own key."""
    create_identity(terminal.identities / "bob.json", "bob", terminal.deployment)
    old = load_identity(terminal.identities / "bob.json").signer.fingerprint
    data = terminal.done("principal", "key", "rotate", "bob", "--expires", "90d").received[0].command.data
    assert (data.principal, data.arguments.principal, data.arguments.replaces) == ("admin-1", "bob", old)
    assert data.arguments.expires_at is not None
    assert load_identity(terminal.identities / "bob.json").signer.fingerprint != old
    assert terminal("principal", "key", "rotate", "eve").code == 2


def test_who_acts_from_a_file_elsewhere_rotates_that_file(terminal: Terminal, tmp_path: Path) -> None:
    """Not the one of the same name in the identities directory."""
    elsewhere = tmp_path / "laptop.json"
    create_identity(elsewhere, "admin-1", terminal.deployment)
    kept = load_identity(terminal.identities / "admin-1.json").signer.fingerprint
    old = load_identity(elsewhere).signer.fingerprint
    terminal.done("--as", str(elsewhere), "principal", "key", "rotate", "admin-1")
    assert load_identity(elsewhere).signer.fingerprint != old
    assert load_identity(terminal.identities / "admin-1.json").signer.fingerprint == kept


def test_a_key_is_added_from_a_file_that_is_made(terminal: Terminal, tmp_path: Path) -> None:
    """Once; the next time its key is taken as it is. A dry run makes none."""
    file = tmp_path / "laptop.json"
    terminal.done("principal", "key", "add", "bob", "--key-file", str(file), "--dry-run")
    assert not file.exists()
    words = ["principal", "key", "add", "bob", "--key-file", str(file), "--algorithm", "ML-DSA-65"]
    first, second = (terminal.done(*words).received[0].command.data.arguments for _ in range(2))
    identity = load_identity(file)
    assert (identity.name, identity.signer.algorithm) == ("bob", "ML-DSA-65")
    assert first.public_key == second.public_key == identity.signer.public_key.hex()
    assert terminal("principal", "key", "add", "eve", "--key-file", str(file)).code == 2


def test_a_thumbprint_is_what_a_token_must_bind(terminal: Terminal, tmp_path: Path) -> None:
    """The key is made where there is none, and kept."""
    file = tmp_path / "key.json"
    out = terminal.done("principal", "key", "thumbprint", str(file)).out.strip()
    assert out == thumbprint(load_identity(file).signer.public_key)
    assert terminal.done("--json", "principal", "key", "thumbprint", str(file)).document["jkt"] == out
    create_identity(tmp_path / "other.json", "", algorithm="ML-DSA-65")
    assert terminal("principal", "key", "thumbprint", str(tmp_path / "other.json")).code == 2


def log_in(terminal: Terminal, tmp_path: Path, *words: str, **claims: Any) -> Any:
    file = tmp_path / "key.json"
    bound = terminal.done("principal", "key", "thumbprint", str(file)).out.strip()
    (tmp_path / "token").write_text(token(claims.pop("bound", bound), **claims) + "\n")
    return terminal("login", "--issuer", "ci", "--token-file", str(tmp_path / "token"), "--key-file", str(file), *words)


def test_a_login_writes_the_identity_of_the_tokens_principal(terminal: Terminal, tmp_path: Path) -> None:
    """With the key that the token binds; then one acts under that name."""
    ran = log_in(terminal, tmp_path, "--reason", "a build")
    assert ran.code == 0, ran.err
    (got,) = ran.received
    assert (got.command.verb, got.command.data.principal, got.command.data.reason) == (
        "AssumePrincipalWithWebIdentity", NAME, "a build",
    )  # fmt: skip
    identity = load_identity(terminal.identities / f"{NAME}.json")
    assert (identity.name, identity.deployment) == (NAME, terminal.deployment)
    assert identity.signer.fingerprint == load_identity(tmp_path / "key.json").signer.fingerprint
    assert NAME in ran.out
    assert terminal.done("--as", NAME, "key", "rotate", ORDERS).received[0].command.data.principal == NAME


def test_a_later_login_replaces_the_identity(terminal: Terminal, tmp_path: Path) -> None:
    """With the same key it stays as it is; another key takes its place."""
    for _ in range(2):
        assert log_in(terminal, tmp_path).code == 0
    (tmp_path / "key.json").unlink()
    assert log_in(terminal, tmp_path).code == 0
    found = load_identity(terminal.identities / f"{NAME}.json").signer.fingerprint
    assert found == load_identity(tmp_path / "key.json").signer.fingerprint


def test_a_refused_login_writes_nothing(terminal: Terminal, tmp_path: Path) -> None:
    """Nor does a dry run, nor a token for another key."""
    ran = log_in(terminal, tmp_path, "--dry-run")
    assert (ran.code, "nothing was done" in ran.out) == (0, True)
    ran = log_in(terminal, tmp_path, bound="another key's")
    assert (ran.code, ran.received, "TokenNotBound" in ran.err) == (1, [], True)
    terminal.prepare.append(lambda deployment: deployment.scripts.append(lambda got: "TokenExpired"))
    ran = log_in(terminal, tmp_path, "--json")
    assert (ran.code, json.loads(ran.err)["error"]["code"]) == (1, "TokenExpired")
    assert [path.name for path in terminal.identities.iterdir()] == ["admin-1.json"]


def test_a_token_is_never_shown(terminal: Terminal, tmp_path: Path) -> None:
    """It is a credential, also where it is wrong."""
    ran = log_in(terminal, tmp_path, exp="soon")
    assert (ran.code, ran.received) == (2, [])
    assert ISSUER not in ran.err + ran.out
    assert (tmp_path / "token").read_text().split(".")[1] not in ran.err + ran.out
