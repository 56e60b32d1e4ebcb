"""A cluster that asks who is there: each service as a Kafka user and a database role of its own, with no more rights.

The rules are those of `keyfold topics acl` and `keyfold database grants`. What a role may do is shown by the whole
pipeline at work with them; what it may not, by trying (of the database in `tests/contract/test_projection_access.py`).
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.conftest import Postgres, SoftHSM
from tests.integration.conftest import eventually
from tests.support.secured_kafka import SUPER_USER, SecuredKafka

from keyfold.bus import BusError, BusSettings, KafkaBus, Outbound
from keyfold.bus.access import allow
from keyfold.bus.broker_settings import broker_differences
from keyfold.bus.errors import BusUnavailable, InDoubt, NotAuthorized, RecordRefused, UnknownDestination
from keyfold.bus.quotas import limit
from keyfold.client import Keyfold
from keyfold.config import CONFIG_FILE, Config, KafkaSecurity, save_config, write_private
from keyfold.embedded.softhsm import prepare_softhsm
from keyfold.events import topics
from keyfold.events.quotas import Quota, quotas
from keyfold.events.topic_access import ROLES, access_rules, default_principals
from keyfold.identity import create_identity
from keyfold.projections.access import ANALYTICS, AUDITOR, OPERATOR, OWNER, PROJECTOR, SCHEDULER
from keyfold.projections.store import PostgresQueries

pytestmark = [pytest.mark.stack, pytest.mark.token]
SERVICES = ("policy", "hsm", "notary", "projector", "scheduler", "analytics")
PARTITIONS = 3
_DATABASE = {
    "projector": (PROJECTOR, None), "scheduler": (None, SCHEDULER), "analytics": (ANALYTICS, None),
    "operator": (OPERATOR, AUDITOR), "auditor": (None, AUDITOR),
}  # fmt: skip


class Secured:
    """A deployment on such a cluster, each process with settings of its own."""

    def __init__(self, home: Path, kafka: SecuredKafka, postgres: Postgres, softhsm: SoftHSM) -> None:
        self.home, self.kafka = home, kafka
        self.database = postgres.database()
        for name in ("pins", "identities", "tokens", "postgres"):
            (home / name).mkdir(mode=0o700)
        self.base = Config(
            data_directory=home,
            bootstrap_servers=kafka.bootstrap_servers,
            partitions=PARTITIONS,
            postgres_dsn="service=none",
            postgres_reader_dsn="service=none",
            pkcs11_module=softhsm.module,
            softhsm2_conf=prepare_softhsm(home / "tokens"),
            pins_directory=home / "pins",
            identities_directory=home / "identities",
            development=True,
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def config(self, role: str) -> Config:
        """The settings of one role: in the database it is who it must be, or nobody."""
        writes, reads = _DATABASE.get(role, (None, None))
        places = {"postgres_dsn": self.dsn(writes), "postgres_reader_dsn": self.dsn(reads)}
        return self.base.model_copy(update={"kafka": self.kafka.security(default_principals()[role]), **places})

    def dsn(self, database_role: str | None) -> str:
        """How a role of the database connects: by a password file."""
        if database_role is None:
            return "service=none"
        passfile = str(self.home / "postgres" / f"{database_role}.pgpass")
        return psycopg.conninfo.make_conninfo(self.database.admin_dsn, user=database_role, passfile=passfile)

    def make_roles(self) -> None:
        """As the administrator of the database, then as its owner."""
        passwords = self.home / "postgres"
        # The auditor is there already, and its password is every other test's.
        known = Path(str(psycopg.conninfo.conninfo_to_dict(self.database.reader_dsn)["passfile"]))
        write_private(passwords / f"{AUDITOR}.pgpass", known.read_text())
        kafka = self.kafka.security(SUPER_USER)
        for dsn, words in (
            (self.database.admin_dsn, ("grants", "--apply", "--passwords", str(passwords))),
            (self.dsn(OWNER), ("migrate",)),
        ):
            self.line(self.base.model_copy(update={"kafka": kafka, "postgres_dsn": dsn}), "database", *words)

    def bus(self, security: KafkaSecurity, servers: str = "") -> KafkaBus:
        """A bus as some user."""
        place = servers or self.kafka.bootstrap_servers
        return KafkaBus(BusSettings(bootstrap_servers=place, start_timeout_s=5.0, **security.model_dump()))

    def as_role(self, role: str) -> KafkaBus:
        """A bus as the user of a role."""
        return self.bus(self.kafka.security(default_principals()[role]))

    def begin(self) -> None:
        """Hold the root ceremony as root, in a process of its own, and start the services."""
        place = save_config(self.config("root"))
        program = [sys.executable, "-m", "tests.support.root_ceremony", str(place)]
        done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False, env=_environment())
        assert done.returncode == 0, done.stderr[-3000:]
        self.base = self.base.model_copy(update={"deployment": done.stdout.strip()})
        for service in SERVICES:
            self.start(service)

    def start(self, service: str) -> None:
        """Start a service and wait until it says that it is ready."""
        place = save_config(self.config(service), self.home / f"{service}.json")
        ready, log = self.home / "run" / f"{service}.ready", self.home / f"{service}.log"
        with log.open("ab") as told:
            process = self.processes[service] = subprocess.Popen(
                [sys.executable, "-P", "-m", f"keyfold.{service}", "--config", str(place)], stdout=told, stderr=told
            )
        deadline = time.monotonic() + 60
        while not ready.exists():
            late = process.poll() is not None or time.monotonic() > deadline
            assert not late, f"{service}: {log.read_text()[-3000:]}"
            time.sleep(0.1)

    def line(self, config: Config, *words: str) -> str:
        """Run the command line with these settings, and return what it prints."""
        home = self.home / f"line-{config.kafka.ssl_certificate_file.stem}"  # type: ignore[union-attr]
        home.mkdir(exist_ok=True)
        save_config(config, home / CONFIG_FILE)
        program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(home), "--json", *words]
        done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout

    def stop(self) -> None:
        """End the services."""
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()

    def client(self, identity: str, security: KafkaSecurity, servers: str = "") -> Keyfold:
        """A client with an identity file of the ceremony's."""
        return Keyfold.connect(
            bus=self.bus(security, servers),
            identity=self.base.identities_directory / f"{identity}.json",
            deployment=self.base.deployment,
        )


