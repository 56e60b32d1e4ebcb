"""The files of published answers say where they are from, and stay a small part of their originals."""

import json
import re
from typing import Any

import pytest
from tests.support.vault import PUBLISHED

FILES = sorted(path.relative_to(PUBLISHED).as_posix() for path in PUBLISHED.glob("*/*.json"))
MOST_BYTES = 1_600_000


@pytest.mark.parametrize("name", FILES)
def test_provenance(name: str) -> None:
    """Repository, path, commit or release, licence, digest of each original, and what was taken of it."""
    document: dict[str, Any] = json.loads((PUBLISHED / name).read_text("utf-8"))
    origins = document["origin"]
    for origin in origins if isinstance(origins, list) else [origins]:
        assert origin["repository"].count("/") == 1
        assert origin["path"]
        assert re.fullmatch(r"[0-9a-f]{40}", origin.get("commit", "")) or re.fullmatch(r"v?[\d.]+", origin["release"])
        assert origin["licence"]
        assert re.fullmatch(r"[0-9a-f]{64}", origin["sha256"])
    assert document["cut"]
    assert document.get("cases") or document["testGroups"]


def test_the_page_names_every_file() -> None:
    """And no file that is not there."""
    page = (PUBLISHED / "README.md").read_text("utf-8")
    named = set(re.findall(r"^\| `([\w-]+/[\w.-]+\.json)` \|", page, re.MULTILINE))
    assert named == set(FILES)


def test_they_are_few() -> None:
    """A cut is not a copy."""
    assert sum((PUBLISHED / name).stat().st_size for name in FILES) <= MOST_BYTES
