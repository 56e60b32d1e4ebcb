"""An archive is believed by all that root said, which reaches back, as every other reader believes it."""

import pytest
from tests.support.audited_log import AuditedLog, honest
from tests.support.people import START_MS, certificate, signer
from tests.unit.auditing.test_revocations import last_statements, written

from keyfold.cli.time_travel.archived import recorded_log
from keyfold.events import facts, topics
from keyfold.events.errors import NotFound
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text

LOG = (12, 90)


def _alias(log: AuditedLog, name: str) -> facts.Event:
    """An alias like a genuine one, under another name."""
    genuine = next(event for event in log.events(0) if isinstance(event, facts.AliasCreated))
    return genuine.model_copy(update={"id": name, "data": genuine.data.model_copy(update={"alias": name})})


def taken_back() -> AuditedLog:
    """A log in which root has revoked policy's key from before its last statement of partition 0 on."""
    log = honest(*LOG).copy()
    last = {f"{topics.EVENTS}/{p}": end.n for p, end in last_statements(log, "policy").items()}
    written(log, 0, "policy", _alias(log, "alias/forged"))
    revoked = {"public_key": signer("policy").public_key.hex(), "last_valid": last}
    written(log, 0, "root", facts.ServiceKeyRevoked.new("r", REGISTRY, to_text(START_MS), **revoked))
    return log


async def test_what_was_taken_back_is_not_believed() -> None:
    """Neither as a leaf nor by the name that it gives."""
    log = await recorded_log(taken_back())
    with pytest.raises(NotFound):
        await log.key_id("alias/forged")
    assert not [leaf async for leaf in log.read(0) if leaf.event.id == "alias/forged"]
    assert log.passed_over == 1


async def test_another_key_goes_on_in_its_place() -> None:
    """The honest author's next statement has the number that was taken back; the log is read to its end."""
    log, second = taken_back(), signer("policy, the second")
    written(log, 0, "root", certificate("policy", second))
    written(log, 0, "policy", _alias(log, "alias/good"), by=second, head=last_statements(honest(*LOG), "policy")[0])
    known = await recorded_log(log)
    assert await known.key_id("alias/good")
    assert [leaf async for leaf in known.read(0)][-1].event.data.alias == "alias/good"
