"""What runs before a killed broker starts again: only then, as a controller and nothing else, and not for ever."""

from pathlib import Path

import pytest

from keyfold.embedded import kafka, kafka_fence
from keyfold.embedded.processes import Process

PROCESS = Process(1, 1, "boot")


def lines(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_only_a_broker_that_was_killed_is_fenced(tmp_path: Path) -> None:
    """A storage that was never used, or whose broker stopped in order, needs nothing."""
    assert not kafka_fence.was_killed(tmp_path)
    (tmp_path / "__cluster_metadata-0").mkdir()
    assert kafka_fence.was_killed(tmp_path)
    (tmp_path / ".kafka_cleanshutdown").touch()
    assert not kafka_fence.was_killed(tmp_path)


def test_the_controller_alone_has_the_nodes_settings_and_no_broker() -> None:
    """Same storage and quorum, one role, one listener, and nobody waits for the old broker's session."""
    node = lines(kafka.server_properties(Path("/data"), 1111, 2222))
    alone = lines(kafka_fence.controller_properties("".join(f"{k}={v}\n" for k, v in node.items())))
    assert (alone["process.roles"], alone["listeners"]) == ("controller", "CONTROLLER://127.0.0.1:2222")
    assert "advertised.listeners" not in alone
    assert int(alone["broker.session.timeout.ms"]) < int(node["broker.session.timeout.ms"])
    assert all(alone[name] == node[name] for name in ("log.dirs", "node.id", "controller.quorum.voters"))


def test_it_has_done_its_work_when_the_old_broker_is_fenced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so in its log; where nobody is to be fenced, a moment after it became active is enough."""
    log, settings = tmp_path / "log", tmp_path / "server.properties"
    settings.write_text(kafka.server_properties(tmp_path, 1111, 2222))
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    part = kafka_fence.fencing_part("java", (), settings, log)
    log.write_text("")
    assert not part.ready(PROCESS)
    log.write_text("Performing controller activation.\n")
    assert not part.ready(PROCESS)
    log.write_text("Performing controller activation.\nFencing broker 1 because its session has timed out\n")
    assert part.ready(PROCESS)
    log.write_text("Performing controller activation.\n")
    assert not part.ready(PROCESS)
    now = 110.0
    assert part.ready(PROCESS)
