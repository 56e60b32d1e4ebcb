"""The policies that a deployment begins with, and those that can be put besides: exactly as wide as they are meant.

One table says for every verb and role what the policies of that role say. Policies only add up, so a principal with two
roles has what the table says of both; every pair is tried.
"""

from itertools import combinations_with_replacement
from typing import Any, Final, NamedTuple

import pytest
from tests.unit.deciding.cedar_requests import AT, key, principal, request

from keyfold.ceremony.policy_sets import initial_policies, ready_policies
from keyfold.ceremony.statements import ADMINISTRATORS_GROUP, ANALYTICS_GROUP, SERVICES_GROUP
from keyfold.deciding.authorizing import USE_COMPROMISED_VERSION
from keyfold.deciding.cedar import Authorizer, Verdict, validate_policy
from keyfold.deciding.repair import repairers
from keyfold.events.commands import BY_VERB, COMMANDS
from keyfold.events.entities import DEPLOYMENT, Deployment, Entity, Principal, RegistryPolicy
from keyfold.events.specs import USAGE_OF_VERB

ROLES: Final = (
    "administrators", "key-administrators", "key-users", "auditors", "approvers", "operators", "services", "analytics",
    "",
)  # fmt: skip

# `+` a policy of the role permits it, `-` one forbids it whatever else permits it, `.` none says anything. In the order
# of ROLES; the last column is a principal without a role. What follows a verb is the circumstance, see `CIRCUMSTANCES`.
TABLE: Final = """
    CreateKey                                + + . - . . . . .
    RotateKey                                + + . - . . . . .
    RotateKey usage-budget                   + + . - . . + . .
    RotateKey period                         + + . - . . + . .
    RotateKey compromise                     + + . - . + + . .
    EnableKey                                + + . - . . . . .
    DisableKey                               + + . - . + . . .
    DisableKey one-approval                  + + . - . + . + .
    ScheduleKeyDeletion                      + + . - . . . . .
    CancelKeyDeletion                        + + . - . . . . .
    DestroyKey                               + + . - . . + . .
    DestroyKeyNow                            - - - - - - - - -
    DestroyKeyNow one-approval               - - - - - - - - -
    DestroyKeyNow two-approvals              + + . - - . . . .
    TagResource                              + + . - . . . . .
    UntagResource                            + + . - . . . . .
    UpdateUsageBudget                        + + . - . . . . .
    UpdateKeyValidity                        + + . - . . . . .
    EnableKeyRotation                        + + . - . . . . .
    DisableKeyRotation                       + + . - . . . . .
    DisableKeyVersion                        + + . - . . . . .
    EnableKeyVersion                         + + . - . . . . .
    DestroyKeyVersion                        + + . - . . . . .
    MarkKeyCompromised                       + + . - . + . . .
    GetPublicKey                             + + + - . . . . .
    GetParametersForImport                   + + . - . . . . .
    ImportKeyMaterial                        + + . - . . . . .
    DeleteImportedKeyMaterial                + + . - . . . . .
    DeleteImportedKeyMaterial expired        + + . - . . + . .
    CreateGrant                              + + . - . . . . .
    RetireGrant                              + + . - . . . . .
    RevokeGrant                              + + . - . . . . .
    Encrypt                                  - - + - . . . . .
    Decrypt                                  - - + - . . . . .
    ReEncrypt                                - - + - . . . . .
    ReEncryptFrom                            - - + - . . . . .
    ReEncryptTo                              - - + - . . . . .
    GenerateDataKey                          - - + - . . . . .
    GenerateDataKeyWithoutPlaintext          - - + - . . . . .
    GenerateDataKeyPair                      - - + - . . . . .
    GenerateDataKeyPairWithoutPlaintext      - - + - . . . . .
    Sign                                     - - + - . . . . .
    Verify                                   - - + - . . . . .
    GenerateMac                              - - + - . . . . .
    VerifyMac                                - - + - . . . . .
    DeriveSharedSecret                       - - + - . . . . .
    Encapsulate                              - - + - . . . . .
    Decapsulate                              - - + - . . . . .
    GenerateRandom                           - - + - . . . . .
    UseCompromisedVersion                    . . . - . . . . .
    CreateAlias                              + + . - . . . . .
    UpdateAlias                              + + . - . . . . .
    DeleteAlias                              + + . - . . . . .
    RegisterPrincipal                        + . . - . . . . .
    UpdatePrincipal                          + . . - . . . . .
    UpdatePrincipal oneself                  + . . - . . . . .
    SuspendPrincipal                         + . . - . + . . .
    SuspendPrincipal one-approval            + . . - . + . + .
    SuspendPrincipal unnamed                 + . . - . + . - .
    ResumePrincipal                          + . . - . . . . .
    RevokePrincipal                          + . . - . . . . .
    AddSigningKey                            + . . - . . . . .
    AddSigningKey oneself                    + . . - . . . . .
    RotateSigningKey                         + . . - . . . . .
    RotateSigningKey oneself                 + + + - + + + + +
    RevokeSigningKey                         + . . - . . . . .
    RevokeSigningKey oneself                 + . . - . . . . .
    AssumePrincipalWithWebIdentity           + + + - + + + + +
    PutIssuer                                + . . - . . . . .
    DeleteIssuer                             + . . - . . . . .
    PutIssuerKeys                            + . . - . + + . .
    PutLimit                                 + . . - . . . . .
    DeleteLimit                              + . . - . . . . .
    AcknowledgeIncident                      + . . - . + . . .
    CloseIncident                            + . . - . + . . .
    PutSuppression                           + . . - . . . . .
    DeleteSuppression                        + . . - . . . . .
    PutPolicy                                + . . - . . . . .
    PutPolicy on-key                         + . . - . . . . .
    DeletePolicy                             + . . - . . . . .
    DeletePolicy on-key                      + . . - . . . . .
    ProposeCommand                           + . . - - . . . .
    ProposeCommand on-key                    + + . - - . . . .
    ProposeCommand disabling                 + . . - - . . + .
    ProposeCommand suspending                + . . - - . . + .
    ApproveProposal                          . . . - + . . . .
    ApproveProposal on-key                   . . . - + . . . .
    DenyProposal                             . . . - + . . . .
    DenyProposal on-key                      . . . - + . . . .
    CancelProposal                           + . . - . . . . .
    CancelProposal on-key                    + . . - . . . . .
    RotateSealingKey                         + . . - . + + . .
    EraseSealingKey                          + . . - . + + . .
    BeginStorageEpoch                        - - - - - - - - -
    BeginStorageEpoch one-approval           - - - - - - - - -
    BeginStorageEpoch two-approvals          + . . - - . . . .
    EndStorageEpoch                          + . . - . . + . .
"""

