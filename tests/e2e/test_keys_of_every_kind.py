"""Keys of every kind through their whole life, by command line and SDK: what can be made, used, rotated, imported,
compromised, moved away from, and destroyed with evidence. The tests build on one deployment, in this order.
"""

import asyncio
import base64
import hmac
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from tests.e2e.conftest import CommandLine

from keyfold.bus import BusSettings, KafkaBus, Outbound
from keyfold.cli.rewrap.topics import CONTEXT_HEADER
from keyfold.client import Keyfold
from keyfold.config import Config, load_config
from keyfold.events.topics import Topic

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

USE = """
permit (principal == Principal::"alice", action, resource)
unless { action == Action::"UseCompromisedVersion" && context.reason != "rescue" };
"""
RESCUE = ("--reason", "rescue")
ALICE = ("--as", "alice")


@dataclass(frozen=True)
class Deployment:
    """The command line, and the SDK as alice."""

    line: CommandLine

    @property
    def config(self) -> Config:
        return load_config(self.line.data / "keyfold.json")

    def json(self, *words: str, **options: Any) -> Any:
        """Run what must succeed, and return what it says."""
        return self.line.done("--json", *words, **options).document

    def key(self, *words: str) -> str:
        """Create a key."""
        key_id: str = self.json("key", "create", *words)["key_id"]
        return key_id

    def alice(self, work: Callable[[Keyfold], Any], name: str = "alice") -> Any:
        """Do something with the SDK."""
        config = self.config

        async def connected() -> Any:
            async with Keyfold.connect(
                bootstrap_servers=config.bootstrap_servers,
                identity=config.identities_directory / f"{name}.json",
                deployment=config.deployment,
                call_timeout_s=60,
            ) as kms:
                return await work(kms)

        return asyncio.run(connected())

    def state(self, key: str) -> str:
        state: str = self.json("key", "show", key)["state"]
        return state

    def file(self, name: str, content: bytes = b"") -> Path:
        path = self.line.folder / name
        if content:
            path.write_bytes(content)
        return path


@pytest.fixture(scope="module")
def keyfold_(keyfold: CommandLine) -> Deployment:
    """A deployment with alice, who may use every key, and two who approve."""
    made = Deployment(keyfold)
    keyfold.done("principal", "register", "alice")
    keyfold.done("policy", "put", "alice", "-", stdin=USE)
    for name in ("ann", "ben"):
        keyfold.done("principal", "register", name, "--group", "approvers", "--type", "human")
    return made


