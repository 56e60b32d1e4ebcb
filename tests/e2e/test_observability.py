"""A whole deployment with all of its telemetry on: health with reasons, metrics, one trace through all processes.

And none of it tells a secret: plaintexts, data keys, PINs and signing keys are looked for in every page, trace and log.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.conftest import CommandLine
from tests.support.collector import Collector, Exported, collector
from tests.support.scene import SECRET, Scene, set_up, spellings
from tests.support.spans import collected, identity, parent
from tests.support.whole_system import WholeSystem

from keyfold.config import Config, Telemetry, save_config
from keyfold.events.errors import KeyfoldError

pytestmark = pytest.mark.stack

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
SERVICES = {"policy", "hsm", "notary", "projector", "scheduler", "analytics"}


@dataclass(frozen=True)
class Watched:
    """The deployment and the collector that its services send traces to."""

    system: WholeSystem
    traces: Collector

    @property
    def config(self) -> Config:
        return self.system.config

    def ports(self) -> dict[str, int]:
        files = self.config.run_directory.glob("*.telemetry")
        return {file.name.partition("-")[0]: json.loads(file.read_text())["port"] for file in files}

    def page(self, service: str, path: str) -> tuple[int, bytes]:
        try:
            with urlopen(f"http://127.0.0.1:{self.ports()[service]}{path}", timeout=10) as response:
                return response.status, response.read()
        except HTTPError as error:
            return error.code, error.read()

    def readiness(self, service: str) -> tuple[int, dict[str, str]]:
        """The status, and the reasons of what is not ok."""
        status, body = self.page(service, "/readyz")
        return status, {check["name"]: check["reason"] for check in json.loads(body)["checks"] if not check["ok"]}

    def samples(self, service: str) -> Samples:
        text = self.page(service, "/metrics")[1].decode()
        families = text_string_to_metric_families(text)
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Ports are free ones; the settings are those of an operator who turned everything on."""
    system = WholeSystem(tmp_path_factory.mktemp("watched") / "data")
    with collector() as traces:
        try:
            config = system.stack.start_infrastructure()
            save_config(config.model_copy(update={"telemetry": Telemetry(port=0, traces=traces.address)}))
            system.begin()
            yield Watched(system, traces)
        finally:
            system.stack.reset()


@pytest.fixture(scope="module")
def scene(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return set_up(watched.config, tmp_path_factory.mktemp("people"))


def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.2)
    return found


def test_every_service_is_alive_and_ready(watched: Watched) -> None:
    """Each serves its own pages, at an address that it says."""
    assert set(watched.ports()) == SERVICES
    for service in SERVICES:
        until(lambda service=service: watched.readiness(service) == (200, {}))
        status, body = watched.page(service, "/livez")
        assert (status, json.loads(body)["service"]) == (200, service)


def test_one_trace_leads_through_every_process(watched: Watched, scene: Scene) -> None:
    """From the caller's own span through request, decision and execution to the reply, each below the one before."""

    async def call() -> None:
        async with scene.client("alice") as kms:
            with spans.tracer.start_as_current_span("order"):
                await kms.encrypt(scene.keys["hsm"], SECRET)

    with collected() as spans:
        asyncio.run(call())
    request = spans.one("client.request")
    assert parent(request) == identity(spans.one("order"))
    trace, own = (f"{number:0{digits}x}" for number, digits in zip(identity(request), (32, 16), strict=True))

    def story() -> list[Exported]:
        found = {span.name: span for span in watched.traces.spans() if span.trace == trace}
        names = ("policy.decide", "hsm.execute", "reply")
        return [found[name] for name in names] if found.keys() >= set(names) else []

    decide, execute, reply = until(story)
    assert [decide.parent, execute.parent, reply.parent] == [own, decide.span, execute.span]
    assert [each.service for each in (decide, execute, reply)] == ["keyfold-policy", "keyfold-hsm", "keyfold-hsm"]
    command = (request.attributes or {})["keyfold.command"]
    assert decide.attributes["keyfold.command"] == execute.attributes["keyfold.command"] == command
    shared = until(lambda: [s for s in watched.traces.spans() if execute.span in s.links])
    assert shared[0].name == "hsm.transaction"


def test_work_is_counted(watched: Watched, scene: Scene) -> None:
    """By verb and stage, as the dashboard and the rules read it; nothing is behind afterwards."""
    encrypted = ("keyfold_hsm_operation_seconds_count", (("verb", "Encrypt"),))
    before = watched.samples("hsm").get(encrypted, 0)

    async def work() -> None:
        async with scene.client("alice") as kms:
            await kms.encrypt_batch(scene.keys["hsm"], [b"one", b"two"])
            with pytest.raises(KeyfoldError):
                await kms.encrypt(scene.keys["disabled"], b"three")

    asyncio.run(work())
    # A reply may be here before its commit is counted.
    until(lambda: watched.samples("hsm").get(encrypted, 0) > before)
    until(lambda: _refused(watched.samples("policy")))
    policy, hsm = watched.samples("policy"), watched.samples("hsm")
    assert policy["keyfold_policy_commands_total", (("code", ""), ("verb", "Encrypt"))] >= 1
    for stage in ("admission", "decision", "commit"):
        assert policy["keyfold_policy_stage_seconds_count", (("stage", stage),)] > 0
    for stage in ("intake", "execute", "commit", "unwrap"):
        assert hsm["keyfold_hsm_stage_seconds_count", (("stage", stage),)] > 0
    until(lambda: watched.samples("hsm").get(("keyfold_hsm_handle_cache_hits_total", ()), 0) > 0)
    until(lambda: (lag := _lag(watched.samples("projector"))) and max(lag) <= 5)


