"""Where the policy tools read: the verified log and the audit trail say the same, and say what they do not have."""

import random
from contextlib import aclosing
from dataclasses import replace

import pytest
from tests.support.archive import Archive
from tests.support.people import PARTITIONS
from tests.unit.cli.policy_world import World, world
from tests.unit.deciding.replays import ONE, asked, put, quiet

from keyfold.bus import Outbound
from keyfold.cli.exits import NotReady, UsageError
from keyfold.cli.policy_explain import Target, _named, explained
from keyfold.cli.policy_sources import AuditSource, Replaying, Source
from keyfold.deciding.remaking import remake
from keyfold.events import topics
from keyfold.events.chains import ChainGap
from keyfold.events.errors import NotFound
from keyfold.events.statements import Entry
from keyfold.projections.memory import MemoryQueries
from keyfold.projections.rows import AuditRow, Progress


async def verdicts(source: Source, partitions: range | tuple[int, ...] = range(PARTITIONS)) -> list[tuple[str, str]]:
    found = []
    replaying = Replaying(source, partitions)
    async with aclosing(replaying.decisions()) as decisions:
        async for recorded in decisions:
            found.append((recorded.event.id, remake(recorded).verdict))
    assert replaying.waiting == ()
    return sorted(found)


async def test_log_and_audit_trail_replay_to_the_same() -> None:
    """Every decision once from each, all of them reproduced."""
    made = await world(Archive(random.Random(5)).live(40))  # noqa: S311 - choices of a test
    from_log, from_trail = await verdicts(await made.log()), await verdicts(made.audit())
    assert from_log == from_trail
    assert len(from_log) == made.archive.decisions
    assert {verdict for _, verdict in from_log} == {"reproduced"}


async def test_pages_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trail that is read a few rows at a time says the same."""
    made = await world(Archive(random.Random(6)).live(15))  # noqa: S311 - choices of a test
    whole = await verdicts(made.audit())
    monkeypatch.setattr("keyfold.cli.policy_sources._PAGE", 3)
    assert await verdicts(made.audit()) == whole


def small() -> Archive:
    made = quiet()
    asked(made, ("CreateKey", ONE, {}), put("one", "permit (principal, action, resource);"))
    made.follow(1, 10)
    asked(made, ("Encrypt", ONE, {}))
    return made


async def strange(made: World, partition: int) -> None:
    """A statement of policy's that is no event, as a later version might write."""
    value = b'{"type": "keyfold.something.new.v7"}'
    await made.raw("policy", partition, [Entry(b"registry" if partition == 0 else ONE.encode(), value)])


async def test_leaves_that_are_no_events_are_counted_where_decisions_count_them() -> None:
    """A follower of the registry counts them; a decision behind one knew one leaf more than there are events."""
    archive = small()
    made = World(archive)
    await made.write()
    await strange(made, 0)
    first = archive.log[1][-1]
    asked(archive, ("Encrypt", ONE, {}))
    archive.followed[1].leaves += 1
    asked(archive, ("Decrypt", ONE, {}))
    for leaf in archive.log[1][first.position + 1 :]:
        await made.commit("policy", 1, [leaf])
    await made.project()
    for source in (await made.log(), made.audit()):
        assert [verdict for _, verdict in await verdicts(source)] == ["reproduced"] * archive.decisions


async def test_what_is_not_authentic_is_passed_over() -> None:
    """A stranger's record is no leaf; it is counted and changes nothing."""
    made = await world(small())
    before = await verdicts(made.audit())
    await made.send([Outbound(topics.EVENTS, 1, ONE.encode(), b"{}", ())])
    source = await made.log()
    assert await verdicts(source) == before
    assert source.passed_over == 1


async def test_a_gap_stops_the_reading() -> None:
    """What follows a missing statement is not believed."""
    archive = small()
    made = World(archive)
    kept, archive.log[1] = archive.log[1], []
    await made.write()
    await made.commit("policy", 1, kept[:1])
    made._heads["policy", 1] = replace(made._heads["policy", 1], n=5)
    await made.commit("policy", 1, kept[1:])
    with pytest.raises(ChainGap):
        await verdicts(await made.log())


async def test_a_trail_whose_registry_lags_says_so() -> None:
    """The decision is there, but what it knew is not: try again, rather than a wrong explanation."""
    made = await world(small())
    await made.project({0: 5})
    target = Target.of_event(1, made.archive.log[1][-1].event.data.decision.offset)
    with pytest.raises(NotReady, match="do not hold yet"):
        await explained(made.audit(), target, "1.1.decision")
    assert (await explained(await made.log(), target, "1.1.decision")).remade.verdict == "reproduced"


async def test_what_does_not_exist_is_not_found() -> None:
    """A partition or an offset without a decision."""
    made = await world(small())
    for partition, why in ((9, "no partition 9"), (1, "no decision x")):
        with pytest.raises(NotFound, match=why):
            await explained(made.audit(), Target.of_event(partition, 77), "x")


async def test_only_what_is_needed_is_replayed() -> None:
    """One partition's decisions, with the registry read as far as they knew it."""
    made = await world(small())
    assert [event_id for event_id, _ in await verdicts(made.audit(), (1,))] == ["1.0.decision", "1.1.decision"]


async def test_the_registrys_own_decisions() -> None:
    """Partition 0 alone is read once, for both."""
    made = await world(small())
    found = await verdicts(await made.log(), (0,))
    assert found == [(f"0.{offset}.decision", "reproduced") for offset in range(len(found))]
    assert len(found) == made.archive.decisions - 2


async def test_what_comes_while_the_trail_is_read_is_read() -> None:
    """The number of leaves is asked for before the last page, so that no event hides behind it."""
    made = await world(small())
    whole = made.queries

    class Growing(MemoryQueries):
        """One more page of partition 0 appears just after the number of leaves was told."""

        known = 5

        async def audit_log(self, partition: int, position: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:
            rows = await whole.audit_log(partition, position, limit)
            return tuple(row for row in rows if partition != 0 or row.position < self.known)

        async def progress(self) -> tuple[Progress, ...]:
            told = self.known
            self.known = 1000
            return tuple(replace(row, position=min(row.position, told)) for row in await whole.progress())

    source = AuditSource(Growing(made.schemas), PARTITIONS)
    assert await verdicts(source) == await verdicts(made.audit())
    assert source.leaves() == len(made.archive.log[0])


@pytest.mark.parametrize(
    ("name", "partition"), [("2.17.decision", 2), ("0.3.outcome", 0), ("01890000-0000-7000-8000-000000000000", None)]
)
def test_what_is_meant_by_an_id(name: str, partition: int | None) -> None:
    """An event of a decision or of its outcome names the partition; a command's id does not."""
    target = _named(name)
    assert (None if target is None else target.partition) == partition
    with pytest.raises(UsageError, match="neither"):
        _named(f"{name}!")


async def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every so many decisions, with the time that was reached."""
    monkeypatch.setattr("keyfold.cli.policy_sources.PROGRESS_EVERY", 2)
    made = await world(small())
    told: list[str] = []
    async for _ in Replaying(made.audit(), range(PARTITIONS), progress=told.append).decisions():
        pass
    assert len(told) == made.archive.decisions // 2
    assert told[0].startswith("2 decisions, up to 2026-")
