"""Three Kafka nodes (broker and controller each) as local processes: replication 3, two in-sync replicas to commit.

Every process that may be cut off from the cluster has a listener of its own on each node. Its advertised address is a
proxy's, so all of that process's traffic to that broker passes there, and nobody else's does. Clients that are not cut
off, and the brokers among themselves, use the listener `DIRECT`. Starts and stops nothing by itself.
"""

import base64
import socket
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from keyfold.config import write_private
from keyfold.embedded import kafka
from keyfold.embedded.directory import DataDirectory
from keyfold.embedded.kafka_jars import java, kafka_jars
from keyfold.embedded.parts import Part

NODES: Final = (1, 2, 3)
DIRECT: Final = "direct"
_LOG_SETTINGS: Final = "kafka-log4j2.properties"
_JVM: Final = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
_FORMAT_TIMEOUT_S: Final = 120


def node_name(node: int) -> str:
    """The name of a node's process."""
    return f"kafka-{node}"


class Cluster:
    """The nodes of one data directory. `clients` are the processes that have listeners of their own."""

    def __init__(self, directory: DataDirectory, clients: Sequence[str]) -> None:
        self._directory, self._clients = directory, tuple(clients)
        self._jars = kafka_jars(lambda _line: None)

    def listener(self, client: str, node: int) -> int:
        """The port of a client's listener on a node."""
        return self._directory.port(f"{node_name(node)}/{client}")

    def advertised(self, client: str, node: int) -> int:
        """The port that a client is told: its proxy's."""
        return self.listener(client, node) if client == DIRECT else self._directory.port(f"proxy/{client}/{node}")

    def bootstrap_servers(self, client: str = DIRECT) -> str:
        """Where a client begins."""
        return ",".join(f"127.0.0.1:{self.advertised(client, node)}" for node in NODES)

    def data(self, node: int) -> Path:
        """What a node keeps."""
        return self._directory.path / node_name(node) / "data"

    def format(self) -> None:
        """Write each node's settings, and give all storages one cluster id."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tools = []
        for node in NODES:
            self.data(node).mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._settings(node), self.server_properties(node))
            words = ["kafka.tools.StorageTool", "format", "--ignore-formatted", f"--cluster-id={cluster}"]
            words += ["-c", str(self._settings(node))]
            tools.append(
                subprocess.Popen([*self._java("-Xmx128m"), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            )
        for tool in tools:
            said, _ = tool.communicate(timeout=_FORMAT_TIMEOUT_S)
            if tool.returncode:
                raise RuntimeError(f"formatting Kafka's storage failed: {said.decode(errors='replace')[-500:]}")

    def part(self, node: int) -> Part:
        """How a node is run. It is ready when a client may ask it, which needs a majority of controllers."""
        settings = Path(kafka.__file__).with_name(_LOG_SETTINGS)
        program = (
            *self._java(*_JVM, f"-Dlog4j2.configurationFile={settings}"),
            "kafka.Kafka",
            str(self._settings(node)),
        )
        return Part(
            node_name(node), program, ready=lambda _process: answers(self.listener(DIRECT, node)), ready_timeout_s=120
        )

    def server_properties(self, node: int) -> str:
        """A node's settings: on topics and transactions the deployment contract, on sessions Kafka's own defaults."""
        listeners = {client: self.listener(client, node) for client in (DIRECT, *self._clients)}
        listeners["controller"] = self._directory.port(f"{node_name(node)}/controller")
        advertised = {client: self.advertised(client, node) for client in (DIRECT, *self._clients)}
        voters = (f"{each}@127.0.0.1:{self._directory.port(f'{node_name(each)}/controller')}" for each in NODES)
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "controller.quorum.voters": ",".join(voters),
            "listeners": _places(listeners),
            "advertised.listeners": _places(advertised),
            "listener.security.protocol.map": ",".join(f"{_listener(each)}:PLAINTEXT" for each in listeners),
            "inter.broker.listener.name": _listener(DIRECT),
            "controller.listener.names": _listener("controller"),
            "log.dirs": str(self.data(node)),
            "auto.create.topics.enable": "false",
            "default.replication.factor": "3",
            "min.insync.replicas": "2",
            "unclean.leader.election.enable": "false",
            "transaction.max.timeout.ms": "30000",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
            "offsets.topic.replication.factor": "3",
            "offsets.topic.num.partitions": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "transaction.state.log.num.partitions": "6",
            "share.coordinator.state.topic.replication.factor": "3",
            "share.coordinator.state.topic.min.isr": "2",
            "share.coordinator.state.topic.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            # Leaders go back to their preferred nodes soon after a restart: one more change of leaders under load.
            "leader.imbalance.check.interval.seconds": "10",
            "num.network.threads": "1",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
            # What must fit into a small file system, where one is filled.
            "log.index.size.max.bytes": str(1024 * 1024),
        }  # fmt: skip
        return "".join(f"{key}={value}\n" for key, value in settings.items())

    def _settings(self, node: int) -> Path:
        return self._directory.path / node_name(node) / "server.properties"

    def _java(self, *options: str) -> tuple[str, ...]:
        return java(), *options, "-cp", f"{self._jars}/*"


def answers(port: int) -> bool:
    """Whether somebody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def _listener(client: str) -> str:
    return client.upper().replace("-", "_")


def _places(ports: dict[str, int]) -> str:
    return ",".join(f"{_listener(client)}://127.0.0.1:{port}" for client, port in ports.items())
