"""Audit rows of decisions about who may do what: what they show of the command, and whose command it is."""

import json
from typing import Any

import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import START_MS, Maker, genesis_events, seeded

from keyfold.events import commands, facts
from keyfold.events.command_envelope import source_of
from keyfold.events.entities import Proposal
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.projections.audit import audit_row
from keyfold.projections.rows import AuditRow

KEY_ID = "0193f3a0-7c00-7000-8000-00000000000a"
COMMAND_ID = "0193f3a0-7c00-7000-8000-00000000000c"
GRANT = "0193f3a0-7c00-7000-8000-00000000000d"
PROPOSAL = "0193f3a0-7c00-7000-8000-00000000000e"
STREAM = f"key/{KEY_ID}"
TIME = to_text(START_MS)
CONTEXT = {"tenant": "blue"}


def decision(command: str, **more: Any) -> facts.Decision:
    known: dict[str, Any] = {
        "command": command,
        "command_digest": "ab" * 32,
        "body_digest": "0" * 64,
        "signature": "",
        "offset": 41,
        "policies": [],
        "registry_revision": 7,
        "facts_n": 3,
    }
    return facts.Decision(**{**known, **more})


def command(verb: str, principal: str = "alice", source: str = "principal/alice/host-1", **data: Any) -> str:
    more = {"principal": principal, "arguments": {}, **data}
    return json.dumps({"id": COMMAND_ID, "type": commands.type_of(verb), "source": source, "data": more})


def proposing(verb: str, **arguments: Any) -> facts.ProposalUse:
    """Bob's proposal, as an approval carries it out."""
    signed = command(
        "ProposeCommand", "bob", "principal/bob/desk", reason="a wish", arguments={"verb": verb, **arguments}
    )
    return facts.ProposalUse(
        proposal=PROPOSAL, command=signed, body_digest="0" * 64, signature="", approvers=["alice", "carol"]
    )


def row_of(kind: type[facts.Event], stream: str = STREAM, /, **data: Any) -> AuditRow:
    event = kind.new("e", stream, TIME, **data)
    return audit_row(1, 5, 12, folding.leaf(event, 12).accepted, event)


def disabled(text: str, **more: Any) -> AuditRow:
    return row_of(facts.KeyDisabled, decision=decision(text, **more), key_id=KEY_ID, reason="")


def test_a_dry_run_is_told_apart() -> None:
    """Allowed, it has an outcome of its own; refused, it is a denial that says that it was one."""
    tried = decision(command("Decrypt", dry_run=True))
    known = {"verb": "Decrypt", "principal": "alice"}
    row = row_of(facts.DryRunSucceeded, decision=tried, would_be=facts.CommandAuthorized.type_name, **known)
    assert (row.outcome, row.dry_run, row.verb, row.principal, row.code) == ("dry-run", True, "Decrypt", "alice", None)
    row = row_of(facts.CommandDenied, decision=tried, code="AccessDenied", **known)
    assert (row.outcome, row.dry_run, row.code) == ("denied", True, "AccessDenied")
    row = row_of(facts.DryRunSucceeded, decision=decision("no command"), would_be="x", **known)
    assert (row.dry_run, row.verb, row.principal) == (True, "Decrypt", "alice")
    assert not disabled(command("DisableKey")).dry_run


@pytest.mark.parametrize(
    ("source", "host"),
    [
        ("principal/alice", None),
        ("principal/alice/host-1", "host-1"),
        ("principal/alice/pod/a:1", "pod/a:1"),
        ("", None),
        (7, None),
    ],
)
def test_source_is_the_host_part(source: Any, host: str | None) -> None:
    """The same that `source_of` says of a command."""
    assert disabled(command("DisableKey", source=source)).source == host
    if isinstance(source, str):
        made = commands.DisableKey.model_construct(source=source)
        assert source_of(made) == (host or "")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, None),
        ({"reason": "ticket"}, "ticket"),
        ({"reason": ""}, None),
        ({"arguments": {"reason": "audit"}}, "audit"),
        ({"reason": "ticket", "arguments": {"reason": "audit"}}, "ticket"),
        ({"reason": 7, "arguments": [1]}, None),
        ({"reason": None, "arguments": {"reason": None}}, None),
    ],
)
def test_the_reason_is_the_callers(data: dict[str, Any], reason: str | None) -> None:
    """The command's own reason, or the one among its arguments."""
    assert disabled(command("DisableKey", **data)).reason == reason


