"""Fixtures of the contract suites."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.vault import Vault, open_vault


@pytest.fixture(scope="module")
def vault(softhsm: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """A custody on its own token, with an import open: for keys that a test knows."""
    with open_vault(softhsm.module, tmp_path_factory.mktemp("pins")) as opened:
        yield opened
