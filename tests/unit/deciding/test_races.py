"""Races: commands that want the same thing at the same time have exactly one outcome each, however they are batched.

The order of the log decides, and nothing else: every history here is decided in all ways to cut it into batches, with
and without a restart after each batch, and must come to the same.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from tests.support.desk import Desk
from tests.support.forks import fork, restarted
from tests.support.office import KEY, Office, bare
from tests.support.people import START_MS, Signed, command

from keyfold.bus import Inbound
from keyfold.events import facts
from keyfold.events.streams import REGISTRY
from keyfold.events.times import DAY_MS, to_text

RULES = """
permit (principal in Group::"approvers", action in [Action::"ApproveProposal", Action::"DenyProposal"], resource);
forbid (principal, action in [Action::"DestroyKeyNow", Action::"Decrypt"], resource)
    unless { context.approvals.count >= 1 };
forbid (principal, action == Action::"RotateKey", resource) unless { context.approvals.count >= 2 };
"""
PEOPLE = ("ann", "ben", "cem")
END = START_MS + DAY_MS
FORBID = 'forbid (principal, action == Action::"{}", resource);'


class Race:
    """A history of one desk's commands: who asks what, and when."""

    def __init__(self, made: Office, stream: str = KEY) -> None:
        self.made, self.stream = made, stream
        self.commands: list[tuple[Signed, int]] = []

    def asks(self, verb: str, by: str = "alice", at_ms: int = START_MS, **options: Any) -> None:
        number = 900 + len(self.commands)
        signed = command(verb, self.stream, number, principal=by, issued_ms=at_ms, **options)
        self.commands.append((signed, at_ms))

    def outcomes(self) -> list[str]:
        """Decide in all ways; return the one list of outcomes: an event, or the code of a denial, for each command."""
        found = {tuple(self._run(cut, restart)) for cut in cuts(len(self.commands)) for restart in (False, True)}
        assert len(found) == 1, found
        return list(found.pop())

    def _run(self, cut: tuple[bool, ...], restart: bool) -> Iterator[str]:
        made = fork(self.made)
        desk: Desk = made.front if self.stream == REGISTRY else made
        batch: list[Inbound] = []
        for (signed, at_ms), ends in zip(self.commands, (*cut, True), strict=True):
            batch.append(desk.record(signed, at_ms))
            if ends:
                events = [facts.parse_event(entry.value) for entry in desk.decide_records(batch).events]
                decisions = [event for event in events if isinstance(event, facts.PolicyEvent)]
                assert len(decisions) == len(batch)
                yield from map(outcome, decisions)
                batch = []
                desk.state = restarted(desk) if restart else desk.state


def cuts(commands: int) -> Iterator[tuple[bool, ...]]:
    """Yield every way to say behind which commands but the last a batch ends."""
    return product((False, True), repeat=commands - 1)


def outcome(event: facts.Event) -> str:
    if isinstance(event, facts.CommandDenied):
        return event.data.code
    if isinstance(event, facts.ProposalApproved):
        return f"{type(event).__name__} {event.data.status}"
    return type(event).__name__


def council() -> Office:
    made = bare(RULES)
    for name in PEOPLE:
        made.register(name, "approvers")
    made.register("greta")
    return made


def proposed(made: Office, verb: str, **more: Any) -> dict[str, str]:
    """Let alice propose; return what an approval names."""
    arguments = {"verb": verb, "expires_at": to_text(END), **more}
    event = made.ask("ProposeCommand", arguments=arguments)
    assert isinstance(event, facts.ProposalCreated)
    return {"proposal": event.data.proposal, "digest": event.data.digest}


def granted(made: Office, **arguments: Any) -> str:
    known = {"grantee": "greta", "verbs": ["Encrypt"], "expires_at": to_text(END)} | arguments
    event = made.ask("CreateGrant", arguments=known)
    assert isinstance(event, facts.GrantCreated)
    return event.data.grant


# Approvals


def test_two_last_approvals() -> None:
    """Of two approvals that are each enough, the first one carries out, and the second finds nothing to approve."""
    race = Race(made := council())
    named = proposed(made, "DestroyKeyNow")
    for name in ("ann", "ben"):
        race.asks("ApproveProposal", name, arguments=named)
    assert race.outcomes() == ["KeyDestroyed", "ProposalClosed"]


