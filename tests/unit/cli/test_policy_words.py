"""Explanations as a person and as a program read them."""

import json

import pytest
from tests.support.archive import ONLY_ADMINISTRATORS, Archive
from tests.unit.deciding.replays import ONE, asked, last, put, read
from tests.unit.deciding.test_explaining import grant, limit, proposed, tampered, used

from keyfold.cli.output import to_json
from keyfold.cli.policy_words import as_data, as_words
from keyfold.deciding.explaining import Explanation, explain

DENIED = """\
Encrypt on key/00000000-0000-0000-0000-000000000003 at 2026-09-21T14:13:20.000Z was denied: AccessDenied (no policy \
permits this principal to do this, or one forbids it; ask an administrator).

command  00000000-0000-0000-0000-000000000007, signed with key KEY…; its signature is valid

what was asked:

  who        dave (workload, Active)
  groups     readers
  tags       -
  verb       Encrypt
  key        key_id=00000000-0000-0000-0000-000000000003, protection=HSM, key_spec=SYMMETRIC_DEFAULT, \
key_usage=ENCRYPT_DECRYPT, origin=KEYFOLD, status=Enabled, compromised=False, created_by=alice
  key tags   team=shop
  context 0  tenant=acme
  context 1  - (no policy permits this one)
  items      2, 10 B
  reason     audit
  algorithm  SYMMETRIC_DEFAULT
  approvals  -
  answer     denied (AccessDenied): no policy permits it and none forbids it; those below could apply, by principal, \
verb and resource

  registry/acme
  ~ #0  permit (principal in Group::"readers", action, resource)
        when { context.encryption_context.hasTag("tenant") };
    #1  permit (principal == Principal::"erin", action, resource);

  grant GRANT: it is for Decrypt

  » determined the answer   ! could not be evaluated   ~ could apply, by principal, verb and resource

event       1.2.decision
place       events partition 1, position 2, statement 3 of policy; offset 2 of commands
registry    revision 4
known       the HSM worker's statements up to 0, 8 leaves of the registry
made again  the same, bit for bit"""


ACME = """\
permit (principal in Group::"readers", action, resource)
when { context.encryption_context.hasTag("tenant") };
permit (principal == Principal::"erin", action, resource);
"""


def denied() -> tuple[Archive, Explanation]:
    made = used(ONLY_ADMINISTRATORS)
    asked(made, put("acme", ACME))
    read(made)
    asked(made, grant(verbs=["Decrypt"]))
    options = {"contexts": [{"tenant": "acme"}, {}], "items": 2, "reason": "audit"}
    asked(made, ("Encrypt", ONE, options), by="dave")
    return made, last(made, explain)


def test_a_denial_in_plain_words() -> None:
    """Who, what, which key, why, by what, from what: everything on one page."""
    made, found = denied()
    expected = DENIED.replace("KEY…", f"{found.signing_key[:16]}…").replace("GRANT", made.log[1][1].event.data.grant)
    assert as_words(found) == expected


def test_the_same_as_data() -> None:
    """One document; the decision made again is in it only where it differs."""
    _, found = denied()
    document = json.loads(to_json(as_data(found)))
    assert document["event"]["data"]["code"] == "AccessDenied"
    assert (document["verdict"], document["made_again"], document["signature"]) == ("reproduced", None, "valid")
    assert document["asked"][0]["policies"][0]["statements"][0]["mark"] == "could apply"
    assert "remade" not in document


def test_what_does_not_follow_cannot_be_overlooked() -> None:
    """In words and as data: the places that differ, what came of it now, and the signature."""
    found = tampered(policies=["registry/other#0"])
    assert "made again  NOT THE SAME: made again, it is keyfold.command.authorized.v1 (differs in data.decision" in (
        as_words(found)
    )
    assert as_data(found)["made_again"]["data"]["decision"]["policies"] == ["registry/rules#1"]
    assert "NOT AUTHENTIC" in as_words(tampered(signature="00" * 64))


def test_allowances_limits_and_approvals() -> None:
    """What was let through, by what, and what is left."""
    made = used()
    asked(made, limit("day"), limit("rate", kind="rate", amount=9, per="key"))
    read(made)
    asked(made, ("Encrypt", ONE, {}), by="dave")
    words = as_words(last(made, explain))
    assert "was let through, as keyfold.command.authorized.v1." in words
    assert "allowed, by registry/rules#1" in words
    assert "day (quota: 6 in 3600 s, of which each partition has its share): 1 used, with this command" in words
    assert "rate (rate: 9 in 3600 s): 8 left, after this command" in words
    asked(made, ("ApproveProposal", ONE, {"arguments": proposed(made)}), by="bob")
    words = as_words(last(made, explain))
    assert "what the approval would carry out:" in words
    assert "carried out with the approvals of bob" in words


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (("Encrypt", ONE, {"dry_run": True}), "was a dry run, which succeeded: it would have become keyfold.command"),
        (("Encrypt", ONE, {"items": 1001}), "authorization  was not asked: the command was refused before"),
    ],
)
def test_dry_runs_and_early_refusals(wish: tuple[str, str, dict[str, object]], said: str) -> None:
    """Said as what they are."""
    made = used()
    asked(made, wish, by="dave")
    assert said in as_words(last(made, explain))
