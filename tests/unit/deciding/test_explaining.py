"""Explanations: who asked, what answered, what else was looked at, and whether it follows from the log."""

from typing import Any

import pytest
from tests.support.archive import ONLY_ADMINISTRATORS, Archive
from tests.support.people import RULES, START_MS
from tests.unit.deciding.replays import KEY_ID, ONE, asked, last, put, quiet, read
from tests.unit.deciding.test_replaying import changed

from keyfold.deciding.explaining import Explanation, explain
from keyfold.deciding.reasons import GrantNote, LimitNote, PolicyText
from keyfold.events import facts
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text

HOUR = 3_600_000
RESCUE = """
permit (principal, action == Action::"UseCompromisedVersion", resource) when { principal == Principal::"erin" };
"""
ONLY_CAROL = 'forbid (principal, action == Action::"Encrypt", resource) unless { principal == Principal::"carol" };'


def used(rules: str = RULES) -> Archive:
    """A key with a policy of its own and tags."""
    made = quiet(rules)
    asked(made, ("CreateKey", ONE, {"arguments": {"tags": {"team": "shop"}}}))
    return made


def marks(policies: tuple[PolicyText, ...]) -> dict[str, list[str]]:
    return {policy.policy: [statement.mark for statement in policy.statements] for policy in policies}


def test_what_was_allowed_names_everything_it_came_from() -> None:
    """Principal, key, contexts, reason, source and time as policies saw them; the text that permits, and where."""
    made = used()
    context = {"tenant": "acme"}
    asked(made, ("Encrypt", ONE, {"contexts": [context], "items": 2, "reason": "audit"}), by="dave")
    found = last(made, explain)
    assert (found.verb, found.code, found.refused_before, found.signature, found.dry_run) == (
        "Encrypt",
        None,
        None,
        None,
        False,
    )
    assert (found.partition, found.position, found.remade.verdict, found.differing) == (1, 1, "reproduced", ())
    (asking,) = found.asked
    assert asking.principal == {
        "name": "dave", "type": "workload", "status": "Active", "groups": ("readers",), "tags": {}
    }  # fmt: skip
    assert asking.key == {
        "key_id": KEY_ID, "status": "Enabled", "protection": "HSM", "key_spec": "SYMMETRIC_DEFAULT",
        "key_usage": "ENCRYPT_DECRYPT", "origin": "KEYFOLD", "compromised": False,
        "created_by": "alice", "tags": {"team": "shop"},
    }  # fmt: skip
    assert (asking.contexts, asking.items, asking.bytes, asking.reason) == ((context,), 2, 10, "audit")
    assert asking.answer.policies == ("registry/rules#1",)
    assert marks(asking.policies) == {"registry/rules": ["", "determined"]}
    assert asking.policies[0].statements[1].text.startswith("permit (principal, action in [")
    assert (asking.grants, found.limits) == ((), ())


def test_a_denial_by_default_names_what_could_have_applied() -> None:
    """By principal, verb and resource; statements about somebody or something else are not near."""
    made = used(ONLY_ADMINISTRATORS)
    near = 'permit (principal in Group::"readers", action == Action::"Encrypt", resource) when { context.items > 9 };'
    asked(made, put("near", f'{near}\npermit (principal in Group::"readers", action == Action::"Decrypt", resource);'))
    asked(made, put("own", 'permit (principal == Principal::"dave", action, resource) when { false };', ONE))
    read(made)
    asked(made, ("Encrypt", ONE, {"contexts": [{}, {"a": "b"}], "items": 2}), by="dave")
    (asking,) = last(made, explain).asked
    assert (asking.answer.allowed, asking.answer.policies, asking.answer.code) == (False, (), "AccessDenied")
    assert asking.uncovered == (0, 1)
    assert marks(asking.policies) == {"registry/near": ["could apply", ""], "key/own": ["could apply"]}


