"""Is this log sound? Exactly once, in order, nothing lost, nothing said without its event: as rules over a snapshot.

`check_log` returns the story with what is wrong in it, as findings by rule; `explain` makes one text of them. Rules
that compare the log with Postgres are in `projection_checker`. Everything here is pure.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from tests.support import reply_rules
from tests.support.epoch_rules import check_epochs
from tests.support.fence_rules import check_fences
from tests.support.keystore_rules import check_keystore
from tests.support.log_snapshot import Logs
from tests.support.log_story import Finding, Story, everything, read_story

from keyfold.bus import Inbound
from keyfold.events import facts, topics
from keyfold.events.commands import parse_command
from keyfold.events.errors import InvalidCommand, UnsupportedVersion
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER
from keyfold.events.times import to_milliseconds


@dataclass(slots=True)
class Acknowledged:
    """What callers were told: control commands by id, and items by (principal, verb, key id)."""

    commands: dict[str, str] = field(default_factory=dict)
    items: Counter[tuple[str, str, str]] = field(default_factory=Counter)


def check_log(deployment: str, partitions: int, logs: Logs, acknowledged: Acknowledged | None = None) -> Story:
    """Read the story and apply every rule; what is wrong is in `findings`."""
    story = read_story(deployment, partitions, logs)
    _settled(story)
    _decisions(story)
    _tickets(story)
    _outcomes(story)
    check_fences(story)
    check_epochs(story, check_keystore(story))
    _nothing_lost(story)
    reply_rules.check_replies(story)
    if acknowledged is not None:
        _acknowledged(story, acknowledged)
    return story


def explain(findings: Iterable[Finding], most: int = 40) -> str:
    """Return the findings as text, the first ones of each rule."""
    ordered = sorted(findings)
    counts = ", ".join(f"{rule} {number}" for rule, number in Counter(each.rule for each in ordered).items())
    return "\n".join([f"{len(ordered)} findings ({counts})", *map(str, ordered[:most])])


def _settled(story: Story) -> None:
    """No transaction is open, and what belongs to no transaction was never aborted."""
    for (topic, partition), log in story.logs.items():
        where = f"{topic}-{partition}"
        if log.stable_end != log.end:
            story.find("open-transaction", where, f"stable to {log.stable_end}, ends at {log.end}")
        if topic in {topics.COMMANDS, topics.REPLIES, topics.DIRECTORY} and log.aborted:
            story.find("open-transaction", where, f"{len(log.aborted)} records were sent inside a transaction")


def _decisions(story: Story) -> None:
    """One decision per command offset and per command id, in the order of the commands, of exactly that command."""
    last: dict[int, int] = {}
    seen: dict[tuple[str, str], str] = {}
    commands = {(record.partition, record.offset): record for record in everything(story.logs, topics.COMMANDS)}
    for partition, event in story.decisions():
        decision = event.data.decision
        if decision.offset <= last.get(partition, -1):
            story.find("decision", event.id, f"offset {decision.offset} follows {last[partition]}")
        last[partition] = max(decision.offset, last.get(partition, -1))
        _same_command(story, event, commands.get((partition, decision.offset)), partition)
        command = parse_command(decision.command.encode())
        identity = (command.data.principal, command.id)
        if identity in seen:
            story.find("decision", event.id, f"command {command.id} was decided before, by {seen[identity]}")
        seen[identity] = event.id


def _same_command(story: Story, event: facts.PolicyEvent, record: Inbound | None, partition: int) -> None:
    decision = event.data.decision
    if record is None:
        if decision.offset >= story.logs[topics.COMMANDS, partition].start:
            story.find("decision", event.id, "there is no such command in the log")
        return
    sealed = sha256(record.header(SEALED_HEADER) or b"").hexdigest()
    signature = (record.header(SIGNATURE_HEADER) or b"").hex()
    digest = sha256(record.value or b"").hexdigest()
    recorded = (decision.command.encode(), decision.command_digest, decision.body_digest, decision.signature)
    if recorded != (record.value, digest, sealed, signature):
        story.find("decision", event.id, "its command is not the one at that offset")


def _tickets(story: Story) -> None:
    """Exactly one ticket for each accepted command: its decision's event and its body. None for anything else."""
    for partition, believed in story.tickets.items():
        events = {event.data.decision.offset: event for p, event in story.accepted() if p == partition}
        counts: Counter[int] = Counter()
        for each in believed:
            if not isinstance(each.event, facts.PolicyEvent):
                story.find("ticket", f"partition {partition}", f"{each.event.type} is no ticket")
                continue
            offset = each.event.data.decision.offset
            counts[offset] += 1
            if offset not in events or events[offset].to_value() != each.accepted.entry.value:
                story.find("ticket", each.event.id, "no such decision was accepted")
            elif sha256(each.accepted.entry.sealed).hexdigest() != events[offset].data.decision.body_digest:
                story.find("ticket", each.event.id, "the body is not the one that was decided on")
        first = min(counts, default=0) if story.logs[topics.AUTHORIZED, partition].start else 0
        for offset, accepted in events.items():
            if counts[offset] != 1 and offset >= first:
                story.find("ticket", accepted.id, f"{counts[offset]} tickets for one accepted command")