def test_what_a_grant_covered_names_it() -> None:
    """A use names the grant that covered it, a fact about a grant that grant, also where another one covered it."""
    use = {"verb": "Decrypt", "principal": "bob", "key_id": KEY_ID, "key_version": None, "protection": "HSM"}
    covered = decision(command("Decrypt", "bob"), grant=GRANT)
    assert row_of(facts.CommandAuthorized, decision=covered, items=1, bytes=2, **use).grant_id == GRANT
    revoked = {"decision": decision(command("RevokeGrant"), grant=PROPOSAL), "key_id": KEY_ID, "grant": GRANT}
    assert row_of(facts.GrantRevoked, **revoked).grant_id == GRANT
    assert disabled(command("DisableKey")).grant_id is None


@pytest.mark.parametrize(
    ("verb", "data", "found"),
    [
        ("RevokeGrant", {"arguments": {"grant": GRANT}}, (GRANT, None)),
        ("ApproveProposal", {"arguments": {"proposal": PROPOSAL}}, (None, PROPOSAL)),
        ("Decrypt", {"proposal": PROPOSAL}, (None, PROPOSAL)),
        ("RevokeGrant", {"arguments": {"grant": "all", "proposal": ["x"]}}, (None, None)),
        ("Decrypt", {"proposal": 7}, (None, None)),
    ],
)
def test_what_was_refused_names_what_it_was_about(
    verb: str, data: dict[str, Any], found: tuple[str | None, str | None]
) -> None:
    """Who tried to revoke a grant, or to approve a proposal that is their own, is found by its id as well."""
    refused = {"verb": verb, "principal": "alice", "code": "AccessDenied"}
    row = row_of(facts.CommandDenied, decision=decision(command(verb, **data)), **refused)
    assert (row.grant_id, row.proposal_id) == found


def test_a_proposal_that_was_not_carried_out_lends_nothing() -> None:
    """A denial and a dry run are about the command that was decided, whatever they name."""
    approval = decision(command("ApproveProposal", arguments={"proposal": PROPOSAL}), proposal=proposing("DisableKey"))
    known = {"verb": "ApproveProposal", "principal": "alice"}
    for row in (
        row_of(facts.CommandDenied, decision=approval, code="SelfApproval", **known),
        row_of(facts.DryRunSucceeded, decision=approval, would_be=facts.KeyDisabled.type_name, **known),
    ):
        assert (row.principal, row.verb, row.source, row.reason) == ("alice", "ApproveProposal", "host-1", None)
        assert row.proposal_id == PROPOSAL


def test_an_executed_proposal_is_its_authors() -> None:
    """Who wanted it, what and why are the proposal's; the id is that of the command that was decided, the approval."""
    proposed = proposing("DisableKey", arguments={"reason": "audit"})
    row = disabled(command("ApproveProposal", reason="agreed"), proposal=proposed)
    assert (row.outcome, row.principal, row.verb, row.proposal_id) == ("authorized", "bob", "DisableKey", PROPOSAL)
    assert (row.reason, row.source) == ("a wish", "desk")
    assert (row.command_id, row.command_offset, row.dry_run) == (COMMAND_ID, 41, False)
    assert '"principal": "alice"' in json.loads(row.value)["data"]["decision"]["command"]


def test_contexts_of_an_executed_proposal() -> None:
    """They are the proposal's; how much was used is what the fact says, not how much was proposed."""
    proposed = proposing("Decrypt", contexts=[CONTEXT], items=9, bytes=99)
    use = {"verb": "Decrypt", "principal": "bob", "key_id": KEY_ID, "key_version": None, "protection": "HSM"}
    approval = decision(command("ApproveProposal"), proposal=proposed)
    row = row_of(facts.CommandAuthorized, decision=approval, items=2, bytes=20, **use)
    assert (row.principal, row.verb, row.items, row.payload_bytes) == ("bob", "Decrypt", 2, 20)
    assert json.loads(row.contexts or "") == [CONTEXT]


def test_a_data_plane_command_after_its_approval_says_all_by_itself() -> None:
    """Its proposer sends it: contexts, reason and source are those of what was sent."""
    sent = command("Decrypt", "bob", "principal/bob/job", reason="now", contexts=[CONTEXT, {}], items=2, bytes=20)
    proposed = proposing("Decrypt", contexts=[CONTEXT], items=9, bytes=99)
    use = {"verb": "Decrypt", "principal": "bob", "key_id": KEY_ID, "key_version": None, "protection": "HSM"}
    row = row_of(facts.CommandAuthorized, decision=decision(sent, proposal=proposed), items=2, bytes=20, **use)
    assert (row.reason, row.source, row.proposal_id) == ("now", "job", PROPOSAL)
    assert json.loads(row.contexts or "") == [CONTEXT, {}]


