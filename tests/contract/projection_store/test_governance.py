"""Who may do what, as every store of projections keeps and answers it, in memory and in Postgres."""

from typing import Any, TypeVar

import pytest
from tests.contract.projection_world import World, folded
from tests.unit.projections import folding
from tests.unit.projections.histories import START_MS, Maker, seeded, signer

from keyfold.events import facts
from keyfold.events.entities import Entity, Grant, Issuer, Key, Limit, Principal, Proposal, SigningKey
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_milliseconds, to_text
from keyfold.projections.ports import AuditFilter
from keyfold.projections.rows import AuditRow, DueRotation

SEEDS = [3, 9, 12]
HOUR_MS = 3_600_000
NOW = to_text(START_MS + HOUR_MS)
NOBODY = "0193f3a0-7c00-7000-8000-00000000000a"

Kind = TypeVar("Kind")


@pytest.fixture
def maker() -> Maker:
    return Maker(seeded(1), longest_pause_ms=1000)


async def fold(world: World, maker: Maker) -> dict[str, Entity]:
    """Fold what has happened since the last time; returns what `evolve` says of everything."""
    await folding.feed_all(world.blue, maker.events, seeded(1))
    truth = folding.evolved(maker.events)
    assert await world.blue.load(truth) == truth
    return truth


def of(kind: type[Kind], truth: dict[str, Entity]) -> list[Kind]:
    return [entity for _, entity in sorted(truth.items()) if isinstance(entity, kind)]


def by_age(entity: Grant | Proposal) -> tuple[str, str]:
    return entity.created_at, entity.grant if isinstance(entity, Grant) else entity.proposal


def register(maker: Maker, principal: str, public_key: str | None = None) -> None:
    key = {"public_key": public_key or maker.public_key(), "algorithm": "Ed25519"}
    known = {"principal": principal, "groups": [], "tags": {}, **key}
    maker.decided(facts.PrincipalRegistered, REGISTRY, "RegisterPrincipal", **known)


def authenticate(maker: Maker, principal: str, expires_ms: int) -> str:
    """Returns the fingerprint of the key that is good until then."""
    maker.decided(
        facts.PrincipalAuthenticated,
        REGISTRY,
        "AssumePrincipalWithWebIdentity",
        principal=principal,
        public_key=maker.public_key(),
        algorithm="Ed25519",
        issuer="ci",
        token_subject="repo:x",
        token_id=None,
        groups=["ci"],
        tags={},
        expires_at=to_text(expires_ms),
    )
    return str(maker.view[f"principal/{principal}"].keys[-1].signing_key)


def create_key(maker: Maker, usage_budget: int, rotate_at_percent: int | None, used: int) -> str:
    key_id = maker.uuid()
    spec: dict[str, Any] = {"key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM", "description": "", "tags": {}}
    budget = {"usage_budget": usage_budget, "rotate_at_percent": rotate_at_percent}
    more = {"key_id": key_id, "created_by": "alice", **spec, **budget}
    maker.decided(facts.KeyCreated, f"key/{key_id}", "CreateKey", **more)
    encrypt(maker, key_id, used)
    return key_id


def encrypt(maker: Maker, key_id: str, items: int, decision: dict[str, Any] | None = None) -> None:
    key = maker.view[f"key/{key_id}"]
    use = {"key_id": key_id, "key_version": key.current_version, "protection": "HSM", "items": items, "bytes": 0}
    who = {"verb": "Encrypt", "principal": "alice"}
    maker.decided(facts.CommandAuthorized, f"key/{key_id}", "Encrypt", decision=decision, **use, **who)


