"""Small decisions of the embedded stack that need nothing running."""

import hashlib
import os
import stat
from pathlib import Path

import psycopg
import pytest

from keyfold.config import Config, mark_ready
from keyfold.embedded import SERVICES, MissingProgram, PartFailed, Stack, kafka, kafka_jars, softhsm
from keyfold.embedded.postgres import Cluster
from keyfold.embedded.processes import Process
from keyfold.embedded.services import service_part


def test_the_brokers_contract(tmp_path: Path) -> None:
    """The settings that the design fixes for topics and transactions, on the loopback address only."""
    lines = dict(line.split("=", 1) for line in kafka.server_properties(tmp_path, 1, 2).splitlines())
    assert lines["auto.create.topics.enable"] == "false"
    assert lines["transaction.max.timeout.ms"] == "30000"
    assert lines["transaction.abort.timed.out.transaction.cleanup.interval.ms"] == "1000"
    assert all("127.0.0.1" in lines[name] for name in ("listeners", "advertised.listeners"))


@pytest.mark.parametrize("damage", ["changed", "missing", "surplus"])
def test_only_exactly_the_pinned_jars_are_believed(tmp_path: Path, damage: str) -> None:
    """A changed, a missing and a surplus jar are each named."""
    jar = tmp_path / "a.jar"
    jar.write_bytes(b"classes")
    wanted = {"a.jar": hashlib.sha256(b"classes").hexdigest()}
    assert kafka_jars._first_difference(tmp_path, wanted) is None
    if damage == "changed":
        jar.write_bytes(b"other classes")
    elif damage == "missing":
        jar.unlink()
    else:
        (tmp_path / "a.jar.jar").touch()
    assert kafka_jars._first_difference(tmp_path, wanted) in {"a.jar", "a.jar.jar"}


def test_the_committed_list_pins_the_broker() -> None:
    """The list names Kafka 4.3.1 and each line is a SHA-256 and a file name."""
    wanted = kafka_jars._wanted()
    assert "kafka_2.13-4.3.1.jar" in wanted
    assert all(len(bytes.fromhex(digest)) == 32 for digest in wanted.values())


def fake_java(home: Path, first_line: str) -> None:
    (home / "bin").mkdir(parents=True)
    program = home / "bin" / "java"
    program.write_text(f"#!/bin/sh\necho '{first_line}' >&2\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ('openjdk version "17.0.15" 2025-04-15', True),
        ('openjdk version "21" 2023-09-19', True),
        ('openjdk version "11.0.2" 2019-01-15', False),
        ('java version "1.8.0_292"', False),
        ("who knows", False),
    ],
)
def test_java_must_be_17_or_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, good: bool) -> None:
    """An older runtime is named with what to install, before Kafka dies of it."""
    fake_java(tmp_path, line)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if good:
        assert kafka_jars.java() == str(tmp_path / "bin" / "java")
    else:
        with pytest.raises(MissingProgram, match="17 or newer"):
            kafka_jars.java()


def test_no_java_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the package."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgram, match="there is no Java; install"):
        kafka_jars.java()


def test_no_maven_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked only when the jars are not in the cache yet; nothing half-made stays in the cache."""
    monkeypatch.setenv("KEYFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgram, match="install it: apt-get install maven"):
        kafka_jars.kafka_jars(lambda _line: None)
    assert [entry.suffix for entry in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_module_that_was_set_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KEYFOLD_PKCS11_MODULE is believed over the usual places, and a wrong one is not replaced silently."""
    monkeypatch.setenv("KEYFOLD_PKCS11_MODULE", str(tmp_path / "libtoken.so"))
    with pytest.raises(MissingProgram, match="does not exist"):
        softhsm.softhsm_module()
    (tmp_path / "libtoken.so").touch()
    assert softhsm.softhsm_module() == tmp_path / "libtoken.so"


def test_no_softhsm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the package."""
    monkeypatch.delenv("KEYFOLD_PKCS11_MODULE", raising=False)
    monkeypatch.setattr(softhsm, "_PLACES", ())
    with pytest.raises(MissingProgram, match="apt-get install softhsm2"):
        softhsm.softhsm_module()


def test_connection_strings_hold_no_secret_and_survive_odd_paths() -> None:
    """The password is in a file that the string names, whatever characters the path has."""
    home = Path("/data of o'brien\\s/postgres")
    parsed = psycopg.conninfo.conninfo_to_dict(Cluster(home, 20_001).dsn("keyfold"))
    assert parsed["passfile"] == str(home / "keyfold.pgpass")
    assert "password" not in parsed


def make_config(home: Path) -> Config:
    places = {name: home / name for name in ("pkcs11_module", "pins_directory", "identities_directory")}
    return Config(data_directory=home, bootstrap_servers="b", postgres_dsn="p", postgres_reader_dsn="p", **places)


def test_a_service_is_ready_when_this_process_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ready file of another process, such as a predecessor's, does not count."""
    (tmp_path / "keyfold" / "example").mkdir(parents=True)
    (tmp_path / "keyfold" / "example" / "__main__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    config = make_config(tmp_path)
    part = service_part(config, tmp_path / "keyfold.json", "example")
    myself = Process(os.getpid(), 0, "")
    assert not part.ready(myself)
    mark_ready(config, "example")
    assert part.ready(myself)
    assert not part.ready(Process(os.getpid() + 1, 0, ""))


def test_a_deployment_older_than_analytics_goes_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is neither started nor shown, and a line says how to add it; with its identity it is like the others."""
    told: list[str] = []
    started: list[str] = []
    stack = Stack(tmp_path / "data", report=told.append)
    stack.start_infrastructure([])
    monkeypatch.setattr(stack, "_start", lambda name, _lock: started.append(name))
    stack.start_services()
    others = [name for name in SERVICES if name != "analytics"]
    assert started == others
    assert "analytics" not in {part.name for part in stack.status()}
    assert [line for line in told if "analytics is left out" in line and "keyfold ceremony renew" in line] == told
    (stack.directory.path / "identities" / "analytics.json").touch()
    started.clear()
    stack.start_services()
    assert started == [*others, "analytics"]
    assert [part.name for part in stack.status()][2:-1] == started
    stack.start_services(["hsm"])
    assert started[-1] == "hsm"


@pytest.mark.parametrize("name", ["polcy", "../policy", "events", ""])
def test_an_unknown_service_is_named(tmp_path: Path, name: str) -> None:
    """Only packages that can be run are services."""
    with pytest.raises(PartFailed, match="there is no service called"):
        service_part(make_config(tmp_path), tmp_path / "keyfold.json", name)
