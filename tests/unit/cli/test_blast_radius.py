"""What a compromised version was used for: from the log and from the audit trail the same, and nothing else."""

from typing import Any

import pytest
from tests.support.archive import Archive
from tests.unit.cli.policy_world import world
from tests.unit.deciding.replays import KEY_ID, ONE, asked, put, quiet

from keyfold.cli.blast_radius import _fold, _human, chosen
from keyfold.cli.exits import UsageError
from keyfold.cli.policy_sources import Source
from keyfold.cli.uses import DEEDS, Marks, Radius
from keyfold.events import facts
from keyfold.events.commands import BY_VERB
from keyfold.events.specs import USAGE_OF_VERB

EVERYBODY = put("one", "permit (principal, action, resource);")
OTHER = "01890a5d-ac96-774b-bcce-b302099a8058"


def contexts(*pairs: dict[str, str]) -> dict[str, Any]:
    return {"contexts": list(pairs), "items": len(pairs), "bytes": 10}


def used() -> Archive:
    """Alice and bob use a key; it is rotated, and used again."""
    made = quiet()
    asked(made, ("CreateKey", ONE, {}), EVERYBODY)
    made.follow(1, 10)
    asked(made, ("Encrypt", ONE, contexts({"t": "7"}, {"t": "8"})), ("Encrypt", ONE, contexts({"t": "7"})))
    asked(made, ("Encrypt", ONE, contexts({})), by="bob")
    asked(made, ("RotateKey", ONE, {}), ("Encrypt", ONE, contexts({"t": "9"})))
    made.random.seed(2)
    made.answer(100)
    return made


async def radius(opened: Source, *versions: int, since_ms: int = 0) -> Radius:
    found = Radius(KEY_ID, versions, since_ms)
    await _fold(opened, KEY_ID, found)
    return found


def told(found: Radius) -> list[tuple[int, str, str, int, int]]:
    return [(use.version, use.verb, use.principal, use.commands, use.items) for use in found.uses]


async def test_everybody_who_used_a_version_is_listed() -> None:
    """With counts, first and last time, and contexts; other versions are not."""
    made = await world(used())
    for opened in (await made.log(), made.audit()):
        found = await radius(opened, 1)
        assert told(found) == [(1, "Encrypt", "alice", 2, 3), (1, "Encrypt", "bob", 1, 1)]
        assert found.uses[0].contexts == {'{"t": "7"}': 2, '{"t": "8"}': 1}
        assert found.uses[1].contexts == {}
        assert found.uses[0].first <= found.uses[0].last
        assert (found.moved, found.unsettled) == ([], [])
        assert told(await radius(opened, 2)) == [(2, "Encrypt", "alice", 1, 1)]
        assert len(told(await radius(opened))) == 3


class Told:
    """Events of a key as they follow each other in a log."""

    def __init__(self) -> None:
        self.offset = 0

    def asked(self, verb: str, *, version: int | None = 1, source: str = "", **arguments: Any) -> facts.Event:
        self.offset += 1
        command = BY_VERB[verb].model_validate(
            {
                "specversion": "1.0", "id": OTHER, "source": f"principal/alice{source}",
                "type": f"keyfold.command.{verb}.v1", "subject": f"key/{KEY_ID}", "time": "2026-01-31T12:00:00.000Z",
                "datacontenttype": "application/json",
                "data": {
                    "principal": "alice", "signing_key": "0" * 64, "sealing_key": OTHER,
                    "expires_at": "2026-01-31T12:00:00.000Z", "arguments": arguments, "contexts": [{}], "items": 3,
                    "bytes": 9, "reply": {"topic": "keyfold.replies", "partition": 0, "correlation_id": "c"},
                },
            }
        )  # fmt: skip
        decision = facts.Decision(
            command=command.model_dump_json(), command_digest="0" * 64, body_digest="0" * 64, signature="",
            offset=self.offset, policies=[], registry_revision=1, facts_n=0,
        )  # fmt: skip
        return facts.CommandAuthorized.new(
            f"1.{self.offset}.decision", f"key/{KEY_ID}", f"2026-01-31T12:00:{self.offset:02}.000Z", decision=decision,
            verb=verb, principal="alice", key_id=KEY_ID, key_version=version, protection="HSM", items=3, bytes=9,
        )  # fmt: skip

    def used(self, asked: facts.Event, versions: dict[str, int], **failures: list[int]) -> facts.Event:
        offset = asked.data.decision.offset
        return facts.KeyUsed.new(
            f"1.{offset}.outcome", f"key/{KEY_ID}", asked.time, offset=offset, command_id=OTHER,
            command_digest="0" * 64, principal="alice", verb=asked.data.verb, key_id=KEY_ID, items=3, bytes=9,
            versions=versions, failures=failures, mac="0" * 64,
        )  # fmt: skip

    def failed(self, asked: facts.Event) -> facts.Event:
        offset = asked.data.decision.offset
        return facts.OperationFailed.new(
            f"1.{offset}.outcome", f"key/{KEY_ID}", asked.time, offset=offset, command_id=OTHER,
            command_digest="0" * 64, principal="alice", verb=asked.data.verb, key_id=KEY_ID, code="TokenUnavailable",
        )  # fmt: skip


def test_versions_are_those_that_served() -> None:
    """The worker says which; a command may have used several, and only the wanted ones count."""
    log, found = Told(), Radius(KEY_ID, [1], 0)
    asked_ = log.asked("Decrypt", version=None, source="/host-7")
    found.add(asked_)
    found.add(log.used(asked_, {"1": 2, "2": 1}))
    (use,) = found.uses
    assert (use.version, use.items, use.commands, use.host, use.failed_items) == (1, 2, 1, "host-7", 0)