def eventually(check: Callable[[], bool], seconds: float = 90.0) -> None:
    """The scheduler and the projections follow a moment later."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.5)


@pytest.fixture(scope="module")
def offered(keyfold_: Deployment) -> list[dict[str, Any]]:
    """What the deployment can do: a spec, a usage and a protection level each, with their algorithms."""
    found: list[dict[str, Any]] = keyfold_.json("capabilities")["capabilities"]
    return found


def test_capabilities_name_every_spec(offered: list[dict[str, Any]]) -> None:
    """Each at a protection level at least."""
    specs = {each["key_spec"] for each in offered}
    wanted = {"SYMMETRIC_DEFAULT", "HMAC_256", "RSA_2048", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "ML_DSA_65"}
    assert wanted | {"ML_KEM_768"} <= specs


def test_what_is_not_offered_is_refused(keyfold_: Deployment) -> None:
    """SoftHSM2 has no ML-DSA: it is not made in memory instead."""
    refused = keyfold_.line("--json", "key", "create", "--spec", "ML_DSA_65", "--protection", "HSM")
    assert (refused.code, "Unsupported" in refused.err) == (1, True)


def test_every_offered_key_does_what_it_is_for(keyfold_: Deployment, offered: list[dict[str, Any]]) -> None:
    """Each spec, usage and protection level by each of its algorithms, through the SDK."""

    async def work(administrator: Keyfold) -> list[tuple[dict[str, Any], str]]:
        made = []
        for each in offered:
            key = await administrator.create_key(
                key_spec=each["key_spec"], key_usage=each["key_usage"], protection=each["protection"]
            )
            made.append((each, key.key_id))
        return made

    keys = keyfold_.alice(work, "admin-1")

    async def use(kms: Keyfold) -> None:
        for each, key in keys:
            for algorithm in each["algorithms"]:
                await used(kms, each["key_usage"], key, algorithm)

    keyfold_.alice(use)


async def used(kms: Keyfold, usage: str, key: str, algorithm: Any) -> None:
    """Use a key by one algorithm, there and back."""
    match usage:
        case "ENCRYPT_DECRYPT":
            made: Any = await kms.encrypt(key, b"plain", encryption_algorithm=algorithm)
            sealed = made if isinstance(made, bytes) else made.ciphertext
            assert await kms.decrypt(key, sealed, encryption_algorithm=algorithm) == b"plain"
        case "SIGN_VERIFY":
            signature = (await kms.sign(key, b"message", signing_algorithm=algorithm)).signature
            assert await kms.verify(key, b"message", signature, signing_algorithm=algorithm)
            assert not await kms.verify(key, b"massage", signature, signing_algorithm=algorithm)
            assert (await kms.get_public_key(key)).verify(b"message", signature, signing_algorithm=algorithm)
        case "GENERATE_VERIFY_MAC":
            mac = (await kms.generate_mac(key, b"message", mac_algorithm=algorithm)).mac
            assert await kms.verify_mac(key, b"message", mac, mac_algorithm=algorithm)
            assert not await kms.verify_mac(key, b"massage", mac, mac_algorithm=algorithm)
        case "KEY_AGREEMENT":
            public = load_der_public_key((await kms.get_public_key(key)).public_key)
            assert isinstance(public, ec.EllipticCurvePublicKey)
            own = ec.generate_private_key(public.curve)
            peer = own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            assert (await kms.derive_shared_secret(key, peer)).shared_secret == own.exchange(ec.ECDH(), public)
        case "KEY_ENCAPSULATION":
            capsule = await kms.encapsulate(key)
            assert await kms.decapsulate(key, capsule.ciphertext) == capsule.shared_secret


@pytest.fixture(scope="module")
def releases(keyfold_: Deployment) -> str:
    """A signing key."""
    keyfold_.file("release.tar", os.urandom(10_000))
    return keyfold_.key("--spec", "ECC_NIST_P256", "--usage", "SIGN_VERIFY", "--alias", "alias/releases")


def test_strangers_verify_a_signature(keyfold_: Deployment, releases: str) -> None:
    """With the published public key and any library; the command line does so offline."""
    line = keyfold_.line
    how = ("--algorithm", "ECDSA_SHA_256")
    line.done(*ALICE, "sign", "alias/releases", "release.tar", *how, "-o", "release.sig")
    line.done("key", "public-key", "alias/releases", "-o", "releases.pem")
    public = load_pem_public_key(keyfold_.file("releases.pem").read_bytes())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    signature, message = keyfold_.file("release.sig").read_bytes(), keyfold_.file("release.tar").read_bytes()
    public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        public.verify(signature, message + b"x", ec.ECDSA(hashes.SHA256()))
    line.done(*ALICE, "verify", "alias/releases", "release.sig", "release.tar", *how, "--offline")


def test_old_signatures_verify_after_a_rotation(keyfold_: Deployment, releases: str) -> None:
    """When the version is named; a disabled version verifies nothing until it is enabled."""
    line, words = keyfold_.line, ("verify", releases, "release.sig", "release.tar", "--algorithm", "ECDSA_SHA_256")
    line.done("key", "rotate", releases)
    assert line(*ALICE, *words).code == 4
    line.done("key", "disable-version", releases, "1", "--reason", "retired")
    refused = line(*ALICE, *words, "--key-version", "1")
    assert (refused.code, "KeyVersionUnusable" in refused.err) == (1, True)
    line.done("key", "enable-version", releases, "1")
    line.done(*ALICE, *words, "--key-version", "1")


def test_a_time_bounds_what_a_key_protects(keyfold_: Deployment) -> None:
    """Before it, nothing; after it, only opening and verifying."""
    key = keyfold_.key("--not-before", "1h")
    line = keyfold_.line
    assert keyfold_.state(key) == "PreActive"
    words = (*ALICE, "encrypt", key, "-", "-o", "sealed", "--direct")
    refused = line(*words, stdin="hello")
    assert (refused.code, "KeyNotYetValid" in refused.err) == (1, True)
    line.done("key", "validity", key, "--not-before", "never")
    line.done(*words, stdin="hello")
    line.done("key", "validity", key, "--not-after", "1s")
    eventually(lambda: keyfold_.state(key) == "Expired")
    refused = line(*words, stdin="hello")
    assert (refused.code, "KeyExpired" in refused.err) == (1, True)
    assert line.done(*ALICE, "decrypt", "sealed", "-o", "-").out == "hello"


def test_a_secret_is_brought(keyfold_: Deployment) -> None:
    """The key's MACs are those that its owner computes; deleted, it waits for the very same material."""
    line, secret = keyfold_.line, os.urandom(32)
    keyfold_.file("secret.hex", secret.hex().encode())
    key = keyfold_.key("--spec", "HMAC_256", "--origin", "EXTERNAL")
    assert keyfold_.state(key) == "PendingImport"
    line.done("import", key, "secret.hex", "--format", "hex")
    mac = keyfold_.json(*ALICE, "mac", key, "release.tar", "--algorithm", "HMAC_SHA_256")["mac"]
    assert base64.b64decode(mac) == hmac.digest(secret, keyfold_.file("release.tar").read_bytes(), "sha256")
    line.done("key", "delete-material", key)
    assert keyfold_.state(key) == "PendingImport"
    keyfold_.file("other.bin", os.urandom(32))
    wrong = line("import", key, "other.bin", "--format", "raw")
    assert (wrong.code, "IncorrectKeyMaterial" in wrong.err) == (1, True)
    line.done("import", key, "secret.hex", "--format", "hex")
    assert keyfold_.state(key) == "Enabled"


