"""Receipts, proofs and witnesses on a whole system: what a client is promised, a stranger can check offline."""

import asyncio
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from tests.support.whole_system import WholeSystem

from keyfold.auditing.proving import check_proof
from keyfold.cli import main
from keyfold.client import Keyfold, Receipt, sync
from keyfold.events import facts
from keyfold.events.errors import KeyDisabled
from keyfold.events.notes import parse_vkey
from keyfold.identity import create_identity

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

POLICY = 'permit (principal == Principal::"prover", action, resource);'


async def run(system: WholeSystem, *words: str, code: int = 0, data: Path | None = None) -> Any:
    """Run a command line in a thread, with an event loop of its own."""
    arguments = ["--data", str(data or system.config.data_directory), "--json", *words]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        ran = await asyncio.to_thread(main.run, arguments)
    assert ran == code, err.getvalue()
    return json.loads(out.getvalue() or err.getvalue())


async def user(system: WholeSystem) -> Path:
    """A principal that may use keys."""
    path = system.config.identities_directory / "prover.json"
    identity = create_identity(path, "prover", system.deployment)
    async with system.client("admin-1") as admin:
        await admin.register_principal("prover", public_key=identity.signer.public_key, groups=["provers"])
        await admin.put_policy("provers", POLICY)
    return path


async def use(kms: Keyfold) -> tuple[list[Receipt], str]:
    """Some commands of all kinds that have outcomes, and one that has none."""
    with kms.with_receipts() as receipts:
        key_id = (await kms.create_key(protection="SOFTWARE")).key_id
        await asyncio.gather(*(kms.encrypt(key_id, b"%d" % number) for number in range(200)))
        await kms.encrypt_batch(key_id, [b"x"] * 1500)
        await kms.generate_random(32)
        await kms.disable_key(key_id)
        with pytest.raises(KeyDisabled):
            await kms.encrypt(key_id, b"denied")
    return list(receipts), key_id


async def test_from_a_receipt_to_an_auditor_elsewhere(system: WholeSystem, tmp_path: Path) -> None:
    """Every receipt becomes a proof that is good with saved public keys alone; a witness cosigns what it saw."""
    path = await user(system)
    async with system.client(path) as kms:
        receipts, _ = await use(kms)
        verbs = [receipt.event.data.verb for receipt in receipts]
        assert verbs.count("Encrypt") >= 3
        assert {"CreateKey", "GenerateRandom", "DisableKey"} <= set(verbs)
        proofs = [await kms.proof(Receipt.from_bytes(receipt.to_bytes()), timeout_s=30) for receipt in receipts]
    root, elsewhere = tmp_path / "root.json", tmp_path / "nowhere"
    keys = (await run(system, "audit", "keys", "--save", str(root)))["keys"]
    (tmp_path / "log.keys").write_text("\n".join(keys))
    for number, (receipt, proof) in enumerate(zip(receipts, proofs, strict=True)):
        (tmp_path / f"{number}.tlog-proof").write_bytes(proof)
        assert check_proof(proof, _of(keys)).event == receipt.event
    first = str(tmp_path / "0.tlog-proof")
    shown = await run(system, "audit", "check-proof", first, "--key", str(tmp_path / "log.keys"), data=elsewhere)
    assert shown["event"]["data"]["verb"] == "CreateKey"
    believed = ("--deployment", system.deployment, "--certificates", str(root))
    assert (await run(system, "audit", "check-proof", first, *believed, data=elsewhere))["author"] == "hsm"

    home, place = str(tmp_path / "witness"), ("--bootstrap", system.config.bootstrap_servers)
    made = await run(system, "witness", "init", home, "--name", "w", "--deployment", system.deployment, *place)
    assert (await run(system, "witness", "run", home, "--once", *place))["cosigned"] >= 2
    out = str(tmp_path / "event.tlog-proof")
    await run(system, "audit", "prove", receipts[0].command_id, "--cosignatures", "2", "--out", out)
    witness = [word for key in made["keys"] for word in ("--witness", key)]
    shown = await run(
        system, "audit", "check-proof", out, "--key", str(tmp_path / "log.keys"), *witness, data=elsewhere
    )
    assert list(shown["witnesses"]) == ["w"]
    assert shown["event"]["id"] == receipts[0].event.id
    decision = await run(system, "audit", "prove", receipts[0].command_id, "--decision", "--timeout", "30")
    assert decision["event"]["type"] == facts.KeyCreated.type_name
    assert decision["author"] == "policy"
    assert len(await run(system, "audit", "checkpoints")) >= 2
    assert (await run(system, "witness", "run", home, "--once", *place))["cosigned"] >= 2
    assert (await run(system, "witness", "show", home))["evidence"] == []


async def test_threads_have_receipts_too(system: WholeSystem) -> None:
    """The blocking client: each thread's block collects its own."""

    def block() -> tuple[list[Receipt], bytes]:
        client = system.client("prover")
        with sync.Keyfold(client) as kms:
            with kms.with_receipts() as receipts:
                kms.generate_random(16)
            kms.generate_random(16)
            return list(receipts), kms.proof(receipts[0], timeout_s=30)

    receipts, proof = await asyncio.to_thread(block)
    assert [receipt.event.data.verb for receipt in receipts] == ["GenerateRandom"]
    keys = _of((await run(system, "audit", "keys"))["keys"])
    assert check_proof(proof, keys).event == receipts[0].event


def _of(keys: list[str]) -> Any:
    return [parse_vkey(key) for key in keys]
