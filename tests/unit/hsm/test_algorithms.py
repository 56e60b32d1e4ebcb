"""The verbs that name an algorithm, through the worker: results, item failures, versions and counts in the outcome."""

import json
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from tests.unit.hsm.deployment import Deployment
from tests.unit.hsm.exchange import Order
from tests.unit.hsm.test_storage_epochs import ALL, key_on
from tests.unit.hsm.worker import Worker, worker

from keyfold.custody import verify
from keyfold.events import facts
from keyfold.events.parts import join, split
from keyfold.events.specs import ALGORITHMS
from keyfold.events.streams import key_stream

pytestmark = pytest.mark.asyncio
KEY = key_on(1, 1)


def create(deployment: Deployment, spec: str, usage: str, key_id: str = KEY) -> Order:
    fact = {
        "key_spec": spec, "key_usage": usage, "protection": "SOFTWARE", "description": "", "tags": {},
        "created_by": "alice",
    }  # fmt: skip
    return deployment.order("CreateKey", key_stream(key_id), decided=(facts.KeyCreated, fact))


def use(deployment: Deployment, verb: str, items: Sequence[bytes], version: int | None = 1, **arguments: Any) -> Order:
    pairs = [(0, item) for item in items]
    return deployment.order(verb, key_stream(KEY), pairs, arguments=arguments, version=version, protection="SOFTWARE")


async def results(running: Worker, order: Order) -> list[bytes | str]:
    (answer,) = await running.execute(order)
    assert answer.items is not None, answer.data.code
    return [item.code or item.data for item in answer.items]


@pytest.mark.parametrize(("spec", "algorithm"), [("ECC_NIST_P256", "ECDSA_SHA_256"), ("ML_DSA_44", "ML_DSA_SHAKE_256")])
async def test_signing_and_verifying(deployment: Deployment, spec: str, algorithm: str) -> None:
    """Signatures verify with the public key that was stated; a wrong pair and a malformed one cost their items only."""
    async with worker(deployment, own=ALL) as running:
        await running.execute(create(deployment, spec, "SIGN_VERIFY"))
        (generated,) = [o for o in deployment.outcomes(1) if isinstance(o, facts.KeyMaterialGenerated)]
        public_key = b64decode(generated.data.public_key or "")
        signed = use(deployment, "Sign", [b"one", b"two"], signing_algorithm=algorithm)
        first, second = await results(running, signed)
        assert isinstance(first, bytes)
        assert isinstance(second, bytes)
        assert verify(public_key, algorithm, "RAW", [(b"one", first), (b"two", second)]) == [True, True]
        checked = use(
            deployment, "Verify", [join(first, b"one"), join(first, b"two"), b"\0\0\0\x09short"],
            signing_algorithm=algorithm,
        )  # fmt: skip
        assert await results(running, checked) == [b"", "InvalidSignature", "InvalidBody"]
        outcome = deployment.outcome(checked)
        assert (outcome.data.versions, outcome.data.failures) == (
            {"1": 1}, {"InvalidSignature": [1], "InvalidBody": [2]},
        )  # fmt: skip


async def test_macs(deployment: Deployment) -> None:
    """The right MAC verifies, a shorter or another one does not."""
    async with worker(deployment, own=ALL) as running:
        await running.execute(create(deployment, "HMAC_256", "GENERATE_VERIFY_MAC"))
        (mac,) = await results(running, use(deployment, "GenerateMac", [b"m"], mac_algorithm="HMAC_SHA_256"))
        assert isinstance(mac, bytes)
        pairs = [join(mac, b"m"), join(mac[:16], b"m"), join(mac, b"n")]
        checked = use(deployment, "VerifyMac", pairs, mac_algorithm="HMAC_SHA_256")
        assert await results(running, checked) == [b"", "InvalidMac", "InvalidMac"]


async def test_rsa_encryption(deployment: Deployment) -> None:
    """What the public half encrypts the private one decrypts; what does not open is one code."""
    async with worker(deployment, own=ALL) as running:
        await running.execute(create(deployment, "RSA_2048", "ENCRYPT_DECRYPT"))
        algorithm = {"encryption_algorithm": "RSAES_OAEP_SHA_256"}
        made, long = await results(running, use(deployment, "Encrypt", [b"secret", b"x" * 500], **algorithm))
        assert isinstance(made, bytes)
        assert long == "BatchTooLarge"
        opened = use(deployment, "Decrypt", [made, made[:-1], b"\0" * 256], **algorithm)
        assert await results(running, opened) == [b"secret", "InvalidCiphertext", "InvalidCiphertext"]


