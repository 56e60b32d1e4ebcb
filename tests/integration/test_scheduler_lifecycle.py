"""The scheduler in a running deployment: age, compromise, the end of imported material, the end of a storage epoch."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.conftest import eventually
from tests.support.whole_system import WholeSystem

from keyfold.client import KeyMaterial
from keyfold.identity import create_identity
from keyfold.projections.ports import AuditFilter
from keyfold.projections.store import PostgresQueries

pytestmark = [pytest.mark.stack, pytest.mark.token]


async def rotated(queries: PostgresQueries, key_id: str, cause: str) -> None:
    """Wait until the scheduler has rotated a key; the log says why."""

    async def second() -> bool:
        key = await queries.describe_key(key_id)
        return key is not None and key.current_version == 2

    await eventually(second)
    page = await queries.audit(AuditFilter(key_id=key_id, verb="RotateKey", principal="scheduler"))
    decided = next(row for row in page.rows if row.event_type == "keyfold.key.rotated.v1")
    assert json.loads(decided.value)["data"]["cause"] == cause


async def test_a_key_is_rotated_when_it_is_old_enough(system: WholeSystem, queries: PostgresQueries) -> None:
    """In a deployment for development after seconds, if the key says so."""
    async with system.client("admin-1") as admin:
        made = await admin.create_key(protection="SOFTWARE", rotation_period=timedelta(seconds=4))
        await rotated(queries, made.key_id, "period")


async def test_a_compromised_key_is_rotated_if_nobody_else_does(system: WholeSystem, queries: PostgresQueries) -> None:
    """Whoever marked it may have died before."""
    async with system.client("admin-1") as admin:
        made = await admin.create_key(protection="SOFTWARE")
        await admin.mark_key_compromised(made.key_id, datetime.now(UTC) - timedelta(hours=1), rotate=False)
        await rotated(queries, made.key_id, "compromise")
    (first, second) = await queries.key_versions(made.key_id)
    assert first.compromised_at is not None
    assert second.compromised_at is None


async def test_imported_material_is_deleted_at_its_end(system: WholeSystem, queries: PostgresQueries) -> None:
    """Then the key waits for the same material."""
    async with system.client("admin-1") as admin:
        made = await admin.create_key(protection="SOFTWARE", origin="EXTERNAL")
        end = datetime.now(UTC) + timedelta(seconds=15)
        await admin.import_key(made.key_id, KeyMaterial("SYMMETRIC_DEFAULT", os.urandom(32)), valid_to=end)

        async def deleted() -> bool:
            (version,) = await queries.key_versions(made.key_id)
            return version.imported_at is not None and version.erased_at is not None and not version.material

        await eventually(deleted)
    (summary,) = [key for key in (await queries.list_keys()).keys if key.key_id == made.key_id]
    assert summary.state == "PendingImport"


async def test_a_storage_epoch_is_ended_and_erasure_certified(
    system: WholeSystem, queries: PostgresQueries, tmp_path: Path
) -> None:
    """What others approve, the scheduler ends, older sealing keys too: a destroyed key is certified as erased."""
    people = {name: create_identity(tmp_path / f"{name}.json", name, system.deployment) for name in ("ada", "bea")}
    async with system.client("admin-1") as admin:
        for name, identity in people.items():
            await admin.register_principal(name, identity.signer.public_key, groups=["approvers"])
        made = await admin.create_key(protection="SOFTWARE")
        await admin.schedule_key_deletion(made.key_id, timedelta(seconds=1))

        async def destroyed() -> bool:
            (version,) = await queries.key_versions(made.key_id)
            return version.status == "Destroyed" and version.erased_at is not None

        await eventually(destroyed)
        proposal = await admin.propose("BeginStorageEpoch")
    for name in people:
        async with system.client(tmp_path / f"{name}.json") as approver:
            await approver.approve_proposal(proposal.id, proposal.digest)

    async def ended() -> bool:
        epoch = await queries.storage_epoch()
        return epoch is not None and (epoch.epoch, epoch.ended) == (2, 1)

    await eventually(ended)

    async def certified() -> bool:
        return len(await queries.erasures(made.key_id)) == 1

    await eventually(certified, 90)
    (erasure,) = await queries.erasures(made.key_id)
    epoch, deployment = await queries.storage_epoch(), await queries.deployment()
    assert epoch is not None
    assert deployment is not None
    assert [turn.partition for turn in epoch.turned] == list(range(epoch.partitions))
    assert erasure.certificate.epoch_key_destroyed == deployment.storage_epoch_end