@pytest.mark.parametrize("seed", SEEDS)
async def test_readers_get_what_evolve_says(world: World, seed: int) -> None:
    """Principals with all their keys, issuers, limits, grants and proposals are listed whole and found by name."""
    truth = folding.evolved(await folded(world, seed, steps=200))
    queries = world.queries
    assert {p.principal: p for p in await queries.principals()} == {p.principal: p for p in of(Principal, truth)}
    assert await queries.issuers() == tuple(of(Issuer, truth))
    assert await queries.limits() == tuple(of(Limit, truth))
    assert await queries.grants() == tuple(sorted(of(Grant, truth), key=by_age))
    assert await queries.proposals() == tuple(sorted(of(Proposal, truth), key=by_age))
    for principal in of(Principal, truth):
        assert await queries.principal(principal.principal) == principal
    for grant in of(Grant, truth):
        assert await queries.grant(grant.grant) == grant
    for proposal in of(Proposal, truth):
        assert await queries.proposal(proposal.proposal) == proposal


async def test_what_does_not_exist_is_none_or_nothing(world: World) -> None:
    """Asking for what nobody has made is no error."""
    queries = world.queries
    assert (await queries.principal("nobody"), await queries.grant(NOBODY), await queries.proposal(NOBODY)) == (
        None,
        None,
        None,
    )
    assert (await queries.issuers(), await queries.limits(), await queries.buckets()) == ((), (), ())
    assert (await queries.grants(), await queries.proposals(), await queries.due_rotations(NOW)) == ((), (), ())


async def test_grants_by_key_grantee_and_time(world: World) -> None:
    """Each filter gives exactly those that it names; a grant is live before the moment it expires, not at it."""
    grants = sorted(of(Grant, folding.evolved(await folded(world, seed=13, steps=200))), key=by_age)
    assert len(grants) > 1
    for key_id in {grant.key_id for grant in grants}:
        assert await world.queries.grants(key_id=key_id) == tuple(g for g in grants if g.key_id == key_id)
    assert await world.queries.grants(grantee="bob") == tuple(g for g in grants if g.grantee == "bob")
    for moment in {to_milliseconds(grant.expires_at) + step for grant in grants for step in (-1, 0)}:
        live = tuple(g for g in grants if g.status == "Active" and to_milliseconds(g.expires_at) > moment)
        assert await world.queries.grants(live_at=to_text(moment)) == live
    one = grants[0]
    expected = tuple(g for g in grants if (g.key_id, g.grantee) == (one.key_id, one.grantee))
    assert await world.queries.grants(key_id=one.key_id, grantee=one.grantee) == expected


async def test_proposals_by_stream_and_status(world: World) -> None:
    """Each filter gives exactly those that it names."""
    proposals = sorted(of(Proposal, folding.evolved(await folded(world, seed=10, steps=200))), key=by_age)
    assert len({proposal.status for proposal in proposals}) > 1
    for status in {proposal.status for proposal in proposals}:
        assert await world.queries.proposals(status=status) == tuple(p for p in proposals if p.status == status)
    for stream in {proposal.stream for proposal in proposals}:
        found = await world.queries.proposals(stream=stream, status="Pending")
        assert found == tuple(p for p in proposals if (p.stream, p.status) == (stream, "Pending"))


async def test_each_partition_has_its_own_level_of_a_limit(world: World) -> None:
    """The same limit and principal may be charged in several partitions: all levels are kept, none is mixed up."""
    events = await folded(world, seed=12, steps=200)
    levels = folding.levels(events)
    assert len({bucket for _, bucket in levels}) < len(levels)
    rows = await world.queries.buckets()
    found = {(row.partition, row.bucket): (row.level, row.updated_at) for row in rows}
    assert found == {place: (bucket.level, bucket.updated_at) for place, bucket in levels.items()}
    assert [(row.bucket, row.partition) for row in rows] == sorted((row.bucket, row.partition) for row in rows)
    assert await world.queries.buckets("alice") == rows
    assert await world.queries.buckets("bob") == ()
    for row in rows:
        parts = ["bucket", row.limit_kind, row.limit_name, row.principal, *([row.key_id] if row.key_id else [])]
        assert "/".join(str(part) for part in parts) == row.bucket


async def test_a_level_is_no_entity_to_fold_on_from(world: World, maker: Maker) -> None:
    """One name stands for several partitions' levels, so it names no one entity."""
    name = "bucket/rate/daily/alice"
    encrypt(maker, create_key(maker, 100, None, 1), 1, {"charges": {name: 7}})
    await fold(world, maker)
    assert [row.level for row in await world.queries.buckets()] == [7]
    assert await world.blue.load([name]) == {name: None}