def _refused(samples: Samples) -> bool:
    return any(name == "keyfold_policy_commands_total" and dict(labels)["code"] for name, labels in samples)


def _lag(samples: Samples) -> list[float]:
    return [value for (name, _), value in samples.items() if name == "keyfold_consumer_lag"]


def test_pages_traces_and_logs_have_no_secret(watched: Watched, scene: Scene) -> None:
    """Everything that telemetry says, after a call of each kind; the command's id and verb are there, so it can see."""

    async def work() -> list[bytes]:
        async with scene.client("alice") as kms, scene.admin() as admin:
            for name in ("software", "hsm"):
                ciphertext = await kms.encrypt(scene.keys[name], SECRET, context={"order": "1"})
                assert await kms.decrypt(scene.keys[name], ciphertext, context={"order": "1"}) == SECRET
                with pytest.raises(KeyfoldError):
                    await kms.decrypt(scene.keys[name], SECRET * 4)
            with pytest.raises(KeyfoldError):
                await kms.encrypt(scene.keys["disabled"], SECRET)
            await admin.rotate_key(scene.keys["software"])
            made = await kms.generate_data_key(scene.keys["hsm"])
            return [made.plaintext, await kms.generate_random(32)]

    with collected() as spans:
        made = asyncio.run(work())
        requests = spans.named("client.request")
    command = str((requests[0].attributes or {})["keyfold.command"]).encode()
    until(lambda: command in b"".join(watched.traces.bodies))
    everything = [watched.page(service, path)[1] for service in SERVICES for path in ("/metrics", "/livez", "/readyz")]
    everything += [*watched.traces.bodies, *(span.to_json().encode() for span in spans.all())]
    everything += [path.read_bytes() for path in watched.config.logs_directory.glob("*.log")]
    told = b"\n".join(everything)
    assert b'verb="Encrypt"' in told
    assert b"telemetry-served" in told
    secrets = [SECRET, *made, *_private_keys(watched.config)]
    forbidden = [spelling for secret in secrets for spelling in spellings(secret)]
    forbidden += [path.read_bytes().strip() for path in watched.config.pins_directory.iterdir()]
    assert len(forbidden) > 20
    assert [needle for needle in forbidden if needle in told] == []


def test_metrics_and_traces_name_no_principal_and_no_key(watched: Watched, scene: Scene) -> None:
    """Labels stay few, and who does what is for the audit trail alone."""
    pages = b"".join(watched.page(service, "/metrics")[1] for service in SERVICES)
    told = pages + b"".join(watched.traces.bodies)
    for name in (*scene.keys.values(), scene.people["alice"].name, scene.people["alice"].signer.fingerprint):
        assert name.encode() not in told, name


def test_what_is_missing_is_told_and_nobody_is_taken_for_stuck(watched: Watched, tmp_path: Path) -> None:
    """Without Postgres its users are not ready, for a reason, and alive; `doctor` says it too. Then all is well."""
    watched.system.stack.kill("postgres")
    status, reasons = until(lambda: _failing(watched, "projector"))
    assert status == 503
    assert "store" in reasons
    assert "projections" in until(lambda: _failing(watched, "scheduler"))[1]
    for service in ("projector", "scheduler", "policy", "hsm"):
        assert watched.page(service, "/livez")[0] == 200
    assert watched.readiness("policy") == (200, {})
    line = CommandLine(watched.config.data_directory, tmp_path)
    told = line("--json", "doctor")
    checks = {check["name"]: check for check in told.document["checks"]}
    assert told.code == 3
    projector = checks[next(name for name in checks if name.startswith("readiness of projector"))]
    assert projector["verdict"] == "problem"
    assert "store: StoreUnavailable" in projector["found"]
    assert "start Postgres" in projector["advice"]
    assert checks["readiness of policy-0"]["verdict"] == "ok"
    watched.system.stack.start("postgres")
    until(lambda: watched.readiness("projector") == (200, {}), 60)
    until(lambda: watched.readiness("scheduler") == (200, {}), 60)
    status = line("--json", "status").document
    assert isinstance(status["analytics"]["lag"], int)


def _failing(watched: Watched, service: str) -> tuple[int, dict[str, str]] | None:
    found = watched.readiness(service)
    return found if found[0] != 200 else None


def _private_keys(config: Config) -> list[bytes]:
    files = [json.loads(path.read_text()) for path in config.identities_directory.glob("*.json")]
    return [bytes.fromhex(file["ed25519"]) for file in files]
