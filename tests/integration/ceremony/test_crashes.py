"""A ceremony that is interrupted at any step, or does not learn of its commit, goes on the next time."""

from collections.abc import Callable

import pytest
from tests.integration.ceremony_setting import begin, events_of

from keyfold.bus import Fault, InDoubt, MemoryBus, MemoryCluster
from keyfold.ceremony import root, tokens
from keyfold.config import Config
from keyfold.events import facts

pytestmark = [pytest.mark.token]


class Crash(Exception):
    """The process ends here."""


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_commit_in_doubt_is_settled(config: Config, cluster: MemoryCluster, fault: Fault) -> None:
    """Lost, landed, left open or refused once: there is one genesis in the end, and never two."""
    cluster.fail_next_commit(fault)
    bus = MemoryBus(cluster)
    await begin(config, bus)
    assert sum(isinstance(event, facts.Genesis) for event in await events_of(bus)) == 1


async def test_a_commit_that_keeps_failing_can_be_repeated(config: Config, cluster: MemoryCluster) -> None:
    """After the last attempt the error is told; the next ceremony uses the same tokens and identities."""
    for _ in range(3):
        cluster.fail_next_commit(Fault.LOST)
    bus = MemoryBus(cluster)
    with pytest.raises(InDoubt):
        await begin(config, bus)
    made = {path: path.read_bytes() for path in config.identities_directory.iterdir()}
    done = await begin(config, bus)
    assert done.created
    assert {path: path.read_bytes() for path in config.identities_directory.iterdir()} == made


@pytest.mark.parametrize("call", range(1, 5))
async def test_a_crash_between_tokens_is_continued(
    config: Config, cluster: MemoryCluster, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the n-th token is made: the next attempt keeps those that exist and goes on."""
    _crash_at(monkeypatch, tokens, "create_token", call)
    bus = MemoryBus(cluster)
    with pytest.raises(Crash):
        await begin(config, bus)
    kept = {path: path.read_bytes() for path in config.pins_directory.glob("*")}
    assert len(kept) == 2 * (call - 1)
    monkeypatch.undo()
    assert (await begin(config, bus)).created
    assert {path: path.read_bytes() for path in kept} == kept


@pytest.mark.parametrize("call", [1, 4, 6])
async def test_a_crash_between_identities_is_continued(
    config: Config, cluster: MemoryCluster, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the n-th identity file: those that exist are used."""
    _crash_at(monkeypatch, root, "ensure_identity", call)
    bus = MemoryBus(cluster)
    with pytest.raises(Crash):
        await begin(config, bus)
    kept = {path: path.read_bytes() for path in config.identities_directory.glob("*")}
    monkeypatch.undo()
    assert (await begin(config, bus)).created
    assert {path: path.read_bytes() for path in kept} == kept


def _crash_at(patch: pytest.MonkeyPatch, module: object, name: str, call: int) -> None:
    real: Callable[..., object] = getattr(module, name)
    calls = iter(range(1, 1000))

    def crashing(*arguments: object) -> object:
        if next(calls) == call:
            raise Crash
        return real(*arguments)

    patch.setattr(module, name, crashing)


async def test_pin_files_without_a_token_are_moved_aside(config: Config, cluster: MemoryCluster) -> None:
    """Killed between PIN files and token: the files are kept under another name, never overwritten."""
    config.pins_directory.mkdir()
    for name in ("kms", "kms.so"):
        (config.pins_directory / name).write_text("left over")
    await begin(config, MemoryBus(cluster))
    for name in ("kms", "kms.so"):
        assert (config.pins_directory / f"{name}.orphan-1").read_text() == "left over"
        assert (config.pins_directory / name).read_text() != "left over"
