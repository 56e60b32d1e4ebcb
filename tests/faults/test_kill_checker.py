"""The checker of the fault tests can fail: an honest log passes, and each lie that it is there for is found."""

import json
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest
from tests.support.honest_log import KEY, KEY_ID, PARTITION, HonestLog, blob_of
from tests.support.log_checker import Acknowledged, check_log, explain
from tests.support.log_snapshot import Logs, PartitionLog
from tests.support.log_story import Story
from tests.support.people import DEPLOYMENT, PARTITIONS
from tests.support.projection_checker import check_projection
from tests.unit.projections.folding import fold_batch

from keyfold.bus import Outbound
from keyfold.events import facts, topics
from keyfold.events.entities import Key
from keyfold.projections.fold import Leaf
from keyfold.projections.memory import MemoryQueries, MemorySchemas

EVENTS = (topics.EVENTS, PARTITION)


def rules(log: HonestLog, acknowledged: Acknowledged | None = None) -> set[str]:
    return {finding.rule for finding in check_log(DEPLOYMENT, PARTITIONS, log.logs(), acknowledged).findings}


def test_an_honest_log_is_sound() -> None:
    """Nothing is found in a log that was written as it must be, also where something was aborted on the way."""
    log = HonestLog().tell()
    outcome = log.use_key()
    log.write("hsm", topics.EVENTS, [outcome], committed=False)
    story = check_log(DEPLOYMENT, PARTITIONS, log.logs(), Acknowledged({outcome.data.command_id: "Encrypt"}))
    assert not story.findings, explain(story.findings)
    assert sum(1 for _ in story.outcomes()) == 7


def missing_outcome(log: HonestLog) -> None:
    log.decide(log.command("Encrypt"))


def double_outcome(log: HonestLog) -> None:
    event = log.decide(log.command("Encrypt"))
    log.execute(event, facts.KeyUsed, **log.used())
    log.execute(event, facts.KeyUsed, say=False, **log.used())


def outcome_of_a_denied_command(log: HonestLog) -> None:
    log.execute(log.decide(log.command("Encrypt", "key/" + KEY_ID[:-1] + "0")), say=False)


def outcome_only_aborted(log: HonestLog) -> None:
    outcome = log.use_key()
    kept = log.records[EVENTS]
    kept[-1] = (kept[-1][0], False)
    assert json.loads(kept[-1][0].value or b"")["id"] == outcome.id


def double_reply(log: HonestLog) -> None:
    log.answer(log.use_key())


def reply_that_says_something_else(log: HonestLog) -> None:
    outcome = log.use_key(say=False)
    log.answer(outcome.model_copy(update={"type": facts.CommandCompleted.type_name}))


def denial_without_event(log: HonestLog) -> None:
    log.disable_key()
    log.decide(log.command("Encrypt"))
    kept = log.records[EVENTS]
    kept[-1] = (kept[-1][0], False)


def unsigned_refusal(log: HonestLog) -> None:
    log.disable_key()
    log.decide(log.command("Encrypt"))
    record = log.records[topics.REPLIES, 0].pop()[0]
    log.append(Outbound(topics.REPLIES, 0, record.key, record.value))


def no_ticket(log: HonestLog) -> None:
    log.execute(log.decide(log.command("Encrypt"), ticket=False), facts.KeyUsed, **log.used())


def two_tickets(log: HonestLog) -> None:
    sent = log.command("Encrypt")
    event = log.decide(sent)
    log.write("policy", topics.AUTHORIZED, [event], sealed=sent.sealed)
    log.execute(event, facts.KeyUsed, **log.used())


def ticket_with_another_body(log: HonestLog) -> None:
    event = log.decide(log.command("Encrypt"), ticket=False)
    log.write("policy", topics.AUTHORIZED, [event], sealed=b"another body")
    log.execute(event, facts.KeyUsed, **log.used())


def gap(log: HonestLog) -> None:
    del log.records[EVENTS][3]


def repeat(log: HonestLog) -> None:
    record = log.records[EVENTS][-1][0]
    log.append(Outbound(*EVENTS, record.key, record.value, record.headers))


