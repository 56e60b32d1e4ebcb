"""The rules about replies: nothing is said twice, and nothing without its durable event. See `log_checker`.

Replies are read raw: what was sent was sent, whatever became of it.
"""

from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256

from tests.support.log_story import Story, everything

from keyfold.bus import Inbound
from keyfold.events import facts, topics
from keyfold.events.errors import AlreadyExecuted, DryRunOperation, InvalidCommand, RecordError
from keyfold.events.replies import Reply, parse_reply
from keyfold.events.signatures import reply_message
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER

WORKER = "keyfold/hsm"
Refusing = facts.CommandDenied | facts.DryRunSucceeded


def blob_digest(blob: str) -> str:
    """Return what events call a blob by."""
    return sha256(b64decode(blob)).hexdigest()


def readable(story: Story) -> Iterator[tuple[Inbound, Reply]]:
    """Yield the replies that are replies."""
    for record in everything(story.logs, topics.REPLIES):
        try:
            yield record, parse_reply(record.value or b"")
        except InvalidCommand:
            continue


def check_replies(story: Story) -> None:
    """At most one answer of the worker per command, and none without its committed outcome; clear ones are signed."""
    outcomes = {outcome.data.command_digest: outcome for _, outcome in story.outcomes()}
    denials = {e.data.decision.command_digest: e for _, e in story.decisions() if isinstance(e, Refusing)}
    answers: Counter[str] = Counter()
    for record, reply in readable(story):
        where, digest = f"{topics.REPLIES}-{record.partition}@{record.offset}", reply.data.command_digest
        sealed = record.header(SEALED_HEADER) is not None
        if not sealed:
            _signed(story, where, record)
        if sealed or reply.source == WORKER:
            answers[digest] += 1
            if digest not in outcomes:
                story.find("reply", where, "a result without its committed outcome")
            elif sealed and _told(reply) != _stated(outcomes[digest]):
                story.find("reply", where, f"says {_told(reply)}, the log says {_stated(outcomes[digest])}")
        else:
            _refusal(story, where, reply, outcomes.get(digest), denials.get(digest))
    for digest, number in answers.items():
        if number > 1:
            story.find("reply", f"command {digest[:12]}", f"{number} results for one command")


def _signed(story: Story, where: str, record: Inbound) -> None:
    signer = (record.header(SIGNER_HEADER) or b"").decode("ascii", "replace")
    message = reply_message(story.deployment, record.key or b"", record.value or b"")
    try:
        if story.trust is not None:
            signature = record.header(SIGNATURE_HEADER) or b""
            story.trust.verify_reply_signer(signer, signature, message, record.timestamp_ms)
    except RecordError as error:
        story.find("reply", where, f"a clear reply: {error}")


def _refusal(story: Story, where: str, reply: Reply, outcome: facts.Outcome | None, denial: Refusing | None) -> None:
    data = reply.data
    if data.code is None:
        story.find("reply", where, "a clear reply is only ever an error")
    elif data.decision is not None and (denial is None or (denial.id, _code(denial)) != (data.decision, data.code)):
        story.find("reply", where, f"says that decision {data.decision} denied the command; there is no such event")
    elif data.code == AlreadyExecuted.code and data.outcome not in _summaries(outcome, denial):
        story.find("reply", where, f"sums up {data.outcome}, and the log has {_summaries(outcome, denial)}")


def _code(event: Refusing) -> str:
    return event.data.code if isinstance(event, facts.CommandDenied) else DryRunOperation.code


def _summaries(outcome: facts.Outcome | None, denial: Refusing | None) -> list[str]:
    """How policy sums up what became of a command."""
    found = []
    if denial is not None:
        found.append(f"{denial.type}:{_code(denial)}")
    if outcome is not None:
        failed = f":{outcome.data.code}" if isinstance(outcome, facts.OperationFailed) else ""
        found.append(outcome.type + failed)
    return found


def _told(reply: Reply) -> tuple[str, str | None]:
    return reply.data.outcome, reply.data.code


def _stated(outcome: facts.Outcome) -> tuple[str, str | None]:
    return outcome.type, outcome.data.code if isinstance(outcome, facts.OperationFailed) else None