@pytest.mark.parametrize("text", ["", "[]", '{"data": {"arguments": []}}', '{"data": {"arguments": {"verb": ["x"]}}}'])
def test_a_strange_proposal_never_breaks_the_audit(text: str) -> None:
    """What has not the expected form stays empty: the approver is not shown as who wanted it."""
    proposed = proposing("DisableKey").model_copy(update={"command": text})
    row = disabled(command("ApproveProposal"), proposal=proposed)
    assert (row.principal, row.verb, row.contexts, row.reason, row.source) == (None, None, None, None, None)
    assert (row.proposal_id, row.command_id) == (PROPOSAL, COMMAND_ID)


@pytest.mark.parametrize(
    ("kind", "verb", "data", "code"),
    [
        (
            facts.ProposalCreated,
            "ProposeCommand",
            {"digest": "0" * 64, "verb": "DisableKey", "proposer": "alice", "expires_at": TIME},
            None,
        ),
        (
            facts.ProposalApproved,
            "ApproveProposal",
            {"digest": "0" * 64, "approver": "alice", "approvals": 1, "status": "Pending"},
            None,
        ),
        (
            facts.ProposalApproved,
            "ApproveProposal",
            {"digest": "0" * 64, "approver": "alice", "approvals": 1, "status": "Failed", "code": "KeyDisabled"},
            "KeyDisabled",
        ),
        (facts.ProposalDenied, "DenyProposal", {"approver": "alice"}, None),
        (facts.ProposalCancelled, "CancelProposal", {}, None),
    ],
)
def test_facts_about_a_proposal_are_who_signed_them(
    kind: type[facts.Event], verb: str, data: dict[str, Any], code: str | None
) -> None:
    """They keep their own verb and signer; one that failed says why."""
    row = row_of(kind, decision=decision(command(verb)), proposal=PROPOSAL, **data)
    assert (row.outcome, row.principal, row.verb, row.proposal_id) == ("authorized", "alice", verb, PROPOSAL)
    assert (row.key_id, row.code) == (KEY_ID, code)


def test_a_warning_is_recorded_with_its_version() -> None:
    """Policy says it without being asked: nobody's command, but at the offset of one."""
    used = {"percent": 80, "protected_items": 80, "usage_budget": 100, "offset": 9}
    row = row_of(facts.UsageBudgetWarning, key_id=KEY_ID, version=3, **used)
    assert (row.outcome, row.principal, row.verb, row.command_id) == ("recorded", None, None, None)
    assert (row.key_id, row.key_version, row.command_offset) == (KEY_ID, 3, 9)


def test_a_reset_is_recorded_with_its_reason() -> None:
    """Root has no command."""
    policies = [facts.InitialPolicy(policy="a", text="permit (principal, action, resource);")]
    more: dict[str, Any] = {"removed": [], "policies": policies, "administrators": [], "revoked": []}
    row = row_of(facts.PolicyReset, REGISTRY, reason="locked out", **more)
    assert (row.outcome, row.reason, row.principal, row.role) == ("recorded", "locked out", None, "root")
    assert not row.dry_run


def test_others_have_none_of_the_new_columns() -> None:
    """Genesis has neither reason nor source, grant nor proposal."""
    event = genesis_events()[0]
    row = audit_row(0, 0, 0, folding.leaf(event, 0).accepted, event)
    assert (row.reason, row.source, row.dry_run, row.grant_id, row.proposal_id) == (None, None, False, None, None)


def test_generated_proposals_are_followed_to_their_end() -> None:
    """In every history: each executed proposal has exactly one row of its proposer that carries it out."""
    executed = 0
    for seed in range(36):
        events = Maker(seeded(seed), 1000).steps(150)
        rows = [audit_row(1, n, n, folding.leaf(event, n).accepted, event) for n, event in enumerate(events)]
        proposals = [p for p in folding.evolved(events).values() if isinstance(p, Proposal) and p.status == "Executed"]
        for proposal in proposals:
            mine = [row for row in rows if row.proposal_id == proposal.proposal]
            carried = [row for row in mine if row.verb == proposal.verb and row.principal == proposal.proposer]
            assert len(carried) == 1
            executed += 1
    assert executed > 3
