"""Which rows each event about who may do what touches, and that nothing else is written."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.projections import folding
from tests.unit.projections.histories import Maker, seeded

from keyfold.events import facts
from keyfold.events.entities import Bucket, Grant, Issuer, Key, Limit, Principal, Proposal, bucket_name
from keyfold.events.streams import REGISTRY
from keyfold.projections import naming, sqlfiles, tables
from keyfold.projections.fold import Fold, NotLoaded, wanted
from keyfold.projections.positions import Offsets
from keyfold.projections.tables import Staged

Act = Callable[[Maker], None]
HOUR_MS = 3_600_000


def staged(maker: Maker, act: Act) -> list[Staged]:
    """The rows of what happens then, folded as one batch; usage, directory and the registry's revision left out."""
    loaded: dict[str, Any] = dict(maker.view)
    known = len(maker.events)
    act(maker)
    fold = Fold(Offsets(1), loaded)
    for number, event in enumerate(maker.events[known:]):
        while True:
            try:
                fold.add(folding.leaf(event, number))
                break
            except NotLoaded as missing:
                loaded[missing.name] = None
    rows = fold.batch({}).rows
    return [row for row in rows if row.table not in {"usage", "directory", "deployment", "key_materials"}]


def touched(maker: Maker, act: Act) -> list[tuple[str, bool]]:
    return sorted((row.table, row.removed) for row in staged(maker, act))


@pytest.fixture
def maker() -> Maker:
    """Somebody with two keys, an issuer, a limit, an enabled key with a grant, two proposals."""
    made = Maker(seeded(1), longest_pause_ms=1000)
    made.register()
    made.put_issuer()
    made.put_limit()
    made.create_key()
    key = the(made, Key)
    made.grant(key, [])
    made.propose(f"key/{key.key_id}", "DisableKey")
    made.propose(REGISTRY, "RotateSealingKey")
    return made


def the(maker: Maker, kind: type[Any]) -> Any:
    """The last of its kind."""
    return max(maker.all_of(kind), key=lambda entity: getattr(entity, "created_at", ""))


def person(maker: Maker) -> Principal:
    """Who was registered."""
    return next(each for each in maker.all_of(Principal) if each.principal.startswith("p"))


def decided(kind: type[facts.Event], verb: str, *, of_person: bool = False, **data: Any) -> Act:
    """A fact of the registry, about whom was registered where it needs a principal."""

    def act(maker: Maker) -> None:
        more = {"principal": person(maker).principal} if of_person else {}
        maker.decided(kind, REGISTRY, verb, **more, **data)

    return act


NOBODY = "00000000-0000-7000-8000-000000000000"
KEY_AND_INDEX = [("signing_key_index", False), ("signing_keys", False)]
PRINCIPAL = [("principals", False)]

