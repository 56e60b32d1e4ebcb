"""A deployment that has not begun: an empty token directory, and an empty log in memory."""

from pathlib import Path

import pytest
from tests.conftest import SoftHSM
from tests.integration.ceremony_setting import now, settings

from keyfold.bus import MemoryCluster
from keyfold.config import Config


@pytest.fixture
def config(tmp_path: Path, softhsm: SoftHSM) -> Config:
    """Settings whose token directory is empty. (`softhsm` puts the environment back afterwards.)"""
    return settings(tmp_path, softhsm)


@pytest.fixture
def cluster() -> MemoryCluster:
    """Without topics: the ceremony makes them."""
    return MemoryCluster(topics=(), clock_ms=now)