def test_a_forbid_names_itself_only() -> None:
    """What determined the denial, in its text; a policy of the key by its own text."""
    made = used()
    asked(made, put("own", ONLY_CAROL, ONE))
    asked(made, ("Encrypt", ONE, {}), by="dave")
    found = last(made, explain)
    (asking,) = found.asked
    assert (found.code, asking.answer.policies) == ("AccessDenied", ("key/own#0",))
    assert asking.policies[0].statements[0].text == ONLY_CAROL
    assert marks(asking.policies) == {"key/own": ["determined"]}


def test_a_statement_in_error_is_marked() -> None:
    """What cannot be evaluated denies; of a text that cannot be read, everything does."""
    made = used()
    too_large = "permit (principal, action, resource) when { context.bytes * 9223372036854775807 > 0 };"
    asked(made, put("broken", too_large))
    read(made)
    asked(made, ("Encrypt", ONE, {}), by="dave")
    (asking,) = last(made, explain).asked
    assert marks(asking.policies) == {"registry/broken": ["in error"]}


def grant(**changes: Any) -> tuple[str, str, dict[str, Any]]:
    arguments = {"grantee": "dave", "verbs": ["Encrypt"], "expires_at": to_text(START_MS + HOUR), **changes}
    return "CreateGrant", ONE, {"arguments": arguments}


def test_each_grant_says_why_it_does_not_cover() -> None:
    """Retired, over, for other verbs, not for this context, used up; and the one that covers."""
    made = used(ONLY_ADMINISTRATORS)
    blue = {"encryption_context_subset": {"tenant": "blue"}}
    short = {"expires_at": to_text(START_MS + 1000)}
    asked(made, grant(), grant(**short), grant(verbs=["Decrypt"]), grant(**blue), grant(max_operations=1), grant())
    names = [leaf.event.data.grant for leaf in made.log[1] if isinstance(leaf.event, facts.GrantCreated)]
    asked(made, ("RetireGrant", ONE, {"arguments": {"grant": names[0]}}))
    made.now_ms += 2000
    asked(made, ("Encrypt", ONE, {}), ("Encrypt", ONE, {}), by="dave")
    found = last(made, explain)
    assert found.asked[0].grants == (
        GrantNote(names[0], "it was retired", False),
        GrantNote(names[1], "its time was over", False),
        GrantNote(names[2], "it is for Decrypt", False),
        GrantNote(names[3], "its constraints do not let this command through", False),
        GrantNote(names[4], "its allowance is used up", False),
        GrantNote(names[5], "covers the command", True),
    )
    assert (found.event.data.decision.grant, found.asked[0].answer.policies) == (names[5], (f"grant/{names[5]}",))


def test_a_grant_falls_with_its_parent() -> None:
    """A delegated grant is live by itself, and does not hold when what it came from does not."""
    made = used(ONLY_ADMINISTRATORS)
    asked(made, grant(grantee="carol", verbs=["Encrypt", "CreateGrant"], delegable=True))
    parent = made.log[1][-1].event.data.grant
    asked(made, grant(parent=parent), by="carol")
    child = made.log[1][-1].event.data.grant
    asked(made, ("RevokeGrant", ONE, {"arguments": {"grant": parent}}))
    asked(made, ("Encrypt", ONE, {}), by="dave")
    said = "a grant that it was delegated from does not hold any more"
    assert last(made, explain).asked[0].grants == (GrantNote(child, said, False),)


def limit(name: str, **changes: Any) -> tuple[str, str, dict[str, Any]]:
    arguments = {"limit": name, "kind": "quota", "amount": 6, "period_seconds": 3600, **changes}
    return "PutLimit", REGISTRY, {"arguments": arguments}