ACTS: dict[str, tuple[Act, list[tuple[str, bool]]]] = {
    "PrincipalRegistered": (Maker.register, [*PRINCIPAL, *KEY_AND_INDEX]),
    "PrincipalUpdated": (lambda m: m.update(person(m)), PRINCIPAL),
    "PrincipalSuspended": (
        decided(facts.PrincipalSuspended, "SuspendPrincipal", of_person=True, reason="left"),
        PRINCIPAL,
    ),
    "PrincipalResumed": (decided(facts.PrincipalResumed, "ResumePrincipal", of_person=True), PRINCIPAL),
    "PrincipalRevoked": (decided(facts.PrincipalRevoked, "RevokePrincipal", of_person=True), PRINCIPAL),
    "SigningKeyAdded": (lambda m: _add_key(m, m.public_key()), KEY_AND_INDEX),
    "SigningKeyAdded again": (lambda m: _add_key(m, person(m).keys[0].public_key), [("signing_keys", False)]),
    "SigningKeyRotated": (
        lambda m: _add_key(m, m.public_key(), replaces=person(m).keys[0].signing_key),
        [*KEY_AND_INDEX, ("signing_keys", False)],
    ),
    "SigningKeyRevoked": (
        lambda m: decided(
            facts.SigningKeyRevoked, "RevokeSigningKey", of_person=True, signing_key=person(m).keys[0].signing_key
        )(m),
        [("signing_keys", False)],
    ),
    "PrincipalAuthenticated": (lambda m: m.authenticate(the(m, Issuer)), [*PRINCIPAL, *KEY_AND_INDEX]),
    "IssuerPut": (Maker.put_issuer, [("issuers", False)]),
    "IssuerKeysPut": (lambda m: m.put_issuer_keys(the(m, Issuer)), [("issuers", False)]),
    "IssuerDeleted": (
        lambda m: decided(facts.IssuerDeleted, "DeleteIssuer", issuer=the(m, Issuer).issuer)(m),
        [("issuers", True)],
    ),
    "LimitPut": (Maker.put_limit, [("limits", False)]),
    "LimitDeleted": (
        lambda m: decided(facts.LimitDeleted, "DeleteLimit", limit=the(m, Limit).limit)(m),
        [("limits", True)],
    ),
    "IncidentAcknowledged": (
        decided(facts.IncidentAcknowledged, "AcknowledgeIncident", incident=NOBODY, comment="", by="alice"),
        [("handled_incidents", False)],
    ),
    "IncidentClosed": (
        decided(facts.IncidentClosed, "CloseIncident", incident=NOBODY, comment="", by="alice", resolution="BENIGN"),
        [("handled_incidents", False)],
    ),
    "SuppressionPut": (Maker.suppress, [("suppressions", False)]),
    "SuppressionDeleted": (
        decided(facts.SuppressionDeleted, "DeleteSuppression", suppression="exports"),
        [("suppressions", True)],
    ),
    "KeyTagged": (lambda m: _on_key(m, facts.KeyTagged, "TagResource", tags={"new": "tag"}), [("keys", False)]),
    "UsageBudgetUpdated": (
        lambda m: _on_key(m, facts.UsageBudgetUpdated, "UpdateUsageBudget", items=77, rotate_at_percent=60),
        [("keys", False)],
    ),
    "UsageBudgetWarning": (lambda m: m.warn(the(m, Key)), []),
    "DryRunSucceeded": (lambda m: m.try_out(f"key/{the(m, Key).key_id}"), []),
    "GrantCreated": (lambda m: m.grant(the(m, Key), []), [("grant_index", False), ("grants", False)]),
    "GrantRetired": (lambda m: _end(m, facts.GrantRetired), [("grants", False)]),
    "GrantRevoked": (lambda m: _end(m, facts.GrantRevoked), [("grants", False)]),
    "ProposalCreated": (lambda m: m.propose(REGISTRY, "RotateSealingKey"), [("proposals", False)]),
    "ProposalApproved": (lambda m: m.approve(_proposal(m, REGISTRY)), [("proposals", False)]),
    "ProposalDenied": (
        lambda m: decided(
            facts.ProposalDenied, "DenyProposal", proposal=_proposal(m, REGISTRY).proposal, approver="alice"
        )(m),
        [("proposals", False)],
    ),
    "ProposalCancelled": (
        lambda m: decided(facts.ProposalCancelled, "CancelProposal", proposal=_proposal(m, REGISTRY).proposal)(m),
        [("proposals", False)],
    ),
    "KeyDisabled by a proposal": (
        lambda m: m.carry_out(_proposal(m, f"key/{the(m, Key).key_id}")),
        [("keys", False), ("proposals", False)],
    ),
}


def _add_key(maker: Maker, public_key: str, **more: Any) -> None:
    kind, verb = (facts.SigningKeyRotated, "RotateSigningKey") if more else (facts.SigningKeyAdded, "AddSigningKey")
    algorithm = "Ed25519" if len(public_key) == 64 else "ML-DSA-65"
    decided(kind, verb, of_person=True, public_key=public_key, algorithm=algorithm, **more)(maker)


def _on_key(maker: Maker, kind: type[facts.Event], verb: str, /, **data: Any) -> None:
    key_id = the(maker, Key).key_id
    maker.decided(kind, f"key/{key_id}", verb, key_id=key_id, **data)


def _encrypt(maker: Maker, decision: dict[str, Any]) -> None:
    use = {"key_version": 1, "protection": the(maker, Key).protection, "items": 3, "bytes": 5}
    _on_key(maker, facts.CommandAuthorized, "Encrypt", decision=decision, verb="Encrypt", principal="bob", **use)


