"""The Kubernetes manifests: valid by Kubernetes' schemas, confined, without a secret, and complete."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest
from tests.support.manifests import (
    DIRECTORIES,
    FOLDER,
    Manifest,
    built,
    containers,
    given,
    kustomization,
    manifests,
    pod,
    workloads,
)

from keyfold.config import Config

ROOT = FOLDER.parents[1]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
VERSIONS = ["1.30", "1.37"]
OVERLAYS = [FOLDER / "example", FOLDER / "example" / "before", FOLDER / "example" / "after"]
EXAMPLE = list(manifests(FOLDER / "example"))
JOBS = [each for step in ("before", "after") for each in manifests(FOLDER / "example" / step)]
SERVICES = workloads(EXAMPLE)
STARTED = {**SERVICES, **workloads(JOBS)}
SETTINGS = {each["metadata"]["name"]: each["data"] for each in EXAMPLE + JOBS if each["kind"] == "ConfigMap"}
POLICIES = {each["metadata"]["name"]: each["spec"] for each in EXAMPLE if each["kind"] == "NetworkPolicy"}


def named(directory: Path) -> str:
    return str(directory.relative_to(FOLDER))


def label(workload: Manifest) -> str:
    name: str = workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
    return name


def deploy() -> ModuleType:
    """The steps of docker-compose.yml, whose table says what each service is given."""
    spec = importlib.util.spec_from_file_location("deploy", ROOT / "scripts" / "images" / "keyfold" / "deploy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("directory", OVERLAYS, ids=named)
def test_manifests_are_valid(directory: Path, version: str) -> None:
    """Every manifest fits its schema, without a field that the schema does not have."""
    found = list(manifests(directory))
    assert found
    for manifest in found:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, which has kustomize in it, is not installed")
@pytest.mark.parametrize("directory", DIRECTORIES, ids=named)
def test_kustomize_builds_the_same(directory: Path) -> None:
    """Kustomize makes of a directory what is read here, with the images and addresses of the overlay."""
    found = built(directory)
    assert sorted(each["kind"] for each in found) == sorted(each["kind"] for each in manifests(directory))
    for image in kustomization(directory).get("images", []):
        assert f"'image': '{image['newName']}:{image['newTag']}'" in str(found) or image["name"] not in str(found)
    for patch in kustomization(directory).get("patches", []):
        target = next(
            each for each in found if (each["kind"], each["metadata"]["name"]) == tuple(patch["target"].values())
        )
        assert "ipBlock" in target["spec"]["egress"][0]["to"][0]


def test_every_file_is_used() -> None:
    """No manifest lies in a directory without belonging to it."""
    used = {
        (directory / name).resolve()
        for directory in DIRECTORIES
        for told in [kustomization(directory)]
        for name in (
            "kustomization.yaml",
            *told.get("resources", []),
            *(line.split("=")[1] for each in told.get("configMapGenerator", []) for line in each["files"]),
        )
    }
    assert {path for path in FOLDER.rglob("*") if path.is_file()} == {path for path in used if path.is_file()}


def test_every_service_of_compose_is_there() -> None:
    """What docker-compose.yml serves is served here, by the same words, and nothing else."""
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    served = re.findall(r"command: \[serve, (\w+)\]", compose)
    assert len(served) >= 6
    assert set(SERVICES) == set(served)
    for name, workload in SERVICES.items():
        assert [each["args"] for each in pod(workload)["containers"]] == [["serve", name]]


def test_instances_keep_their_names() -> None:
    """A service that takes `--instance` runs in pods whose names stay."""
    kinds = {name: workload["kind"] for name, workload in SERVICES.items()}
    assert kinds.pop("scheduler") == "Deployment"
    assert set(kinds.values()) == {"StatefulSet"}


@pytest.mark.parametrize("name", STARTED)
def test_pods_are_confined(name: str) -> None:
    """No root, no rights, nothing to write to but volumes, the default seccomp profile, no account."""
    spec = pod(STARTED[name])
    user = int(re.findall(r"useradd --uid (\d+)", (ROOT / "scripts/images/keyfold/Dockerfile").read_text())[0])
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (user, user, user)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & spec.keys()
    assert not any("hostPath" in volume for volume in spec["volumes"])
    for container in containers(STARTED[name]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_watched(name: str) -> None:
    """Liveness asks /livez, readiness /readyz, on the port that the settings serve health on."""
    (container,) = pod(SERVICES[name])["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    telemetry = json.loads(SETTINGS[f"keyfold-{name}-settings"]["keyfold.json"])["telemetry"]
    assert telemetry == {"host": "0.0.0.0", "port": ports["telemetry"]}  # noqa: S104
    pages = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert pages == {
        "startupProbe": {"path": "/livez", "port": "telemetry"},
        "livenessProbe": {"path": "/livez", "port": "telemetry"},
        "readinessProbe": {"path": "/readyz", "port": "telemetry"},
    }


def test_disruptions_are_bounded() -> None:
    """One pod of a service at a time is taken away, and a drain is never held up for ever."""
    budgets = [each for each in EXAMPLE if each["kind"] == "PodDisruptionBudget"]
    assert {each["metadata"]["name"] for each in budgets} == set(SERVICES)
    for each in budgets:
        service = SERVICES[each["metadata"]["name"]]
        assert each["spec"]["maxUnavailable"] == 1
        assert each["spec"]["selector"] == service["spec"]["selector"]
        assert service["spec"]["selector"]["matchLabels"] == service["spec"]["template"]["metadata"]["labels"]


def test_no_secret_is_in_a_manifest() -> None:
    """Secrets are named, never made; no variable is set; settings hold places, as their model sees to."""
    for manifest in EXAMPLE + JOBS:
        assert manifest["kind"] != "Secret"
        assert not {"env", "envFrom"} & set(re.findall(r"'(\w+)':", str(manifest)))
    assert all("secretGenerator" not in kustomization(directory) for directory in DIRECTORIES)
    for data in SETTINGS.values():
        Config.model_validate_json(data["keyfold.json"])
    for path in FOLDER.rglob("*"):
        assert path.is_dir() or not re.search(r"PRIVATE KEY|BEGIN |password\s*[=:]\s*\S", path.read_text("utf-8"))


@pytest.mark.parametrize("name", STARTED)
def test_settings_name_what_is_mounted(name: str) -> None:
    """Each file that the settings of a pod name is given to it, and each file that it is given has a use."""
    volumes = {volume["name"]: volume for volume in pod(STARTED[name])["volumes"]}
    settings = SETTINGS[volumes["settings"]["configMap"]["name"]]["keyfold.json"]
    paths = {path for _, _, path in given(STARTED[name])}
    files = {path for path in re.findall(r"/run/keyfold/([^\s\"]+)", settings) if path not in ("pins", "identities")}
    assert files == {path for path in paths if path.startswith(("kafka/", "postgres/"))}
    mounts = [mount["mountPath"] for mount in pod(STARTED[name])["containers"][0]["volumeMounts"]]
    module = json.loads(settings)["pkcs11_module"]
    assert any(module.startswith(f"{mount}/") for mount in mounts) == (name in ("hsm", "notary"))


def test_services_are_given_what_compose_gives_them() -> None:
    """Identities, PINs and database passwords of a service, and no other service's."""
    for name, share in deploy().SHARED.items():
        if name == "cli":
            continue
        passwords = {f"{role}.pgpass" for role in (share.role, share.reader) if role}
        wanted = {f"{identity}.json" for identity in share.identities} | set(share.pins) | passwords
        assert {key for secret, key, _ in given(SERVICES[name]) if secret == f"keyfold-{name}"} == wanted, name


