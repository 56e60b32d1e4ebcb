"""The worker dies while it makes, imports, destroys or certifies keys and while it turns epochs; another one goes on.

Each act is cut off before and after its commit. It has one outcome in the end, the token holds what the log says and
nothing else, and every live key still opens. The tokens are SoftHSM2's, the log is in memory.
"""

import asyncio
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.support.faulty_commits import IN_DOUBT, crash, die
from tests.support.key_orders import (
    begin,
    bring,
    create,
    decrypt,
    destroy,
    encrypt,
    end,
    execute,
    kept,
    key_on,
    kind,
    of_type,
    open_import,
    result,
    sign,
    turned,
)
from tests.support.token_worker import Tokens, fresh_tokens
from tests.unit.hsm.deployment import PARTITIONS, Deployment
from tests.unit.hsm.stand_ins import MemoryCustody, MemorySealing
from tests.unit.hsm.worker import until, worker

from keyfold.bus import Fault
from keyfold.custody import find_capabilities
from keyfold.events import facts
from keyfold.hsm import upkeep
from keyfold.token import Module, load_module

pytestmark = pytest.mark.token
ALL = range(PARTITIONS)
HSM, SOFTWARE = kind("SYMMETRIC_DEFAULT", "HSM"), kind("SYMMETRIC_DEFAULT", "SOFTWARE")
RESIDENT = kind("ECC_NIST_EDWARDS25519", "HSM")
IMPORTED = kind("SYMMETRIC_DEFAULT", "HSM", origin="EXTERNAL")
ED25519 = "ED25519_SHA_512"
MATERIAL = bytes(range(32))
NAMES = [fault.name for fault in IN_DOUBT]
every_fault = pytest.mark.parametrize("fault", IN_DOUBT, ids=NAMES)


@pytest.fixture(scope="module")
def module(softhsm: Any) -> Iterator[Module]:
    """The PKCS#11 library with this test module's token directory."""
    loaded = load_module(softhsm.module)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def shared(module: Module, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokens]:
    """Tokens for the tests that leave the storage epoch alone."""
    with fresh_tokens(module, tmp_path_factory.mktemp("shared")) as tokens:
        yield tokens


@pytest.fixture
async def deployment(shared: Tokens) -> AsyncIterator[Deployment]:
    """A deployment whose first sealing key is published; what it made in the tokens is removed afterwards."""
    made = Deployment()
    await made.initialise()
    async with shared.process(made, own=[0]):
        pass
    yield made
    custody = shared.custody()
    for key_id, version in custody.list_resident():
        custody.erase_resident(key_id, version)


