"""Explain, simulate and suggest on a running deployment: what its services really wrote is made again, bit for bit."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.whole_system import WholeSystem

from keyfold.cli.main import run
from keyfold.cli.policy_sources import Replaying, source
from keyfold.cli.session import Session
from keyfold.client import Keyfold
from keyfold.deciding.cedar import validate_policy
from keyfold.deciding.remaking import check_signature, remake
from keyfold.events import topics
from keyfold.events.errors import AccessDenied, KeyDisabled
from keyfold.identity import create_identity
from keyfold.projections.ports import AuditFilter, lag

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
PEOPLE = {"alice": "key-users", "bob": "nobodies", "carol": "approvers", "dan": "approvers"}
FORBID = """
forbid(principal, action == Action::"Encrypt", resource)
when { context.encryption_context.hasTag("tenant") && context.encryption_context.getTag("tenant") == "b" };
"""


@dataclass(frozen=True)
class Past:
    """A deployment in which something has happened. `key_id` has the alias alias/orders."""

    system: WholeSystem
    key_id: str
    decisions: int

    @property
    def session(self) -> Session:
        return Session(self.system.config.data_directory)

    def run(self, *words: str) -> int:
        return run(["--data", str(self.system.config.data_directory), *words])


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    system = WholeSystem(tmp_path_factory.mktemp("tools") / "data")
    try:
        system.begin()
        yield asyncio.run(_live(system))
    finally:
        system.stack.reset()


async def _live(system: WholeSystem) -> Past:
    """People, a key that is used, denied, granted and disabled, and one that two approve to destroy."""
    directory = system.config.identities_directory
    async with system.client("admin-1") as admin:
        for name, group in PEOPLE.items():
            identity = create_identity(directory / f"{name}.json", name, system.deployment)
            await admin.register_principal(name, identity.signer.public_key, groups=[group])
        key_id = (await admin.create_key(protection="SOFTWARE", tags={"team": "shop"})).key_id
        doomed = (await admin.create_key(protection="SOFTWARE")).key_id
        await admin.create_alias("alias/orders", key_id)
        await admin.put_limit("day", kind="quota", amount=1000, period=86_400)
        async with system.client("alice") as alice, system.client("bob") as bob:
            await _use(admin, alice, bob, key_id)
        await _destroy(system, admin, doomed)
    return Past(system, key_id, await _projected(system))


async def _use(admin: Keyfold, alice: Keyfold, bob: Keyfold, key_id: str) -> None:
    for tenant in ("a", "b"):
        ciphertext = await alice.encrypt(key_id, b"x", context={"tenant": tenant})
        assert await alice.decrypt(key_id, ciphertext, context={"tenant": tenant}) == b"x"
    with pytest.raises(AccessDenied):
        await bob.encrypt(key_id, b"x")
    await admin.create_grant(key_id, "bob", ["Encrypt"], expires_at=timedelta(hours=1))
    await bob.encrypt(key_id, b"x")
    await admin.rotate_key(key_id)
    await admin.disable_key(key_id, reason="audit")
    with pytest.raises(KeyDisabled):
        await alice.encrypt(key_id, b"x", context={"tenant": "a"})
    await admin.enable_key(key_id)


async def _destroy(system: WholeSystem, admin: Keyfold, key_id: str) -> None:
    proposal = await admin.propose("DestroyKeyNow", key_id, expires_at=timedelta(hours=1))
    for name in ("carol", "dan"):
        async with system.client(name) as approver:
            await approver.approve_proposal(proposal.id, proposal.digest, key=key_id)


async def _projected(system: WholeSystem) -> int:
    """Wait until all that was written is in the projections; return how many decisions there are.

    A client has its answer before the outcome's transaction is visible to everybody, so the end is looked at twice.
    """
    session, admin = Session(system.config.data_directory), system.bus().admin()
    await admin.start()
    try:
        async with session.queries(session.config) as queries:
            for _ in range(2):
                await asyncio.sleep(0.5)
                ends = await admin.end_offsets(topics.EVENTS)
                while lag(await queries.progress(), ends) != dict.fromkeys(ends, 0):
                    await asyncio.sleep(0.1)
            page = await queries.audit(AuditFilter(), limit=1000)
    finally:
        await admin.stop()
    return sum(row.outcome in {"authorized", "denied", "dry-run"} for row in page.rows)


def row(past: Past, **wanted: Any) -> Any:
    """The last audit row of somebody's verb."""

    async def work() -> Any:
        async with past.session.queries(past.session.config) as queries:
            return (await queries.audit(AuditFilter(**wanted), limit=1)).rows[0]

    return asyncio.run(work())


