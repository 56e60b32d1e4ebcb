"""What Cedar is told of a command beside its encryption contexts: claims, algorithm, key, target, approvals."""

from typing import Any

import pytest
from tests.unit.deciding.cedar_requests import (
    AT,
    K1,
    K2,
    compromised,
    decide,
    key,
    plainly,
    principal,
    registry,
    request,
)

from keyfold.deciding.cedar import Creation, Request, Verdict, validate_policy
from keyfold.events.entities import KeyVersion, Principal

HUMAN = principal("hanna", ("users",), team="red").model_copy(update={"principal_type": "human"})
ROBOT = principal("robot")
KEY = key(created_by="hanna")
CREATE = Creation("SOFTWARE", "SYMMETRIC_DEFAULT", {})
IMPORTED = Creation("HSM", "RSA_3072", {}, "SIGN_VERIFY", "EXTERNAL")
SIGNER = key(key_spec="ECC_NIST_P256", key_usage="SIGN_VERIFY", origin="EXTERNAL")
MARKED = key(versions=(compromised(),))
REPLACED = key(versions=(compromised(), KeyVersion(version=2, offset=2, created_at=AT)), current_version=2)


def on(**changes: Any) -> Request:
    return request("RotateKey", KEY, **changes)


def about(target: str | None, **changes: Any) -> Request:
    return request("UpdatePrincipal", target=target, **changes)


def sign(**changes: Any) -> Request:
    return request("Sign", SIGNER, algorithm="ECDSA_SHA_256", message_type="DIGEST", **changes)


def propose(*approvals: str) -> Request:
    return request("PutPolicy", approvals=approvals)