async def test_rotations_are_due_at_their_percentage(world: World, maker: Maker) -> None:
    """Enabled keys whose current version has used its share, exactly from there on, the fullest first."""
    early, due, over = (create_key(maker, 200, 50, used) for used in (99, 100, 150))
    create_key(maker, 200, None, 200)
    disabled = create_key(maker, 200, 50, 200)
    maker.decided(facts.KeyDisabled, f"key/{disabled}", "DisableKey", key_id=disabled, reason="")
    await fold(world, maker)
    assert await world.queries.due_rotations(NOW) == (
        DueRotation(over, 1, "usage-budget"),
        DueRotation(due, 1, "usage-budget"),
    )
    assert await world.queries.due_rotations(NOW, limit=1) == (DueRotation(over, 1, "usage-budget"),)
    encrypt(maker, early, 1)
    await fold(world, maker)
    assert {row.key_id for row in await world.queries.due_rotations(NOW)} == {early, due, over}


async def test_a_rotated_key_is_not_due_until_its_rotation_fails(world: World, maker: Maker) -> None:
    """The new version has used nothing; where its material cannot be made, the old one is current and due again."""
    key_id = create_key(maker, 100, 95, 95)
    stream = f"key/{key_id}"
    spec = {"key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM", "version": 2, "cause": "usage-budget"}
    maker.decided(facts.KeyRotated, stream, "RotateKey", key_id=key_id, **spec)
    await fold(world, maker)
    assert await world.queries.due_rotations(NOW) == ()
    maker.outcome(facts.OperationFailed, stream, "RotateKey", key_id=key_id, code="TokenUnavailable")
    await fold(world, maker)
    assert await world.queries.due_rotations(NOW) == (DueRotation(key_id, 1, "usage-budget"),)


async def test_a_key_without_a_usable_version_is_not_due(world: World, maker: Maker) -> None:
    """What was never made cannot be rotated by the scheduler."""
    key_id = create_key(maker, 100, 50, 100)
    await fold(world, maker)
    maker.offsets[f"key/{key_id}"] = maker.view[f"key/{key_id}"].versions[0].offset
    maker.outcome(facts.OperationFailed, f"key/{key_id}", "CreateKey", key_id=key_id, code="TokenUnavailable")
    await fold(world, maker)
    assert await world.queries.due_rotations(NOW) == ()


async def test_keys_keep_their_order_through_a_rotation(world: World, maker: Maker) -> None:
    """A key that is added again stands last; the others move up; what was revoked stays in sight."""
    register(maker, "carol")
    first = maker.view["principal/carol"].keys[0]
    second = {"principal": "carol", "public_key": maker.public_key(), "algorithm": "Ed25519"}
    maker.decided(facts.SigningKeyAdded, REGISTRY, "AddSigningKey", **second)
    await fold(world, maker)
    again = {"principal": "carol", "public_key": first.public_key, "algorithm": "Ed25519"}
    replaced = maker.view["principal/carol"].keys[1].signing_key
    maker.decided(facts.SigningKeyRotated, REGISTRY, "RotateSigningKey", replaces=replaced, **again)
    await fold(world, maker)
    carol = await world.queries.principal("carol")
    assert carol is not None
    assert [(key.signing_key, key.status) for key in carol.keys] == [
        (replaced, "Revoked"),
        (first.signing_key, "Active"),
    ]


async def test_keys_of_tokens_that_are_over_are_gone(world: World, maker: Maker) -> None:
    """A federated principal holds the keys of tokens that live; the fingerprints of the others name nobody."""
    old = authenticate(maker, "ci.x", maker.now_ms + HOUR_MS)
    await fold(world, maker)
    assert await world.blue.load([f"signing-key/{old}"]) == {f"signing-key/{old}": SigningKey(principal="ci.x")}
    maker.now_ms += 2 * HOUR_MS
    new = authenticate(maker, "ci.x", maker.now_ms + HOUR_MS)
    await fold(world, maker)
    found = await world.queries.principal("ci.x")
    assert found is not None
    assert [key.signing_key for key in found.keys] == [new]
    assert await world.blue.load([f"signing-key/{old}"]) == {f"signing-key/{old}": None}