def signs(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Raises where this is not the signature."""
    loaded = load_der_public_key(public_key)
    assert isinstance(loaded, Ed25519PublicKey)
    loaded.verify(signature, message)


@every_fault
async def test_a_resident_key_is_made_once(shared: Tokens, deployment: Deployment, fault: Fault) -> None:
    """Whatever a dying process left in the token, there is one pair in the end: the one that is stated, and signs."""
    order = create(deployment, key_id := key_on(1), RESIDENT)
    await crash(shared.process, deployment, fault, order)
    made = deployment.outcome(order)
    assert isinstance(made, facts.KeyMaterialGenerated)
    (stored,) = kept(deployment, facts.KeyMaterialStored)
    assert stored.data.public_key == made.data.public_key
    private = [name for key_class, name in shared.stored() if key_class == "private"]
    assert len(private) == 1, "one object"
    assert shared.inventory(deployment).findings == ()
    async with shared.process(deployment, own=ALL) as running:
        (answer,) = await execute(running, sign(deployment, key_id, RESIDENT, b"message", ED25519))
    signs(b64decode(made.data.public_key or ""), result(answer), b"message")


@every_fault
async def test_a_resident_key_is_destroyed_once(shared: Tokens, deployment: Deployment, fault: Fault) -> None:
    """The object may be gone before the fact is durable: the repetition states the same erasure."""
    key_id = key_on(1)
    async with shared.process(deployment, own=ALL) as running:
        await execute(running, create(deployment, key_id, RESIDENT))
    order = destroy(deployment, key_id)
    await crash(shared.process, deployment, fault, order)
    outcome = deployment.outcome(order)
    assert isinstance(outcome, facts.KeyUseCeased)
    assert outcome.data.erased_versions == [1]
    assert len(kept(deployment, facts.KeyMaterialErased)) == 1
    assert shared.custody().list_resident() == []
    assert shared.inventory(deployment).findings == ()


@every_fault
async def test_an_import_is_carried_out_once(shared: Tokens, deployment: Deployment, fault: Fault) -> None:
    """Parameters that cannot be used, material that does not open, and material that does: one outcome each.

    Whatever comes of an import, its key is erased with it, once.
    """
    key_id = key_on(1)
    async with shared.process(deployment, own=ALL) as running:
        await execute(running, create(deployment, key_id, IMPORTED))
    opened = open_import(deployment, key_id, IMPORTED)
    await crash(shared.process, deployment, fault, opened)
    assert isinstance(deployment.outcome(opened), facts.ImportParametersCreated)
    damaged = bring(deployment, key_id, IMPORTED, opened, MATERIAL, damaged=True)
    await crash(shared.process, deployment, fault, damaged)
    assert deployment.outcome(damaged).data.code == "InvalidCiphertext"
    async with shared.process(deployment, own=ALL) as running:
        await execute(running, opened := open_import(deployment, key_id, IMPORTED))
    order = bring(deployment, key_id, IMPORTED, opened, MATERIAL)
    await crash(shared.process, deployment, fault, order)
    assert isinstance(deployment.outcome(order), facts.KeyMaterialImported)
    for record in (facts.ImportKeyStored, facts.ImportKeyErased):
        tokens = Counter(each.data.import_token for each in kept(deployment, record))
        assert list(tokens.values()) == [1, 1]
    assert len(kept(deployment, facts.KeyMaterialStored)) == 1
    assert shared.inventory(deployment).findings == ()
    async with shared.process(deployment, own=ALL) as running:
        (answer,) = await execute(running, encrypt(deployment, key_id, IMPORTED, b"x"))
        (answer,) = await execute(running, decrypt(deployment, key_id, IMPORTED, result(answer)))
        assert result(answer) == b"x"


@every_fault
async def test_capabilities_are_reported_once(shared: Tokens, fault: Fault) -> None:
    """Nothing of the trials remains in the token, and the report is not repeated by later starts."""
    deployment, custody = Deployment(), shared.custody()
    await deployment.initialise()
    before, options = shared.stored(), dict[str, Any](capabilities=lambda: find_capabilities(custody))

    def start(deployment: Deployment, **settings: Any) -> Any:
        return shared.process(deployment, **settings, **options)

    await die(start, deployment, 0, fault, lambda: asyncio.sleep(0), place=1)
    for _ in range(2):
        async with shared.process(deployment, own=ALL, **options):
            pass
    (found,) = of_type(deployment, facts.TokenCapabilitiesFound)
    assert {c.key_spec for c in found.data.capabilities if c.resident} == {RESIDENT.spec}
    assert len(of_type(deployment, facts.SealingKeyPublished)) == 1
    assert shared.stored() == before


@pytest.fixture
async def setting(module: Module, tmp_path: Path) -> AsyncIterator[tuple[Tokens, Deployment]]:
    """Tokens and a deployment of their own, for tests that turn the storage epoch."""
    made = Deployment()
    await made.initialise()
    with fresh_tokens(module, tmp_path) as tokens:
        async with tokens.process(made, own=[0]):
            pass
        yield tokens, made


@every_fault
async def test_a_turn_is_finished_whatever_part_of_it_died(
    setting: tuple[Tokens, Deployment], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beginning, each slice, the last with its statement, the end, and the certificate: cut off one after the other."""
    tokens, deployment = setting
    monkeypatch.setattr(upkeep, "SLICE", 2)
    living = {key_on(1): of for of in (HSM, SOFTWARE, RESIDENT, HSM, SOFTWARE)}
    gone = key_on(1)
    async with tokens.process(deployment, own=ALL) as running:
        for key_id, of in (*living.items(), (gone, HSM)):
            await execute(running, create(deployment, key_id, of))
        answers = {
            key_id: await execute(running, encrypt(deployment, key_id, of, b"x"))
            for key_id, of in living.items()
            if of != RESIDENT
        }
        await execute(running, destroy(deployment, gone))
    await _begin(tokens, deployment, fault)
    assert tokens.custody().epochs() == [1, 2]
    for slices in range(3):
        await die(tokens.process, deployment, 1, fault, lambda: asyncio.sleep(0))
        committed = slices + (fault is Fault.LANDED)
        assert _rewrapped(deployment) == min(2 * committed, 5)
        if fault is not Fault.LANDED:
            await _one_slice(tokens, deployment, slices)
    async with tokens.process(deployment, own=ALL) as running:
        await until(lambda: len(turned(deployment, 2)) == PARTITIONS)
    assert _rewrapped(deployment) == len(living), "each once"
    await crash(tokens.process, deployment, fault, end(deployment, 1))
    (destroyed,) = of_type(deployment, facts.StorageEpochKeyDestroyed)
    assert (destroyed.data.found_after, tokens.custody().epochs()) == (0, [2])
    assert tokens.inventory(deployment).findings == ()
    await _certify(tokens, deployment, fault)
    (certificate,) = of_type(deployment, facts.KeyErased)
    assert (certificate.data.key_id, len(kept(deployment, facts.ErasureCertified))) == (gone, 1)
    async with tokens.process(deployment, own=ALL) as running:
        for key_id, (before,) in answers.items():
            (answer,) = await execute(running, decrypt(deployment, key_id, living[key_id], result(before)))
            assert result(answer) == b"x"


def _rewrapped(deployment: Deployment) -> int:
    return sum(len(record.data.blobs) for record in kept(deployment, facts.KeyMaterialRewrapped))


async def _begin(tokens: Tokens, deployment: Deployment, fault: Fault) -> None:
    """The act in the token is done, its fact is not committed, or nobody knows that it is."""
    orders = []

    async def act() -> None:
        orders.append(await begin(deployment, 2))

    await die(tokens.process, deployment, 0, fault, act)
    async with tokens.process(deployment, own=[0]) as running:
        await running.finished(*orders, replied=False)
    assert isinstance(deployment.outcome(orders[0]), facts.CommandCompleted)


async def _one_slice(tokens: Tokens, deployment: Deployment, slices: int) -> None:
    """Let a slice be committed, and die by the next."""
    if slices < 2:
        await die(tokens.process, deployment, 1, Fault.LOST, lambda: asyncio.sleep(0), place=1)
        assert _rewrapped(deployment) == 2 * (slices + 1)


async def _certify(tokens: Tokens, deployment: Deployment, fault: Fault) -> None:
    """Erase the sealing key of that time; the certificate that follows is cut off."""
    before = deployment.sealing_key()
    deployment.now += 1
    async with tokens.process(deployment, own=[0]) as running:
        await execute(running, deployment.order("RotateSealingKey"))
        erase = deployment.order(
            "EraseSealingKey", arguments={"sealing_key": before}, sealing_key=deployment.sealing_key()
        )
        await execute(running, erase)
    await die(tokens.process, deployment, 1, fault, lambda: asyncio.sleep(0))
    async with tokens.process(deployment, own=ALL):
        await until(lambda: bool(of_type(deployment, facts.KeyErased)))
        await asyncio.sleep(0.1)


async def test_killed_at_any_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is killed after a few steps more of the event loop each time; in the end all was done once.

    Custody is in memory: what lives in it is what a token would keep.
    """
    monkeypatch.setattr(upkeep, "SLICE", 1)
    deployment, custody, sealing = Deployment(), MemoryCustody(), MemorySealing()
    await deployment.initialise()
    async with worker(deployment, custody=custody, sealing=sealing, own=ALL) as running:
        gone, *living = [key_on(1) for _ in range(4)]
        for key_id in (gone, *living):
            await running.execute(create(deployment, key_id, HSM))
        await running.execute(destroy(deployment, gone))
    last, steps = await begin(deployment, 2), 0
    while not of_type(deployment, facts.StorageEpochKeyDestroyed):
        steps += 9
        async with worker(deployment, custody=custody, sealing=sealing) as running:
            running.own(*ALL)
            for _ in range(steps):
                await asyncio.sleep(0)
        if last.event.type == facts.StorageEpochBegun.type_name and len(turned(deployment, 2)) == PARTITIONS:
            await deployment.submit(last := end(deployment, 1))
            steps = 0
    assert steps > 20
    assert Counter(r.data.key_id for r in kept(deployment, facts.KeyMaterialRewrapped)) == Counter(living)
    assert custody.held == {2}
    assert len(of_type(deployment, facts.StorageEpochKeyDestroyed)) == 1
    deployment.outcome(last)
