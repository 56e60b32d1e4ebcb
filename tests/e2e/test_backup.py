"""A deployment is copied, lost, and restored, into an empty directory or a cluster that runs already.

Nothing is missing, and it goes on from there.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from tests.e2e.conftest import Answer, CommandLine
from tests.e2e.test_command_line import eventually

from keyfold.config import CONFIG_FILE, load_config, save_config
from keyfold.embedded import Stack
from keyfold.embedded.softhsm import prepare_softhsm
from keyfold.events import topics
from keyfold.projections.responses import ResponseRow
from keyfold.projections.store.responses import PostgresResponses

pytestmark = [pytest.mark.stack, pytest.mark.timeout(420)]

INCIDENT = "0193f3a0-7c00-7000-8000-00000000000a"
SIGNED = ("--algorithm", "ED25519_SHA_512")
POLICY = 'permit (principal == Principal::"app", action, resource);'


@pytest.fixture(scope="module")
def lived(keyfold: CommandLine) -> CommandLine:
    """A deployment with a history: keys of several kinds, a rotation, a denial, a response to an incident."""
    (keyfold.folder / "app.cedar").write_text(POLICY)
    (keyfold.folder / "orders").write_text("hello")
    keyfold.done("principal", "register", "app")
    keyfold.done("policy", "put", "app", "app.cedar")
    keyfold.done("key", "create", "--alias", "alias/orders")
    keyfold.done(
        "key", "create", "--spec", "ECC_NIST_EDWARDS25519", "--usage", "SIGN_VERIFY", "--alias", "alias/signer"
    )
    keyfold.done("--as", "app", "encrypt", "alias/orders", "orders", "--context", "tenant=7")
    keyfold.done("--as", "app", "sign", "alias/signer", "orders", *SIGNED, "--output", "orders.sig")
    keyfold.done("key", "rotate", "alias/orders")
    assert keyfold("encrypt", "alias/orders", "orders", "--output", "refused").code == 1
    asyncio.run(_respond(keyfold))
    return keyfold


async def _respond(line: CommandLine) -> None:
    settings = json.loads((line.data / "keyfold.json").read_text())
    responses = PostgresResponses(settings["postgres_dsn"])
    await responses.record(
        ResponseRow(INCIDENT, "DisableKey", "key/1", "proposed", "2026-01-01T00:00:00.000Z", None, None, 1)
    )
    await responses.close()


async def _responses(line: CommandLine) -> int:
    settings = json.loads((line.data / "keyfold.json").read_text())
    responses = PostgresResponses(settings["postgres_reader_dsn"])
    found = await responses.of_incident(INCIDENT)
    await responses.close()
    return len(found)


@pytest.fixture(scope="module")
def restored(lived: CommandLine) -> Iterator[CommandLine]:
    """The same deployment in another data directory, on another cluster, made from the copy alone."""
    refused = lived("backup", "create", "copy")
    assert (refused.code, "keyfold down" in refused.err) == (3, True)
    lived.done("down")
    lived.done("backup", "create", "copy")
    lived.done("backup", "check", "copy")
    other = CommandLine(lived.folder / "restored", lived.folder)
    try:
        other.done("backup", "restore", "copy")
        lived.done("reset", "--yes")
        other.done("up")
        yield other
    finally:
        other("reset", "--yes")


def test_old_ciphertexts_open_and_new_keys_are_made(restored: CommandLine) -> None:
    """The keys, those in the token too, the policies, and who may use them."""
    restored.done("--as", "app", "decrypt", "orders.kf", "-o", "again", "--context", "tenant=7")
    assert (restored.folder / "again").read_text() == "hello"
    restored.done("--as", "app", "verify", "alias/signer", "orders.sig", "orders", *SIGNED)
    restored.done("--as", "app", "sign", "alias/signer", "orders", *SIGNED, "--output", "new.sig")
    restored.done("key", "create", "--alias", "alias/new")
    restored.done("--as", "app", "encrypt", "alias/new", "orders", "--output", "new.kf")


def test_the_whole_log_verifies(restored: CommandLine) -> None:
    """From genesis over the seam to what was done since, with checkpoints, tiles and projections."""
    report = restored.done("--json", "audit", "verify", "--database").document
    assert report["findings"] == 0


def test_nothing_is_wrong(restored: CommandLine) -> None:
    """No partition stands still, nobody is behind for good, and what analytics did is known."""

    def healthy() -> bool:
        return restored("doctor").code == 0

    eventually(healthy, 30)
    assert asyncio.run(_responses(restored)) == 1
    for log in (restored.data / "logs").glob("*.log"):
        assert "partition-stopped" not in log.read_text(), log


def test_the_copy_is_private_and_whole(restored: CommandLine) -> None:
    """Nobody else reads it; a file that was changed is found; nothing is written over."""
    copy = restored.folder / "copy"
    assert all(not path.stat().st_mode & 0o077 for path in (copy, *copy.rglob("*")))
    assert restored("backup", "restore", "copy").code == 3
    place = next((copy / "files" / "pins").rglob("kms*"))
    content = place.read_bytes()
    place.write_bytes(content[::-1] + b"x")
    damaged = restored("backup", "check", "copy")
    assert (damaged.code, place.name in damaged.err, content.decode() in damaged.err) == (4, True, False)
    place.write_bytes(content)


async def _add_partition(servers: str, topic: str, count: int) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=servers)
    await client.start()
    try:
        await client.create_partitions({topic: NewPartitions(count)})
    finally:
        await client.close()


def test_partitions_that_were_added_stop_the_services(restored: CommandLine) -> None:
    """`doctor` tells, services refuse to start, and the next restore is without them."""
    servers = json.loads((restored.data / "keyfold.json").read_text())["bootstrap_servers"]
    asyncio.run(_add_partition(servers, topics.EVENTS, 5))
    told = restored("doctor")
    assert (told.code, "keyfold.events has 5 partitions, not 4" in told.out) == (3, True), told
    restored.done("down")
    refused = restored("up")
    assert (refused.code, "genesis fixed 4" in refused.err) == (3, True), refused
    assert "TopicMismatch" in (restored.data / "logs" / "policy.log").read_text()
    restored.done("down")
    restored.done("backup", "create", "without")
    parts = json.loads(Path(restored.folder / "without" / "manifest.json").read_text())["topics"][topics.EVENTS]
    assert [each["partition"] for each in parts] == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def existing(restored: CommandLine) -> Iterator[CommandLine]:
    """Brokers and a database that run already, with settings that name no deployment, filled from the last copy."""
    stack = Stack(restored.folder / "existing", development=True)
    line = CommandLine(stack.directory.path, restored.folder)
    try:
        stack.start_infrastructure()
        line.done("backup", "restore", "--existing", "without")
        stack.start_services()
        yield line
    finally:
        stack.reset()


def test_a_cluster_that_runs_already_is_filled(existing: CommandLine) -> None:
    """Ciphertexts of both lives open, a key in the token signs, the log verifies, and new keys are made."""
    existing.done("--as", "app", "decrypt", "orders.kf", "-o", "once-more", "--context", "tenant=7")
    existing.done("--as", "app", "decrypt", "new.kf", "-o", "newer")
    assert (existing.folder / "once-more").read_text() == (existing.folder / "newer").read_text() == "hello"
    existing.done("--as", "app", "sign", "alias/signer", "orders", *SIGNED, "--output", "newest.sig")
    existing.done("key", "create", "--alias", "alias/newest")
    report = existing.done("--json", "audit", "verify", "--database").document
    assert report["findings"] == 0
    eventually(lambda: existing("doctor").code == 0, 30)
    assert asyncio.run(_responses(existing)) == 1


def test_nothing_that_is_there_is_written_over(existing: CommandLine) -> None:
    """Files, topics, projections, settings of another deployment; and nothing else is made."""
    again = existing("backup", "restore", "--existing", "without")
    assert (again.code, "is there already" in again.err) == (3, True), again
    other = CommandLine(existing.folder / "other", existing.folder)
    empty = _empty_database(existing)
    for changed, reason in (
        ({}, "the database has projections"),
        ({"postgres_dsn": empty, "postgres_reader_dsn": empty}, "the cluster is not empty"),
        ({"partitions": 5}, "it must be 4"),
        ({"deployment": "ab" * 32}, "the backup of"),
    ):
        refused = _restored_by(other, existing, {"deployment": None, **changed})
        assert (refused.code, reason in refused.err) == (3, True), refused
    assert sorted(path.name for path in other.data.iterdir()) == ["keyfold.json", "softhsm2.conf", "tokens"]
    existing.done("--as", "app", "decrypt", "orders.kf", "-o", "still", "--context", "tenant=7")


def _empty_database(line: CommandLine) -> str:
    dsn = Stack(line.data).postgres_admin_dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE nothing_yet")
    return psycopg.conninfo.make_conninfo(dsn, dbname="nothing_yet")


def _restored_by(line: CommandLine, other: CommandLine, changed: dict[str, object]) -> Answer:
    """Restore with settings of a directory of its own, which name the other's cluster."""
    line.data.mkdir(exist_ok=True)
    places = {
        "data_directory": line.data,
        "softhsm2_conf": prepare_softhsm(line.data),
        "pins_directory": line.data / "pins",
        "identities_directory": line.data / "identities",
    }
    save_config(load_config(other.data / CONFIG_FILE).model_copy(update={**places, **changed}))
    return line("backup", "restore", "--existing", "without")