def test_limits_say_what_is_left_and_which_one_refuses() -> None:
    """Of all that apply; those for others are not mentioned. Limits that were not asked are not either."""
    made = used()
    asked(made, limit("day"), limit("rate", kind="rate", amount=9), limit("other", group="administrators"))
    read(made)
    asked(made, ("Encrypt", ONE, {}), by="dave")
    day, rate = LimitNote("day", "quota", 6, 3600, 1, True), LimitNote("rate", "rate", 9, 3600, 2000, True)
    assert last(made, explain).limits == (day, rate)
    asked(made, ("Encrypt", ONE, {}), ("Encrypt", ONE, {}), by="dave")
    found = last(made, explain)
    assert found.code == "QuotaExceeded"
    assert [(note.limit, note.level) for note in found.limits] == [("day", None), ("rate", 0)]
    asked(made, put("own", ONLY_CAROL, ONE))
    asked(made, ("Encrypt", ONE, {}), by="dave")
    assert last(made, explain).limits == ()


def proposed(made: Archive) -> dict[str, str]:
    ends = {"expires_at": to_text(START_MS + HOUR)}
    asked(made, ("ProposeCommand", ONE, {"arguments": {"verb": "DestroyKeyNow", **ends}}))
    created = made.log[1][-1].event
    assert isinstance(created, facts.ProposalCreated)
    return {"proposal": created.data.proposal, "digest": created.data.digest}


def test_an_approval_is_two_questions() -> None:
    """Whether the approver may approve, and whether the author may with one approval more."""
    made = used()
    quorum = 'forbid (principal, action == Action::"DestroyKeyNow", resource) unless { context.approvals.count >= 2 };'
    asked(made, put("quorum", quorum))
    read(made)
    agreed = proposed(made)
    asked(made, ("ApproveProposal", ONE, {"arguments": agreed}), by="bob")
    approval, wanted = last(made, explain).asked
    assert (approval.principal["name"], approval.verb, approval.answer.allowed) == ("bob", "ApproveProposal", True)
    assert (wanted.principal["name"], wanted.verb, wanted.approvals) == ("alice", "DestroyKeyNow", ("bob",))
    assert (wanted.answer.code, marks(wanted.policies)) == ("ApprovalRequired", {"registry/quorum": ["determined"]})


def test_what_was_refused_before_is_not_asked() -> None:
    """No question, no policies; the code says why."""
    made = used()
    asked(made, ("Encrypt", ONE, {"items": 1001}), by="dave")
    found = last(made, explain)
    assert (found.code, found.refused_before, found.asked, found.limits) == ("BatchTooLarge", "BatchTooLarge", (), ())


def test_what_was_refused_for_the_state_was_authorized() -> None:
    """The answer of authorization and the code of the refusal stand beside each other."""
    made = used()
    asked(made, ("DisableKey", ONE, {}), ("Encrypt", ONE, {}))
    found = last(made, explain)
    assert (found.code, found.refused_before, found.asked[0].answer.allowed) == ("KeyDisabled", None, True)
    assert found.asked[0].key is not None
    assert found.asked[0].key["status"] == "Disabled"


def test_dry_runs_and_commands_about_the_registry() -> None:
    """A dry run is asked like any other; on the registry there is no key, but somebody whom it is about."""
    made = used()
    asked(made, ("SuspendPrincipal", REGISTRY, {"arguments": {"principal": "carol"}, "dry_run": True}))
    found = last(made, explain, 0)
    assert (found.dry_run, found.code, found.remade.verdict) == (True, None, "reproduced")
    assert (found.asked[0].key, found.asked[0].target) == (None, "carol")


def test_a_key_that_is_asked_for_is_shown_as_asked() -> None:
    """`CreateKey` is decided on what it asks for, there being no key yet."""
    found = last(used(), explain)
    assert found.asked[0].key == {
        "key_id": KEY_ID, "status": "Creating", "protection": "HSM", "key_spec": "SYMMETRIC_DEFAULT",
        "key_usage": "ENCRYPT_DECRYPT", "origin": "KEYFOLD", "compromised": False, "tags": {"team": "shop"},
    }  # fmt: skip


