"""What is counted stays exact when policy is killed: a grant's allowance, a version's budget, a quota, a quorum.

Callers use everything up, while the processor that counts is killed again and again, and a second one takes partitions
over and is killed too. The log says what was authorized.
"""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.log_checker import Acknowledged, explain
from tests.support.log_snapshot import TicketRecorder
from tests.support.log_story import Story
from tests.support.second_instance import SecondInstance
from tests.support.whole_system import WholeSystem, whole_system

from keyfold.client import Approval, Keyfold
from keyfold.events import facts
from keyfold.events.entities import Grant, Key, Proposal
from keyfold.events.errors import AlreadyApproved, KeyfoldError, ProposalClosed
from keyfold.events.streams import key_stream
from keyfold.identity import create_identity

OPERATIONS, GRANTED_ITEMS = 120, 700
BUDGET = 1500
QUOTA = 900
WORKERS = 8
QUORUM = """
permit (principal in Group::"approvers", action == Action::"ApproveProposal", resource);
forbid (principal, action == Action::"DestroyKeyNow", resource) unless { context.approvals.count >= 2 };
permit (principal in Group::"administrators", action == Action::"DestroyKeyNow", resource);
"""
ENOUGH = {"GrantExhausted", "UsageLimitReached", "QuotaExceeded"}


@dataclass(frozen=True, slots=True)
class Keys:
    """One key for each thing that is counted."""

    granted: str
    budgeted: str
    limited: str
    doomed: str
    grant: str


@pytest.mark.stack
@pytest.mark.timeout(300)
async def test_what_is_counted_is_exact_across_kills(tmp_path: Path) -> None:
    """Not one operation or item more than allowed is authorized, warnings are said once, a quorum acts once."""
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    async with (
        whole_system(tmp_path / "data") as system,
        TicketRecorder(system.bus(), system.config.partitions) as recorder,  # the worker deletes tickets after a minute
    ):
        people = {name: tmp_path / f"{name}.json" for name in ("user", "ann", "ben", "cem")}
        async with system.client("admin-1", call_timeout_s=60.0) as admin:
            keys = await _set_up(system, admin, people)
            proposal = await admin.propose("DestroyKeyNow", keys.doomed)
            work = [
                *(_use_up(system, people["user"], keys, random.Random(f"{seed}/{n}")) for n in range(WORKERS)),  # noqa: S311
                *(_approve(system, people[name], keys.doomed, proposal) for name in ("ann", "ben", "cem")),
            ]
            results = asyncio.gather(*work)
            await _kill_policy(system, random.Random(f"{seed}/kills"))  # noqa: S311 - choices of a test
            await asyncio.wait_for(results, 150)
        await system.quiet()
        story = await system.check(Acknowledged(), recorder)
    assert not story.findings, f"seed {seed}: {explain(story.findings)}"
    _check_grant(story, keys)
    _check_budget(story, keys)
    _check_quota(story, keys)
    _check_quorum(story, keys, proposal.id)


async def _set_up(system: WholeSystem, admin: Keyfold, people: dict[str, Path]) -> Keys:
    for name, path in people.items():
        groups = [] if name == "user" else ["approvers"]
        signer = create_identity(path, name, system.deployment).signer
        await admin.register_principal(name, signer.public_key, groups=groups)
    await admin.put_policy("quorum", QUORUM)
    made = [(await admin.create_key(protection="SOFTWARE")).key_id for _ in range(4)]
    granted, budgeted, limited, doomed = made
    for key in (budgeted, limited):
        await admin.put_policy("use", 'permit (principal == Principal::"user", action, resource);', key=key)
    await admin.update_usage_budget(budgeted, BUDGET, rotate_at_percent=None)
    await admin.put_limit("day", "quota", QUOTA, timedelta(days=300), unit="items", per="key", key=limited)
    end = timedelta(hours=1)
    grant = await admin.create_grant(
        granted, "user", ["Encrypt"], expires_at=end, max_operations=OPERATIONS, max_items=GRANTED_ITEMS
    )
    return Keys(granted, budgeted, limited, doomed, grant)