CASES: dict[str, tuple[Request, str, bool]] = {
    "reason": (on(reason="CHG-7: yearly"), 'context.reason like "CHG-*"', True),
    "another reason": (on(reason="because"), 'context.reason like "CHG-*"', False),
    "no reason": (on(), 'context.reason == ""', True),
    "source": (on(source="bastion-1"), 'context.source == "bastion-1"', True),
    "no source": (on(), 'context.source == "bastion-1"', False),
    "cause": (on(cause="usage-budget"), 'context.cause == "usage-budget"', True),
    "no cause": (on(), 'context.cause == ""', True),
    "protection": (on(), 'context.protection == "HSM"', True),
    "other protection": (request("RotateKey", key(protection="SOFTWARE")), 'context.protection == "HSM"', False),
    "protection to be": (
        request("CreateKey", is_key=True, resource_id=K1, creation=CREATE), 'context.protection == "SOFTWARE"', True
    ),
    "protection of no key": (request("CreateAlias"), 'context.protection == ""', True),
    "protection of an unknown key": (request("Encrypt", is_key=True, resource_id=K1), 'context.protection == ""', True),
    "protection beside a permit of all": (request("GenerateRandom"), 'context.protection != "SOFTWARE"', True),
    # what a command names
    "algorithm": (sign(), 'context.algorithm == "ECDSA_SHA_256"', True),
    "another algorithm": (sign(), 'context.algorithm like "RSA*"', False),
    "no algorithm": (on(), 'context.algorithm == ""', True),
    "message type": (sign(), 'context.message_type == "DIGEST"', True),
    "no message type": (on(), 'context.message_type == ""', True),
    "version": (request("Verify", SIGNER, key_version=3), "context.key_version == 3", True),
    "no version": (sign(), "context.key_version == 0", True),
    "destination": (request("ReEncryptFrom", KEY, destination=K2), f'context.destination == "{K2}"', True),
    "another destination": (request("ReEncryptFrom", KEY, destination=K2), f'context.destination == "{K1}"', False),
    "no destination": (request("ReEncrypt", KEY), 'context.destination == ""', True),
    "proposed": (request("ProposeCommand", proposes="DisableKey"), 'context.proposes == "DisableKey"', True),
    "another proposed": (request("ProposeCommand", proposes="RotateKey"), 'context.proposes == "DisableKey"', False),
    "nothing proposed": (request("DisableKey", KEY), 'context.proposes == ""', True),
    # what the key is
    "usage": (sign(), 'context.key_usage == "SIGN_VERIFY" && context.origin == "EXTERNAL"', True),
    "usage of the resource": (
        sign(), 'resource is Key && resource.key_usage == "SIGN_VERIFY" && resource.origin == "EXTERNAL"', True
    ),
    "usage to be": (
        request("CreateKey", is_key=True, resource_id=K1, creation=IMPORTED),
        'context.key_usage == "SIGN_VERIFY" && context.origin == "EXTERNAL"', True,
    ),
    "usage to be, of the resource": (
        request("CreateKey", is_key=True, resource_id=K1, creation=IMPORTED),
        'resource is Key && resource.key_usage == "SIGN_VERIFY" && resource.origin == "EXTERNAL"', True,
    ),
    "usage of no key": (request("CreateAlias"), 'context.key_usage == "" && context.origin == ""', True),
    "compromise to be": (
        request("CreateKey", is_key=True, resource_id=K1, creation=IMPORTED), "resource is Key && resource.compromised",
        False,
    ),
    "compromised": (request("Decrypt", MARKED), "resource is Key && resource.compromised", True),
    "compromised and replaced": (request("Decrypt", REPLACED), "resource is Key && resource.compromised", False),
    "not compromised": (on(), "resource is Key && resource.compromised", False),
    "effective state": (on(status="Expired"), 'resource is Key && resource.status == "Expired"', True),
    "own status behind a state": (on(status="Expired"), 'resource is Key && resource.status == "Enabled"', False),
    # principals
    "human": (on(principal=HUMAN), 'principal.type == "human"', True),
    "workload": (on(), 'principal.type == "workload"', True),
    "federated": (
        on(principal=principal().model_copy(update={"principal_type": "federated"})),
        'principal.type == "federated"', True,
    ),
    "not human": (on(), 'principal.type == "human"', False),
    "creator's type": (on(), 'resource is Key && resource.created_by.type == "human"', True),
    # the principal that the command is about
    "target": (about("hanna"), 'context has target && context.target == Principal::"hanna"', True),
    "another target": (about("robot"), 'context has target && context.target == Principal::"hanna"', False),
    "one of the targets": (
        about("robot"), 'context has target && [Principal::"x", Principal::"robot"].contains(context.target)', True
    ),
    "no target": (about(None), "context has target", False),
    "herself": (about("alice"), "context has target && context.target == principal", True),
    "not herself": (about("hanna"), "context has target && context.target == principal", False),
    "target's group": (about("hanna"), 'context has target && context.target in Group::"users"', True),
    "target's other group": (about("robot"), 'context has target && context.target in Group::"users"', False),
    "target's tag": (
        about("hanna"),
        'context has target && context.target.hasTag("team") && context.target.getTag("team") == "red"', True,
    ),
    "target's type": (about("hanna"), 'context has target && context.target.type == "human"', True),
    "her own group as target": (
        about("hanna", principal=HUMAN), 'context has target && context.target in Group::"users"', True
    ),
    "the creator as target": (
        on(target="hanna"),
        'resource is Key && context has target && resource.created_by == context.target && context.target has type',
        True,
    ),
    "unknown target": (about("nobody"), 'context has target && context.target == Principal::"nobody"', True),
    "unknown target's group": (about("nobody"), 'context has target && context.target in Group::"users"', False),
    "unknown target's tag": (about("nobody"), 'context has target && context.target.hasTag("team")', False),
    "unknown target's type": (about("nobody"), 'context has target && context.target.type == "human"', False),
    "unknown target has no type": (about("nobody"), "context has target && context.target has type", False),
    # approvals
    "two approvals": (propose("bob", "carol"), "context.approvals.count >= 2", True),
    "one approval": (propose("bob"), "context.approvals.count >= 2", False),
    "no approvals": (propose(), "context.approvals.count == 0 && context.approvals.principals.isEmpty()", True),
    "approved by": (propose("bob"), 'context.approvals.principals.contains(Principal::"bob")', True),
    "not approved by": (propose("carol"), 'context.approvals.principals.contains(Principal::"bob")', False),
    "approved by any": (
        propose("dave", "eve"), 'context.approvals.principals.containsAny([Principal::"bob", Principal::"eve"])', True
    ),
    "approved by none": (
        propose("dave"), 'context.approvals.principals.containsAny([Principal::"bob", Principal::"eve"])', False
    ),
    "approved by all": (
        propose("bob", "eve"), 'context.approvals.principals.containsAll([Principal::"bob", Principal::"eve"])', True
    ),
    "approved by herself": (propose("alice"), "context.approvals.principals.contains(principal)", True),
    "whole context": (propose("bob"), "context == context", True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    """Each case of the table has its answer; the same from one plain set of all policies; its policy can be put."""
    asked, condition, allowed = CASES[name]
    text = f"permit(principal, action, resource) when {{ {condition} }};"
    validate_policy(text)
    assert decide(asked, text, people=(HUMAN, ROBOT)).allowed is allowed
    assert plainly(asked, registry(text, people=(HUMAN, ROBOT)))[0] is allowed


def test_an_approval_counts_once() -> None:
    """A name that is given twice makes no quorum of two."""
    assert not decide(
        propose("bob", "bob"), "permit(principal, action, resource) when { context.approvals.count > 1 };"
    ).allowed


def test_what_is_known_of_the_caller() -> None:
    """Who acts on herself is described once, as the caller that was admitted."""
    text = 'permit(principal, action, resource) when { context has target && context.target in Group::"users" };'
    asked = about("alice", principal=principal("alice", ("users",)))
    assert decide(asked, text, people=(principal("alice"),)).allowed


def test_what_is_asked_of_an_unknown_principal() -> None:
    """The type of a principal that is not registered is an error, so a denial, even beside a permit of everything."""
    text = 'forbid(principal, action, resource) when { context has target && context.target.type == "human" };'
    everything = "permit(principal, action, resource);"
    assert decide(about("robot"), everything, text, people=(ROBOT,)).allowed
    assert decide(about("nobody"), everything, text, people=(ROBOT,)) == Verdict(False, ("error:registry/p1#0",))


@pytest.mark.parametrize(
    ("person", "allowed"), [(HUMAN, False), (principal("hanna"), True), (principal("hanna", ("users",)), False)]
)
def test_a_forbid_about_targets(person: Principal, allowed: bool) -> None:
    """Somebody may be kept from changing a group's principals, whoever is in it."""
    text = 'forbid(principal, action, resource) when { context has target && context.target in Group::"users" };'
    assert decide(about("hanna"), "permit(principal, action, resource);", text, people=(person,)).allowed is allowed