CAUSED: Final = frozenset({"RotateKey", "DeleteImportedKeyMaterial"})
MANAGING: Final = frozenset({"ImportKeyMaterial"})  # data-plane in form: its item is material, not data

CIRCUMSTANCES: Final[dict[str, dict[str, Any]]] = {
    "": {},
    **{cause: {"cause": cause} for cause in ("usage-budget", "period", "compromise", "expired")},
    "one-approval": {"approvals": ("ann",)},
    "two-approvals": {"approvals": ("ann", "bob")},
    "oneself": {"target": "somebody"},
    "unnamed": {"target": None},
    "disabling": {"proposes": "DisableKey"},
    "suspending": {"proposes": "SuspendPrincipal"},
    "on-key": {},
}


class Row(NamedTuple):
    """One line of the table."""

    verb: str
    circumstance: str
    cells: dict[str, str]


def rows() -> list[Row]:
    found = []
    for line in TABLE.strip().splitlines():
        words = line.split()
        named, cells = words[: -len(ROLES)], words[-len(ROLES) :]
        found.append(Row(named[0], "".join(named[1:]), dict(zip(ROLES, cells, strict=True))))
    return found


def registry(policies: dict[str, str], *people: Principal) -> dict[str, Entity]:
    entities: dict[str, Entity] = {
        f"policy/{name}": RegistryPolicy(policy=name, text=text, updated_at=AT) for name, text in policies.items()
    }
    deployment = Deployment(root_public_key="0" * 64, partitions=4, development=False)
    return entities | {DEPLOYMENT: deployment} | {f"principal/{person.principal}": person for person in people}


INITIAL: Final = registry(initial_policies())
QUORUM: Final = registry(initial_policies() | ready_policies())
AUTHORIZER: Final = Authorizer()


def ask(
    verb: str, *groups: str, policies: dict[str, Entity] = INITIAL, on_key: bool = False, **changes: Any
) -> Verdict:
    """Ask whether `somebody`, who is in these groups, may use a verb about somebody else."""
    who = principal("somebody", tuple(group for group in groups if group))
    on = key() if on_key or verb == USE_COMPROMISED_VERSION or BY_VERB[verb].scope == "key" else None
    values = {"cause": "requested" if verb in CAUSED else "", "target": "other"}
    asked = request(verb, on, principal=who, **{**values, **changes})
    authorizer = AUTHORIZER if policies is INITIAL else Authorizer()
    return authorizer.authorize(asked, policies, 1)