def reset(maker: Maker, principal: str, public_key: str, revoked: list[str]) -> None:
    """Root makes somebody an administrator, with a key that may be another's."""
    maker.append(
        facts.PolicyReset,
        REGISTRY,
        reason="nobody could act",
        removed=["administrators"],
        policies=[facts.InitialPolicy(policy="rescue", text="permit (principal, action, resource);")],
        administrators=[facts.InitialPrincipal(principal=principal, public_key=public_key, groups=[])],
        revoked=revoked,
    )


async def test_a_key_that_root_gives_to_another_names_the_other(world: World, maker: Maker) -> None:
    """The fingerprint is the new administrator's, and the old holder is shown with it as before."""
    register(maker, "carol")
    public_key = maker.view["principal/carol"].keys[0].public_key
    reset(maker, "caroline", public_key, ["carol"])
    await fold(world, maker)
    holders = [await world.queries.principal(name) for name in ("carol", "caroline")]
    assert [(p.status, p.keys[0].public_key) for p in holders if p] == [("Revoked", public_key), ("Active", public_key)]
    name = f"signing-key/{holders[0].keys[0].signing_key if holders[0] else ''}"
    assert await world.blue.load([name]) == {name: SigningKey(principal="caroline")}
    assert [row.policy for row in await world.queries.policies(stream="registry")] == ["rescue"]


async def test_a_key_that_one_holder_loses_stays_the_others(world: World, maker: Maker) -> None:
    """The token that it came with is over; whom root gave it holds it on."""
    authenticate(maker, "ci.x", maker.now_ms + HOUR_MS)
    public_key = maker.view["principal/ci.x"].keys[0].public_key
    reset(maker, "caroline", public_key, [])
    await fold(world, maker)
    maker.now_ms += 2 * HOUR_MS
    authenticate(maker, "ci.x", maker.now_ms + HOUR_MS)
    await fold(world, maker)
    caroline = await world.queries.principal("caroline")
    assert caroline is not None
    assert [key.public_key for key in caroline.keys] == [public_key]


async def test_who_is_registered_replaces_who_was(world: World, maker: Maker) -> None:
    """A principal has the keys of its last registration, even if policy should let a name be used twice."""
    register(maker, "carol")
    await fold(world, maker)
    register(maker, "carol", signer("carol").public_key.hex())
    await fold(world, maker)
    carol = await world.queries.principal("carol")
    assert carol is not None
    assert [key.signing_key for key in carol.keys] == [signer("carol").fingerprint]


async def test_limits_and_issuers_can_go(world: World, maker: Maker) -> None:
    """What was deleted is listed no more; the deployment no longer names the limit."""
    maker.put_limit()
    maker.put_issuer()
    await fold(world, maker)
    limits, issuers = await world.queries.limits(), await world.queries.issuers()
    maker.decided(facts.LimitDeleted, REGISTRY, "DeleteLimit", limit=limits[0].limit)
    maker.decided(facts.IssuerDeleted, REGISTRY, "DeleteIssuer", issuer=issuers[0].issuer)
    await fold(world, maker)
    assert (await world.queries.limits(), await world.queries.issuers()) == ((), ())
    gone = [f"limit/{limits[0].limit}", f"issuer/{issuers[0].issuer}"]
    assert await world.blue.load(gone) == dict.fromkeys(gone)


