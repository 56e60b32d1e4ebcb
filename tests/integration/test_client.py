"""The client on a real Kafka, against a responder that answers as the services would."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from keyfold.client import Keyfold, sync
from keyfold.client.envelope import FileJob, decrypt_files, encrypt_files
from keyfold.identity import write_identity

pytestmark = pytest.mark.stack


async def test_encrypt_decrypt_rotate_and_alias(deployment: Any, bootstrap_servers: str, tmp_path: Path) -> None:
    """By the public interface only: brokers' address and identity file."""
    path = tmp_path / "alice.json"
    write_identity(path, "alice", deployment.id, deployment.private_key)
    async with Keyfold.connect(bootstrap_servers=bootstrap_servers, identity=path) as kms:
        key_id = (await kms.create_key(protection="SOFTWARE")).key_id
        await deployment.publish_alias("alias/orders", key_id)
        ciphertexts = await asyncio.gather(
            *(kms.encrypt("alias/orders", b"%d" % n, context={"n": str(n % 3)}) for n in range(500))
        )
        assert (await kms.rotate_key("alias/orders")).version == 2
        contexts = [{"n": str(n % 3)} for n in range(500)]
        assert await kms.decrypt_batch(key_id, ciphertexts, contexts=contexts) == [b"%d" % n for n in range(500)]
        assert kms.counters()["unauthentic_replies"] == 0
    # A slow machine makes the client send again: the same command, which counts once.
    assert len({received.command.id for received in deployment.received}) < 20


async def test_a_sealing_key_that_changes_under_load_costs_nobody_a_call(deployment: Any) -> None:
    """Bodies are sealed again to the current one."""
    async with deployment.connect() as kms:
        key_id = (await kms.create_key()).key_id

        async def work(n: int) -> None:
            for _ in range(5):
                assert await kms.decrypt(key_id, await kms.encrypt(key_id, b"%d" % n)) == b"%d" % n

        working = asyncio.gather(*(work(n) for n in range(20)))
        await asyncio.sleep(0.05)
        await deployment.rotate_sealing_key()
        await working


async def test_files_and_the_synchronous_client(deployment: Any, tmp_path: Path) -> None:
    """Envelopes through the bus, and blocking calls from another thread."""
    for n in range(5):
        (tmp_path / f"{n}").write_bytes(b"%d" % n * 100_000)
    async with deployment.connect() as kms:
        key_id = (await kms.create_key()).key_id
        jobs = [FileJob(tmp_path / f"{n}", tmp_path / f"{n}.kf", {"n": str(n)}) for n in range(5)]
        assert all(result.error is None for result in await encrypt_files(kms, key_id, jobs))
        back = [FileJob(job.destination, tmp_path / f"{job.source.name}.out", job.context) for job in jobs]
        assert all(result.error is None for result in await decrypt_files(kms, back))
    assert all((tmp_path / f"{n}.out").read_bytes() == b"%d" % n * 100_000 for n in range(5))

    def block() -> bytes:
        with sync.Keyfold(deployment.connect()) as kms:
            return kms.decrypt(key_id, kms.encrypt(key_id, b"x"))

    assert await asyncio.to_thread(block) == b"x"