def test_the_network_is_closed_but_for_what_is_needed() -> None:
    """Kafka, Postgres, DNS and telemetry; the scheduler reaches issuers, who meets a token reaches it."""
    assert POLICIES["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ports = {
        name: sorted({port["port"] for rule in rules(spec) for port in rule["ports"]})
        for name, spec in POLICIES.items()
        if name != "nothing"
    }
    others = {name: ports.pop(name) for name in ("issuers", "token")}
    assert ports == {"telemetry": [9464], "dns": [53], "kafka": [9093], "postgres": [5432]}
    assert others["issuers"] == [443]
    assert POLICIES["issuers"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "scheduler"}
    assert selected("token") == {"hsm", "notary"}
    meets = {label(each) for each in STARTED.values() if any("passfile" in path for _, _, path in given(each))}
    assert selected("postgres") == meets
    for name, spec in POLICIES.items():
        assert all(rule.get("to") or rule.get("from") for rule in rules(spec)), name


def rules(spec: Manifest) -> list[Any]:
    return [*spec.get("ingress", []), *spec.get("egress", [])]


def selected(policy: str) -> set[str]:
    (expression,) = POLICIES[policy]["podSelector"]["matchExpressions"]
    return set(expression["values"])


def test_the_page_names_every_secret() -> None:
    """docs/kubernetes.md says which Secrets and ConfigMaps are to be made, with which keys; and every claim."""
    for name, workload in STARTED.items():
        for source, key, _ in given(workload):
            assert f"`{source}`" in PAGE or (source.endswith("-kafka") and "`keyfold-<service>-kafka`" in PAGE), source
            assert f"`{key}`" in PAGE, (name, key)
        for volume in pod(workload)["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert f"`{volume['persistentVolumeClaim']['claimName']}`" in PAGE