def test_three_approvals_where_two_are_needed() -> None:
    """The second one carries out, once."""
    race = Race(made := council())
    named = proposed(made, "RotateKey")
    for name in PEOPLE:
        race.asks("ApproveProposal", name, arguments=named)
    assert race.outcomes() == ["ProposalApproved Pending", "KeyRotated", "ProposalClosed"]


def test_one_approver_twice() -> None:
    """Two approvals of one principal are one."""
    race = Race(made := council())
    named = proposed(made, "RotateKey")
    for name in ("ann", "ann", "ben"):
        race.asks("ApproveProposal", name, arguments=named)
    assert race.outcomes() == ["ProposalApproved Pending", "AlreadyApproved", "KeyRotated"]


@pytest.mark.parametrize(
    ("first", "second", "outcomes"),
    [
        ("ApproveProposal", "DenyProposal", ["KeyDestroyed", "ProposalClosed"]),
        ("DenyProposal", "ApproveProposal", ["ProposalDenied", "ProposalClosed"]),
    ],
)
def test_approval_and_denial(first: str, second: str, outcomes: list[str]) -> None:
    """Whichever comes first in the log is the answer."""
    race = Race(made := council())
    named = proposed(made, "DestroyKeyNow")
    race.asks(first, "ann", arguments=named)
    race.asks(second, "ben", arguments=named)
    assert race.outcomes() == outcomes


@pytest.mark.parametrize("cancelled_first", [False, True])
def test_approval_and_cancellation(cancelled_first: bool) -> None:
    """A proposal that is cancelled is not carried out, and one that was carried out is not cancelled."""
    race = Race(made := council())
    named = proposed(made, "DestroyKeyNow")
    wishes: list[Callable[[], None]] = [
        lambda: race.asks("ApproveProposal", "ann", arguments=named),
        lambda: race.asks("CancelProposal", arguments={"proposal": named["proposal"]}),
    ]
    for wish in reversed(wishes) if cancelled_first else wishes:
        wish()
    assert (
        race.outcomes()
        == [["KeyDestroyed", "ProposalClosed"], ["ProposalCancelled", "ProposalClosed"]][cancelled_first]
    )


def test_the_state_changes_before_the_last_approval() -> None:
    """What cannot be carried out any more has failed for good, also when it could be again."""
    race = Race(made := council())
    named = proposed(made, "RotateKey")
    race.asks("ApproveProposal", "ann", arguments=named)
    race.asks("DisableKey")
    race.asks("ApproveProposal", "ben", arguments=named)
    race.asks("EnableKey")
    race.asks("ApproveProposal", "cem", arguments=named)
    assert race.outcomes() == [
        "ProposalApproved Pending", "KeyDisabled", "ProposalApproved Failed", "KeyEnabled", "ProposalClosed",
    ]  # fmt: skip


def test_a_policy_changes_before_the_last_approval() -> None:
    """What policy does not permit when the approval comes waits on, and is carried out when policy permits it again."""
    race = Race(made := council())
    named = proposed(made, "RotateKey")
    stop = {"policy": "stop", "text": FORBID.format("RotateKey")}
    race.asks("ApproveProposal", "ann", arguments=named)
    race.asks("PutPolicy", arguments=stop)
    race.asks("ApproveProposal", "ben", arguments=named)
    race.asks("DeletePolicy", arguments={"policy": "stop"})
    race.asks("ApproveProposal", "cem", arguments=named)
    assert race.outcomes() == [
        "ProposalApproved Pending", "PolicyPut", "ProposalApproved Pending", "PolicyDeleted", "KeyRotated",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("times", "outcomes"),
    [
        ((END - 1, END - 1), ["ProposalApproved Pending", "KeyRotated"]),
        ((END - 2, END - 1), ["ProposalApproved Pending", "KeyRotated"]),
        ((END - 1, END), ["ProposalApproved Pending", "ProposalExpired"]),
        ((END, END), ["ProposalExpired", "ProposalExpired"]),
        ((END - 1, END + 1), ["ProposalApproved Pending", "ProposalExpired"]),
    ],
)
def test_approvals_about_the_proposal_s_end(times: tuple[int, int], outcomes: list[str]) -> None:
    """An approval counts before the end and not in its very millisecond."""
    race = Race(made := council())
    named = proposed(made, "RotateKey")
    for name, at_ms in zip(("ann", "ben"), times, strict=True):
        race.asks("ApproveProposal", name, at_ms, arguments=named)
    assert race.outcomes() == outcomes