def _outcomes(story: Story) -> None:
    """Exactly one outcome for each accepted command, in the order of the commands; none for anything else."""
    accepted = {(p, event.data.decision.offset): event for p, event in story.accepted()}
    counts: Counter[tuple[int, int]] = Counter()
    last: dict[int, int] = {}
    for partition, outcome in story.outcomes():
        place = (partition, outcome.data.offset)
        counts[place] += 1
        decided = accepted.get(place)
        if decided is None:
            story.find("outcome", outcome.id, "no accepted command has this offset")
        elif (decided.data.decision.command_digest, decided.subject) != (outcome.data.command_digest, outcome.subject):
            story.find("outcome", outcome.id, "it is of another command than was accepted at this offset")
        if outcome.data.offset < last.get(partition, -1):
            story.find("order", outcome.id, f"executed after offset {last[partition]}")
        last[partition] = max(outcome.data.offset, last.get(partition, -1))
    for place, event in accepted.items():
        if counts[place] != 1:
            story.find("outcome", event.id, f"{counts[place]} outcomes for one accepted command ({event.type})")


def _nothing_lost(story: Story) -> None:
    """Every command that arrived in time was decided, or refused in a way that is no decision, or reported."""
    known = {event.data.decision.command_digest for _, event in story.decisions()}
    known |= {reply.data.command_digest for _, reply in reply_rules.readable(story)}
    letters = "\n".join(str(record.value) for record in everything(story.logs, topics.DEAD_LETTERS))
    for record in everything(story.logs, topics.COMMANDS):
        if sha256(record.value or b"").hexdigest() in known:
            continue
        where = f"{topics.COMMANDS}-{record.partition}@{record.offset}"
        try:
            command = parse_command(record.value or b"")
        except (InvalidCommand, UnsupportedVersion):
            if sha256(record.value or b"").hexdigest() not in letters:
                story.find("lost", where, "what is no command was not reported either")
            continue
        # What waits for a later registry, or came too late, is refused by a reply that a crash may swallow.
        if (
            command.data.min_registry_revision is None
            and to_milliseconds(command.data.expires_at) > record.timestamp_ms
        ):
            story.find("lost", where, f"{command.verb} {command.id} was neither decided nor refused")


def _acknowledged(story: Story, acknowledged: Acknowledged) -> None:
    """What callers were told is in the log."""
    done = {o.data.command_id for _, o in story.outcomes() if not isinstance(o, facts.OperationFailed)}
    for command_id, verb in acknowledged.commands.items():
        if command_id not in done:
            story.find("acknowledged", command_id, f"{verb} was acknowledged, and the log does not have it")
    used: Counter[tuple[str, str, str]] = Counter()
    for _, outcome in story.outcomes():
        if isinstance(outcome, facts.KeyUsed):
            data = outcome.data
            failed = sum(len(indexes) for indexes in data.failures.values())
            used[data.principal, data.verb, data.key_id] += data.items - failed
    for who, items in acknowledged.items.items():
        if used[who] < items:
            story.find("acknowledged", "/".join(who), f"{items} items were acknowledged, the log has {used[who]}")
