"""The running system that end-to-end tests share, as a plugin: `pytest_plugins = ["tests.support.running_stack"]`.

It is started when the first test asks, once for the whole session. Tests that break things make a system of their own
and override `scene`.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.scene import Scene, Stage, set_up, stage
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


@pytest.fixture(scope="module")
def scene(stack: WholeSystem, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Principals and keys in every state, made once for a module."""
    return set_up(stack.config, tmp_path_factory.mktemp("people"))


@pytest.fixture
async def on(scene: Scene) -> AsyncIterator[Stage]:
    """A test's connection to the scene."""
    async with stage(scene) as opened:
        yield opened