def _environment() -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(root)}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker with TLS, SCRAM and an authorizer."""
    made = SecuredKafka(tmp_path_factory.mktemp("secured") / "kafka", scram_users=("keyfold-client",))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory, kafka: SecuredKafka, postgres: Postgres, softhsm: SoftHSM
) -> Iterator[Secured]:
    """The whole deployment, with the rules set by the cluster's administrator before anything else."""
    made = Secured(tmp_path_factory.mktemp("deployment"), kafka, postgres, softhsm)
    administrator = made.base.model_copy(update={"kafka": kafka.security(SUPER_USER)})
    rules = json.loads(made.line(administrator, "topics", "acl", "--apply"))
    assert len(rules) == len(access_rules(default_principals().items()))
    made.make_roles()
    try:
        made.begin()
        yield made
    finally:
        made.stop()


async def test_everything_works_with_no_more_rights_than_these(secured: Secured) -> None:
    """A key is made, encrypts and decrypts, by certificate and by password; the notary signs, the projector folds."""
    certificate = secured.kafka.security("keyfold-client")
    path = secured.base.identities_directory / "app.json"
    identity = create_identity(path, "app", secured.base.deployment or "")
    async with secured.client("admin-1", certificate) as admin:
        await admin.register_principal("app", public_key=identity.signer.public_key)
        await admin.put_policy("app", 'permit (principal == Principal::"app", action, resource);')
    async with secured.client("app", certificate) as kms:
        with kms.with_receipts() as receipts:
            key_id = (await kms.create_key()).key_id
            sealed = await kms.encrypt(key_id, b"hello", context={"tenant": "1"})
        assert await kms.proof(receipts[-1], timeout_s=30)
    password = secured.kafka.scram("keyfold-client")
    async with secured.client("app", password, secured.kafka.scram_servers) as kms:
        assert await kms.decrypt(key_id, sealed, context={"tenant": "1"}) == b"hello"
    queries = PostgresQueries(secured.dsn(AUDITOR))

    async def folded() -> bool:
        return await queries.describe_key(key_id) is not None

    await eventually(folded)
    await queries.close()
    for service, trouble in (("scheduler", "due-unknown"), ("analytics", "alerts-wait-for-store")):
        assert trouble not in (secured.home / f"{service}.log").read_text()


async def test_auditors_operators_and_witnesses_need_no_more(secured: Secured, tmp_path: Path) -> None:
    """The log is verified, the deployment looked after, and its checkpoints cosigned, each by a user of its own."""
    home = str(tmp_path / "witness")
    for role, words in (
        ("auditor", ("audit", "verify")),
        ("operator", ("status",)),
        ("operator", ("doctor",)),
        ("operator", ("topics", "apply")),
        ("witness", ("witness", "init", home, "--name", "witness.example/1")),
        ("witness", ("witness", "run", home, "--once")),
    ):
        await asyncio.to_thread(secured.line, secured.config(role), *words)


@pytest.mark.parametrize(
    ("role", "topic"),
    [
        (role, topic)
        for role in ROLES
        for topic in (topics.EVENTS, topics.AUTHORIZED, topics.KEYSTORE, topics.HSM_STATE, topics.CHECKPOINTS)
        if role not in next(row for row in topics.TOPICS if row.name == topic).writers
    ],
)
async def test_nobody_else_writes(secured: Secured, role: str, topic: str) -> None:
    """What a service alone may write, no other role can, whatever it signs."""
    sender = secured.as_role(role).sender()

    async def write() -> None:
        await sender.start()
        await (await sender.send(Outbound(topic, 0, b"key", b"value")))

    try:
        # Who may write nothing at all cannot even start; who may not see a topic is told that there is none.
        with pytest.raises((NotAuthorized, UnknownDestination)):
            await write()
    finally:
        await sender.stop()


