"""The settings file: what it takes, what it refuses, and that it is written whole and private."""

import json
import os
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from keyfold.config import Config, ConfigError, export_softhsm2_conf, load_config, mark_ready, ready_file, save_config


def make_config(home: Path) -> Config:
    return Config(
        data_directory=home,
        bootstrap_servers="127.0.0.1:9092",
        postgres_dsn="host=127.0.0.1",
        postgres_reader_dsn="host=127.0.0.1",
        pkcs11_module=Path("/usr/lib/softhsm/libsofthsm2.so"),
        softhsm2_conf=home / "softhsm2.conf",
        pins_directory=home / "pins",
        identities_directory=home / "identities",
    )


def test_what_was_saved_is_loaded_again(tmp_path: Path) -> None:
    """Saving and loading gives equal settings, in a file that only its owner reads."""
    config = make_config(tmp_path)
    path = save_config(config)
    assert load_config(path) == config
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name], "no temporary file stays behind"


def test_settings_are_frozen(tmp_path: Path) -> None:
    """Nobody changes settings after start."""
    with pytest.raises(ValidationError):
        make_config(tmp_path).partitions = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"partitions": 1}, "partitions"),
        ({"deployment": "ab" * 31}, "deployment"),
        ({"log_level": "loud"}, "log_level"),
        ({"surprise": 1}, "surprise"),
        ({"postgres_dsn": ""}, "postgres_dsn"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(tmp_path: Path, change: dict[str, object], named: str) -> None:
    """Unknown and invalid settings are refused with the file and the field, without repeating the value."""
    path = save_config(make_config(tmp_path))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert named in message
    assert str(path) in message
    assert "\n" not in message


def test_a_mistyped_secret_is_not_repeated(tmp_path: Path) -> None:
    """The error about an unknown setting does not print what was in it."""
    path = tmp_path / "keyfold.json"
    path.write_text(json.dumps({"postgres_dns": "password=hunter2"}))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", "{", "\x00"])
def test_a_missing_or_unreadable_file_is_one_line(tmp_path: Path, content: str | None) -> None:
    """No file, an empty file and broken JSON are typed errors of one line."""
    path = tmp_path / "keyfold.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_ready_says_which_process(tmp_path: Path) -> None:
    """The ready file contains the process id, so that a stale one is told from a new one."""
    config = make_config(tmp_path)
    mark_ready(config, "policy")
    assert ready_file(config, "policy").read_text().strip() == str(os.getpid())


def test_the_token_settings_are_exported_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SOFTHSM2_CONF is set only when a process asks for it."""
    monkeypatch.delenv("SOFTHSM2_CONF", raising=False)
    export_softhsm2_conf(make_config(tmp_path))
    assert os.environ["SOFTHSM2_CONF"] == str(tmp_path / "softhsm2.conf")
    monkeypatch.delenv("SOFTHSM2_CONF")
