"""Deciding registry commands on partition 0: aliases, policies, sealing keys, and the revision."""

import pytest
from tests.support.desk import outcome_of
from tests.support.people import SEALING_KEY, command, sealing_key, uuid
from tests.unit.deciding.hall import Hall

from keyfold.bus import Inbound, Outbound
from keyfold.deciding.storage import ERASE_AFTER_MS
from keyfold.events import facts
from keyfold.events.replies import parse_reply
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_milliseconds
from keyfold.policy.state import Draft

NEXT_SEALING_KEY = uuid(0x5EA2)
TEXT = "permit (principal, action, resource);"


def test_aliases() -> None:
    """An alias is created once, updated and deleted only while it exists, and may be created again."""
    hall, at = Hall(), {"alias": "alias/orders", "key_id": uuid(1)}
    assert hall.code("UpdateAlias", **at) == "NotFound"
    assert hall.code("DeleteAlias", alias="alias/orders") == "NotFound"
    assert hall.code("CreateAlias", **at) is None
    assert hall.code("CreateAlias", **at) == "AlreadyExists"
    assert hall.code("UpdateAlias", **at | {"key_id": uuid(2)}) is None
    assert hall.code("DeleteAlias", alias="alias/orders") is None
    assert hall.code("CreateAlias", **at) is None


def test_policies() -> None:
    """A registry policy counts for the next command of the same batch, and is gone when it is deleted."""
    hall = Hall()
    text = 'forbid (principal, action == Action::"CreateAlias", resource);'
    at = {"alias": "alias/a", "key_id": uuid(1)}
    hall.decide(
        command("PutPolicy", REGISTRY, 100, arguments={"policy": "stop", "text": text}),
        command("CreateAlias", REGISTRY, 101, arguments=at),
        command("DeletePolicy", REGISTRY, 102, arguments={"policy": "stop"}),
        command("CreateAlias", REGISTRY, 103, arguments=at),
    )
    assert [getattr(event.data, "code", None) for event in hall.events] == [None, "AccessDenied", None, None]
    assert hall.code("DeletePolicy", policy="stop") == "NotFound"
    assert hall.code("PutPolicy", policy="p", text="nonsense") == "InvalidPolicy"


def test_rolled_back_policies_are_forgotten() -> None:
    """A policy on a draft that was dropped does not decide what another owner's comes to under the same revision."""
    hall, other = Hall(), Hall()
    decider = hall.decider()
    at = {"alias": "alias/a", "key_id": uuid(1)}
    forbid = 'forbid (principal, action == Action::"CreateAlias", resource);'
    put = command("PutPolicy", REGISTRY, 1, arguments={"policy": "stop", "text": forbid})
    asked = command("CreateAlias", REGISTRY, 2, arguments=at)

    def code(*records: Inbound) -> str | None:
        made = decider.decide_all(list(records), Draft(hall.state))
        return getattr(facts.parse_event(made.events[-1].value).data, "code", None)

    assert code(hall.record(put), hall.record(asked)) == "AccessDenied"
    decider.forget()
    assert other.code("PutPolicy", policy="go", text=TEXT) is None
    hall.state = other.state
    assert code(hall.record(asked)) is None


def test_revision() -> None:
    """The registry revision counts accepted policy records, is in each decision, and in what is remembered."""
    hall = Hall()
    hall.code("CreateAlias", alias="alias/a", key_id=uuid(1))
    hall.code("CreateAlias", alias="alias/a", key_id=uuid(1))
    hall.code("PutPolicy", policy="p", text=TEXT)
    hall.fold(sealing_key(NEXT_SEALING_KEY))
    assert (hall.deployment().revision, hall.deployment().policies_revision) == (2, 1)
    revisions = [event.data.decision.registry_revision for event in hall.events if isinstance(event, facts.PolicyEvent)]
    assert revisions == [0, 1, 1]
    remembered = hall.state.memory.recall(("alice", uuid(3)))
    assert remembered is not None
    assert remembered.registry_revision == 2


def test_answer_to_a_finished_registry_command() -> None:
    """Who asks again after a registry command is told the revision that others must have seen to know of it."""
    hall = Hall()
    made = command("CreateAlias", REGISTRY, 1, arguments={"alias": "alias/a", "key_id": uuid(1)})
    hall.decide(made)
    event = hall.last()
    assert isinstance(event, facts.PolicyEvent)
    hall.finish(outcome_of(event))
    hall.decide(made)
    reply: Outbound = hall.batches[-1].replies[0]
    data = parse_reply(reply.value or b"").data
    assert (data.code, data.outcome, data.registry_revision) == ("AlreadyExecuted", "keyfold.command.completed.v1", 1)


@pytest.mark.parametrize("wait_ms", [ERASE_AFTER_MS - 1, ERASE_AFTER_MS])
def test_erasing_sealing_keys(wait_ms: int) -> None:
    """A sealing key is erased 16 minutes after its retirement, once, and never while it is current."""
    hall = Hall()
    assert hall.code("EraseSealingKey", by="scheduler", sealing_key=uuid(5)) == "NotFound"
    assert hall.code("EraseSealingKey", by="scheduler", sealing_key=SEALING_KEY) == "InvalidState"
    retired = sealing_key(NEXT_SEALING_KEY, at_ms=hall.now_ms)
    hall.fold(retired)
    hall.now_ms = to_milliseconds(retired.time) + wait_ms
    expected = "InvalidState" if wait_ms < ERASE_AFTER_MS else None
    assert hall.code("EraseSealingKey", by="scheduler", sealing_key=SEALING_KEY) == expected
    hall.fold(facts.SealingKeyErased.new("erased", REGISTRY, retired.time, sealing_key=SEALING_KEY))
    assert hall.code("EraseSealingKey", by="scheduler", sealing_key=SEALING_KEY) == "InvalidState"


def test_rotating_sealing_keys() -> None:
    """A new sealing key is work for the worker: an authorization and a ticket without a key."""
    hall = Hall()
    assert hall.code("RotateSealingKey", by="scheduler") is None
    event = hall.last()
    assert isinstance(event, facts.CommandAuthorized)
    assert (event.data.verb, event.data.key_id, event.data.items) == ("RotateSealingKey", None, 0)
    assert len(hall.batches[-1].tickets) == 1