async def test_what_was_done_about_incidents_and_suppressions(world: World, maker: Maker) -> None:
    """The store keeps the acts on an incident together, and a suppression until it is deleted."""
    act = {"incident": "00000000-0000-8000-8000-000000000001", "comment": "seen", "by": "alice"}
    maker.suppress()
    maker.decided(facts.IncidentAcknowledged, REGISTRY, "AcknowledgeIncident", **act)
    maker.decided(facts.IncidentClosed, REGISTRY, "CloseIncident", **act, resolution="TRUE_POSITIVE")
    await fold(world, maker)
    (suppression,) = await world.queries.suppressions()
    names = [f"incident/{act['incident']}", f"suppression/{suppression.suppression}"]
    assert await world.blue.load(names) == {name: maker.view[name] for name in names}
    maker.decided(facts.SuppressionDeleted, REGISTRY, "DeleteSuppression", suppression=suppression.suppression)
    await fold(world, maker)
    assert await world.queries.suppressions() == ()
    assert await world.blue.load(names[1:]) == {names[1]: None}


async def test_the_audit_of_a_grant_and_of_a_proposal(world: World) -> None:
    """Everything that was decided about it, with it or because of it is found by its id, and nothing else."""
    events = await folded(world, seed=13, steps=200)
    truth = folding.evolved(events)
    decisions = [event for event in events if isinstance(event, facts.PolicyEvent)]
    for grant in of(Grant, truth):
        named = [e for e in decisions if (getattr(e.data, "grant", None) or e.data.decision.grant) == grant.grant]
        assert _ids(await _audit(world, AuditFilter(grant_id=grant.grant))) == sorted(e.id for e in named)
    for proposal in of(Proposal, truth):
        identifier = proposal.proposal
        named = [e for e in decisions if identifier in {getattr(e.data, "proposal", None), _carried_out(e)}]
        assert _ids(await _audit(world, AuditFilter(proposal_id=identifier))) == sorted(e.id for e in named)
        assert len(named) >= (1 if proposal.open else 2)


async def _audit(world: World, wanted: AuditFilter) -> tuple[AuditRow, ...]:
    return (await world.queries.audit(wanted, limit=1000)).rows


def _ids(rows: tuple[AuditRow, ...]) -> list[str]:
    return sorted(row.event_id for row in rows)


def _carried_out(event: facts.PolicyEvent) -> str | None:
    use = event.data.decision.proposal
    return use.proposal if use else None


async def test_audit_columns_come_back(world: World, maker: Maker) -> None:
    """Reason, source and dry run are as the command said; a dry run that would be refused is a denial like others."""
    key_id = create_key(maker, 100, None, 1)
    stream = f"key/{key_id}"
    command = maker.signed_command(stream, "Decrypt", host="pod/a:9", reason="ticket 4711, \\ ü", dry_run=True)
    tried = {"verb": "Decrypt", "principal": "alice", "would_be": facts.CommandAuthorized.type_name}
    maker.decided(facts.DryRunSucceeded, stream, "Decrypt", command=command, **tried)
    refused = {"verb": "Decrypt", "principal": "alice", "code": "AccessDenied"}
    maker.decided(facts.CommandDenied, stream, "Decrypt", command=command, **refused)
    await fold(world, maker)
    rows = (await world.queries.audit(AuditFilter(key_id=key_id, verb="Decrypt"), oldest_first=True)).rows
    assert [(row.outcome, row.dry_run, row.reason) for row in rows] == [
        ("dry-run", True, "ticket 4711, \\ ü"),
        ("denied", True, "ticket 4711, \\ ü"),
    ]
    assert {row.source for row in rows} == {"pod/a:9"}
    denied = (await world.queries.audit(AuditFilter(key_id=key_id, denied_only=True))).rows
    assert [row.event_id for row in denied] == [rows[1].event_id]
    created = (await world.queries.audit(AuditFilter(key_id=key_id, verb="CreateKey"))).rows
    assert [(row.dry_run, row.grant_id, row.proposal_id) for row in created] == [(False, None, None)]


async def test_budgets_are_described(world: World) -> None:
    """A key shows how much a version may protect and when it is rotated, as it was set last."""
    truth = folding.evolved(await folded(world, seed=12, steps=200))
    keys = of(Key, truth)
    assert len({(key.usage_budget, key.rotate_at_percent) for key in keys}) > 2
    for key in keys:
        found = await world.queries.describe_key(key.key_id)
        assert found is not None
        assert (found.usage_budget, found.rotate_at_percent) == (key.usage_budget, key.rotate_at_percent)
