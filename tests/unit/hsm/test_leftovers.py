"""What is left over and must not stay: unfinished imports, deleted material of destroyed keys."""

import asyncio
from hashlib import sha256
from typing import Any

import pytest
from tests.unit.hsm.deployment import Deployment
from tests.unit.hsm.test_storage_epochs import ALL, key_on, until
from tests.unit.hsm.worker import worker

from keyfold.events import facts
from keyfold.events.streams import key_stream
from keyfold.events.times import DAY_MS, MINUTE_MS, to_text

pytestmark = pytest.mark.asyncio
TOKEN = "00000000-0000-4000-8000-0000000000aa"


def external(deployment: Deployment, key_id: str) -> Any:
    fact = {
        "key_spec": "SYMMETRIC_DEFAULT", "origin": "EXTERNAL", "protection": "SOFTWARE", "description": "", "tags": {},
        "created_by": "alice",
    }  # fmt: skip
    return deployment.order("CreateKey", key_stream(key_id), decided=(facts.KeyCreated, fact))


def parameters(deployment: Deployment, key_id: str) -> Any:
    fact = {
        "import_token": TOKEN, "version": 1, "key_spec": "SYMMETRIC_DEFAULT", "key_usage": "ENCRYPT_DECRYPT",
        "protection": "SOFTWARE", "wrapping_algorithm": "RSAES_OAEP_SHA_256", "wrapping_key_spec": "RSA_4096",
        "expires_at": to_text(deployment.now + DAY_MS),
    }  # fmt: skip
    wish = {"wrapping_algorithm": "RSAES_OAEP_SHA_256"}
    return deployment.order(
        "GetParametersForImport", key_stream(key_id), decided=(facts.ImportParametersIssued, fact), arguments=wish
    )


def importing(deployment: Deployment, key_id: str, wrapped: bytes) -> Any:
    return deployment.order(
        "ImportKeyMaterial", key_stream(key_id), [(0, wrapped)], arguments={"import_token": TOKEN}, version=1,
        protection="SOFTWARE",
    )  # fmt: skip


def wrap(deployment: Deployment, partition: int, material: bytes) -> bytes:
    """As a client would, to the public key that the worker has stated."""
    from base64 import b64decode

    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    (made,) = [o for o in deployment.outcomes(partition) if isinstance(o, facts.ImportParametersCreated)]
    public_key: Any = load_der_public_key(b64decode(made.data.public_key))
    return bytes(public_key.encrypt(material, OAEP(MGF1(SHA256()), SHA256(), None)))


async def test_an_import_that_nobody_finishes(deployment: Deployment) -> None:
    """A day after the parameters were issued, and the time of a late command, their key is erased within a minute."""
    async with worker(deployment, own=ALL) as running:
        key_id = key_on(1, 1)
        await running.execute(external(deployment, key_id), parameters(deployment, key_id))
        deployment.now += DAY_MS + 16 * MINUTE_MS - 1
        await asyncio.sleep(0.2)
        assert not [r for r in deployment.keystore(1) if isinstance(r, facts.ImportKeyErased)]
        deployment.now += MINUTE_MS
        await until(lambda: [r for r in deployment.keystore(1) if isinstance(r, facts.ImportKeyErased)])
        late = importing(deployment, key_id, bytes(256))
        (answer,) = await running.execute(late)
        assert answer.data.code == "ImportTokenInvalid"


async def test_deleted_material_is_destroyed_with_its_key(deployment: Deployment) -> None:
    """Deleted imported material has blobs in the log: the destruction of its version is certified like any other."""
    async with worker(deployment, own=ALL) as running:
        key_id = key_on(1, 1)
        await running.execute(external(deployment, key_id), parameters(deployment, key_id))
        wrapped = wrap(deployment, 1, b"k" * 32)
        done = importing(deployment, key_id, wrapped)
        await running.execute(done)
        outcome = deployment.outcome(done)
        assert isinstance(outcome, facts.KeyMaterialImported)
        assert outcome.data.key_check_value == sha256(b"k" * 32).hexdigest()[:6]
        deleted = deployment.order(
            "DeleteImportedKeyMaterial", key_stream(key_id),
            decided=(facts.ImportedKeyMaterialDeleted, {"version": 1, "cause": "requested"}),
        )  # fmt: skip
        gone = deployment.order("DestroyKeyNow", key_stream(key_id), decided=(facts.KeyDestroyed, {"versions": [1]}))
        await running.execute(deleted, gone)
        erased = [r.data for r in deployment.keystore(1) if isinstance(r, facts.KeyMaterialErased)]
        assert [(data.destroyed, data.versions, data.epoch) for data in erased] == [(False, [1], 1), (True, [1], 1)]
        assert erased[1].blob_digests == {"1": outcome.data.blob_digest}
        index = running.workers[1]._owned._live.index
        assert [each.version for each in index.erasures[key_id]] == [1]
        assert not index.deleted
