"""The running system that end-to-end tests share, as a plugin: `pytest_plugins = ["tests.support.running_stack"]`.

It is started when the first test asks, once for the whole session. Tests that break things make a system of their own.
"""

from collections.abc import Iterator

import pytest
from tests.support.whole_system import WholeSystem


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeSystem]:
    """A running deployment, marked for development."""
    made = WholeSystem(tmp_path_factory.mktemp("running") / "data")
    try:
        made.begin()
        yield made
    finally:
        made.stack.reset()