def _end(maker: Maker, kind: type[facts.Event]) -> None:
    _on_key(maker, kind, "RetireGrant", grant=the(maker, Grant).grant)


def _proposal(maker: Maker, stream: str) -> Proposal:
    return next(each for each in maker.all_of(Proposal) if each.stream == stream)


@pytest.mark.parametrize("name", ACTS)
def test_an_event_touches_its_rows_only(maker: Maker, name: str) -> None:
    """One fact, the rows of what it changed."""
    act, expected = ACTS[name]
    if name == "PrincipalResumed":
        ACTS["PrincipalSuspended"][0](maker)
    assert touched(maker, act) == sorted(expected)
    assert type(maker.events[-1]).__name__ in {name.partition(" ")[0], "CommandCompleted"}


def test_every_new_event_is_among_them() -> None:
    """All facts about who may do what, and about budgets and dry runs; a reset has tests of its own."""
    elsewhere = {"PolicyPut", "PolicyDeleted", "PolicyReset"}
    names = {kind.__name__ for kind in facts.EVENT_TYPES if kind.__module__ == "keyfold.events.governance"}
    names |= {"KeyTagged", "UsageBudgetUpdated", "UsageBudgetWarning", "DryRunSucceeded"}
    assert names - elsewhere <= {name.partition(" ")[0] for name in ACTS}


def test_an_index_row_is_written_when_its_holder_changes(maker: Maker) -> None:
    """A reset that gives a key to another: the new holder's rows, and whose the fingerprint is."""
    public_key = next(key.public_key for key in maker.view["principal/bob"].keys)
    policies = [facts.InitialPolicy(policy="rescue", text="permit (principal, action, resource);")]
    administrators = [facts.InitialPrincipal(principal="robert", public_key=public_key, groups=["administrators"])]

    def reset(maker: Maker) -> None:
        more: dict[str, Any] = {"policies": policies, "administrators": administrators}
        maker.append(facts.PolicyReset, REGISTRY, reason="lost", removed=["administrators"], revoked=["alice"], **more)

    rows = staged(maker, reset)
    assert sorted((row.table, row.removed) for row in rows) == sorted(
        [("policies", True), ("policies", False), ("principals", False), *PRINCIPAL, *KEY_AND_INDEX]
    )
    index = next(row.document for row in rows if row.table == "signing_key_index")
    assert index["principal"] == "robert"
    alice = next(row.document for row in rows if row.document.get("principal") == "alice")
    assert (alice["status"], alice["reason"]) == ("Revoked", "lost")


def test_keys_of_tokens_that_are_over_are_removed(maker: Maker) -> None:
    """From the principal and from the index, while the new key is written."""
    issuer = the(maker, Issuer)
    maker.random.seed(3)
    for _ in range(20):
        maker.authenticate(issuer)
        name = maker.events[-1].data.principal
        before = maker.view[f"principal/{name}"].keys
        maker.now_ms += 2 * HOUR_MS
        rows = staged(maker, lambda made: made.authenticate(issuer))
        if maker.events[-1].data.principal == name and maker.events[-1].data.public_key != before[-1].public_key:
            break
    gone = [row for row in rows if row.removed]
    assert [(row.table, row.document["signing_key"]) for row in gone] == [
        ("signing_key_index", before[-1].signing_key),
        ("signing_keys", before[-1].signing_key),
    ]


def test_a_key_that_moves_up_is_written_with_its_new_place(maker: Maker) -> None:
    """Two keys, the first added again: both have another place now."""
    _add_key(maker, maker.public_key())
    first, second = person(maker).keys
    rows = staged(maker, lambda made: _add_key(made, first.public_key))
    places = {row.document["signing_key"]: row.document["ordinal"] for row in rows if row.table == "signing_keys"}
    assert places == {second.signing_key: 0, first.signing_key: 1}


