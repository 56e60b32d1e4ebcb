"""Identity files: private, never overwritten, of two algorithms, and replaced only by their successors."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from keyfold.events.signatures import Signer, Verifier
from keyfold.identity import (
    IdentityUnusable,
    copy_identity,
    create_identity,
    load_identity,
    prepare_successor,
    successor_path,
    swap_in_successor,
    write_identity,
)

DEPLOYMENT = "d0" * 32


@pytest.mark.parametrize("algorithm", ["Ed25519", "ML-DSA-65"])
def test_an_identity_comes_back_as_it_was_made(tmp_path: Path, algorithm: Any) -> None:
    """Name, deployment and a key that signs; readable by its owner only."""
    path = tmp_path / "alice.json"
    made = create_identity(path, "alice", DEPLOYMENT, algorithm=algorithm)
    found = load_identity(path)
    assert (found.name, found.deployment) == ("alice", DEPLOYMENT)
    assert (found.signer.public_key, found.signer.algorithm) == (made.signer.public_key, algorithm)
    Verifier(made.signer.public_key, algorithm).verify(found.signer.sign(b"message"), b"message")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "d0d0" not in repr(found)


def test_a_file_without_an_algorithm_is_an_ed25519_key(tmp_path: Path) -> None:
    """As identity files were written first."""
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"name": "old", "deployment": DEPLOYMENT, "ed25519": "73" * 32}))
    path.chmod(0o600)
    assert load_identity(path).signer.fingerprint == Signer(b"s" * 32).fingerprint


def test_the_seed_is_under_a_field_named_for_its_algorithm(tmp_path: Path) -> None:
    """A reader that knows one algorithm only cannot take the seed for its own kind of key."""
    write_identity(tmp_path / "a", "alice", "", b"s" * 32, algorithm="ML-DSA-65")
    document = json.loads((tmp_path / "a").read_text())
    assert document == {"name": "alice", "deployment": "", "algorithm": "ML-DSA-65", "ml-dsa-65": "73" * 32}


@pytest.mark.parametrize(
    "document",
    [
        "no json",
        "[]",
        "{}",
        '{"name": "a", "deployment": ""}',
        '{"name": "a", "deployment": "", "ed25519": "7"}',
        '{"name": "a", "deployment": "", "ed25519": "7373"}',
        '{"name": "a", "deployment": "", "algorithm": "RSA", "rsa": "73"}',
        '{"name": "a", "deployment": "", "algorithm": "ML-DSA-65", "ed25519": "' + "73" * 32 + '"}',
        '{"name": "a", "deployment": "", "algorithm": ["Ed25519"], "ed25519": "' + "73" * 32 + '"}',
    ],
)
def test_what_is_no_identity_file_is_refused(tmp_path: Path, document: str) -> None:
    """In one line that names the file and none of its content."""
    path = tmp_path / "a.json"
    path.write_text(document)
    path.chmod(0o600)
    with pytest.raises(IdentityUnusable, match=r"a\.json is no identity file") as caught:
        load_identity(path)
    assert "7373" not in str(caught.value)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """And so is one that is missing, or would be overwritten."""
    path = tmp_path / "alice.json"
    create_identity(path, "alice")
    with pytest.raises(IdentityUnusable, match="never overwritten"):
        create_identity(path, "alice")
    path.chmod(0o640)
    with pytest.raises(IdentityUnusable, match="chmod 600"):
        load_identity(path)
    with pytest.raises(IdentityUnusable, match="no identity file"):
        load_identity(tmp_path / "bob.json")


@pytest.mark.parametrize("algorithm", [None, "Ed25519", "ML-DSA-65"])
def test_a_successor_waits_beside_the_file_and_takes_its_place(tmp_path: Path, algorithm: Any) -> None:
    """The old file stands until the swap; after it only the new one is there."""
    path = tmp_path / "alice.json"
    old = create_identity(path, "alice", DEPLOYMENT, algorithm="ML-DSA-65")
    new = prepare_successor(path, algorithm=algorithm)
    assert load_identity(path).signer.fingerprint == old.signer.fingerprint
    assert (new.name, new.deployment, new.signer.algorithm) == ("alice", DEPLOYMENT, algorithm or "ML-DSA-65")
    assert stat.S_IMODE(successor_path(path).stat().st_mode) == 0o600
    assert swap_in_successor(path).signer.fingerprint == new.signer.fingerprint
    assert load_identity(path).signer.fingerprint == new.signer.fingerprint
    assert [entry.name for entry in tmp_path.iterdir()] == ["alice.json"]


def test_a_successor_of_an_earlier_attempt_is_used_again(tmp_path: Path) -> None:
    """It may be registered already: another key would lose it."""
    path = tmp_path / "alice.json"
    create_identity(path, "alice", DEPLOYMENT)
    first = prepare_successor(path)
    assert prepare_successor(path).signer.fingerprint == first.signer.fingerprint
    with pytest.raises(IdentityUnusable, match="waits with"):
        prepare_successor(path, algorithm="ML-DSA-65")


def test_a_strangers_file_is_no_successor(tmp_path: Path) -> None:
    """Nor is one of another deployment."""
    path = tmp_path / "alice.json"
    create_identity(path, "alice", DEPLOYMENT)
    create_identity(successor_path(path), "bob", DEPLOYMENT)
    with pytest.raises(IdentityUnusable, match="not the successor"):
        prepare_successor(path)
    with pytest.raises(FileNotFoundError):
        swap_in_successor(tmp_path / "nobody.json")


def test_a_key_can_be_kept_under_the_name_that_is_known_later(tmp_path: Path) -> None:
    """With its algorithm; nothing is overwritten."""
    source = create_identity(tmp_path / "key.json", "", DEPLOYMENT)
    made = copy_identity(tmp_path / "key.json", tmp_path / "named.json", "ci.main.0123", DEPLOYMENT)
    found = load_identity(tmp_path / "named.json")
    assert (made.name, found.name, found.deployment) == ("ci.main.0123", "ci.main.0123", DEPLOYMENT)
    assert found.signer.fingerprint == source.signer.fingerprint
    with pytest.raises(IdentityUnusable):
        copy_identity(tmp_path / "key.json", tmp_path / "named.json", "other", DEPLOYMENT)
