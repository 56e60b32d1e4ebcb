"""docs/keys.md says what the code says: specs, states, the layout of imports, and the terms of erasure certificates."""

import re
from typing import get_args

from tests.unit.test_docs import CODE, ROOT, names, rows

from keyfold.cli.erasure import WORDS
from keyfold.events.import_format import MODULUS_BYTES
from keyfold.events.key_states import KeyState
from keyfold.events.specs import ALGORITHMS, WrappingAlgorithm
from keyfold.hsm.upkeep import COVERS, DOES_NOT_COVER


def test_every_spec_usage_and_algorithm_is_in_the_table() -> None:
    """And no other."""
    said = {
        (spec, CODE.findall(row[1])[0]): tuple(CODE.findall(row[2]))
        for row in rows("keys.md", "specs")
        for spec in CODE.findall(row[0])
    }
    assert said == ALGORITHMS


def test_every_state_is_in_the_table() -> None:
    """In the order of precedence, which the table promises."""
    said = [CODE.findall(row[0])[0] for row in rows("keys.md", "states")]
    assert set(said) == set(get_args(KeyState))
    assert said[-1] == "Enabled"


def test_the_layout_of_an_import_is_told() -> None:
    """Both algorithms, and how long the first part is."""
    assert names("keys.md", "import") == set(get_args(WrappingAlgorithm))
    text = (ROOT / "docs" / "keys.md").read_text("utf-8")
    for spec, size in MODULUS_BYTES.items():
        assert re.search(rf"{size}\s(bytes )?for\s`{spec}`", text), spec


def test_the_terms_of_certificates_are_explained() -> None:
    """In the table and in what `check-certificate` prints: what is covered and what is not."""
    said = {CODE.findall(row[0])[0]: row[1] for row in rows("keys.md", "erasure")}
    assert said == dict.fromkeys(COVERS, "yes") | dict.fromkeys(DOES_NOT_COVER, "no")
    assert WORDS.keys() == said.keys()
