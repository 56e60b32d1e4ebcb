"""Orders about keys of every spec and about storage epochs, for tests of the worker; policy is played, as always there.

Nothing is decided here: what an order says is what the test wants the worker to be told.
"""

import asyncio
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.unit.hsm.deployment import PARTITIONS, Deployment
from tests.unit.hsm.exchange import Answer, Order, results
from tests.unit.hsm.worker import Worker

from keyfold.client.importing import wrap_key_material
from keyfold.client.material import KeyMaterial
from keyfold.client.results import ImportParameters
from keyfold.custody import KeyReference
from keyfold.events import facts, topics
from keyfold.events.parts import join
from keyfold.events.specs import default_usage
from keyfold.events.streams import key_id_bytes, key_stream, partition_of
from keyfold.events.times import DAY_MS, to_text

_WRAPPING: Mapping[str, Any] = {"wrapping_algorithm": "RSA_AES_KEY_WRAP_SHA_256", "wrapping_key_spec": "RSA_3072"}


@dataclass(frozen=True)
class Kind:
    """What a key is: spec, usage, protection level, origin."""

    spec: str
    usage: str
    protection: str
    origin: str = "KEYFOLD"

    @property
    def data(self) -> dict[str, Any]:
        """The same, as events name it."""
        return {"key_spec": self.spec, "key_usage": self.usage, "protection": self.protection}

    def reference(self, key_id: str, version: int = 1) -> KeyReference:
        """What custody calls a version of such a key."""
        return KeyReference(key_id_bytes(key_id), version, self.spec, self.protection, self.usage)  # type: ignore[arg-type]


def kind(spec: str, protection: str, usage: str | None = None, origin: str = "KEYFOLD") -> Kind:
    """Return a kind of key, with the usage that its spec has."""
    return Kind(spec, usage or default_usage(spec) or "", protection, origin)


def key_on(partition: int) -> str:
    """Draw a key id that lies on a partition."""
    while partition_of(key_stream(key_id := str(uuid4())), PARTITIONS) != partition:
        pass
    return key_id


def create(deployment: Deployment, key_id: str, of: Kind) -> Order:
    """Create a key."""
    fact = {**of.data, "origin": of.origin, "description": "", "tags": {}, "created_by": "alice"}
    return deployment.order("CreateKey", key_stream(key_id), arguments=of.data, decided=(facts.KeyCreated, fact))


def destroy(deployment: Deployment, key_id: str, versions: Sequence[int] = (1,)) -> Order:
    """Destroy a key."""
    return deployment.order(
        "DestroyKeyNow", key_stream(key_id), decided=(facts.KeyDestroyed, {"versions": list(versions)})
    )


def delete_material(deployment: Deployment, key_id: str) -> Order:
    """Delete imported material; the same may come again."""
    fact = {"version": 1, "cause": "requested"}
    return deployment.order(
        "DeleteImportedKeyMaterial", key_stream(key_id), decided=(facts.ImportedKeyMaterialDeleted, fact)
    )


def encrypt(deployment: Deployment, key_id: str, of: Kind, data: bytes, **more: Any) -> Order:
    """Encrypt one item."""
    return deployment.order("Encrypt", key_stream(key_id), [(0, data)], version=1, protection=of.protection, **more)


def decrypt(deployment: Deployment, key_id: str, of: Kind, data: bytes) -> Order:
    """Decrypt one item."""
    return deployment.order("Decrypt", key_stream(key_id), [(0, data)], protection=of.protection)


def sign(deployment: Deployment, key_id: str, of: Kind, message: bytes, algorithm: str) -> Order:
    """Sign one message."""
    arguments = {"signing_algorithm": algorithm}
    return deployment.order(
        "Sign", key_stream(key_id), [(0, message)], arguments=arguments, version=1, protection=of.protection
    )


