"""A whole data directory through its life: up, up again, killed, down, moved, reset."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from keyfold.embedded import PortInUse, Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("life") / "data", development=True)
    try:
        made.start_infrastructure()
        yield made
    finally:
        made.reset()


def answers(stack: Stack) -> bool:
    host, port = stack.config.bootstrap_servers.split(":")
    socket.create_connection((host, int(port)), timeout=5).close()
    with psycopg.connect(stack.config.postgres_reader_dsn) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def pids(stack: Stack) -> list[int | None]:
    return [part.pid for part in stack.status() if part.name in {"kafka", "postgres"}]


def test_up_twice_starts_nothing_twice(stack: Stack) -> None:
    """The second `up` finds what runs, also from another object."""
    before = pids(stack)
    Stack(stack.directory.path).start_infrastructure()
    assert pids(stack) == before
    assert answers(stack)


def test_settings_and_data_survive_down_and_up(stack: Stack) -> None:
    """The same addresses, the fingerprint of the deployment, and what was written are there again."""
    with psycopg.connect(stack.config.postgres_dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    config = stack.set_deployment("ab" * 32)
    stack.stop()
    assert {part.state for part in stack.status()} == {"stopped"}
    stack.stop()
    assert stack.start_infrastructure() == config
    with psycopg.connect(config.postgres_dsn) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


@pytest.mark.parametrize("name", ["kafka", "postgres"])
def test_a_killed_part_comes_up_again(stack: Stack, name: str) -> None:
    """kill -9 of the broker and of the database server, then `start`."""
    assert stack.kill(name) is not None
    stack.start(name)
    assert answers(stack)


def test_a_taken_port_is_named(stack: Stack) -> None:
    """Another program on the broker's port: one line, and nothing is started."""
    stack.kill("kafka")
    port = int(stack.config.bootstrap_servers.split(":")[1])
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        with pytest.raises(PortInUse, match=f"port {port} of kafka"):
            stack.start("kafka")
    stack.start("kafka")
    assert answers(stack)


def test_a_moved_data_directory_works_at_its_new_place(stack: Stack, tmp_path: Path) -> None:
    """The settings follow the directory; nothing in it keeps the old path."""
    stack.stop()
    old = stack.directory.path
    moved = Stack(tmp_path / "moved dir")
    shutil.copytree(old, moved.directory.path)
    try:
        config = moved.start_infrastructure()
        assert answers(moved)
        assert str(old) not in moved.config_file.read_text()
        assert str(old) not in (config.softhsm2_conf or Path()).read_text()
    finally:
        moved.reset()
    stack.start_infrastructure()


def test_reset_leaves_nothing(stack: Stack) -> None:
    """All processes end and the directory is gone."""
    before = pids(stack)
    stack.reset()
    assert not stack.directory.path.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in before)
    stack.start_infrastructure()
    assert answers(stack)