def test_an_earlier_stamp_behind_the_end_is_late() -> None:
    """An approval that stands behind the end in the log is too late, whatever time it was stamped with."""
    race = Race(made := council())
    named = proposed(made, "RotateKey")
    race.asks("ApproveProposal", "ann", END - 1, arguments=named)
    race.asks("EnableKey", at_ms=END)
    race.asks("ApproveProposal", "ben", END - 1, arguments=named)
    assert race.outcomes() == ["ProposalApproved Pending", "KeyEnabled", "ProposalExpired"]


def test_an_approved_use_is_sent_twice() -> None:
    """An approved data-plane command is executed once, and not after the proposal's end."""
    made = council()
    named = proposed(made, "Decrypt", contexts=[{}], items=1, bytes=10)
    race, late = Race(made), Race(made)
    for each in (race, late):
        each.asks("ApproveProposal", "ann", arguments=named)
    for _ in range(2):
        race.asks("Decrypt", proposal=named["proposal"])
    assert race.outcomes() == ["ProposalApproved Approved", "CommandAuthorized", "ProposalClosed"]
    late.asks("Decrypt", at_ms=END, proposal=named["proposal"])
    assert late.outcomes() == ["ProposalApproved Approved", "ProposalExpired"]


# The last of something


def test_the_last_operation_of_a_grant() -> None:
    """As many are authorized as were granted, the first ones; what is refused takes nothing."""
    race = Race(made := council())
    granted(made, max_operations=2, max_items=5)
    for items in (4, 2, 1, 1):
        race.asks("Encrypt", "greta", items=items)
    assert race.outcomes() == ["CommandAuthorized", "GrantExhausted", "CommandAuthorized", "GrantExhausted"]


def test_giving_on_and_using_the_last_operation() -> None:
    """What is given on first cannot be used, and what was used first cannot be given on."""
    made = council()
    parent = granted(made, verbs=["Encrypt", "CreateGrant"], delegable=True, max_operations=1)
    child = {"grantee": "ann", "verbs": ["Encrypt"], "expires_at": to_text(END), "parent": parent, "max_operations": 1}
    race = Race(made)
    race.asks("CreateGrant", "greta", arguments=child)
    race.asks("Encrypt", "greta")
    race.asks("Encrypt", "ann")
    assert race.outcomes() == ["GrantCreated", "GrantExhausted", "CommandAuthorized"]
    race = Race(made)
    race.asks("Encrypt", "greta")
    race.asks("CreateGrant", "greta", arguments=child)
    race.asks("Encrypt", "ann")
    assert race.outcomes() == ["CommandAuthorized", "GrantExhausted", "AccessDenied"]


def test_revoking_a_grant_between_two_uses() -> None:
    """It counts for the use before and not for the one behind."""
    race = Race(made := council())
    grant = granted(made)
    race.asks("Encrypt", "greta")
    race.asks("RevokeGrant", arguments={"grant": grant})
    race.asks("Encrypt", "greta")
    assert race.outcomes() == ["CommandAuthorized", "GrantRevoked", "AccessDenied"]


@pytest.mark.parametrize(("at_ms", "code"), [(END - 1, "CommandAuthorized"), (END, "AccessDenied")])
def test_uses_about_a_grant_s_end(at_ms: int, code: str) -> None:
    """A grant holds before its end and not in its very millisecond."""
    race = Race(made := council())
    granted(made)
    race.asks("Encrypt", "greta", END - 1)
    race.asks("Encrypt", "greta", at_ms)
    assert race.outcomes() == ["CommandAuthorized", code]


def test_the_last_items_of_a_budget() -> None:
    """The first ones have them; a rotation between two uses gives those behind it the next version's."""
    made = council()
    assert made.code("UpdateUsageBudget", arguments={"items": 5}) is None
    named = proposed(made, "RotateKey")
    race = Race(made)
    race.asks("ApproveProposal", "ann", arguments=named)
    for items in (5, 1):
        race.asks("Encrypt", items=items)
    race.asks("ApproveProposal", "ben", arguments=named)
    race.asks("GenerateDataKey", items=6)
    race.asks("GenerateDataKey", items=5)
    race.asks("Encrypt", items=1)
    assert race.outcomes() == [
        "ProposalApproved Pending", "CommandAuthorized", "UsageLimitReached",
        "KeyRotated", "UsageLimitReached", "CommandAuthorized", "UsageLimitReached",
    ]  # fmt: skip