@pytest.mark.parametrize("log", [True, False], ids=["log", "projections"])
def test_every_decision_of_the_services_is_reproduced(past: Past, log: bool) -> None:
    """From the verified log and from the audit trail alike: the same bytes, signed by who asked."""

    async def work() -> Counter[str]:
        found: Counter[str] = Counter()
        async with source(past.session, log=log) as opened:
            replaying = Replaying(opened, range(opened.partitions))
            async with aclosing(replaying.decisions()) as decisions:
                async for recorded in decisions:
                    check_signature(recorded)
                    found[remake(recorded).verdict] += 1
            assert replaying.waiting == ()
        return found

    assert asyncio.run(work()) == {"reproduced": past.decisions}


@pytest.mark.parametrize("where", [[], ["--log"]], ids=["projections", "log"])
def test_a_denial_is_explained(past: Past, where: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """By the command's id and by the event's: what could have applied, and that it follows from the log."""
    denied = row(past, principal="bob", denied_only=True)
    assert past.run("policy", "explain", denied.command_id, *where) == 0
    words = capsys.readouterr().out
    assert "was denied: AccessDenied" in words
    assert "made again  the same, bit for bit" in words
    assert past.run("--json", "policy", "explain", denied.event_id, *where) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["command_id"], document["verdict"]) == (denied.command_id, "reproduced")
    assert document["asked"][0]["key"]["tags"] == {"team": "shop"}


def test_grants_limits_and_approvals_are_explained(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    """What a grant covered, what a limit had left, and an approval that carried out what somebody proposed."""
    assert past.run("policy", "explain", row(past, principal="bob", verb="Encrypt").command_id) == 0
    words = capsys.readouterr().out
    assert "covers the command" in words
    assert "day (quota: 1000 in 86400 s, of which each partition has its share)" in words
    destroyed = row(past, event_type="keyfold.key.destroyed.v1")
    assert past.run("policy", "explain", destroyed.event_id) == 0
    words = capsys.readouterr().out
    assert "carried out with the approvals of carol, dan" in words
    assert "what the approval would carry out:" in words


def test_what_does_not_exist_is_not_explained(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes of the command line: refused, and usage."""
    assert past.run("policy", "explain", "1.999999.decision") == 1
    assert past.run("policy", "explain", "01890000-0000-7000-8000-000000000000") == 1
    assert past.run("policy", "explain", "root.1") == 2
    assert capsys.readouterr().err.count("\n") == 3


@pytest.mark.parametrize("where", [[], ["--log"]], ids=["projections", "log"])
def test_proposed_policies_are_simulated(
    past: Past, where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key's policy in the directory of its alias: who would be denied, how often; nothing else changes."""
    directory = tmp_path / "keys" / "alias" / "orders"
    directory.mkdir(parents=True)
    (directory / "tenants.cedar").write_text(FORBID)
    assert past.run("--json", "policy", "simulate", "--policies", str(tmp_path), *where) == 0
    document = json.loads(capsys.readouterr().out)
    (changed,) = document["changed"]
    assert (changed["principal"], changed["verb"], changed["count"]) == ("alice", "Encrypt", 1)
    assert (changed["stream"], changed["policies"]) == (f"key/{past.key_id}", ["key/tenants#0"])
    assert document["totals"]["decisions"] == past.decisions


def test_a_policy_that_cannot_be_put_is_not_simulated(
    past: Past, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is named."""
    (tmp_path / "broken.cedar").write_text("permit(principal, action, resource) when { principal.x };")
    assert past.run("policy", "simulate", "--policies", str(tmp_path)) == 1
    assert "InvalidPolicy" in (told := capsys.readouterr().err)
    assert "broken.cedar" in told


def test_what_was_used_is_suggested(past: Past, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cedar that can be put, and that would have answered alice as she was answered."""
    assert past.run("policy", "suggest", "--principal", "alice") == 0
    told = capsys.readouterr()
    validate_policy(told.out)
    assert "// alias/orders" in told.out
    assert '["a", "b"].contains(context.encryption_context.getTag("tenant"))' in told.out
    assert "registry/key-users#0 permits more: never used for" in told.err
    (tmp_path / "alice.cedar").write_text(told.out)
    assert past.run("--json", "policy", "simulate", "--policies", str(tmp_path), "--replace") == 0
    changed = json.loads(capsys.readouterr().out)["changed"]
    assert {each["principal"] for each in changed} & {"alice"} == set()
    assert {each["change"] for each in changed} == {"newly denied"}
