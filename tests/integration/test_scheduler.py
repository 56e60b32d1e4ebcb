"""The scheduler in a running deployment: what use and time trigger, by the default policies and with their causes."""

import asyncio
import base64
import json
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.integration.conftest import eventually
from tests.support.whole_system import WholeSystem

from keyfold.events.entities import Issuer
from keyfold.identity import create_identity
from keyfold.projections.ports import AuditFilter
from keyfold.projections.store import PostgresQueries

pytestmark = [pytest.mark.stack, pytest.mark.token]


async def test_a_key_is_rotated_before_its_budget_is_used(
    system: WholeSystem, queries: PostgresQueries, tmp_path: Path
) -> None:
    """At the percentage that the key asks for; the log says why and by whom. What was encrypted still opens."""
    path = tmp_path / "worker.json"
    worker = create_identity(path, "worker", system.deployment)
    async with system.client("admin-1") as admin:
        await admin.register_principal("worker", worker.signer.public_key, groups=["key-users"])
        made = await admin.create_key(protection="SOFTWARE", usage_budget=10, rotate_at_percent=50)
    key_id = made.key_id

    async def version() -> int:
        key = await queries.describe_key(key_id)
        return 0 if key is None else key.current_version

    async with system.client(path) as user:
        first = [await user.encrypt(key_id, b"kept", context={}) for _ in range(4)]
        await asyncio.sleep(3)
        assert await version() == 1
        await user.encrypt(key_id, b"the fifth", context={})

        async def rotated() -> bool:
            return await version() == 2

        await eventually(rotated)
        assert [await user.decrypt(key_id, each, context={}) for each in first] == [b"kept"] * 4
    page = await queries.audit(AuditFilter(key_id=key_id, verb="RotateKey", principal="scheduler"))
    decided = next(row for row in page.rows if row.event_type == "keyfold.key.rotated.v1")
    assert json.loads(decided.value)["data"]["cause"] == "usage-budget"


def key_set() -> str:
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    return json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x}]})


async def test_the_keys_of_issuers_are_put(system: WholeSystem, queries: PostgresQueries) -> None:
    """From a file of the data directory and from an address; what is unreadable at first is put when it can be read."""
    directory = system.config.data_directory / "issuers"
    directory.mkdir()
    by_file, by_address = key_set(), key_set()

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=by_address)

    application = web.Application()
    application.router.add_get("/keys", answer)
    async with TestServer(application) as server, system.client("admin-1") as admin:
        address = str(server.make_url("/keys"))
        for name, source in (("file", "file.json"), ("http", address)):
            await admin.put_issuer(name, f"https://{name}.example", "keyfold", ["EdDSA"], jwks_source=source)

        async def known(name: str, jwks: str) -> bool:
            found: dict[str, Issuer] = {issuer.issuer: issuer for issuer in await queries.issuers()}
            return name in found and found[name].jwks == jwks

        await eventually(lambda: known("http", by_address))
        assert not await known("file", by_file)
        (directory / "file.json").write_text(by_file)
        await eventually(lambda: known("file", by_file))