def changed_record(log: HonestLog) -> None:
    record, committed = log.records[EVENTS][-1]
    log.records[EVENTS][-1] = (
        replace(record, value=(record.value or b"").replace(b'"items":1', b'"items":2')),
        committed,
    )


def use_after_disable(log: HonestLog) -> None:
    """A policy processor that forgets the fence, and a worker that believes it."""
    desk = log.desks[PARTITION]
    log.disable_key()
    key = desk.state.entities[KEY]
    desk.state.entities[KEY] = key.model_copy(update={"status": "Enabled"})
    log.use_key()


def executed_out_of_order(log: HonestLog) -> None:
    first, second = log.decide(log.command("Encrypt")), log.decide(log.command("Encrypt"))
    log.execute(second, facts.KeyUsed, **log.used())
    log.execute(first, facts.KeyUsed, **log.used())


def decided_twice(log: HonestLog) -> None:
    sent = log.command("Encrypt")
    log.execute(log.decide(sent), facts.KeyUsed, **log.used())
    log.desks[PARTITION].state.memory._entries.clear()
    log.execute(log.decide(sent), facts.KeyUsed, **log.used())


def denied_and_accepted(log: HonestLog) -> None:
    accepted = log.use_key()
    decision = next(e for e in reversed(log.desks[PARTITION].events) if isinstance(e, facts.CommandAuthorized))
    denied = facts.CommandDenied.new(
        decision.id,
        KEY,
        decision.time,
        decision=decision.data.decision,
        verb="Encrypt",
        principal="alice",
        code="Expired",
    )
    assert accepted.data.offset == decision.data.decision.offset
    log.write("policy", topics.EVENTS, [denied])


def command_changed_afterwards(log: HonestLog) -> None:
    log.use_key()
    place = (topics.COMMANDS, PARTITION)
    record, committed = log.records[place][-1]
    log.records[place][-1] = (replace(record, value=(record.value or b"") + b" "), committed)


def other_material(log: HonestLog) -> None:
    log.store(blob_of(inside=b"other material"))


def lost_command(log: HonestLog) -> None:
    log.append(log.command("Encrypt").outbound())


@pytest.mark.parametrize(
    ("lie", "rule"),
    [
        (missing_outcome, "outcome"),
        (double_outcome, "outcome"),
        (outcome_of_a_denied_command, "outcome"),
        (outcome_only_aborted, "reply"),
        (outcome_only_aborted, "outcome"),
        (double_reply, "reply"),
        (reply_that_says_something_else, "reply"),
        (denial_without_event, "reply"),
        (unsigned_refusal, "reply"),
        (no_ticket, "ticket"),
        (two_tickets, "ticket"),
        (ticket_with_another_body, "ticket"),
        (gap, "chain"),
        (repeat, "chain"),
        (changed_record, "chain"),
        (use_after_disable, "fence"),
        (executed_out_of_order, "order"),
        (decided_twice, "decision"),
        (denied_and_accepted, "decision"),
        (command_changed_afterwards, "decision"),
        (other_material, "keystore"),
        (lost_command, "lost"),
    ],
)
def test_a_lie_in_the_log_is_found(lie: Callable[[HonestLog], None], rule: str) -> None:
    """Each lie breaks its rule."""
    log = HonestLog().tell()
    assert not rules(log)
    lie(log)
    assert rule in rules(log)


def test_a_transaction_that_stays_open_is_found() -> None:
    """A partition whose stable end lies before its end was left with an open transaction."""
    logs = dict(HonestLog().tell().logs())
    logs[EVENTS] = replace(logs[EVENTS], stable_end=logs[EVENTS].end - 1)
    found = check_log(DEPLOYMENT, PARTITIONS, MappingProxyType(logs)).findings
    assert {finding.rule for finding in found} == {"open-transaction"}


def test_what_was_acknowledged_and_is_not_in_the_log_is_found() -> None:
    """A control command, or items, that a caller was told of and that no outcome has."""
    log = HonestLog().tell()
    told = Acknowledged()
    told.items["alice", "Encrypt", KEY_ID] = 1
    assert not rules(log, told)
    told.items["alice", "Encrypt", KEY_ID] = 2
    assert rules(log, told) == {"acknowledged"}
    assert rules(log, Acknowledged({"0" * 32: "RotateKey"})) == {"acknowledged"}


