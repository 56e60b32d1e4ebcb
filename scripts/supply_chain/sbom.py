"""A CycloneDX 1.6 document of what a lock file pins: names, versions, purls, digests, licences, and who needs whom.

Licences are read from the metadata of what is installed, where that is the pinned version; the rest comes from the lock
alone. The same lock and licences make the same bytes: there is no time in it, and its serial number is a digest.
"""

import tomllib
import uuid
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from supply_chain.locks import PROJECT, ROOT, Pin

SCHEMA: Final = SchemaVersion.V1_6

_NAMESPACE: Final = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562, appendix A: names that are URLs
_CLASSIFIER: Final = "License :: OSI Approved :: "
_LONGEST_NAME: Final = 64

Licences = Callable[[Pin], list[License]]


def installed_licences(pin: Pin) -> list[License]:
    """What the installed package says of itself; nothing where another version, or none, is installed."""
    try:
        told = metadata.metadata(pin.name)
    except metadata.PackageNotFoundError:
        return []
    if told["Version"] != pin.version:
        return []
    expression, text = told.get("License-Expression"), (told.get("License") or "").strip()
    if expression:
        return [LicenseFactory().make_from_string(expression)]
    if text and len(text) <= _LONGEST_NAME and "\n" not in text:
        return [LicenseFactory().make_from_string(text)]
    classifiers = told.get_all("Classifier") or []
    return [DisjunctiveLicense(name=each.removeprefix(_CLASSIFIER)) for each in classifiers if _CLASSIFIER in each]


def sbom(pins: Iterable[Pin], *, licences: Licences = installed_licences) -> str:
    """Return the document, as JSON with a line end."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    root = Component(
        name=PROJECT,
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref=f"{PROJECT}=={project['version']}",
        purl=PackageURL("generic", None, PROJECT, project["version"]),
        licenses=[LicenseFactory().make_from_string(project["license"])],
    )
    packages = {pin.name: (pin, _component(pin, licences(pin))) for pin in pins}
    bom = Bom(components=[component for _, component in packages.values()])
    bom.metadata.component = root
    parents = {PROJECT: root} | {name: component for name, (_, component) in packages.items()}
    needs: dict[str, list[Component]] = {name: [] for name in parents}
    for pin, component in packages.values():
        for parent in set(pin.needed_by) & needs.keys():
            needs[parent].append(component)
    for name, component in parents.items():
        bom.register_dependency(component, needs[name])
    bom.metadata.timestamp = None
    bom.serial_number = uuid.uuid5(_NAMESPACE, repr([pin for pin, _ in packages.values()]))
    return make_outputter(bom, OutputFormat.JSON, SCHEMA).output_as_string(indent=2) + "\n"


def _component(pin: Pin, licences: list[License]) -> Component:
    return Component(
        name=pin.name,
        version=pin.version,
        bom_ref=f"{pin.name}=={pin.version}",
        purl=PackageURL("pypi", None, pin.name, pin.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in pin.sha256],
        licenses=licences,
    )
