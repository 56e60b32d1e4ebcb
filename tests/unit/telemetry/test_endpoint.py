"""The endpoint: what it answers, and that nobody can hold it, or the process, up."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry, Counter

from keyfold.config import ConfigError, Telemetry, telemetry_at
from keyfold.telemetry import http
from keyfold.telemetry.endpoint import RENDER_SECONDS, Endpoint, Pages
from keyfold.telemetry.serving import serving
from keyfold.telemetry.vitals import Check, Vitals


class Page:
    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status, self.body, self.headers = status, body, headers

    @property
    def document(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


def ask(port: int, path: str, method: str = "GET") -> Page:
    request = Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urlopen(request, timeout=5) as response:  # noqa: S310
            return Page(response.status, response.read(), dict(response.headers))
    except HTTPError as error:
        return Page(error.code, error.read(), dict(error.headers))


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def say(port: int, sent: bytes, timeout_s: float = 5.0) -> bytes:
    """Send bytes and read until the other end closes."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=timeout_s)) as connection:
        connection.sendall(sent)
        found = b""
        try:
            while part := connection.recv(65536):
                found += part
        except ConnectionResetError:
            pass
        return found


@pytest.fixture
def vitals() -> Vitals:
    return Vitals("policy")


@pytest.fixture
def port(vitals: Vitals) -> Iterator[int]:
    registry = CollectorRegistry()
    Counter("keyfold_test", "For this test.", registry=registry).inc()
    endpoint = Endpoint(Pages(vitals, registry))
    endpoint.start("127.0.0.1", 0)
    yield endpoint.port
    endpoint.stop()


def test_metrics_are_served_as_prometheus_reads_them(port: int) -> None:
    """With its content type, and the help text."""
    page = ask(port, "/metrics")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/plain; version=")
    assert b"# HELP keyfold_test_total For this test.\n" in page.body
    assert b"keyfold_test_total 1.0\n" in page.body


def test_readiness_is_a_status_and_its_reasons(port: int, vitals: Vitals) -> None:
    """503 while a check is not ok, with each check and its reason; 200 when all are."""
    page = ask(port, "/readyz")
    assert (page.status, page.document["status"]) == (503, "not-ready")
    checks = [Check("token", False, "Missing")]
    vitals.add(lambda: checks)
    vitals.look()
    assert ask(port, "/readyz").document == {
        "service": "policy",
        "status": "not-ready",
        "checks": [{"name": "event-loop", "ok": True}, {"name": "token", "ok": False, "reason": "Missing"}],
    }
    assert ask(port, "/livez").status == 200
    checks[:] = [Check("token", True)]
    vitals.look()
    assert (ask(port, "/readyz").status, ask(port, "/readyz").document["status"]) == (200, "ready")


def test_liveness_is_answered_while_the_process_is_stuck(port: int, vitals: Vitals) -> None:
    """The answer comes from a thread of its own: 503 when a vital check failed."""
    vitals.add(lambda: [Check("main-loop", False, "made no step for 130 s", vital=True)])
    vitals.look()
    page = ask(port, "/livez")
    assert (page.status, page.document["status"]) == (503, "stuck")


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/livez", "POST", 405), ("/x?a=1", "GET", 404)]
)
def test_nothing_else_is_served(port: int, path: str, method: str, status: int) -> None:
    """Other paths and methods have short answers."""
    assert ask(port, path, method).status == status


def test_a_query_is_passed_over_and_head_has_no_body(port: int) -> None:
    """Probes may add what they like."""
    assert ask(port, "/livez?verbose=1").status == 200
    page = ask(port, "/livez", "HEAD")
    assert (page.status, page.body) == (200, b"")