@pytest.mark.parametrize("role", ["hsm", "client", "auditor", "witness", "scheduler", "projector", "notary"])
async def test_nobody_else_takes_policys_transactions(secured: Secured, role: str) -> None:
    """Whoever may start a transactional id ends the transaction of its owner."""
    writer = secured.as_role(role).writer("keyfold-policy-0")
    with pytest.raises(NotAuthorized):
        await writer.start()


async def test_a_right_that_is_missing_blames_no_record(secured: Secured) -> None:
    """A transaction that the access rules stop is in doubt, to be tried again: were it the record that is refused,
    policy would deny commands that are in order."""
    writer = secured.as_role("notary").writer("keyfold-notary-test")
    await writer.start()
    with pytest.raises(InDoubt) as caught:
        await writer.commit([Outbound(topics.EVENTS, 0, b"key", b"value")])
    assert not isinstance(caught.value, RecordRefused)
    await writer.stop()


@pytest.mark.parametrize(
    ("role", "topic"),
    [
        ("client", topics.EVENTS), ("client", topics.KEYSTORE), ("client", topics.COMMANDS),
        ("auditor", topics.KEYSTORE), ("auditor", topics.REPLIES), ("projector", topics.KEYSTORE),
        ("notary", topics.COMMANDS), ("policy", topics.KEYSTORE), ("scheduler", topics.EVENTS),
    ],
)  # fmt: skip
async def test_nobody_reads_what_does_not_concern_it(secured: Secured, role: str, topic: str) -> None:
    """Wrapped key material is the HSM worker's alone to read; commands are policy's."""
    reader = secured.as_role(role).reader(topic, 0, committed=True)

    async def read() -> None:
        await reader.start(None)
        await reader.poll(2.0)

    with pytest.raises(NotAuthorized):
        await read()
    await reader.stop()


async def test_a_stranger_is_not_let_in(secured: Secured) -> None:
    """No certificate, a wrong password, or TLS left out: a typed error within the deadline, and no secret in it."""
    stranger = secured.kafka.scram("nobody")
    sender = secured.bus(stranger, secured.kafka.scram_servers).sender()
    with pytest.raises((BusError, BusUnavailable)) as caught:
        await sender.start()
    assert "nobody told me" not in str(caught.value)
    for servers in (secured.kafka.bootstrap_servers, secured.kafka.scram_servers):
        clear = secured.bus(KafkaSecurity(), servers).sender()
        with pytest.raises((BusError, BusUnavailable)):
            await clear.start()


async def test_a_client_over_its_quota_is_slowed_down(secured: Secured) -> None:
    """The brokers hold it back; another client goes on as before."""
    admin = BusSettings.of(secured.base.model_copy(update={"kafka": secured.kafka.security(SUPER_USER)}), "test")
    await allow(admin, access_rules([("client", "flood"), ("client", "calm")]))
    assert await limit(admin, [Quota("flood", 64 * 1024, 1024 * 1024, 100)]) == 1

    async def sending_s(user: str) -> float:
        bus = BusSettings(
            bootstrap_servers=secured.kafka.bootstrap_servers, request_timeout_s=30.0, send_timeout_s=30.0,
            **secured.kafka.security(user).model_dump(),
        )  # fmt: skip
        sender, begun = KafkaBus(bus).sender(), time.monotonic()
        await sender.start()
        for _ in range(12):
            # Ten seconds' worth may come at once: the rate is measured over that time.
            await (await sender.send(Outbound(topics.COMMANDS, 1, b"key", bytes(100_000))))
        await sender.stop()
        return time.monotonic() - begun

    assert await sending_s("calm") < 3
    assert await sending_s("flood") > 4


async def test_quotas_are_set_by_the_clusters_administrator_only(secured: Secured) -> None:
    """Whoever may set them could give himself any."""
    with pytest.raises(NotAuthorized):
        await limit(BusSettings.of(secured.config("client"), "test"), quotas([("client", "mallory")]))


async def test_what_the_brokers_are_set_to_is_the_operators_to_see(secured: Secured) -> None:
    """These are set as they must be; no client is told."""
    assert await broker_differences(BusSettings.of(secured.config("operator"), "test")) == {1: []}
    with pytest.raises(NotAuthorized):
        await broker_differences(BusSettings.of(secured.config("client"), "test"))


async def test_access_rules_are_set_by_the_clusters_administrator_only(secured: Secured) -> None:
    """Not even root's user sets rules."""
    root = BusSettings.of(secured.config("root"), "test")
    with pytest.raises(NotAuthorized):
        await allow(root, access_rules([("client", "mallory")]))