def said(verdict: Verdict) -> str:
    """Tell a verdict as the table does: what is denied by default could still be permitted, what is forbidden not."""
    return "+" if verdict.allowed else "." if verdict.uncovered else "-"


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.verb} {row.circumstance}".strip())
def test_each_role_and_each_pair_has_what_the_table_says(row: Row) -> None:
    """What one role forbids stays forbidden in every pair; what one permits and none forbids is allowed."""
    on_key = row.circumstance == "on-key"
    for one, other in combinations_with_replacement(ROLES, 2):
        both = {row.cells[one], row.cells[other]}
        expected = "-" if "-" in both else "+" if "+" in both else "."
        verdict = ask(row.verb, one, other, on_key=on_key, **CIRCUMSTANCES[row.circumstance])
        assert said(verdict) == expected, (one, other, verdict)


def test_every_verb_is_in_the_table() -> None:
    """Once by itself, and on a key too where a verb is for either stream; and the permission that is no verb."""
    assert sorted(row.verb for row in rows() if not row.circumstance) == sorted({*BY_VERB, USE_COMPROMISED_VERSION})
    either = {command.verb for command in COMMANDS if command.scope == "any"}
    assert {row.verb for row in rows() if row.circumstance == "on-key"} == either
    assert len({(row.verb, row.circumstance) for row in rows()}) == len(rows())


def test_the_data_plane_is_closed_to_those_who_administer() -> None:
    """The table's rows of data verbs are those of the vocabulary: a new one cannot be forgotten."""
    data = {command.verb for command in COMMANDS if command.data_plane} - MANAGING
    for row in rows():
        if row.verb in data:
            assert row.cells["administrators"] == row.cells["key-administrators"] == "-", row.verb
            assert row.cells["key-users"] == "+", row.verb
    assert {*USAGE_OF_VERB} <= data


def test_the_groups_of_genesis_have_roles() -> None:
    """Administrators, the scheduler and analytics are registered into groups that the policies name."""
    assert {ADMINISTRATORS_GROUP, SERVICES_GROUP, ANALYTICS_GROUP} <= set(ROLES)


@pytest.mark.parametrize("texts", [initial_policies(), initial_policies() | ready_policies()])
@pytest.mark.parametrize("group", ["administrators", "services", "callers"])
def test_analytics_suspends_no_administrator_and_no_service(texts: dict[str, str], group: str) -> None:
    """Whatever is approved, and also where it may act at once."""
    policies = registry(texts, principal("mallory", (group,)))
    asked = {"policies": policies, "target": "mallory", "approvals": ("ann", "bob")}
    assert ask("SuspendPrincipal", "analytics", **asked).allowed is (group == "callers")


def test_analytics_proposes_nothing_else() -> None:
    """One verb after the other: what it may not propose, it could not carry out either."""
    proposed = {verb for verb in BY_VERB if ask("ProposeCommand", "analytics", proposes=verb).allowed}
    agreed = {verb for verb in BY_VERB if ask(verb, "analytics", approvals=("ann", "bob")).allowed}
    assert proposed == agreed - {"AssumePrincipalWithWebIdentity"} == {"DisableKey", "SuspendPrincipal"}


def test_analytics_acts_at_once_where_it_is_let() -> None:
    """By a policy of its own, and then in these two verbs only."""
    alone = {verb for verb in BY_VERB if ask(verb, "analytics", policies=QUORUM).allowed}
    assert alone - {"AssumePrincipalWithWebIdentity"} == {"DisableKey", "SuspendPrincipal"}


@pytest.mark.parametrize("name", sorted(initial_policies() | ready_policies()))
def test_they_pass_the_validation_of_put_policy(name: str) -> None:
    """Genesis and resets take them without asking policy, so they are held here to what every other policy is."""
    validate_policy((initial_policies() | ready_policies())[name])


@pytest.mark.parametrize("name", sorted(initial_policies() | ready_policies()))
def test_each_says_in_a_comment_what_it_is_for(name: str) -> None:
    """Before anything else: whoever reads `keyfold policy show` sees it."""
    assert (initial_policies() | ready_policies())[name].startswith("// ")


@pytest.mark.parametrize(
    "verb",
    ["ScheduleKeyDeletion", "DestroyKeyNow", "DestroyKeyVersion", "GetParametersForImport", "DeleteImportedKeyMaterial",
     "BeginStorageEpoch", "PutPolicy", "DeletePolicy"],
)  # fmt: skip
def test_a_quorum_is_two_others(verb: str) -> None:
    """One approval is not enough, and one who approves cannot be who asks. Approvals are what the denial asks for."""
    for approvals, allowed in (((), False), (("ann",), False), (("ann", "bob"), True)):
        verdict = ask(verb, "administrators", policies=QUORUM, approvals=approvals)
        assert (verdict.allowed, verdict.approvals) == (allowed, not allowed), approvals
    verdict = ask(verb, "administrators", "approvers", policies=QUORUM, approvals=("ann", "bob"))
    assert said(verdict) == "-"