def test_use_with_a_grant_and_limits_touches_version_grant_and_levels(maker: Maker) -> None:
    """Nothing but what was counted: neither the key's row nor the grant's index."""
    key, grant = the(maker, Key), the(maker, Grant)
    name = bucket_name(the(maker, Limit), "bob", key.key_id)
    why = {"grant": grant.grant, "charges": {name: 12}}
    rows = staged(maker, lambda m: _encrypt(m, why))
    assert sorted(row.table for row in rows) == ["buckets", "grants", "key_versions"]
    found = {row.table: row.document for row in rows}
    assert (found["grants"]["used_operations"], found["grants"]["used_items"]) == (1, 3)
    assert (found["buckets"]["partition"], found["buckets"]["bucket"], found["buckets"]["level"]) == (1, name, 12)


def test_a_delegated_grant_takes_from_its_parent(maker: Maker) -> None:
    """Both grants are written."""
    maker.random.seed(5)
    while not the(maker, Grant).delegable:
        maker.now_ms += 1
        maker.grant(the(maker, Key), [])
    parent = the(maker, Grant)
    while True:
        rows = staged(maker, lambda m: m.grant(the(m, Key), [parent]))
        if maker.all_of(Grant) and any(grant.parent == parent.grant for grant in maker.all_of(Grant)):
            break
    assert parent.grant in {row.document["grant_id"] for row in rows if row.table == "grants"}


def test_names_of_levels_are_read(maker: Maker) -> None:
    """The form that `bucket_name` gives; any other one has no parts."""
    limit, key_id = the(maker, Limit), the(maker, Key).key_id
    for per, key in (("principal", None), ("key", key_id)):
        name = bucket_name(limit.model_copy(update={"per": per}), "alice", key_id)
        assert naming.bucket_columns(name) == {
            "limit_kind": limit.limit_kind,
            "limit_name": limit.limit,
            "principal": "alice",
            "key_id": key,
        }
    for strange in (
        "",
        "bucket",
        "bucket/rate/a",
        "bucket/rate/a/b/c",
        "deployment",
        "bucket/rate/a/b/" + key_id + "/x",
    ):
        assert set(naming.bucket_columns(strange).values()) == {None}


def test_a_level_under_a_strange_name_is_kept(maker: Maker) -> None:
    """Whatever policy may call it, the row has it."""
    (row,) = tables.entity_rows(2, "bucket/odd", None, Bucket(level=1, updated_at="2026-01-01T00:00:00.000Z"))
    assert (row.key(), row.document["principal"], row.document["level"]) == ((2, "bucket/odd"), None, 1)


def test_what_is_surely_needed_is_loaded_at_once(maker: Maker) -> None:
    """The grant of a use, and who may have the name of a new principal; beside the keys themselves."""
    key, grant = the(maker, Key), the(maker, Grant)
    _encrypt(maker, {"grant": grant.grant})
    maker.register()
    leaves = [folding.leaf(event, n) for n, event in enumerate(maker.events[-2:])]
    name = maker.events[-1].data.principal
    assert wanted(leaves) == {f"key/{key.key_id}", f"grant/{grant.grant}", f"principal/{name}"}


@pytest.mark.parametrize("name", ["key/x", "grant/x", "bucket/rate/a/b", "deployment", "proposal/x"])
def test_what_is_never_removed_is_not(name: str) -> None:
    """A removal of an entity that stays for ever is a mistake of ours."""
    with pytest.raises(TypeError, match="never removed"):
        list(tables.entity_rows(0, name, None, None))


@pytest.mark.parametrize("name", ["alias/a", "policy/p", f"signing-key/{'ab' * 32}", "issuer/i", "limit/l"])
def test_every_removal_has_its_statement(name: str) -> None:
    """The row names its primary key, and the store knows how to remove it."""
    (row,) = tables.entity_rows(0, name, None, None)
    assert row.removed
    assert len(row.key()) == len(row.document)
    assert f"remove_{row.table}" in sqlfiles.statements("apply")


def test_the_generator_charges_one_principal_in_several_partitions() -> None:
    """What levels are kept apart for does happen."""
    for seed in range(20):
        events = Maker(seeded(seed), 1000).steps(200)
        names = [name for _, name in folding.levels(events)]
        if len(set(names)) < len(names):
            return
    pytest.fail("no level was charged twice")
