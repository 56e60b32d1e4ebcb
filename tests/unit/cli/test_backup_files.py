"""The files of a backup: secrets stay private, nothing is written over, and a manifest leads nowhere else."""

import stat
from pathlib import Path

import pytest

from keyfold.cli.backup.errors import BackupDamaged, BackupRefused
from keyfold.cli.backup.files import copy_files, require_room, restore_files
from keyfold.cli.backup.manifest import CopiedFile, CopiedPartition, Manifest, Settings, check
from keyfold.config import Config
from keyfold.embedded.softhsm import prepare_softhsm


def deployment(home: Path, *, software: bool = True) -> Config:
    """Settings, and the directories that they name."""
    for name in ("pins", "identities", "issuers"):
        (home / name).mkdir(parents=True)
    return Config(
        data_directory=home, bootstrap_servers="b:1", postgres_dsn="none", postgres_reader_dsn="none",
        pkcs11_module=Path("none"), softhsm2_conf=prepare_softhsm(home / "softhsm") if software else None,
        pins_directory=home / "pins", identities_directory=home / "identities",
    )  # fmt: skip


def fill(config: Config) -> None:
    """A PIN, an identity, a token's file and a key set."""
    home = config.data_directory
    (home / "softhsm" / "tokens" / "one").mkdir()
    for name in (
        "pins/kms",
        "identities/hsm.json",
        "softhsm/tokens/one/token.object",
        "issuers/ci.json",
        "acting.json",
    ):
        (home / name).write_text(name)
    (home / "logs").mkdir()
    (home / "logs" / "hsm.log").write_text("no part of a backup")


def test_files_come_back_and_are_private(tmp_path: Path) -> None:
    """Where the other settings say, readable by their owner only; logs and the like are left."""
    old, new = deployment(tmp_path / "old"), deployment(tmp_path / "new")
    fill(old)
    files = copy_files(old, tmp_path / "copy")
    assert {(each.place, each.name) for each in files} == {
        ("pins", "kms"), ("identities", "hsm.json"), ("tokens", "one/token.object"), ("data", "issuers/ci.json"),
        ("data", "acting.json"),
    }  # fmt: skip
    require_room(new, files)
    restore_files(new, tmp_path / "copy", files)
    for name in (
        "pins/kms",
        "identities/hsm.json",
        "softhsm/tokens/one/token.object",
        "issuers/ci.json",
        "acting.json",
    ):
        assert (new.data_directory / name).read_text() == name
        assert stat.S_IMODE((new.data_directory / name).stat().st_mode) == 0o600


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A PIN or an identity that is there belongs to something."""
    old, new = deployment(tmp_path / "old"), deployment(tmp_path / "new")
    fill(old)
    files = copy_files(old, tmp_path / "copy")
    (new.pins_directory / "kms").write_text("another")
    with pytest.raises(BackupRefused, match="is there already"):
        require_room(new, files)
    assert (new.pins_directory / "kms").read_text() == "another"


def test_software_tokens_need_a_place(tmp_path: Path) -> None:
    """They cannot become those of a hardware token."""
    old, new = deployment(tmp_path / "old"), deployment(tmp_path / "new", software=False)
    fill(old)
    with pytest.raises(BackupRefused, match="softhsm2_conf"):
        require_room(new, copy_files(old, tmp_path / "copy"))


def test_a_manifest_leads_nowhere_else(tmp_path: Path) -> None:
    """Whoever changed it cannot have other files read or written."""
    config = deployment(tmp_path / "new")
    with pytest.raises(BackupRefused, match="leads out"):
        require_room(config, [CopiedFile(place="pins", name="../../out", sha256="")])
    part = CopiedPartition(partition=0, first=0, end=0, records=0, file="../out", sha256="")
    manifest = Manifest(
        deployment="d", created_at="t", settings=Settings(partitions=2, development=False, session_pool_size=1),
        topics={"keyfold.events": [part]}, rows=[], files=[],
    )  # fmt: skip
    (tmp_path / "copy").mkdir()
    with pytest.raises(BackupDamaged, match="not in the backup"):
        check(tmp_path / "copy", manifest)