def test_a_quorum_leaves_the_policies_of_a_key_alone() -> None:
    """They are the key's own affair."""
    for verb in ("PutPolicy", "DeletePolicy"):
        assert ask(verb, "administrators", policies=QUORUM, on_key=True).allowed


def test_a_quorum_is_asked_for_the_parameters_of_an_import_and_not_again() -> None:
    """Who may import does so with what two others agreed to; none of the two has a hand in it."""
    assert ask("ImportKeyMaterial", "key-administrators", policies=QUORUM).allowed
    assert said(ask("ImportKeyMaterial", "key-administrators", "approvers", policies=QUORUM)) == "-"


def test_a_quorum_lets_time_and_alarms_pass() -> None:
    """What is over is deleted by the scheduler; what must stop at once is stopped by one who may."""
    assert ask("DeleteImportedKeyMaterial", "services", policies=QUORUM, cause="expired").allowed
    for role in ("administrators", "key-administrators", "operators"):
        assert ask("DisableKey", role, policies=QUORUM).allowed
        assert ask("MarkKeyCompromised", role, policies=QUORUM).allowed
        assert ask("RotateKey", role, policies=QUORUM, cause="compromise").allowed
    assert ask("DisableKeyVersion", "key-administrators", policies=QUORUM).allowed


def test_the_shipped_comment_opens_compromised_versions() -> None:
    """What the key users' text shows names one principal, and nobody else has the permission."""
    (shown,) = [line for line in initial_policies()["key-users"].splitlines() if USE_COMPROMISED_VERSION in line]
    texts = registry(initial_policies() | {"shown": shown.removeprefix("//")})
    authorizer = Authorizer()
    for name, allowed in (("migration", True), ("somebody", False)):
        asked = request(USE_COMPROMISED_VERSION, key(), principal=principal(name, ("key-users",)))
        assert authorizer.authorize(asked, texts, 1).allowed is allowed


def test_breaking_the_glass_takes_a_reason_and_two_approvals() -> None:
    """Whoever may break it proposes the decryption, and without both has nothing."""
    assert ask("ProposeCommand", "break-glass", policies=QUORUM, on_key=True).allowed
    assert not ask("ProposeCommand", "break-glass", policies=QUORUM).allowed
    two, why = ("ann", "bob"), "incident 7"
    for reason, approvals, allowed in ((why, two, True), ("", two, False), (why, ("ann",), False), (why, (), False)):
        verdict = ask("Decrypt", "break-glass", policies=QUORUM, reason=reason, approvals=approvals)
        assert verdict.allowed == allowed, (reason, approvals)
    verbs = {command.verb for command in COMMANDS if command.data_plane} - {"Decrypt"}
    assert not any(ask(verb, "break-glass", policies=QUORUM, reason=why, approvals=two).allowed for verb in verbs)


@pytest.mark.parametrize("role", ["administrators", "key-administrators", "auditors", "approvers"])
def test_not_everybody_can_be_let_break_the_glass(role: str) -> None:
    """Those who administer use no key in an emergency either, and those who approve stay on their side."""
    verdict = ask("Decrypt", "break-glass", role, policies=QUORUM, reason="incident 7", approvals=("ann", "bob"))
    assert not verdict.allowed


@pytest.mark.parametrize(
    "verb",
    ["RegisterPrincipal", "UpdatePrincipal", "ResumePrincipal", "AddSigningKey", "RotateSigningKey", "PutIssuer",
     "PutIssuerKeys"],
)  # fmt: skip
def test_nobody_makes_approvers_alone(verb: str) -> None:
    """What registers somebody, changes groups or lets somebody sign as another takes two approvals too."""
    assert not ask(verb, "administrators", "operators", policies=QUORUM).allowed
    assert ask(verb, "administrators", "operators", policies=QUORUM, approvals=("ann", "bob")).allowed


def test_a_quorum_leaves_everybodys_own_and_the_schedulers_affairs_alone() -> None:
    """One's own signing key, and the reading of issuers' keys."""
    assert ask("RotateSigningKey", policies=QUORUM, target="somebody").allowed
    assert ask("PutIssuerKeys", "services", policies=QUORUM).allowed


def test_the_policies_can_be_repaired_by_the_administrators_of_genesis() -> None:
    """From the start by both; with a quorum only when there are approvers."""
    both = [principal(name, ("administrators",)) for name in ("admin-1", "admin-2")]
    others = [principal(name, ("approvers",)) for name in ("ann", "bob")]
    assert repairers(Authorizer(), registry(initial_policies(), *both), 0) == 2
    texts = initial_policies() | ready_policies()
    assert repairers(Authorizer(), registry(texts, *both), 0) == 0
    assert repairers(Authorizer(), registry(texts, *both, *others), 0) == 2