def test_tickets_that_were_deleted_are_not_missed() -> None:
    """The worker deletes tickets that it has passed: the rest is still verified, the chain goes on from there."""
    log = HonestLog().tell()
    logs = dict(log.logs())
    place = (topics.AUTHORIZED, PARTITION)
    kept = logs[place].committed[2:]
    logs[place] = PartitionLog(kept[0].offset, kept, kept, logs[place].end, logs[place].stable_end)
    assert not check_log(DEPLOYMENT, PARTITIONS, logs).findings
    logs[place] = replace(logs[place], committed=(kept[0], *kept[2:]))
    assert {f.rule for f in check_log(DEPLOYMENT, PARTITIONS, logs).findings} == {"chain", "ticket"}


async def projected(log: HonestLog) -> tuple[Story, MemorySchemas]:
    """Fold the log into a store in memory, and write the directory that follows from it."""
    story = check_log(DEPLOYMENT, PARTITIONS, log.logs())
    schemas = MemorySchemas()
    await schemas.prepare(PARTITIONS)
    store = schemas.partition_store("blue")
    for partition in sorted(story.events):
        believed = story.events[partition]
        leaves = [Leaf(each.record.offset, each.accepted, each.event, each.record.headers) for each in believed]
        batch = await fold_batch(store, await store.offsets(partition), leaves)
        await store.apply(batch)
        for record in batch.directory:
            for name in record.names:
                log.append(Outbound(topics.DIRECTORY, 0, name.encode(), record.value, record.headers))
    return check_log(DEPLOYMENT, PARTITIONS, log.logs()), schemas


async def projection_rules(story: Story, schemas: MemorySchemas) -> set[str]:
    await check_projection(story, MemoryQueries(schemas), schemas.partition_store("blue").load)
    return {finding.rule for finding in story.findings}


async def test_a_projection_that_equals_its_log_is_sound() -> None:
    """Nothing is found where every row follows from the log."""
    story, schemas = await projected(HonestLog().tell())
    assert not await projection_rules(story, schemas), explain(story.findings)


def altered_key(schemas: MemorySchemas) -> None:
    schema = schemas.schema("blue")
    key = schema.entities[KEY]
    assert isinstance(key, Key)
    schema.entities[KEY] = key.model_copy(update={"status": "Disabled"})


def alias_too_many(schemas: MemorySchemas) -> None:
    entities = schemas.schema("blue").entities
    entities["alias/other"] = entities["alias/orders"].model_copy(update={"alias": "alias/other"})


def audit_row_gone(schemas: MemorySchemas) -> None:
    schemas.schema("blue").audit.pop()


def audit_row_altered(schemas: MemorySchemas) -> None:
    audit = schemas.schema("blue").audit
    audit[-1] = replace(audit[-1], principal="mallory")


def usage_altered(schemas: MemorySchemas) -> None:
    next(iter(schemas.schema("blue").rows["usage"].values()))["items"] += 1


@pytest.mark.parametrize(
    ("lie", "rule"),
    [
        (altered_key, "projection"),
        (alias_too_many, "projection"),
        (audit_row_gone, "audit"),
        (audit_row_altered, "audit"),
        (usage_altered, "usage"),
    ],
)
async def test_a_row_that_does_not_follow_from_the_log_is_found(
    lie: Callable[[MemorySchemas], None], rule: str
) -> None:
    """Each altered row breaks its rule."""
    story, schemas = await projected(HonestLog().tell())
    lie(schemas)
    assert rule in await projection_rules(story, schemas)


async def test_a_directory_that_is_behind_is_found() -> None:
    """The latest record of a name must be the latest event that answers for it."""
    log = HonestLog().tell()
    _, schemas = await projected(log)
    log.records[topics.DIRECTORY, 0].pop()
    story = check_log(DEPLOYMENT, PARTITIONS, log.logs())
    assert await projection_rules(story, schemas) == {"directory"}


def test_logs_can_be_read_as_they_are() -> None:
    """A snapshot names what was aborted."""
    log = HonestLog().tell()
    log.write("hsm", topics.EVENTS, [log.use_key()], committed=False)
    logs: Logs = log.logs()
    assert [record.offset for record in logs[EVENTS].aborted] == [logs[EVENTS].end - 1]