def signing_key(by: str, **verifies: Any) -> Explanation:
    """A key whose first version was compromised and replaced, and a signature verified with it."""
    made = quiet(RULES)
    asked(made, put("rescue", RESCUE), put("verify", 'permit (principal, action == Action::"Verify", resource);'))
    read(made)
    kind = {"key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"}
    marked = {"occurred_at": to_text(START_MS)}
    asked(made, ("CreateKey", ONE, {"arguments": kind}), ("MarkKeyCompromised", ONE, {"arguments": marked}))
    asked(made, ("RotateKey", ONE, {"arguments": {"cause": "compromise"}}))
    asked(made, ("Verify", ONE, {"arguments": {"signing_algorithm": "ECDSA_SHA_256", **verifies}}), by=by)
    return last(made, explain)


def test_what_a_command_names_is_told() -> None:
    """Algorithm, message type and version as policies saw them; of another verb there are none."""
    (asking,) = signing_key("dave", message_type="DIGEST", key_version=2).asked
    assert (asking.algorithm, asking.message_type, asking.key_version) == ("ECDSA_SHA_256", "DIGEST", 2)
    assert asking.destination == ""
    assert asking.key is not None
    assert (asking.key["status"], asking.key["compromised"]) == ("Enabled", False)


@pytest.mark.parametrize(
    ("by", "policies", "code"), [("erin", ("registry/rescue#0",), None), ("dave", (), "KeyCompromised")]
)
def test_a_compromised_version_is_asked_about_too(by: str, policies: tuple[str, ...], code: str | None) -> None:
    """Who may verify is one question, who may do so with a compromised version another; the decision names both."""
    found = signing_key(by, key_version=1)
    verify, beside = found.asked
    assert (verify.verb, verify.answer.policies) == ("Verify", ("registry/verify#0",))
    assert (beside.verb, beside.answer.policies, beside.answer.code) == ("UseCompromisedVersion", policies, code)
    assert (beside.grants, found.code, found.remade.verdict) == ((), code, "reproduced")
    assert set(found.event.data.decision.policies) == {"registry/verify#0", *policies}
    assert marks(beside.policies) == {"registry/rescue": ["determined" if policies else "could apply"]}


def test_a_refusal_before_the_versions_asks_about_none() -> None:
    """What the form, the state or the algorithm refuses has not come to the versions."""
    made = quiet(RULES)
    asked(made, ("CreateKey", ONE, {}), ("MarkKeyCompromised", ONE, {"arguments": {"occurred_at": to_text(START_MS)}}))
    asked(made, ("ReEncrypt", ONE, {}))
    assert [each.verb for each in last(made, explain).asked] == ["ReEncrypt"]
    asked(made, ("Decrypt", ONE, {"arguments": {"key_version": 1}}))
    assert [each.verb for each in last(made, explain).asked] == ["Decrypt"]
    asked(made, ("Decrypt", ONE, {}))
    assert [each.verb for each in last(made, explain).asked] == ["Decrypt", "UseCompromisedVersion"]


def tampered(**update: object) -> Explanation:
    made = used()
    asked(made, ("Encrypt", ONE, {}), by="dave")
    made.log[1][-1] = changed(lambda decision: decision.model_copy(update=update))(made.log[1][-1])
    return last(made, explain)


def test_a_decision_that_does_not_follow_says_where() -> None:
    """The places that differ when it is made again, and what is wrong with the signature."""
    found = tampered(policies=["registry/other#0"], registry_revision=99)
    assert found.remade.verdict == "differs"
    assert found.differing == ("data.decision.policies", "data.decision.registry_revision")
    assert found.signature is None
    assert "does not verify" in (tampered(signature="00" * 64).signature or "")


@pytest.mark.parametrize("code", ["InternalError"])
def test_an_internal_error_is_explained_as_such(code: str) -> None:
    """Nothing was asked, and nothing is expected to be reproduced."""
    made = used()
    asked(made, ("Encrypt", ONE, {"items": 1001}))
    leaf = made.log[1][-1]
    event = leaf.event.model_copy(update={"data": leaf.event.data.model_copy(update={"code": code})})
    made.log[1][-1] = changed(lambda decision: decision)(type(leaf)(1, leaf.position, "policy", 9, event, b""))
    found = last(made, explain)
    assert (found.refused_before, found.asked, found.remade.verdict) == (code, (), "not expected")