async def test_key_agreement(deployment: Deployment) -> None:
    """Both sides come to the same secret; a point of another curve is none."""
    async with worker(deployment, own=ALL) as running:
        (created,) = await running.execute(create(deployment, "ECC_NIST_P256", "KEY_AGREEMENT"))
        asked = deployment.order("GetPublicKey", key_stream(KEY), version=1, protection="SOFTWARE")
        (answer,) = await running.execute(asked)
        summary = json.loads((answer.items or [])[0].data)
        public_key: Any = load_der_public_key(b64decode(summary["public_key"]))
        mine, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
        der = [key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in (mine, other)]
        secret, refused = await results(running, use(deployment, "DeriveSharedSecret", der))
        assert (secret, refused) == (mine.exchange(ec.ECDH(), public_key), "InvalidPublicKey")
        assert created.data.code is None


async def test_encapsulation(deployment: Deployment) -> None:
    """Each item has a secret of its own, which decapsulates; another length is no ciphertext."""
    async with worker(deployment, own=ALL) as running:
        await running.execute(create(deployment, "ML_KEM_768", "KEY_ENCAPSULATION"))
        found = await results(running, use(deployment, "Encapsulate", [b"", b""]))
        pairs = [split(each, 2) for each in found if isinstance(each, bytes)]
        assert pairs[0][0] != pairs[1][0]
        items = [ciphertext for _, ciphertext in pairs] + [b"short"]
        opened = await results(running, use(deployment, "Decapsulate", items))
        assert opened == [pairs[0][0], pairs[1][0], "InvalidCiphertext"]


async def test_a_refused_version_opens_nothing(deployment: Deployment) -> None:
    """Of ciphertexts of a version that must not be used the code says so; others are opened, another key's are not."""
    async with worker(deployment, own=ALL) as running:
        await running.execute(create(deployment, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"))
        kind = {"key_spec": "SYMMETRIC_DEFAULT", "protection": "SOFTWARE", "cause": "requested", "version": 2}
        await running.execute(deployment.order("RotateKey", key_stream(KEY), decided=(facts.KeyRotated, kind)))
        made = [(await results(running, use(deployment, "Encrypt", [b"x"], version)))[0] for version in (1, 2)]
        sealed = [each for each in made if isinstance(each, bytes)]
        elsewhere = sealed[0][:5] + bytes(16) + sealed[0][21:]
        order = use(deployment, "Decrypt", [*sealed, b"bad", elsewhere], None)
        refusing = order.event.data.model_copy(update={"refused_versions": [1]})
        refused = Order(
            order.event.model_copy(update={"data": refusing}), order.sealed, order.body, order.reply_key,
            order.command_id, order.digest,
        )  # fmt: skip
        assert await results(running, refused) == ["KeyVersionUnusable", b"x", "InvalidCiphertext", "InvalidCiphertext"]
        assert deployment.outcome(refused).data.versions == {"2": 1}


async def test_a_version_without_material_is_unusable(deployment: Deployment) -> None:
    """Signing under a version that never was fails as a whole."""
    async with worker(deployment, own=ALL) as running:
        await running.execute(create(deployment, "ECC_NIST_P256", "SIGN_VERIFY"))
        algorithm = ALGORITHMS["ECC_NIST_P256", "SIGN_VERIFY"][0]
        order = use(deployment, "Sign", [b"x"], 2, signing_algorithm=algorithm)
        (answer,) = await running.execute(order)
        assert answer.data.code == "KeyVersionUnusable"


async def test_re_encryption_to_another_key(deployment: Deployment) -> None:
    """A parcel of one key's command is an item of the other key's, on another partition, under another context."""
    other = key_on(2, 9)
    async with worker(deployment, own=ALL) as running:
        await running.execute(create(deployment, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"))
        await running.execute(create(deployment, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", other))
        (sealed,) = await results(running, use(deployment, "Encrypt", [b"move me"]))
        assert isinstance(sealed, bytes)
        leaving = use(deployment, "ReEncryptFrom", [sealed, b"junk"], None, destination_key_id=other)
        parcel, bad = await results(running, leaving)
        assert bad == "InvalidCiphertext"
        assert isinstance(parcel, bytes)
        arriving = deployment.order(
            "ReEncryptTo", key_stream(other), [(0, parcel), (0, parcel[:-1])], contexts=[{"t": "2"}],
            arguments={"source_key_id": KEY}, version=1, protection="SOFTWARE",
        )  # fmt: skip
        made, cut = await results(running, arriving)
        assert cut == "InvalidCiphertext"
        assert isinstance(made, bytes)
        opening = deployment.order(
            "Decrypt", key_stream(other), [(0, made)], contexts=[{"t": "2"}], protection="SOFTWARE"
        )
        assert await results(running, opening) == [b"move me"]