def test_a_use_whose_command_is_not_understood_counts_too() -> None:
    """Who, what and how much are in the event itself; from where, and with which contexts, is not known."""
    log, found = Told(), Radius(KEY_ID, [1], 0)
    asked_ = log.asked("Encrypt", source="/host-7")
    decision = asked_.data.decision.model_copy(update={"command": '{"of": "another time"}'})
    unread = asked_.model_copy(update={"data": asked_.data.model_copy(update={"decision": decision})})
    found.add(unread)
    assert [each["principal"] for each in found.unsettled] == ["alice"]
    found.add(log.used(asked_, {"1": 3}))
    (use,) = found.uses
    assert (use.principal, use.verb, use.items, use.host, use.contexts) == ("alice", "Encrypt", 3, None, {})


def test_failures_are_counted_where_they_can_be_attributed() -> None:
    """Of a command that used one version."""
    log, found = Told(), Radius(KEY_ID, [], 0)
    asked_ = log.asked("Verify", signing_algorithm="ECDSA_SHA_256")
    found.add(asked_)
    found.add(log.used(asked_, {"1": 3}, InvalidSignature=[0, 2]))
    assert [(use.items, use.failed_items) for use in found.uses] == [(3, 2)]


def test_what_was_moved_to_another_key_is_told() -> None:
    """Its destination, and how many items."""
    log, found = Told(), Radius(KEY_ID, [1], 0)
    for _ in range(2):
        asked_ = log.asked("ReEncryptFrom", version=None, destination_key_id=OTHER)
        found.add(asked_)
        found.add(log.used(asked_, {"1": 2, "2": 1}))
    (moved,) = found.moved
    assert (moved.destination, moved.commands, moved.items, moved.last) == (OTHER, 2, 4, "2026-01-31T12:00:02.000Z")


def test_re_encryption_stands_under_what_it_opened() -> None:
    """Who moved items from one version to another has used both."""
    log, found = Told(), Radius(KEY_ID, [], 0)
    asked_ = log.asked("ReEncrypt", version=3)
    outcome = log.used(asked_, {"3": 5})
    found.add(asked_)
    found.add(outcome.model_copy(update={"data": outcome.data.model_copy(update={"opened": {"1": 2, "2": 3}})}))
    assert [(use.version, use.items) for use in found.uses] == [(1, 2), (2, 3), (3, 5)]


def test_what_has_no_outcome_may_have_happened() -> None:
    """It is listed until it has one; what failed used nothing, and another version is no matter."""
    log, found = Told(), Radius(KEY_ID, [1], 0)
    open_, failed, other, unknown = (
        log.asked("Sign", signing_algorithm="ECDSA_SHA_256"), log.asked("Encrypt"), log.asked("Encrypt", version=2),
        log.asked("Decrypt", version=None),
    )  # fmt: skip
    for event in (open_, failed, other, unknown, log.failed(failed)):
        found.add(event)
    assert [each["verb"] for each in found.unsettled] == ["Sign", "Decrypt"]
    assert found.uses == []


def test_a_use_before_the_time_does_not_count() -> None:
    """From the very millisecond on it does."""
    log = Told()
    first, second = log.asked("Encrypt"), log.asked("Encrypt")
    found = Radius(KEY_ID, [], 1_769_860_802_000)
    for event in (first, second, log.used(first, {"1": 3}), log.used(second, {"1": 3})):
        found.add(event)
    assert [(use.commands, use.first) for use in found.uses] == [(1, "2026-01-31T12:00:02.000Z")]


def test_every_use_has_a_word() -> None:
    """All data-plane verbs on keys."""
    assert DEEDS.keys() == USAGE_OF_VERB.keys()


def marked(*versions: int, at: str = "2026-01-31T12:00:00.000Z") -> facts.Event:
    decision = facts.Decision(
        command="{}", command_digest="0" * 64, body_digest="0" * 64, signature="", offset=0, policies=[],
        registry_revision=1, facts_n=0,
    )  # fmt: skip
    return facts.KeyCompromised.new(
        "1", f"key/{KEY_ID}", "2026-02-28T12:00:00.000Z", decision=decision, key_id=KEY_ID, versions=list(versions),
        occurred_at=at, reason="",
    )  # fmt: skip


def test_by_default_it_is_what_is_marked() -> None:
    """The marked versions, since the earliest compromise of them; what is said stands."""
    marks = Marks(KEY_ID)
    marks.add(marked(1, 2))
    marks.add(marked(2, at="2026-01-01T12:00:00.000Z"))
    assert chosen(marks, [], None) == ([1, 2], "2026-01-01T12:00:00.000Z")
    assert chosen(marks, [1], None) == ([1], "2026-01-31T12:00:00.000Z")
    assert chosen(marks, [3], "2025-01-31T12:00:00.000Z") == ([3], "2025-01-31T12:00:00.000Z")
    with pytest.raises(UsageError, match="--since"):
        chosen(marks, [1, 3], None)
    with pytest.raises(UsageError, match="--since"):
        chosen(Marks(KEY_ID), [], None)


async def test_it_is_told_in_tables() -> None:
    """Uses, contexts, and what is open."""
    found = await radius((await world(used())).audit(), 1)
    facts_ = {
        "key_id": KEY_ID, "versions": [1], "since": "2026-01-31T12:00:00.000Z", "moved_to": [], "unsettled": [{}],
        "uses": [use.as_data() for use in found.uses],
    }  # fmt: skip
    text = _human(facts_)
    assert all(word in text for word in ("protected", "alice", "bob", "t=7", "1 uses"))
    assert "not used" in _human({**facts_, "uses": []})