def test_a_private_key_is_brought_in_three_steps(keyfold_: Deployment) -> None:
    """It signs as its owner's key does; the machine that wraps it has no deployment."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    keyfold_.file("own.pem", pem)
    line = keyfold_.line
    key = keyfold_.key("--spec", "ECC_NIST_P256", "--usage", "SIGN_VERIFY", "--origin", "EXTERNAL")
    line.done("key", "import-parameters", key, "-o", "parameters.json")
    elsewhere = CommandLine(line.folder / "nowhere", line.folder)
    elsewhere.done("import", key, "own.pem", "--parameters", "parameters.json", "-o", "wrapped.bin")
    line.done("import", key, "--parameters", "parameters.json", "--wrapped", "wrapped.bin")
    line.done(*ALICE, "sign", key, "release.tar", "--algorithm", "ECDSA_SHA_256", "-o", "own.sig")
    message = keyfold_.file("release.tar").read_bytes()
    private.public_key().verify(keyfold_.file("own.sig").read_bytes(), message, ec.ECDSA(hashes.SHA256()))
    again = line("import", key, "--parameters", "parameters.json", "--wrapped", "wrapped.bin")
    assert (again.code, "ImportTokenInvalid" in again.err) == (1, True)


def sealed(keyfold_: Deployment, key: str, count: int) -> list[bytes]:
    """Encrypt items as alice, under contexts of their own."""

    async def work(kms: Keyfold) -> list[Any]:
        contexts = [{"row": str(n % 3)} for n in range(count)]
        return list(await kms.encrypt_batch(key, [b"item %d" % n for n in range(count)], contexts=contexts))

    found = keyfold_.alice(work)
    assert all(isinstance(each, bytes) for each in found)
    return list(found)


@pytest.fixture(scope="module")
def moved(keyfold_: Deployment) -> str:
    """A key that has protected a list and a topic; it is marked as compromised."""
    key = keyfold_.key("--alias", "alias/moved")
    items = sealed(keyfold_, "alias/moved", 30)
    documents = [
        json.dumps({"ciphertext": base64.b64encode(item).decode(), "context": {"row": str(n % 3)}, "id": n})
        for n, item in enumerate(items)
    ]
    keyfold_.file("list.jsonl", "\n".join([*documents, "no ciphertext"]).encode())
    asyncio.run(filled(keyfold_.config, items))
    return key


async def filled(config: Config, items: list[bytes]) -> None:
    bus = KafkaBus(BusSettings(bootstrap_servers=config.bootstrap_servers, client_id="test"))
    admin, writer = bus.admin(), bus.writer("test-fill")
    names = [Topic(name, 2, "delete", 3_600_000, 1_000_000) for name in ("sealed.in", "sealed.out")]
    await admin.start()
    await admin.create_topics(2, replication_factor=1, min_insync_replicas=1, topics=names)
    await admin.stop()
    await writer.start()
    for n, item in enumerate(items):
        header = (CONTEXT_HEADER, json.dumps({"row": str(n % 3)}).encode())
        await writer.commit([Outbound("sealed.in", n % 2, b"%d" % n, item, (header,))])
    await writer.stop()


def test_a_compromise_stops_protecting_and_rotates(keyfold_: Deployment, moved: str) -> None:
    """The old version opens for nobody who is not named; the new one protects."""
    line = keyfold_.line
    words = ("key", "compromise", "alias/moved", "--occurred-at", "1h", "--version", "1", "--reason", "leaked")
    done = keyfold_.json(*words)
    assert done["rotation"]["version"] == 2
    assert keyfold_.state(moved) == "Enabled"
    versions = keyfold_.json("key", "versions", moved)
    assert [(v["version"], v["compromised"]) for v in versions] == [(1, True), (2, False)]
    first = json.loads(keyfold_.file("list.jsonl").read_text().splitlines()[0])
    keyfold_.file("item.bin", base64.b64decode(first["ciphertext"]))
    refused = line(*ALICE, "decrypt", "item.bin", "-o", "-", "-c", "row=0")
    assert (refused.code, "KeyVersionUnusable" in refused.err) == (1, True)
    line.done(*ALICE, "encrypt", moved, "-", "-o", "fresh.kf", "--direct", stdin="fresh")
    assert line.done(*ALICE, "decrypt", "item.bin", "-o", "-", "-c", "row=0", *RESCUE).out == "item 0"


def test_the_blast_radius_is_told_by_the_log(keyfold_: Deployment, moved: str) -> None:
    """Who, what, which contexts, how much."""
    found = keyfold_.json("key", "blast-radius", "alias/moved")
    (use,) = [each for each in found["uses"] if each["verb"] == "Encrypt"]
    assert (found["versions"], use["principal"], use["items"], use["did"]) == ([1], "alice", 30, "protected")
    assert sorted(each["context"]["row"] for each in use["contexts"]) == ["0", "1", "2"]


def test_a_list_is_moved_and_then_version_1_is_not_needed(keyfold_: Deployment, moved: str) -> None:
    """To the current version; the line that is no ciphertext is listed, and stays."""
    line = keyfold_.line
    assert keyfold_.json("rewrap", moved, "list.jsonl", "--report-only")["references"] == {"1": 30, "2": 0}
    ran = line("--json", *ALICE, "rewrap", "alias/moved", "list.jsonl", "-o", "list.new", "--batch", "7", *RESCUE)
    assert (ran.code, ran.document["moved"], ran.document["failed"]) == (1, 30, 1), ran.err
    assert keyfold_.json("rewrap", moved, "list.new", "--report-only")["references"] == {"1": 0, "2": 30}
    rows = [json.loads(text) for text in keyfold_.file("list.new").read_text().splitlines()[:30]]
    assert [row["id"] for row in rows] == list(range(30))

    async def opened(kms: Keyfold) -> list[Any]:
        ciphertexts = [base64.b64decode(row["ciphertext"]) for row in rows]
        return list(await kms.decrypt_batch(moved, ciphertexts, contexts=[row["context"] for row in rows]))

    assert keyfold_.alice(opened) == [b"item %d" % n for n in range(30)]


def test_a_topic_is_moved_to_another_key(keyfold_: Deployment, moved: str) -> None:
    """Through Kafka, in order, exactly once, also when it is run again."""
    other = keyfold_.key("--protection", "SOFTWARE")
    words = (*ALICE, "rewrap", moved, "--topic", "sealed.in", "--output-topic", "sealed.out", "--to", other, *RESCUE)
    first = keyfold_.json(*words)
    assert (first["moved"], {each["key_id"] for each in first["after"]}) == (30, {other})
    assert keyfold_.json(*words)["moved"] == 30
    assert keyfold_.json("rewrap", other, "--topic", "sealed.out", "--report-only")["references"] == {"1": 30}
    radius = keyfold_.json("key", "blast-radius", moved)
    assert [(each["destination"], each["items"]) for each in radius["moved_to"]] == [(other, 30)]


def test_a_version_alone_is_destroyed(keyfold_: Deployment, moved: str) -> None:
    """The one that is compromised and not needed any more; what named it opens no more."""
    line = keyfold_.line
    line.done("key", "destroy-version", moved, "1", "--yes", "--reason", "moved away")
    versions = {v["version"]: v for v in keyfold_.json("key", "versions", moved)}
    assert (versions[1]["status"], versions[2]["status"]) == ("Destroyed", "Active")
    assert line(*ALICE, "decrypt", "item.bin", "-o", "-", "-c", "row=0").code != 0
    line.done(*ALICE, "decrypt", "fresh.kf", "-o", "fresh")


def pending(keyfold_: Deployment) -> list[str]:
    """Return the proposals of a new epoch that are open or were carried out."""
    return [each["proposal"] for each in keyfold_.json("proposal", "list") if each["verb"] == "BeginStorageEpoch"]


def test_destruction_ends_in_a_certificate(keyfold_: Deployment, moved: str) -> None:
    """A new storage epoch, that two others approve; then a stranger believes that the key is gone."""
    line = keyfold_.line
    keyfold_.line.done("key", "schedule-deletion", moved, "--seconds", "1", "--yes")
    eventually(lambda: keyfold_.state(moved) == "Destroyed")
    with ThreadPoolExecutor() as pool:
        begun = pool.submit(keyfold_.json, "hsm", "new-epoch", "--wait", "--timeout", "120", "--reason", "a test")
        eventually(lambda: bool(pending(keyfold_)))
        for name in ("ann", "ben"):
            line.done("--as", name, "proposal", "approve", pending(keyfold_)[0], "--yes")
        turned = begun.result()
    assert (turned["status"], turned["epoch"], turned["ended"]) == ("Proposed", 2, 1)
    eventually(lambda: line("key", "erasure-certificate", moved, "-o", "erased.json").code == 0, seconds=180)
    nowhere = CommandLine(line.folder / "nowhere", line.folder)
    words = ("key", "check-certificate", "erased.json", "--deployment", keyfold_.config.deployment or "")
    told = nowhere.done(*words).out
    assert all(word in told for word in ("authentic", "DEMONSTRATION", moved, "it does not cover"))


def test_token_keystore_and_log_agree_afterwards(keyfold_: Deployment, releases: str) -> None:
    """The inventory finds nothing amiss, the token is healthy, and other keys live on."""
    assert keyfold_.json("hsm", "inventory")["ok"] is True
    status = keyfold_.json("hsm", "status")
    assert (status["storage_epoch"]["epoch"], status["serving"]) == (2, True)
    keyfold_.line.done(*ALICE, "sign", releases, "release.tar", "--algorithm", "ECDSA_SHA_256")
