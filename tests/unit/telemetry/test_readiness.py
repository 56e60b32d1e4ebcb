"""`keyfold doctor` and `keyfold status` ask processes how they are: of this machine by their files, others by name."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge
from tests.unit.test_config import make_config

from keyfold.cli import doctor
from keyfold.cli.readiness import Readiness, analytics_lag, processes, readiness
from keyfold.config import Config, Telemetry
from keyfold.telemetry.endpoint import Endpoint, Pages
from keyfold.telemetry.vitals import Check, Vitals


@contextmanager
def process(service: str, *checks: Check, registry: CollectorRegistry | None = None) -> Iterator[int]:
    """A process that serves these checks; yield its port."""
    vitals = Vitals(service)
    vitals.add(lambda: checks)
    vitals.look()
    endpoint = Endpoint(Pages(vitals, registry or CollectorRegistry()))
    endpoint.start("127.0.0.1", 0)
    try:
        yield endpoint.port
    finally:
        endpoint.stop()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    made = make_config(tmp_path)
    made.run_directory.mkdir()
    return made


@pytest.fixture
def told(config: Config) -> Callable[[str, int], None]:
    """Write the file by which a process says where it serves."""

    def tell(name: str, port: int, host: str = "127.0.0.1") -> None:
        file = config.run_directory / f"{name}.telemetry"
        file.write_text(json.dumps({"pid": 1, "host": host, "port": port}))

    return tell


def with_services(config: Config, **services: str) -> Config:
    return config.model_copy(update={"telemetry": Telemetry(services=services)})


def test_processes_are_found_by_file_and_by_setting(config: Config, told: Callable[..., None]) -> None:
    """Who listens everywhere is asked here; a file that is damaged is passed over."""
    told("policy-0", 9001)
    told("hsm-0", 9002, "0.0.0.0")  # noqa: S104
    told("notary-0", 9003, "::1")
    (config.run_directory / "projector-0.telemetry").write_text("{")
    found = processes(with_services(config, far="keyfold.example:9464"))
    assert found == {
        "policy-0": "127.0.0.1:9001",
        "hsm-0": "127.0.0.1:9002",
        "notary-0": "[::1]:9003",
        "far": "keyfold.example:9464",
    }


def test_reasons_are_told_with_what_to_do(config: Config, told: Callable[..., None]) -> None:
    """What is ready is ok; what is not is a problem, with the reason and advice; so is who does not answer."""
    missing = Check("token", False, "Missing TokenNotFound")
    with process("policy", Check("registry", True)) as ready, process("hsm", missing, Check("x", True)) as broken:
        told("policy-0", ready)
        told("hsm-0", broken)
        asked = with_services(config, gone="127.0.0.1:9")
        found = {each.process: each for each in readiness(asked)}
        checks = {each.name: each for each in doctor._readiness(asked)}
    assert found["policy-0"] == Readiness("policy-0", ready=True)
    assert found["hsm-0"] == Readiness("hsm-0", reasons=(("token", "Missing TokenNotFound"),))
    assert found["gone"].error == "no answer at 127.0.0.1:9: ConnectionRefusedError"
    assert [check.verdict for check in checks.values()] == ["problem", "ok", "problem"]
    hsm = checks["readiness of hsm-0"]
    assert hsm.found == "token: Missing TokenNotFound"
    assert "docs/operations.md" in hsm.advice
    assert "telemetry.services" in checks["readiness of gone"].advice


def test_every_check_has_advice() -> None:
    """docs/observability.md lists all checks; what doctor knows nothing about sends its reader to the log."""
    text = (Path(__file__).parents[3] / "docs" / "observability.md").read_text("utf-8")
    table = text.split("| check | of |", 1)[1].split("\n\n", 1)[0]
    listed = {name.strip(" `") for row in table.splitlines()[2:] for name in row.split("|")[1].split(",")}
    assert doctor._ADVICE.keys() <= listed
    assert listed - doctor._ADVICE.keys() == {"notary", "caught-up", "restored", "stages"}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"checks": [{"name": "a\\u001b[31m", "ok": false}]}', b'{"checks": 3}'])
def test_a_stranger_is_told_as_one(config: Config, body: bytes) -> None:
    """Another program may have the port: nothing of its answer is shown."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        (found,) = readiness(with_services(config, policy=f"127.0.0.1:{server.server_address[1]}"))
    finally:
        server.shutdown()
        server.server_close()
    assert not found.ready
    assert "none of Keyfold's processes" in (found.error or "")


def test_analytics_lag_is_summed_over_its_processes(config: Config, told: Callable[..., None]) -> None:
    """None where nobody says so: it is not served, or gone."""
    assert analytics_lag(config) is None
    told("analytics-gone", 9)
    assert analytics_lag(config) is None
    registry = CollectorRegistry()
    gauge = Gauge("keyfold_analytics_source_lag", "Behind.", ["partition"], registry=registry)
    gauge.labels(0).set(3)
    gauge.labels(1).set(1200)
    with process("analytics", registry=registry) as port:
        told("analytics-0", port)
        assert analytics_lag(config) == 1203