def test_the_last_token_of_a_bucket() -> None:
    """Two commands in the same millisecond have what is left for one: the first has it."""
    made = council()
    limit = {"limit": "l", "kind": "rate", "amount": 1, "period_seconds": 10, "per": "key", "verbs": ["Encrypt"]}
    assert made.code("PutLimit", REGISTRY, arguments=limit) is None
    race = Race(made)
    for at_ms in (0, 0, 9_999, 10_000, 10_000):
        race.asks("Encrypt", at_ms=START_MS + at_ms)
    allowed, refused = "CommandAuthorized", "RateLimited"
    assert race.outcomes() == [allowed, refused, refused, allowed, refused]


# Policies


def test_a_key_s_policy_changes_between_two_commands() -> None:
    """It counts for exactly the commands behind it in the key's order."""
    race = Race(council())
    for verb, arguments in (
        ("Encrypt", {}),
        ("PutPolicy", {"policy": "stop", "text": FORBID.format("Encrypt")}),
        ("Encrypt", {}),
        ("DeletePolicy", {"policy": "stop"}),
        ("Encrypt", {}),
    ):
        race.asks(verb, arguments=arguments)
    assert race.outcomes() == ["CommandAuthorized", "PolicyPut", "AccessDenied", "PolicyDeleted", "CommandAuthorized"]


def test_the_registry_s_policy_changes_between_two_commands() -> None:
    """On partition 0 it counts for exactly the commands behind it."""
    race = Race(council(), REGISTRY)
    alias = {"key_id": KEY.removeprefix("key/")}
    race.asks("CreateAlias", arguments={"alias": "alias/a", **alias})
    race.asks("PutPolicy", arguments={"policy": "stop", "text": FORBID.format("CreateAlias")})
    race.asks("CreateAlias", arguments={"alias": "alias/b", **alias})
    race.asks("DeletePolicy", arguments={"policy": "stop"})
    race.asks("CreateAlias", arguments={"alias": "alias/b", **alias})
    assert race.outcomes() == ["AliasCreated", "PolicyPut", "AccessDenied", "PolicyDeleted", "AliasCreated"]


def test_two_put_the_same_policy() -> None:
    """The last one in the log is in force."""
    race = Race(council(), REGISTRY)
    for by, verb in (("alice", "CreateAlias"), ("bob", "DeleteAlias")):
        race.asks("PutPolicy", by, arguments={"policy": "stop", "text": FORBID.format(verb)})
    race.asks("CreateAlias", arguments={"alias": "alias/a", "key_id": KEY.removeprefix("key/")})
    race.asks("DeleteAlias", arguments={"alias": "alias/a"})
    assert race.outcomes() == ["PolicyPut", "PolicyPut", "AliasCreated", "AccessDenied"]


def test_two_administrators_revoke_each_other() -> None:
    """The first one in the log has done it; the other is revoked, and two always remain."""
    race = Race(council(), REGISTRY)
    race.asks("RevokePrincipal", "alice", arguments={"principal": "bob"})
    race.asks("RevokePrincipal", "bob", arguments={"principal": "alice"})
    race.asks("RevokePrincipal", "alice", arguments={"principal": "scheduler"})
    assert race.outcomes() == ["PrincipalRevoked", "PrincipalRevoked", "AdministratorsNeeded"]


def test_the_registry_s_policy_changes_while_a_key_s_partition_follows() -> None:
    """Of two batches of one partition, the one that is decided with the older registry does not know the policy yet."""
    made = council()
    stop = {"policy": "stop", "text": FORBID.format("Encrypt")}

    def used() -> list[str]:
        made.number += 2
        batch = made.decide(command("Encrypt", KEY, made.number), command("Encrypt", KEY, made.number + 1))
        return [outcome(facts.parse_event(entry.value)) for entry in batch.events]

    assert used() == ["CommandAuthorized"] * 2
    assert made.code("PutPolicy", REGISTRY, arguments=stop) is None
    assert used() == ["AccessDenied"] * 2
    assert made.code("DeletePolicy", REGISTRY, arguments={"policy": "stop"}) is None
    assert used() == ["CommandAuthorized"] * 2
