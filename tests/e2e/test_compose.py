"""The deployment of `docker-compose.yml` as its users meet it: images, three brokers, scaling, and deaths.

Driven from outside by `docker` and Compose only. The tests are one story, in the order in which they stand.
"""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support import engine

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

SERVICES = ("policy", "hsm", "notary", "projector", "scheduler", "analytics")
SCALED = ("policy", "hsm", "projector")
OWNS = {"policy": "partition-owned", "hsm": "partition-owned", "projector": "partition-restored"}
PROBE = {"keyfold-health", "bash", "sed", "cat"}
PLAIN = b"plaintext-of-the-first-file-" + secrets.token_hex(16).encode() + b"\n" + secrets.token_bytes(200_000)


class Compose:
    """One project, apart from all others on this engine."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.project = f"keyfoldtest{secrets.token_hex(4)}"
        version = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=60, check=False)
        self._program = ["docker-compose"] if version.returncode else ["docker", "compose"]
        self._environment = {**os.environ, **variables, "COMPOSE_PROJECT_NAME": self.project}

    def __call__(self, *words: str, stdin: bytes | None = None, timeout_s: float = 240) -> bytes:
        """Run what must succeed; return its standard output."""
        command = [*self._program, "--file", str(engine.ROOT / "docker-compose.yml"), *words]
        done = subprocess.run(
            command, input=stdin or b"", capture_output=True, timeout=timeout_s, check=False, env=self._environment
        )
        assert done.returncode == 0, f"{words}: {done.stderr.decode(errors='replace')[-3000:]}\n{self.told()}"
        return done.stdout

    def keyfold(self, *words: str, stdin: bytes | None = None, deps: bool = False) -> bytes:
        """Run the command line in a container of its own."""
        return self("run", "--rm", "-T", *([] if deps else ["--no-deps"]), "cli", *words, stdin=stdin)

    def tries(self, *words: str, stdin: bytes) -> bytes | None:
        """Run the command line once; return its output, or None where it says that Keyfold is not available (3)."""
        command = [*self._program, "--file", str(engine.ROOT / "docker-compose.yml"), "run", "--rm", "-T", "--no-deps"]
        done = subprocess.run(
            [*command, "cli", *words], input=stdin, capture_output=True, timeout=120, check=False, env=self._environment
        )
        assert done.returncode in {0, 3}, done.stderr.decode(errors="replace")[-3000:]
        return None if done.returncode else done.stdout

    def containers(self, service: str | None = None, *, every: bool = False) -> list[str]:
        """Return the ids of containers that run (or of every one)."""
        labels = [f"label=com.docker.compose.project={self.project}", "label=com.docker.compose.oneoff=False"]
        if service is not None:
            labels.append(f"label=com.docker.compose.service={service}")
        filters = [word for label in labels for word in ("--filter", label)]
        return docker("ps", "--quiet", "--no-trunc", *(["--all"] if every else []), *filters).split()

    def image(self, service: str) -> str:
        """Return the image that a service's containers run."""
        return str(inspected(self.containers(service)[:1])[0]["Image"])

    def told(self) -> str:
        """Return the states of all containers, and what was said last by those that ended badly."""
        lines = []
        for one in inspected(self.containers(every=True)):
            state = one["State"]
            health = state.get("Health", {}).get("Status")
            lines.append(f"{one['Name']}: {state['Status']} {state['ExitCode']} {health}")
            if state["ExitCode"] or health == "unhealthy":
                lines.append(docker("logs", "--tail", "15", one["Id"], merged=True))
        return "\n".join(lines)