def verify(deployment: Deployment, key_id: str, of: Kind, signed: tuple[bytes, bytes], algorithm: str) -> Order:
    """Verify one pair of signature and message."""
    arguments = {"signing_algorithm": algorithm}
    return deployment.order(
        "Verify", key_stream(key_id), [(0, join(*signed))], arguments=arguments, version=1, protection=of.protection
    )


def open_import(deployment: Deployment, key_id: str, of: Kind) -> Order:
    """Ask for what an import needs."""
    token, end = str(uuid4()), to_text(deployment.now + DAY_MS)
    fact = {**of.data, **_WRAPPING, "import_token": token, "version": 1, "expires_at": end}
    return deployment.order(
        "GetParametersForImport", key_stream(key_id), arguments=_WRAPPING, decided=(facts.ImportParametersIssued, fact)
    )


def bring(
    deployment: Deployment, key_id: str, of: Kind, opened: Order, material: bytes, *, damaged: bool = False
) -> Order:
    """Bring material that is wrapped for an open import, as the client wraps it; `damaged`, it does not open."""
    created = deployment.outcome(opened)
    assert isinstance(created, facts.ImportParametersCreated)
    data = created.data
    parameters = ImportParameters(
        "", 1, data.import_token, data.wrapping_algorithm, b64decode(data.public_key), data.expires_at
    )
    wrapped = wrap_key_material(parameters, KeyMaterial(of.spec, material))  # type: ignore[arg-type]
    return deployment.order(
        "ImportKeyMaterial",
        key_stream(key_id),
        [(0, bytes(len(wrapped)) if damaged else wrapped)],
        arguments={"import_token": data.import_token},
        protection=of.protection,
    )


async def execute(running: Worker, *orders: Order, patience_s: float = 60.0) -> list[Answer]:
    """Execute orders of one partition, also those that make RSA keys, which takes as long as it takes."""
    await running.deployment.submit(*orders)
    async with asyncio.timeout(patience_s):
        for order in orders:
            while not running.deployment.replies(order):
                await asyncio.sleep(0.02)
    await running.finished(*orders)
    return [running.deployment.reply(order) for order in orders]


async def begin(deployment: Deployment, epoch: int) -> Order:
    """Begin a storage epoch: the decision is in events, where all workers read it, and the ticket is written."""
    order = deployment.order("BeginStorageEpoch", decided=(facts.StorageEpochBegun, {"epoch": epoch}))
    await deployment.write(deployment.policy, topics.EVENTS, 0, [order.entry()])
    await deployment.submit(order)
    return order


def turned(deployment: Deployment, epoch: int) -> dict[int, int]:
    """Where each partition says that it has turned: partition -> offset. It says so once."""
    found: dict[int, int] = {}
    for partition in range(PARTITIONS):
        for record in deployment.records(topics.EVENTS, partition):
            event = facts.parse_event(record.value or b"")
            if isinstance(event, facts.StorageEpochTurned) and event.data.epoch == epoch:
                assert partition not in found, "said once"
                found[partition] = record.offset
    return found


def end(deployment: Deployment, epoch: int) -> Order:
    """End an epoch, with the places where all partitions said that they have turned from it."""
    evidence = [{"partition": p, "offset": offset} for p, offset in turned(deployment, epoch + 1).items()]
    return deployment.order("EndStorageEpoch", arguments={"epoch": epoch, "evidence": evidence})


def of_type(deployment: Deployment, wanted: type[facts.Event]) -> list[Any]:
    """All events of a type, of all partitions."""
    return [e for partition in range(PARTITIONS) for e in deployment.events(partition) if isinstance(e, wanted)]


def kept(deployment: Deployment, wanted: type[facts.Event]) -> list[Any]:
    """All keystore records of a type, of all partitions."""
    return [e for partition in range(PARTITIONS) for e in deployment.keystore(partition) if isinstance(e, wanted)]


def result(answer: Answer) -> bytes:
    """The one result of a command."""
    (found,) = results(answer)
    return found