async def _use_up(system: WholeSystem, identity: Path, keys: Keys, source: random.Random) -> None:
    """Encrypt batches under all three keys until each refuses even one item for being used up."""
    left = [keys.granted, keys.budgeted, keys.limited]
    async with system.client(identity, call_timeout_s=60.0, retry_attempts=20) as kms:
        while left:
            key, items = source.choice(left), source.randint(1, 9)
            if not await _fits(kms, key, items) and not await _fits(kms, key, 1):
                left.remove(key)


async def _fits(kms: Keyfold, key: str, items: int) -> bool:
    try:
        await kms.encrypt_batch(key, [b"x"] * items)
    except KeyfoldError as error:
        if error.code not in ENOUGH:
            raise
        return False
    return True


async def _approve(system: WholeSystem, identity: Path, key: str, proposal: object) -> Approval | None:
    async with system.client(identity, call_timeout_s=60.0, retry_attempts=20) as kms:
        try:
            return await kms.approve_proposal(proposal.id, proposal.digest, key=key)  # type: ignore[attr-defined]
        except (ProposalClosed, AlreadyApproved):
            return None


async def _kill_policy(system: WholeSystem, source: random.Random) -> None:
    """Kill the one processor, let a second share the partitions, kill the first, and in the end the second."""
    second = SecondInstance(system, "policy")
    try:
        for number in range(4):
            await asyncio.sleep(source.uniform(0.2, 1.2))
            await system.kill("policy")
            if number == 1:
                await second.start()
            await system.start("policy")
        assert second.owned(), "partitions moved"
    finally:
        second.kill()


def _authorized(story: Story, key: str) -> Iterator[facts.CommandAuthorized]:
    for _, event in story.accepted():
        if isinstance(event, facts.CommandAuthorized) and event.subject == key_stream(key):
            yield event


def _check_grant(story: Story, keys: Keys) -> None:
    uses = list(_authorized(story, keys.granted))
    assert {event.data.decision.grant for event in uses} == {keys.grant}
    items = sum(event.data.items for event in uses)
    assert len(uses) <= OPERATIONS
    assert items <= GRANTED_ITEMS
    assert len(uses) == OPERATIONS or items == GRANTED_ITEMS, "it was used up"
    grant = story.entities[f"grant/{keys.grant}"]
    assert isinstance(grant, Grant)
    assert (grant.used_operations, grant.used_items) == (len(uses), items)


def _check_budget(story: Story, keys: Keys) -> None:
    assert sum(event.data.items for event in _authorized(story, keys.budgeted)) == BUDGET
    key = story.entities[key_stream(keys.budgeted)]
    assert isinstance(key, Key)
    assert [version.protected_items for version in key.versions] == [BUDGET]
    warnings = Counter(
        event.data.percent
        for _, event in story.all_events()
        if isinstance(event, facts.UsageBudgetWarning) and event.data.key_id == keys.budgeted
    )
    assert warnings == {50: 1, 80: 1, 95: 1}


def _check_quota(story: Story, keys: Keys) -> None:
    assert sum(event.data.items for event in _authorized(story, keys.limited)) == QUOTA


def _check_quorum(story: Story, keys: Keys, proposal: str) -> None:
    destroyed = [event for _, event in story.all_events() if isinstance(event, facts.KeyDestroyed)]
    assert [event.data.key_id for event in destroyed] == [keys.doomed]
    use = destroyed[0].data.decision.proposal
    assert use is not None
    assert (use.proposal, len(use.approvers)) == (proposal, 2)
    found = story.entities[f"proposal/{proposal}"]
    assert isinstance(found, Proposal)
    assert (found.status, len(found.approvals)) == ("Executed", 2)
