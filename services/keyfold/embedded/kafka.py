"""One Apache Kafka 4 node (broker and controller, KRaft) on 127.0.0.1, run from the pinned jars.

For development, tests and the demonstration: one node has no replicas, so "durable" means this machine's disk. Creates
no topics (`keyfold.bus` does) and speaks no Kafka itself: it serves when its port answers, which a KRaft broker opens
only after the controller has let it in.
"""

import base64
import socket
import subprocess
import uuid
from pathlib import Path
from typing import Final

from keyfold.config import write_private
from keyfold.embedded import kafka_fence
from keyfold.embedded.directory import DataDirectory
from keyfold.embedded.errors import PartFailed
from keyfold.embedded.kafka_jars import java, kafka_jars
from keyfold.embedded.parts import Part, Report

NAME: Final = "kafka"
_LOG_SETTINGS: Final = Path(__file__).with_name("kafka-log4j2.properties")
_JVM: Final = ("-Xms256m", "-Xmx768m", "-XX:+UseSerialGC", "-Djava.awt.headless=true")
_FORMAT_TIMEOUT_S: Final = 60


def bootstrap_servers(directory: DataDirectory, wanted_port: int | None = None) -> str:
    """The address that clients use; chosen once per data directory."""
    return f"127.0.0.1:{directory.port(NAME, wanted_port)}"


def prepare(directory: DataDirectory, report: Report) -> Part:
    """Fetch, check and format what the broker needs, and return how to run it. Does nothing twice."""
    launcher = java()
    jars = kafka_jars(report)
    broker, controller = directory.port(NAME), directory.port("kafka-controller")
    home = directory.path / NAME
    home.mkdir(mode=0o700, exist_ok=True)
    settings = home / "server.properties"
    write_private(settings, server_properties(home / "data", broker, controller))
    classpath = ("-cp", f"{jars}/*")
    if not (home / "data" / "meta.properties").exists():
        report("formatting Kafka's storage")
        _format((launcher, "-Xmx128m", *classpath), settings)
    logging = f"-Dlog4j2.configurationFile={_LOG_SETTINGS}"
    return Part(
        name=NAME,
        argv=(launcher, *_JVM, logging, *classpath, "kafka.Kafka", str(settings)),
        ready=lambda _process: _answers(broker),
        ready_timeout_s=90.0,
    )


def fencing(directory: DataDirectory) -> Part | None:
    """What has to run before the broker, after `prepare`: None unless the broker that ran last was killed."""
    home = directory.path / NAME
    if not kafka_fence.was_killed(home / "data"):
        return None
    classpath = ("-cp", f"{kafka_jars(lambda _line: None)}/*")
    return kafka_fence.fencing_part(java(), classpath, home / "server.properties", directory.log(kafka_fence.NAME))


def ports(directory: DataDirectory) -> tuple[int, ...]:
    """What must be free before the broker starts."""
    return directory.port(NAME), directory.port("kafka-controller")


def server_properties(data: Path, broker: int, controller: int) -> str:
    """The broker's settings: on topics and transactions the deployment contract; the rest keeps one node small."""
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "transaction.max.timeout.ms": "30000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "log.message.timestamp.type": "CreateTime",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # After kill -9 the controller in the next start still waits for the old broker's session to end.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "500",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        "metric.reporters": "",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _format(java_command: tuple[str, ...], settings: Path) -> None:
    """Give the storage its cluster id. If we crash here, meta.properties is missing and the next start repeats it."""
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # One word: one id in 64 begins with a hyphen and would be taken for an option.
    tool = ("kafka.tools.StorageTool", "format", "--ignore-formatted", f"--cluster-id={cluster}", "-c", str(settings))
    try:
        answer = subprocess.run(
            [*java_command, *tool], capture_output=True, text=True, timeout=_FORMAT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise PartFailed(f"formatting Kafka's storage took more than {_FORMAT_TIMEOUT_S} s; try again") from None
    if answer.returncode != 0:
        lines = (answer.stderr or answer.stdout).strip().splitlines() or ["it said nothing"]
        raise PartFailed(f"formatting Kafka's storage failed: {lines[-1][:300]}")


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
