"""`keyfold analytics detectors`: which detectors there are, and by which numbers they judge."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer
from pydantic import BaseModel

from keyfold.analytics.detectors import DetectorSettings, all_detectors
from keyfold.cli.output import table
from keyfold.cli.session import of


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number of a detector; `name` has dots where it is a part of something."""

    detector: str
    name: str
    default: Any
    description: str


def detectors(context: typer.Context) -> None:
    """List the detectors with their parameters.

    Example: keyfold analytics detectors
    """
    settings = DetectorSettings()
    found: list[dict[str, Any]] = [
        {
            "detector": each.name,
            "scopes": sorted(each.scopes),
            "parameters": list(_parameters(each.name, getattr(settings, each.name.replace("-", "_"), None))),
        }
        for each in all_detectors(settings)
    ]
    rows = [
        (parameter.detector, parameter.name, parameter.default, parameter.description)
        for each in found
        for parameter in each["parameters"]
    ]
    of(context).show(found, table(("DETECTOR", "PARAMETER", "DEFAULT", "WHAT IT IS"), rows))


def _parameters(detector: str, settings: Any, prefix: str = "") -> Iterator[Parameter]:
    if not isinstance(settings, BaseModel):
        return
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from _parameters(detector, value, f"{prefix}{name}.")
        else:
            yield Parameter(detector, prefix + name, value, field.description or "")
