"""The conformance tables: what their fields mean and how one is read.

A table (`conformance/*.toml`) names people, keys and registry policies, steps that cases share, and cases. A step or a
case is one command: `by` whom, which `verb`, `on` which key (or `registry`, or `self`, the caller's own stream), with
`args` and whatever else a command says; `after` and `at` let time pass first. A case has what was `given` before it,
and what it `becomes`, or why it is `denied` (both with the ids of the determining `policies`) or `rejected` without an
event. How a world is made of it is in `stage`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TABLES: Final = Path(__file__).parent / "conformance"
EXPECTED: Final = ("becomes", "denied", "rejected", "policies", "would_be", "status")


@dataclass(frozen=True)
class Case:
    """One line of a table: the command that is asked, what was given before, and what must come of it."""

    table: str
    name: str
    asked: Mapping[str, Any]
    given: tuple[Any, ...]
    expected: Mapping[str, Any]

    @property
    def identifier(self) -> str:
        return f"{self.table}/{self.name}"


def read_tables() -> dict[str, dict[str, Any]]:
    return {path.stem: tomllib.loads(path.read_text("utf-8")) for path in sorted(TABLES.glob("*.toml"))}


def cases_of(name: str, table: Mapping[str, Any]) -> list[Case]:
    found = []
    for case, line in table["cases"].items():
        asked = {field: value for field, value in line.items() if field not in (*EXPECTED, "given")}
        expected = {field: line[field] for field in EXPECTED if field in line}
        found.append(Case(name, case, asked, tuple(line.get("given", ())), expected))
    return found
