"""Three nodes that are one cluster, each with a way of its own for each process that may be cut off."""

from pathlib import Path

import pytest
from fault_injection import cluster as clusters
from fault_injection.cluster import NODES, Cluster

from keyfold.embedded.directory import DataDirectory


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster in an empty directory; its jars are not needed for settings."""
    monkeypatch.setattr(clusters, "kafka_jars", lambda _report: tmp_path)
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    return Cluster(directory, ("policy-0", "hsm-0"))


def settings(cluster: Cluster, node: int) -> dict[str, str]:
    """A node's settings by name."""
    lines = cluster.server_properties(node).splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_nothing_is_committed_on_one_node_alone(cluster: Cluster) -> None:
    """Topics, transactions and groups are on three nodes, and two must have what is acknowledged."""
    for node in NODES:
        found = settings(cluster, node)
        assert {
            found[f"{name}.replication.factor"] for name in ("default", "offsets.topic", "transaction.state.log")
        } == {"3"}
        assert (found["min.insync.replicas"], found["transaction.state.log.min.isr"]) == ("2", "2")
        assert found["unclean.leader.election.enable"] == "false"
        assert found["auto.create.topics.enable"] == "false"


def test_all_nodes_know_the_same_voters_and_listen_on_ports_of_their_own(cluster: Cluster) -> None:
    """No port is given twice."""
    all_settings = [settings(cluster, node) for node in NODES]
    assert len({found["controller.quorum.voters"] for found in all_settings}) == 1
    ports = [place.rpartition(":")[2] for found in all_settings for place in found["listeners"].split(",")]
    assert len(ports) == len(set(ports)) == 3 * 4


def test_a_process_is_told_its_proxies_and_others_are_not(cluster: Cluster) -> None:
    """What it reaches a broker by is a port on which the broker does not listen, different for each process."""
    found = settings(cluster, 1)
    listens, told = (
        dict(each.split("://") for each in found[name].split(",")) for name in ("listeners", "advertised.listeners")
    )
    assert listens["DIRECT"] == told["DIRECT"]
    assert len({listens["POLICY_0"], told["POLICY_0"], listens["HSM_0"], told["HSM_0"]}) == 4
    assert told["POLICY_0"] in cluster.bootstrap_servers("policy-0").split(",")
    assert set(cluster.bootstrap_servers().split(",")).isdisjoint(cluster.bootstrap_servers("policy-0").split(","))