@pytest.mark.parametrize(
    "head", [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / SPDY/3\r\n\r\n", b"\xff\xfe\x00 /livez HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_request_is_refused(port: int, head: bytes) -> None:
    """And the next one is served."""
    assert say(port, head).split(b" ")[1] in {b"400", b"405"}
    assert ask(port, "/livez").status == 200


def test_a_head_without_an_end_is_cut_off(port: int) -> None:
    """More than 8 KiB is not read."""
    assert b"200" not in say(port, b"GET /livez HTTP/1.1\r\n" + b"X: " + b"a" * 100_000)
    assert ask(port, "/livez").status == 200


def test_who_is_slow_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that does not come within the deadline ends the connection."""
    monkeypatch.setattr(http, "READ_SECONDS", 0.2)
    began = time.monotonic()
    assert say(port, b"GET /livez HTTP/1.1\r\n") == b""
    assert time.monotonic() - began < 3


def test_connections_are_bounded_and_come_back(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond the bound are closed at once; when the silent ones are cut off, others are served again."""
    monkeypatch.setattr(http, "READ_SECONDS", 0.5)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(http.CONNECTIONS)]
    try:
        time.sleep(0.1)
        assert say(port, b"GET /livez HTTP/1.1\r\n\r\n") == b""
        time.sleep(0.8)
        assert ask(port, "/livez").status == 200
    finally:
        for connection in silent:
            connection.close()


def test_metrics_are_rendered_at_most_once_a_second() -> None:
    """However often they are asked for: whoever may reach the port cannot take the machine's time."""
    now, registry = [0.0], CollectorRegistry()
    counter = Counter("keyfold_test", "For this test.", registry=registry)
    pages = Pages(Vitals("policy"), registry, lambda: now[0])
    assert b"keyfold_test_total 0.0" in pages.answer("/metrics").body
    counter.inc()
    assert b"keyfold_test_total 0.0" in pages.answer("/metrics").body
    now[0] += RENDER_SECONDS + 0.1
    assert b"keyfold_test_total 1.0" in pages.answer("/metrics").body


async def test_an_address_that_cannot_be_had_does_not_end_the_process(tmp_path: Path) -> None:
    """The service goes on without; nothing is told of an address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        settings = Telemetry(port=taken.getsockname()[1])
        async with serving(settings, "policy", tmp_path / "policy-0.telemetry") as telemetry:
            telemetry.vitals.look()
            assert files(tmp_path) == []


async def test_it_is_off_by_default(tmp_path: Path) -> None:
    """No thread, no task, no file."""
    threads, tasks = threading.active_count(), len(asyncio.all_tasks())
    async with serving(Telemetry(), "policy", tmp_path / "policy-0.telemetry"):
        assert (threading.active_count(), len(asyncio.all_tasks())) == (threads, tasks)
        assert files(tmp_path) == []


async def test_a_running_process_is_looked_at_and_tells_where(tmp_path: Path) -> None:
    """Port 0 takes a free one; a file says which, and goes when the process ends. Looks come by themselves."""
    file = tmp_path / "run" / "policy-0.telemetry"
    async with serving(Telemetry(port=0), "policy", file) as telemetry:
        told = json.loads(file.read_text())
        assert (await asyncio.to_thread(ask, told["port"], "/readyz")).status == 503
        telemetry.vitals.add(lambda: [Check("registry", True)])
        for _ in range(40):
            await asyncio.sleep(0.1)
            page = await asyncio.to_thread(ask, told["port"], "/readyz")
            if page.status == 200:
                break
        assert page.status == 200
        assert b"keyfold_ready 1.0" in (await asyncio.to_thread(ask, told["port"], "/metrics")).body
    assert not file.exists()
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(ask, told["port"], "/livez")


@pytest.mark.parametrize("address", ["9090", ":9090", "host:", "host:99999", "host:-1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """It is a mistake of who starts the process."""
    with pytest.raises(ConfigError, match="HOST:PORT"):
        telemetry_at(Telemetry(), address)


def test_an_address_of_the_command_line_takes_the_place_of_the_settings() -> None:
    """For containers, which share one settings file."""
    assert telemetry_at(Telemetry(port=1), None).port == 1
    settings = telemetry_at(Telemetry(port=1), "0.0.0.0:9464")
    assert (settings.host, settings.port) == ("0.0.0.0", 9464)  # noqa: S104
    assert telemetry_at(Telemetry(), "[::1]:0").host == "::1"
