"""The simulation is a script's, not a package's: its directory is put where imports look."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[3] / "scripts"))

from simulation.scenario import Scenario, scenario


@pytest.fixture(scope="session")
def made() -> Scenario:
    """One scenario of eight weeks."""
    return scenario(3)


@pytest.fixture(scope="session")
def small() -> Scenario:
    """One of two weeks, of which one is evaluated."""
    return scenario(2, 2, 1)
