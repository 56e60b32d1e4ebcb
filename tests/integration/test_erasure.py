"""Destruction with evidence, on real tokens: a backup of the log opens before the epoch is turned, and not after.

Whoever has a copy of the keystore and of the commands, and the tokens with their PINs, is the one that must be stopped.
The log is in memory, so that the test has the clock; the tokens are SoftHSM2's.
"""

import asyncio
import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from tests.support.backup import Copies, of_keys
from tests.support.key_orders import (
    Kind,
    begin,
    bring,
    create,
    decrypt,
    delete_material,
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
from tests.unit.hsm.exchange import Order
from tests.unit.hsm.worker import SETTINGS, Worker, until

from keyfold.bus import Outbound
from keyfold.custody import Custody, InvalidBlob, KeyReference, blobs, open_body
from keyfold.custody.in_token_material import resident_id
from keyfold.events import bodies, facts, topics
from keyfold.events.errors import SealingKeyRetired
from keyfold.events.streams import key_id_bytes
from keyfold.token import Module, TokenError, load_module
from keyfold.token import keys as token_keys

pytestmark = [pytest.mark.token]

ALL = range(PARTITIONS)
HSM, SOFTWARE = kind("SYMMETRIC_DEFAULT", "HSM"), kind("SYMMETRIC_DEFAULT", "SOFTWARE")
RESIDENT = kind("ECC_NIST_EDWARDS25519", "HSM")
IMPORTED = kind("SYMMETRIC_DEFAULT", "SOFTWARE", origin="EXTERNAL")
FEW = (HSM, SOFTWARE, RESIDENT)
MANY = (
    *FEW,
    kind("HMAC_256", "HSM"),
    kind("RSA_2048", "HSM", "SIGN_VERIFY"),
    kind("ECC_NIST_P256", "SOFTWARE", "SIGN_VERIFY"),
    kind("ML_DSA_44", "SOFTWARE"),
)
MATERIAL = bytes(range(32))
SECRET = b"what nobody may read any more"
ED25519 = "ED25519_SHA_512"
OPEN_WITH_A_COPY = """
import json, sys
from pathlib import Path
from keyfold.custody import Custody, KeyReference
from keyfold.token import load_module, open_token
told = json.load(sys.stdin)
with open_token(load_module(Path(told["module"])), told["label"], Path(told["pin"])) as token:
    custody = Custody(token)
    custody.attach()
    for key_id, spec, protection, usage, blob in told["blobs"]:
        custody.open(KeyReference(bytes.fromhex(key_id), 1, spec, protection, usage), bytes.fromhex(blob))
"""


@dataclass
class Setting:
    """A deployment, its tokens, and what was done in it before the backup."""

    deployment: Deployment
    tokens: Tokens
    doomed: dict[str, Kind] = field(default_factory=dict)
    living: dict[str, Kind] = field(default_factory=dict)
    ciphertexts: dict[str, bytes] = field(default_factory=dict)

    def backup(self) -> Copies:
        """Copy what a broker, or its backup, has."""
        found = [
            [r for p in ALL for r in self.deployment.records(name, p)] for name in (topics.KEYSTORE, topics.AUTHORIZED)
        ]
        return Copies(*found)

    async def set_up(self, running: Worker, kinds: Sequence[Kind] = FEW) -> None:
        """Two keys of each kind, one to be destroyed."""
        for number, of in enumerate(kinds):
            for keys in (self.doomed, self.living):
                await execute(running, create(self.deployment, key_id := key_on(1 + number % 3), of))
                keys[key_id] = of
        for key_id in (*self.doomed, *self.living):
            await self._encrypt(running, key_id)

    async def set_up_import(self, running: Worker, keys: dict[str, Kind]) -> Order:
        """An imported key, and an import of the same material that is still open, which is returned."""
        await execute(running, create(self.deployment, key_id := key_on(2), IMPORTED))
        await execute(running, opened := open_import(self.deployment, key_id, IMPORTED))
        await execute(running, bring(self.deployment, key_id, IMPORTED, opened, MATERIAL))
        await execute(running, again := open_import(self.deployment, key_id, IMPORTED))
        keys[key_id] = IMPORTED
        await self._encrypt(running, key_id)
        return again

    async def _encrypt(self, running: Worker, key_id: str) -> None:
        of = (self.doomed | self.living)[key_id]
        if of.spec == "SYMMETRIC_DEFAULT":
            (answer,) = await execute(running, encrypt(self.deployment, key_id, of, SECRET))
            self.ciphertexts[key_id] = result(answer)

    async def turn(self, running: Worker, epoch: int = 2) -> None:
        """Turn to the next epoch and end the one before."""
        await running.finished(await begin(self.deployment, epoch))
        await until(lambda: len(turned(self.deployment, epoch)) == PARTITIONS)
        (answer,) = await execute(running, end(self.deployment, epoch - 1))
        assert answer.data.code is None

    async def renew_sealing_key(self, running: Worker) -> str:
        """Rotate the sealing key and erase the one before, which is returned."""
        before = self.deployment.sealing_key()
        self.deployment.now += 1
        await execute(running, self.deployment.order("RotateSealingKey"))
        arguments = {"sealing_key": before}
        sealing_key = self.deployment.sealing_key()
        await execute(running, self.deployment.order("EraseSealingKey", arguments=arguments, sealing_key=sealing_key))
        return before

    def opens_by_any_key(self, reference: KeyReference, blob: bytes) -> bool:
        """Try the outer envelope with every secret key in the token, by the PIN and without this program's custody."""
        parsed = blobs.parse(blob)
        item = (parsed.nonce, parsed.outer, blobs.outer_associated_data(parsed.header, reference))
        with self.tokens.kms.manager() as session:
            for key_class, key_id in self.tokens.stored():
                for key in token_keys.find(session, key_id) if key_class == "secret" else ():
                    try:
                        if session.gcm.decrypt_many(token_keys.handle_of(key), [item])[0] is not None:
                            return True
                    except TokenError:
                        continue
        return False

    def reads(self, sealing_key: str, command: bytes, sealed: bytes) -> bytes:
        """Open a sealed body with the token `seal`. Raises `SealingKeyRetired`."""
        stored = {e.data.sealing_key: b64decode(e.data.blob) for e in kept(self.deployment, facts.SealingKeyStored)}
        name = bytes.fromhex(sealing_key.replace("-", ""))
        private = self.tokens.sealing().load(name, stored[sealing_key])
        return open_body(private, sealed, bodies.info(command))


@pytest.fixture(scope="module")
def module(softhsm: Any) -> Iterator[Module]:
    """The PKCS#11 library with this test module's token directory."""
    loaded = load_module(softhsm.module)
    yield loaded
    loaded.close()


@pytest.fixture
async def setting(module: Module, tmp_path: Path) -> AsyncIterator[Setting]:
    """A deployment with tokens of its own."""
    made = Deployment()
    await made.initialise()
    with fresh_tokens(module, tmp_path) as tokens:
        yield Setting(made, tokens)


def opens(custody: Custody, reference: KeyReference, blob: bytes) -> bool:
    """Try a blob, of a key or of an import, as a worker does."""
    try:
        custody.rewrap(reference, blob) if reference.usage == "IMPORT" else custody.open(reference, blob)
    except InvalidBlob:
        return False
    return True


async def destroy_all(setting: Setting, running: Worker) -> None:
    """Destroy the doomed keys; after it, the worker itself has nothing of them."""
    for key_id in setting.doomed:
        await execute(running, destroy(setting.deployment, key_id))
    for key_id, ciphertext in setting.ciphertexts.items():
        if key_id in setting.doomed:
            of = setting.doomed[key_id]
            (answer,) = await execute(running, decrypt(setting.deployment, key_id, of, ciphertext))
            assert answer.data.code == "InvalidState"


async def test_a_backup_of_the_log_is_useless_after_the_turn(setting: Setting) -> None:
    """Before the turn, copied blobs of destroyed keys still open with the token; after it none does, by no key of it.

    (A resident key's blob never held its material: that is gone from the token at once.)
    """
    async with setting.tokens.process(setting.deployment, own=ALL) as running:
        await setting.set_up(running, MANY)
        await setting.set_up_import(running, setting.doomed)
        copies = setting.backup()
        await destroy_all(setting, running)
        doomed = [*of_keys(copies, setting.doomed), *copies.import_keys()]
        assert len(doomed) == len(setting.doomed) + 2
        custody = setting.tokens.custody()
        for reference, blob in doomed:
            assert opens(custody, reference, blob) is (reference.spec != RESIDENT.spec), "that is why the turn exists"
            assert setting.opens_by_any_key(reference, blob)
        await setting.turn(running)
    custody = setting.tokens.custody()
    for reference, blob in (*copies.materials(), *copies.import_keys()):
        assert not opens(custody, reference, blob)
        assert not setting.opens_by_any_key(reference, blob)


async def test_copied_commands_are_unreadable_when_their_sealing_key_is_erased(setting: Setting) -> None:
    """Before that, the copy of a command and the token `seal` are enough to read what was encrypted."""
    async with setting.tokens.process(setting.deployment, own=ALL) as running:
        await setting.set_up(running)
        copies = setting.backup()
        read = [setting.reads(*body) for body in copies.bodies()]
        assert sum(SECRET in body for body in read) == len(setting.ciphertexts)
        erased = await setting.renew_sealing_key(running)
    assert {sealing_key for sealing_key, _, _ in copies.bodies()} == {erased}
    for body in copies.bodies():
        with pytest.raises(SealingKeyRetired):
            setting.reads(*body)


async def test_live_keys_go_on_under_new_blobs(setting: Setting) -> None:
    """What was encrypted before is decrypted after, by this process and by the next; also by an import still open."""
    async with setting.tokens.process(setting.deployment, own=ALL) as running:
        await setting.set_up(running)
        opened = await setting.set_up_import(running, setting.living)
        copies = setting.backup()
        await setting.turn(running)
        after = setting.backup()
    custody = setting.tokens.custody()
    for reference, blob in of_keys(copies, setting.living):
        assert not opens(custody, reference, blob)
    new = [(r, b) for r, b in of_keys(after, setting.living) if blobs.parse(b).epoch == 2]
    assert len(new) == len(setting.living)
    assert all(opens(custody, reference, blob) for reference, blob in new)
    async with setting.tokens.process(setting.deployment, own=ALL) as running:
        for key_id, ciphertext in setting.ciphertexts.items():
            of = (setting.doomed | setting.living)[key_id]
            (answer,) = await execute(running, decrypt(setting.deployment, key_id, of, ciphertext))
            assert result(answer) == SECRET
        key_id = opened.stream.removeprefix("key/")
        (answer,) = await execute(running, bring(setting.deployment, key_id, IMPORTED, opened, MATERIAL))
        assert answer.data.code is None


async def test_the_certificate_says_what_was_erased_and_what_it_does_not_cover(setting: Setting) -> None:
    """Its digests are those of the copies; it comes when epoch and sealing keys are gone, once for each key."""
    async with setting.tokens.process(setting.deployment, own=ALL) as running:
        await setting.set_up(running)
        copies = setting.backup()
        await destroy_all(setting, running)
        await setting.turn(running)
        await asyncio.sleep(6 * SETTINGS.poll_s)
        assert not of_type(setting.deployment, facts.KeyErased), "the commands can still be read"
        erased = await setting.renew_sealing_key(running)
        await until(lambda: len(of_type(setting.deployment, facts.KeyErased)) == len(setting.doomed))
    digests = {r.key_id: sha256(blob).hexdigest() for r, blob in of_keys(copies, setting.doomed)}
    (destroyed,) = of_type(setting.deployment, facts.StorageEpochKeyDestroyed)
    for certificate in of_type(setting.deployment, facts.KeyErased):
        data = certificate.data
        assert data.key_id in setting.doomed
        assert data.blob_digests == {"1": digests[key_id_bytes(data.key_id)]}
        assert (data.epoch, data.epoch_key_destroyed, data.sealing_key) == (1, destroyed.id, erased)
        assert data.module.startswith("SoftHSM")
        assert data.demonstration
        assert set(data.covers) == {"keystore", "log", "log-backups", "payloads-of-commands"}
        assert set(data.does_not_cover) == {
            "token-backups", "token-media", "copies-by-users-of-the-token", "plaintext-that-callers-hold"
        }  # fmt: skip


async def test_imported_material_that_was_deleted_before_is_certified_too(setting: Setting) -> None:
    """Its blob lies in the log as those of others do, although the key had no material when it was destroyed."""
    async with setting.tokens.process(setting.deployment, own=ALL) as running:
        await setting.set_up_import(running, setting.doomed)
        copies = setting.backup()
        (key_id,) = setting.doomed
        await execute(running, delete_material(setting.deployment, key_id))
        await execute(running, destroy(setting.deployment, key_id))
        await setting.turn(running)
        await setting.renew_sealing_key(running)
        await until(lambda: bool(of_type(setting.deployment, facts.KeyErased)))
    ((reference, blob),) = of_keys(copies, setting.doomed)
    (certificate,) = of_type(setting.deployment, facts.KeyErased)
    assert certificate.data.blob_digests == {"1": sha256(blob).hexdigest()}
    assert not opens(setting.tokens.custody(), reference, blob)


async def test_a_resident_key_is_gone_from_the_token(setting: Setting) -> None:
    """Both halves, when its destruction is stated; the other resident key still signs."""
    async with setting.tokens.process(setting.deployment, own=ALL) as running:
        await setting.set_up(running)
        (gone,) = (key_id for key_id, of in setting.doomed.items() if of == RESIDENT)
        (left,) = (key_id for key_id, of in setting.living.items() if of == RESIDENT)
        assert ("private", resident_id(key_id_bytes(gone), 1)) in setting.tokens.stored()
        await execute(running, destroy(setting.deployment, gone))
        assert running.custody.list_resident() == [(key_id_bytes(left), 1)]
        await setting.turn(running)
        (answer,) = await execute(running, sign(setting.deployment, left, RESIDENT, b"message", ED25519))
        assert len(result(answer)) == 64
    private = [name for key_class, name in setting.tokens.stored() if key_class == "private"]
    assert private == [resident_id(key_id_bytes(left), 1)]


async def test_a_backup_of_the_token_is_not_covered(setting: Setting, softhsm: Any, tmp_path: Path) -> None:
    """The certificate says so: who kept the token's files, too, opens the copies all the same."""
    async with setting.tokens.process(setting.deployment, own=ALL) as running:
        await setting.set_up(running)
        copies = setting.backup()
        files = tmp_path / "token-backup"
        copytree(softhsm.conf.parent, files)
        await destroy_all(setting, running)
        await setting.turn(running)
    told = {
        "module": str(softhsm.module),
        "label": setting.tokens.kms.label,
        "pin": str(tmp_path / f"{setting.tokens.kms.label}.pin"),
        "blobs": [(r.key_id.hex(), r.spec, r.protection, r.usage, b.hex()) for r, b in of_keys(copies, setting.doomed)],
    }
    conf = files / softhsm.conf.name
    conf.write_text(conf.read_text().replace(str(softhsm.conf.parent), str(files)))
    program, environment = [sys.executable, "-c", OPEN_WITH_A_COPY], {**os.environ, "SOFTHSM2_CONF": str(conf)}
    await asyncio.to_thread(
        subprocess.run, program, input=json.dumps(told), text=True, check=True, timeout=60, env=environment
    )


async def test_a_record_that_is_written_back_is_not_believed(setting: Setting) -> None:
    """A plain producer puts the copied keystore at the end of its topic: it is ignored, and the keys are as before."""
    async with setting.tokens.process(setting.deployment, own=ALL) as running:
        await setting.set_up(running)
        copies = setting.backup()
        await destroy_all(setting, running)
        await setting.turn(running)
    sender = setting.deployment.bus.sender()
    await sender.start()
    for record in copies.keystore:
        again = Outbound(record.topic, record.partition, record.key, record.value, record.headers)
        await (await sender.send(again))
    await sender.stop()
    async with setting.tokens.process(setting.deployment, own=ALL) as running:
        for key_id, ciphertext in setting.ciphertexts.items():
            of = (setting.doomed | setting.living)[key_id]
            (answer,) = await execute(running, decrypt(setting.deployment, key_id, of, ciphertext))
            assert answer.data.code == ("InvalidState" if key_id in setting.doomed else None)
        made = key_on(1)
        (answer,) = await execute(running, create(setting.deployment, made, SOFTWARE))
        assert answer.data.code is None
    (stored,) = [e for e in kept(setting.deployment, facts.KeyMaterialStored) if e.data.key_id == made]
    assert blobs.parse(b64decode(stored.data.blob)).epoch == 2