def docker(*words: str, merged: bool = False) -> str:
    """Run what must succeed; return its standard output (with standard error, if both are wanted)."""
    error = subprocess.STDOUT if merged else subprocess.PIPE
    done = subprocess.run(["docker", *words], stdout=subprocess.PIPE, stderr=error, timeout=120, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout.decode(errors="replace")


def inspected(names: list[str]) -> list[dict[str, Any]]:
    """Return what the engine knows of containers."""
    found: list[dict[str, Any]] = json.loads(docker("inspect", *names)) if names else []
    return found


def until(look: Callable[[], object], what: str, timeout_s: float = 120) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(1)


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    """A deployment of four partitions, removed with its volumes whatever happened."""
    with engine.brought():
        made = Compose({**engine.images(), "KEYFOLD_PARTITIONS": "4", "KEYFOLD_KAFKA_HEAP": "-Xms128m -Xmx384m"})
        try:
            yield made
        finally:
            made("--profile", "tools", "--profile", "witness", "down", "--volumes", "--timeout", "10", timeout_s=180)
            left = docker("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={made.project}")
            assert not left
            assert not made.containers(every=True)


@pytest.fixture(scope="module")
def encrypted(compose: Compose) -> bytes:
    """The first file: one command brings everything up, one more encrypts."""
    compose("up", "--detach", timeout_s=300)
    return compose.keyfold("--as", "demo", "encrypt", "alias/demo", stdin=PLAIN, deps=True)


def decrypts(compose: Compose, ciphertext: bytes) -> bool:
    return compose.keyfold("--as", "demo", "decrypt", stdin=ciphertext) == PLAIN


def serving(compose: Compose, service: str, count: int) -> bool:
    """Tell whether so many containers of a service are healthy."""
    found = [one["State"]["Health"]["Status"] for one in inspected(compose.containers(service))]
    return found.count("healthy") == count


def owned(container: str, service: str) -> set[int]:
    """Return the partitions that a container has ever owned, by its log."""
    lines = (json.loads(line) for line in docker("logs", container, merged=True).splitlines() if line.startswith("{"))
    return {int(line["partition"]) for line in lines if line.get("action") == OWNS[service]}


def test_a_first_file_is_encrypted_with_the_second_command(compose: Compose, encrypted: bytes) -> None:
    """What comes out is an envelope without the plaintext, and opens again."""
    assert encrypted.startswith(b"KFENV")
    assert PLAIN[:60] not in encrypted
    assert decrypts(compose, encrypted)
    for service in SERVICES:
        until(lambda service=service: serving(compose, service, 1), f"{service} is not healthy")  # type: ignore[misc]


def test_what_is_acknowledged_is_on_two_brokers_at_least(compose: Compose, encrypted: bytes) -> None:
    """Topics have three replicas, and the deployment looks healthy to its doctor."""
    looked = json.loads(compose.keyfold("--json", "doctor"))["checks"]
    assert {"brokers", "broker settings", "projector", "policy", "hsm"} <= {each["name"] for each in looked}
    inside = (
        "import asyncio; from keyfold.config import load_config; from keyfold.bus import BusSettings, KafkaBus\n"
        "from keyfold.cli.health import brokers\n"
        "config = load_config('/etc/keyfold/keyfold.json')\n"
        "assert config.replication_factor == 3\n"
        "async def look():\n"
        "    admin = KafkaBus(BusSettings.of(config, 'look')).admin(); await admin.start()\n"
        "    await admin.verify_topics(config.partitions, min_insync_replicas=2); await admin.stop()\n"
        "asyncio.run(look())\n"
    )
    compose("run", "--rm", "-T", "--no-deps", "--entrypoint", "python", "cli", "-c", inside)


def test_containers_have_no_rights_that_they_do_not_need(compose: Compose, encrypted: bytes) -> None:
    """Every service: an ordinary user, a root file system that is read-only, no capability, one process."""
    for service in SERVICES:
        for one in inspected(compose.containers(service)):
            host = one["HostConfig"]
            assert one["Config"]["User"] == "keyfold", service
            assert host["ReadonlyRootfs"], service
            assert host["CapDrop"] == ["ALL"], service
            assert "no-new-privileges:true" in host["SecurityOpt"], service
            assert host["PortBindings"] in ({}, None), service
            names = [line.split()[1] for line in docker("top", one["Id"], "-eo", "pid,comm").splitlines()[1:]]
            assert [name for name in names if name not in PROBE] == ["python"], service


def test_secrets_are_in_volumes_only(compose: Compose, encrypted: bytes) -> None:
    """No PIN, password or private key stands in an image, in a container's settings or environment, or in a log."""
    seeds = """sed -n 's/.*"ed25519": *"\\([0-9a-f]*\\)".*/\\1/p' /etc/keyfold/identities/*.json"""
    script = (
        "for file in /var/lib/keyfold-password/* /etc/keyfold/pins/*; do cat $file; echo; done;"
        f"cut -d: -f5 /etc/keyfold/*.pgpass; {seeds}"
    )
    known = compose("run", "--rm", "-T", "--no-deps", "--entrypoint", "sh", "ceremony", "-c", script).decode()
    kept = {line for line in known.split() if len(line) >= 16}
    assert len(kept) >= 7 + 8 + 7, "passwords, PINs, identities"
    everything = compose.containers(every=True)
    told = docker("inspect", *everything) + "".join(docker("logs", each, merged=True) for each in everything)
    assert compose.project in told
    assert not [len(secret) for secret in kept if secret in told]
    for image in {compose.image(service) for service in ("policy", "analytics")}:
        assert not [len(secret) for secret in kept if secret in docker("history", "--no-trunc", image)]
        script = "ls -A /etc/keyfold /var/lib/keyfold-* /srv/*"
        there = docker("run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", script)
        assert not [line for line in there.splitlines() if line and not line.endswith(":")]


def test_a_service_has_only_its_own_secrets(compose: Compose, encrypted: bytes) -> None:
    """Policy has no PIN and no token, the HSM worker no administrator, and nobody but the ceremony the root's PIN."""
    kept = {service: set(_files(compose, service)) for service in SERVICES}
    assert kept["policy"] == {"identities/policy.json"}
    assert kept["hsm"] == {"identities/hsm.json", "pins/kms", "pins/seal"}
    assert kept["notary"] == {"pins/notary"}
    assert kept["projector"] == {"identities/projector.json", "keyfold_projector.pgpass"}
    assert kept["scheduler"] == {"identities/scheduler.json", "keyfold_scheduler.pgpass"}
    assert {"pins/root", "pins/root.so"} <= set(_files(compose, "ceremony"))


def _files(compose: Compose, service: str) -> list[str]:
    script = "cd /etc/keyfold && find pins identities *.pgpass -type f 2>/dev/null || true"
    out = compose("run", "--rm", "-T", "--no-deps", "--entrypoint", "sh", service, "-c", script)
    return out.decode().split()


def test_a_witness_cosigns_what_the_log_signs(compose: Compose, encrypted: bytes) -> None:
    """Made by hand, then a container like the others: it cosigns, and holds none of the deployment's secrets."""
    home, name = "/var/lib/keyfold-witness/home", "witness.example/1"
    deployment = json.loads(compose.keyfold("--json", "status"))["deployment"]
    pins = ("--name", name, "--deployment", deployment, "--bootstrap", "kafka-1:9092")
    keys = compose("run", "--rm", "-T", "--no-deps", "witness", "witness", "init", home, *pins).decode().splitlines()
    assert [key.partition("+")[0] for key in keys] == [name, name]
    compose("up", "--detach", "--no-deps", "witness")

    def cosigned() -> bool:
        heads = json.loads(compose.keyfold("--json", "audit", "checkpoints"))
        return bool(heads) and all(name in head["cosigned_by"] for head in heads)

    until(cosigned, "nothing is cosigned", 30)
    until(lambda: serving(compose, "witness", 1), "the witness is not healthy")
    assert _files(compose, "witness") == []


def test_more_containers_share_the_partitions(compose: Compose, encrypted: bytes) -> None:
    """Two of each: the newcomers take partitions over, and what was encrypted before opens."""
    compose("up", "--detach", "--no-recreate", *(w for s in SCALED for w in ("--scale", f"{s}=2")), timeout_s=300)
    for service in SCALED:
        until(lambda service=service: serving(compose, service, 2), f"{service} is not healthy")  # type: ignore[misc]
        until(
            lambda service=service: all(owned(c, service) for c in compose.containers(service)),  # type: ignore[misc]
            f"a {service} owns no partition",
        )
    assert decrypts(compose, encrypted)


def test_one_of_each_may_die(compose: Compose, encrypted: bytes) -> None:
    """kill -9 of a container of each service that is there twice, and of a broker: the others go on."""
    victims = [compose.containers(service)[0] for service in SCALED] + compose.containers("kafka-2")
    docker("kill", "--signal", "KILL", *victims)
    # Until Kafka has elected other leaders (about 10 s), a command ends with 3: not available, ask again.
    until(lambda: compose.tries("--as", "demo", "decrypt", stdin=encrypted) == PLAIN, "nobody goes on", 90)
    again = compose.keyfold("--as", "demo", "encrypt", "alias/demo", stdin=PLAIN)
    assert decrypts(compose, again)


def test_up_again_keeps_the_deployment(compose: Compose, encrypted: bytes) -> None:
    """Bringing up once more starts what is dead, holds no second ceremony and loses nothing."""
    before = json.loads(compose.keyfold("--json", "status"))["deployment"]
    compose("up", "--detach", timeout_s=300)
    for service in (*SCALED, "kafka-2"):
        until(lambda service=service: serving(compose, service, 1), f"{service} is not healthy")  # type: ignore[misc]
    assert json.loads(compose.keyfold("--json", "status"))["deployment"] == before
    assert decrypts(compose, encrypted)
