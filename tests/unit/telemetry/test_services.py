"""How each service says that it is alive and ready, on a bus in memory; and that it says so no longer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY
from tests.support.deployment import Deployment as PolicyDeployment
from tests.support.notary_office import Office
from tests.unit.hsm.deployment import Deployment
from tests.unit.hsm.orders import create, new_key, use
from tests.unit.hsm.worker import worker
from tests.unit.telemetry.pipeline import Pipeline, beside

from keyfold.events.errors import TokenUnavailable
from keyfold.hsm.service import Service as HsmService
from keyfold.hsm.vitals import HsmVitals
from keyfold.notary.service import Service as NotaryService
from keyfold.notary.vitals import NotaryVitals
from keyfold.policy.vitals import PolicyVitals
from keyfold.projections.memory import MemorySchemas
from keyfold.projector.vitals import ProjectorVitals
from keyfold.telemetry.partitions import STANDBY_SECONDS
from keyfold.telemetry.vitals import Check, Vitals

Probe = Callable[[], Iterable[Check]]


def failing(probe: Probe) -> dict[str, str]:
    return {check.name: check.reason for check in probe() if not check.ok}


def is_alive(probe: Probe) -> bool:
    vitals = Vitals("any")
    vitals.add(probe)
    vitals.look()
    return vitals.alive()[0]


async def until(probe: Probe, wanted: dict[str, str]) -> None:
    async with asyncio.timeout(10):
        while failing(probe) != wanted:
            await asyncio.sleep(0.01)


def owned(partition: int) -> float | None:
    return REGISTRY.get_sample_value("keyfold_partition_owned", {"partition": str(partition)})


async def test_policy_is_ready_when_it_owns_its_partitions() -> None:
    """And not without the registry: while it is not fresh nothing is decided. Its positions are its own."""
    deployment = PolicyDeployment()
    await deployment.begin()
    async with deployment.service() as service:
        vitals = PolicyVitals(service._parts, service)
        assert failing(vitals.checks) == {}
        assert vitals.positions() == {0: 0, 1: 0, 2: 0, 3: 0}
        assert owned(2) == 1
        service._parts.follower.fresh = lambda: False  # type: ignore[method-assign]
        assert failing(vitals.checks).keys() == {"registry"}
        assert is_alive(vitals.checks)
        loop = service.ownership.working[2]
        loop.stepped_s = 0.0  # type: ignore[misc]
        assert failing(vitals.checks).keys() == {"registry", "main-loop"}
        assert not is_alive(vitals.checks)
    assert failing(vitals.checks).keys() >= {"partitions"}


async def test_a_worker_without_its_token_is_alive_and_not_ready() -> None:
    """Also while its loops stand still because of that. Uses of keys that are open, or not, are counted."""
    deployment = Deployment()
    await deployment.initialise()
    async with worker(deployment) as made:
        ready = asyncio.Event()
        service = HsmService(made.parts, "0", ready.set)
        vitals = HsmVitals(made.parts, service)
        assert "partitions" in failing(vitals.checks)
        async with beside(service.run()):
            await asyncio.wait_for(ready.wait(), 10)
            await until(vitals.checks, {})
            key_id = new_key()
            order = create(deployment, key_id)
            uses = [use(deployment, "Encrypt", key_id, [(0, b"one")]) for _ in range(3)]
            for each in (order, *uses):
                await deployment.submit(each)
                await made.finished(each)
            partition = deployment.partition(order)
            assert vitals.positions()[partition] >= 4
            cache = made.parts.cache
            assert cache.hits + cache.misses >= 3
            watch = made.parts.dispatcher.watch
            watch.failed(TokenUnavailable("gone"))
            found = failing(vitals.checks)
            assert found.keys() == {"token"}
            assert found["token"].startswith("Unavailable TokenUnavailable")
            assert is_alive(vitals.checks)


@asynccontextmanager
async def projecting(schemas: MemorySchemas) -> AsyncIterator[ProjectorVitals]:
    deployment = Pipeline()
    await deployment.begin()
    projector = deployment.projector(schemas)
    async with beside(projector.run()):
        yield ProjectorVitals(deployment.bus, projector)


async def test_a_projector_is_ready_when_it_has_restored() -> None:
    """Without its store it is not, also while there is nothing to write, and alive: it tries again by itself."""
    schemas = MemorySchemas()
    async with projecting(schemas) as vitals:
        await until(vitals.checks, {})
        await asyncio.sleep(0.1)
        assert vitals.positions()[0] > 0
        schemas.down = True
        await until(vitals.checks, {"store": "StoreUnavailable"})
        assert is_alive(vitals.checks)
        schemas.down = False
        await until(vitals.checks, {})


async def test_a_projector_says_what_it_waits_for() -> None:
    """Before its store answers, nothing else can begin."""
    schemas = MemorySchemas()
    schemas.down = True
    async with projecting(schemas) as vitals:
        await asyncio.sleep(0.1)
        found = failing(vitals.checks)
        assert found["connected"] == "waits for store: StoreUnavailable"
        assert is_alive(vitals.checks)


async def test_one_notary_works_and_another_stands_by() -> None:
    """Both are ready; the trees' sizes are shown by who works."""
    office = Office()
    await office.begin()
    parts, other = await office.parts(), await office.parts()
    await parts.keeper.catch_up()
    await other.keeper.catch_up()
    first, second = NotaryService(parts, "0", lambda: None), NotaryService(other, "1", lambda: None)
    now = [100.0]
    working, standing = NotaryVitals(parts, first, lambda: now[0]), NotaryVitals(other, second, lambda: now[0])
    assert "notary" in failing(working.checks)
    async with beside(first.run()):
        await until(working.checks, {})
        async with beside(second.run()):
            await asyncio.sleep(0.2)
            assert failing(standing.checks) == {"notary": "another works, or none is assigned yet"}
            now[0] += STANDBY_SECONDS
            assert failing(standing.checks) == {}
            assert first.is_wanted != second.is_wanted
        assert REGISTRY.get_sample_value("keyfold_notary_leaves", {"partition": "0"}) == office.size(0)
        assert set(working.positions()) == set(range(len(working.positions())))
