"""The worker on real tokens: the life of a key of either protection level, restarts included. The log is in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.hsm.deployment import PARTITIONS, Deployment
from tests.unit.hsm.exchange import results, uuid_bytes
from tests.unit.hsm.orders import create, new_key, random_bytes, rotate, use
from tests.unit.hsm.worker import worker

from keyfold.custody import Custody, InMemory, InToken, SealingKeys
from keyfold.events import facts
from keyfold.events.ciphertext import Algorithm, parse
from keyfold.events.streams import key_stream
from keyfold.token import Module, create_token, load_module, open_token

pytestmark = pytest.mark.token

CONTEXTS: tuple[dict[str, str], ...] = ({"tenant": "a"}, {})
ALGORITHMS = {"HSM": Algorithm.AES_256_GCM, "SOFTWARE": Algorithm.AES_256_GCM_DERIVED}


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pins")


@pytest.fixture(scope="module")
def module(softhsm: Any, pins: Path) -> Iterator[Module]:
    """SoftHSM2 with the worker's two tokens."""
    loaded = load_module(softhsm.module)
    for label in ("kms", "seal"):
        create_token(loaded, label, pins / label, pins / f"{label}.so")
    with open_token(loaded, "kms", pins / "kms") as kms:
        Custody(kms).provision()
    yield loaded
    loaded.close()


@pytest.fixture
def tokens(module: Module, pins: Path) -> Iterator[dict[str, Any]]:
    """Both tokens opened, as a worker has them."""
    with open_token(module, "kms", pins / "kms") as kms, open_token(module, "seal", pins / "seal") as seal:
        custody, sealing = Custody(kms), SealingKeys(seal)
        custody.attach()
        providers = {"HSM": InToken(kms), "SOFTWARE": InMemory(custody.derived)}
        yield {"custody": custody, "sealing": sealing, "providers": providers}
        for name in sealing.list_ids():
            sealing.erase(name)


@pytest.fixture
async def deployment() -> Deployment:
    made = Deployment()
    await made.initialise()
    return made


@pytest.mark.parametrize("protection", ["HSM", "SOFTWARE"])
async def test_the_life_of_a_key(deployment: Deployment, tokens: dict[str, Any], protection: str) -> None:
    """Create, use, rotate, restart, use the old version, destroy: after that nothing opens."""
    key_id = new_key()
    named = {"contexts": CONTEXTS, "protection": protection}
    async with worker(deployment, own=range(PARTITIONS), **tokens) as made:
        items = [(0, b"one"), (1, b"two"), (0, b"x" * 70_000)]
        first = use(deployment, "Encrypt", key_id, items, **named)
        answers = await made.execute(create(deployment, key_id, protection), first)
        old = results(answers[1])
        assert {parse(ciphertext).algorithm for ciphertext in old} == {ALGORITHMS[protection]}
        data_key = use(deployment, "GenerateDataKey", key_id, [(0, b"")], version=2, **named)
        answers = await made.execute(rotate(deployment, key_id, 2, protection), data_key)
        (layout,) = results(answers[1])
    async with worker(deployment, own=range(PARTITIONS), **tokens) as made:
        back = [*((context, sealed) for (context, _), sealed in zip(items, old, strict=True)), (0, layout[34:])]
        (answer,) = await made.execute(use(deployment, "Decrypt", key_id, back, **named))
        assert results(answer) == [*(data for _, data in items), layout[2:34]]
        destroy = deployment.order("DestroyKey", key_stream(key_id), decided=(facts.KeyDestroyed, {"versions": [1, 2]}))
        late = use(deployment, "Decrypt", key_id, back, **named)
        answers = await made.execute(destroy, late)
        assert answers[1].data.code == "InvalidState"
        assert deployment.outcome(destroy).data.erased_versions == [1, 2]


async def test_random_bytes_come_from_the_token(deployment: Deployment, tokens: dict[str, Any]) -> None:
    """The largest batch that there can be."""
    async with worker(deployment, own=range(PARTITIONS), **tokens) as made:
        (answer,) = await made.execute(random_bytes(deployment, 1000, 1024))
    drawn = results(answer)
    assert len(set(drawn)) == 1000
    assert {len(each) for each in drawn} == {1024}


async def test_sealing_keys_live_in_their_token(deployment: Deployment, tokens: dict[str, Any]) -> None:
    """Made, rotated, and erased there; a restart opens what is live from its blob."""
    key_id = new_key()
    async with worker(deployment, own=range(PARTITIONS), **tokens) as made:
        old = deployment.sealing_key()
        await made.execute(create(deployment, key_id))
        await made.execute(deployment.order("RotateSealingKey"))
        erase = deployment.order("EraseSealingKey", arguments={"sealing_key": old})
        await made.execute(erase)
        assert tokens["sealing"].list_ids() == [uuid_bytes(deployment.sealing_key())]
    async with worker(deployment, own=range(PARTITIONS), **tokens) as made:
        (answer,) = await made.execute(use(deployment, "Encrypt", key_id, [(0, b"x")]))
    assert answer.data.code is None
