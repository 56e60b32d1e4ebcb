"""Kubernetes manifests as values: a directory with a `kustomization.yaml`, read as far as the documents use it.

Names of further directories, files with manifests, and ConfigMaps generated from files are resolved; images and patches
are not applied. What kustomize itself makes of a directory is `built`.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

Manifest = dict[str, Any]

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "kubernetes"
DIRECTORIES: Final = sorted(path.parent for path in FOLDER.rglob("kustomization.yaml"))


def kustomization(directory: Path) -> Manifest:
    """The text that says what belongs to a directory."""
    found: Manifest = yaml.safe_load((directory / "kustomization.yaml").read_text("utf-8"))
    return found


def manifests(directory: Path) -> Iterator[Manifest]:
    """Everything that a directory consists of."""
    told = kustomization(directory)
    for name in told.get("resources", []):
        place = (directory / name).resolve()
        if place.is_dir():
            yield from manifests(place)
        else:
            yield from yaml.safe_load_all(place.read_text("utf-8"))
    for generated in told.get("configMapGenerator", []):
        files = dict(line.split("=", 1) for line in generated["files"])
        data = {key: (directory / file).read_text("utf-8") for key, file in files.items()}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generated["name"]}, "data": data}


def built(directory: Path) -> list[Manifest]:
    """What kustomize makes of a directory. Raises `CalledProcessError` where it refuses it."""
    done = subprocess.run(["kubectl", "kustomize", str(directory)], capture_output=True, check=True, timeout=60)
    return list(yaml.safe_load_all(done.stdout))


def workloads(found: list[Manifest]) -> dict[str, Manifest]:
    """Name → what starts pods."""
    kinds = {"Deployment", "StatefulSet", "Job"}
    return {each["metadata"]["name"]: each for each in found if each["kind"] in kinds}


def pod(workload: Manifest) -> Manifest:
    """What the pods of a workload are."""
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def containers(workload: Manifest) -> list[Manifest]:
    """All containers of a pod, those that come first, too."""
    spec = pod(workload)
    return [*spec.get("initContainers", []), *spec["containers"]]


def given(workload: Manifest) -> set[tuple[str, str, str]]:
    """What a pod finds under /run/keyfold: (Secret or ConfigMap, key, path)."""
    volume = next(volume for volume in pod(workload)["volumes"] if volume["name"] == "secrets")
    sources = [source for each in volume["projected"]["sources"] for source in each.values()]
    return {(source["name"], item["key"], item["path"]) for source in sources for item in source["items"]}
