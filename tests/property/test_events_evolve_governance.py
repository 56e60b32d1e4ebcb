"""Legal histories of who may do what, folded by `evolve` and followed by a plain model."""

import runpy
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyfold.events import facts
from keyfold.events.entities import (
    DEPLOYMENT,
    Bucket,
    Deployment,
    Entity,
    Grant,
    Grants,
    Limit,
    Principal,
    Proposal,
    SigningKey,
    grants_name,
)
from keyfold.events.evolve import evolve, get
from keyfold.events.signatures import fingerprint
from keyfold.events.times import HOUR_MS, to_milliseconds, to_text

EXAMPLES = runpy.run_path(str(Path(__file__).resolve().parents[1] / "vectors" / "examples.py"))
BY_KIND = {type(event): event for event in EXAMPLES["events"]()}
DECISION = EXAMPLES["decision"]("ApproveProposal")
USE = EXAMPLES["event_variants"]()["KeyDestroyed by a proposal"].data.decision.proposal
KEY_STREAM: str = EXAMPLES["KEY_STREAM"]
PUBLIC_KEYS = [EXAMPLES["signer"](f"key {i}").public_key.hex() for i in range(30)]
TOKEN_KEYS = [EXAMPLES["signer"](f"token key {i}").public_key.hex() for i in range(4)]
FEDERATED = "acme.subject.0"
GRANTS = [f"0193f3a0-7c00-7000-8000-0000000001{i:02x}" for i in range(40)]
PROPOSALS = [f"0193f3a0-7c00-7000-8000-0000000002{i:02x}" for i in range(40)]

people = st.sampled_from(["bob", "dave"])
hours = st.integers(0, 5)
pick = st.integers(0, 1000)


class Governance(RuleBasedStateMachine):
    """Policy's and root's events in any legal order, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[facts.Event] = []
        self.view: dict[str, Entity] = {}
        self.now_ms = to_milliseconds(EXAMPLES["TIME"])
        self.revision = 0
        self.status: dict[str, str] = {}
        self.keys: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, int] = {}
        self.limits: set[str] = set()
        self.levels: dict[str, int] = {}
        self.grants: dict[str, list[int]] = {}
        self.ended: set[str] = set()
        self.ends_ms: dict[str, int] = {}
        self.listed: dict[str, list[str]] = {"bob": [], "dave": []}
        self.proposals: dict[str, str] = {}

    @initialize()
    def begin(self) -> None:
        self.fold(BY_KIND[facts.Genesis])
        self.tell(facts.KeyCreated, KEY_STREAM)

    def fold(self, event: facts.Event) -> None:
        event = facts.parse_event(event.to_value())
        self.log.append(event)
        before = dict(self.view)
        changes = evolve(self.view, event)
        assert self.view == before, "evolve changed the view that it was given"
        apply(self.view, changes)

    def tell(self, kind: type[facts.Event], subject: str = "registry", /, why: Any = None, **data: Any) -> None:
        fields = {name: getattr(BY_KIND[kind].data, name) for name in type(BY_KIND[kind].data).model_fields}
        if "decision" in fields:
            fields["decision"] = DECISION.model_copy(update=why or {})
        self.fold(kind.new("id", subject, to_text(self.now_ms), **{**fields, **data}))
        self.revision += subject == "registry" and kind is not facts.CommandDenied

    @rule(hours=hours)
    def wait(self, hours: int) -> None:
        self.now_ms += hours * HOUR_MS

    @rule(name=people)
    def register(self, name: str) -> None:
        if name not in self.status and self.a_key_is_left():
            self.status[name] = "Active"
            self.tell(facts.PrincipalRegistered, principal=name, public_key=self.fresh_key(name))

    def a_key_is_left(self) -> bool:
        return sum(map(len, self.keys.values())) < len(PUBLIC_KEYS)

    def fresh_key(self, name: str) -> str:
        public_key = PUBLIC_KEYS[sum(map(len, self.keys.values()))]
        self.keys.setdefault(name, {})[public_key] = "Active"
        return public_key

    def may_have_more(self, name: str) -> bool:
        return name in self.status and self.a_key_is_left()

    @rule(name=people)
    def add_key(self, name: str) -> None:
        if self.may_have_more(name):
            self.tell(facts.SigningKeyAdded, principal=name, public_key=self.fresh_key(name), expires_at=None)

    @precondition(lambda self: self.status)
    @rule(name=people, pick=pick)
    def rotate_key(self, name: str, pick: int) -> None:
        if self.may_have_more(name):
            old = self.some_key(name, pick)
            new = self.fresh_key(name)
            replaces = fingerprint(bytes.fromhex(old))
            self.tell(facts.SigningKeyRotated, principal=name, public_key=new, replaces=replaces, expires_at=None)
            self.keys[name][old] = "Revoked"

    @precondition(lambda self: self.status)
    @rule(name=people, pick=pick)
    def revoke_key(self, name: str, pick: int) -> None:
        if name in self.status:
            old = self.some_key(name, pick)
            signing_key = fingerprint(bytes.fromhex(old))
            self.tell(facts.SigningKeyRevoked, principal=name, signing_key=signing_key)
            self.keys[name][old] = "Revoked"

    def some_key(self, name: str, pick: int) -> str:
        held = sorted(self.keys[name])
        return held[pick % len(held)]

    @rule(public_key=st.sampled_from(TOKEN_KEYS), hours=hours)
    def authenticate(self, public_key: str, hours: int) -> None:
        end = self.now_ms + hours * HOUR_MS + 1
        self.tokens = {key: until for key, until in self.tokens.items() if until > self.now_ms} | {public_key: end}
        data = {"public_key": public_key, "expires_at": to_text(end)}
        self.tell(facts.PrincipalAuthenticated, principal=FEDERATED, **data)

    @precondition(lambda self: self.status)
    @rule(name=people, move=st.sampled_from(["suspend", "resume", "revoke"]))
    def change(self, name: str, move: str) -> None:
        kind, status = {
            "suspend": (facts.PrincipalSuspended, "Suspended"),
            "resume": (facts.PrincipalResumed, "Active"),
            "revoke": (facts.PrincipalRevoked, "Revoked"),
        }[move]
        if self.status.get(name) not in {None, "Revoked", status}:
            self.tell(kind, principal=name)
            self.status[name] = status

    @precondition(lambda self: self.status)
    @rule(name=people, restored=people)
    def reset(self, name: str, restored: str) -> None:
        if self.may_have_more(restored):
            administrator = facts.InitialPrincipal(
                principal=restored, public_key=self.fresh_key(restored), groups=["administrators"]
            )
            self.tell(facts.PolicyReset, administrators=[administrator], revoked=[name])
            if name in self.status:
                self.status[name] = "Revoked"
            self.status[restored] = "Active"

    @rule(name=st.sampled_from(["a", "b", "c"]), kind=st.sampled_from(["rate", "quota"]))
    def put_limit(self, name: str, kind: str) -> None:
        self.tell(facts.LimitPut, limit=name, kind=kind)
        self.limits.add(name)

    @precondition(lambda self: self.limits)
    @rule(pick=pick)
    def delete_limit(self, pick: int) -> None:
        name = sorted(self.limits)[pick % len(self.limits)]
        self.tell(facts.LimitDeleted, limit=name)
        self.limits.remove(name)

    @rule(levels=st.dictionaries(st.sampled_from(["bucket/rate/a/bob", "bucket/quota/b/bob"]), st.integers(0, 9)))
    def deny(self, levels: dict[str, int]) -> None:
        self.tell(facts.CommandDenied, why={"charges": levels})
        self.levels |= levels

    @rule(name=people, hours=hours, parent=pick, delegate=st.booleans(), items=st.integers(1, 9))
    def grant(self, name: str, hours: int, parent: int, delegate: bool, items: int) -> None:
        if len(self.grants) == len(GRANTS):
            return
        grant, above = GRANTS[len(self.grants)], None
        if delegate and self.grants:
            above = sorted(self.grants)[parent % len(self.grants)]
            self.grants[above] = [self.grants[above][0] + 2, self.grants[above][1] + items]
        self.ends_ms[grant] = self.now_ms + hours * HOUR_MS + 1
        bounds = {"max_operations": 2, "max_items": items, "parent": above, "expires_at": to_text(self.ends_ms[grant])}
        self.tell(facts.GrantCreated, KEY_STREAM, why={"grant": above}, grant=grant, grantee=name, **bounds)
        self.grants[grant] = [0, 0]
        over = {each for each, end in self.ends_ms.items() if end <= self.now_ms} | self.ended
        self.listed[name] = [each for each in self.listed[name] if each not in over] + [grant]

    @precondition(lambda self: self.grants)
    @rule(pick=pick, items=st.integers(1, 9), level=st.integers(0, 9))
    def use(self, pick: int, items: int, level: int) -> None:
        grant = sorted(self.grants)[pick % len(self.grants)]
        why = {"grant": grant, "charges": {"bucket/rate/a/bob": level}}
        self.tell(facts.CommandAuthorized, KEY_STREAM, why=why, verb="Decrypt", key_version=None, items=items)
        self.grants[grant] = [self.grants[grant][0] + 1, self.grants[grant][1] + items]
        self.levels["bucket/rate/a/bob"] = level

    @precondition(lambda self: set(self.grants) - self.ended)
    @rule(pick=pick, kind=st.sampled_from([facts.GrantRetired, facts.GrantRevoked]))
    def end_grant(self, pick: int, kind: type[facts.Event]) -> None:
        live = sorted(set(self.grants) - self.ended)
        self.tell(kind, KEY_STREAM, grant=live[pick % len(live)])
        self.ended.add(live[pick % len(live)])

    @rule(on_key=st.booleans())
    def propose(self, on_key: bool) -> None:
        if len(self.proposals) < len(PROPOSALS):
            proposal = PROPOSALS[len(self.proposals)]
            self.tell(facts.ProposalCreated, KEY_STREAM if on_key else "registry", proposal=proposal)
            self.proposals[proposal] = "Pending"

    @precondition(lambda self: {"Pending", "Approved"} & set(self.proposals.values()))
    @rule(pick=pick, move=st.sampled_from(["Pending", "Approved", "Failed", "Denied", "Cancelled", "Executed"]))
    def move_proposal(self, pick: int, move: str) -> None:
        open_ones = sorted(name for name, status in self.proposals.items() if status in {"Pending", "Approved"})
        proposal = open_ones[pick % len(open_ones)]
        stream = get(self.view, f"proposal/{proposal}", Proposal).stream
        if move == "Executed":
            use = USE.model_copy(update={"proposal": proposal})
            if stream == "registry":
                self.tell(facts.PolicyPut, stream, why={"proposal": use})
            else:
                self.tell(facts.KeyTagged, stream, why={"proposal": use})
        elif move in {"Denied", "Cancelled"}:
            self.tell(getattr(facts, f"Proposal{move}"), stream, proposal=proposal)
        else:
            self.tell(facts.ProposalApproved, stream, proposal=proposal, status=move)
        self.proposals[proposal] = move

    def of(self, kind: type[Any]) -> dict[str, Any]:
        return {name: entity for name, entity in self.view.items() if isinstance(entity, kind)}

    @invariant()
    def people_are_the_models(self) -> None:
        found = {each.principal: each for each in self.of(Principal).values()}
        for name, status in self.status.items():
            assert found[name].status == status
            assert {key.public_key: key.status for key in found[name].keys} == self.keys[name]
        federated = found[FEDERATED].keys if FEDERATED in found else ()
        assert {key.public_key: key.expires_at for key in federated} == {
            key: to_text(until) for key, until in self.tokens.items()
        }

    @invariant()
    def the_index_is_the_keys(self) -> None:
        held = {
            f"signing-key/{key.signing_key}": each.principal
            for each in self.of(Principal).values()
            for key in each.keys
        }
        assert {name: key.principal for name, key in self.of(SigningKey).items()} == held

    @invariant()
    def limits_are_the_models(self) -> None:
        if self.log:
            assert get(self.view, DEPLOYMENT, Deployment).limits == tuple(sorted(self.limits))
        assert set(self.of(Limit)) == {f"limit/{name}" for name in self.limits}
        assert {name: bucket.level for name, bucket in self.of(Bucket).items()} == self.levels

    @invariant()
    def grants_are_the_models(self) -> None:
        found: dict[str, Grant] = {each.grant: each for each in self.of(Grant).values()}
        assert {name: [each.used_operations, each.used_items] for name, each in found.items()} == self.grants
        assert {name for name, each in found.items() if each.status != "Active"} == self.ended
        for grantee, listed in self.listed.items():
            index = self.view.get(grants_name(EXAMPLES["KEY_ID"], grantee))
            assert (list(index.grants) if isinstance(index, Grants) else []) == listed

    @invariant()
    def proposals_are_the_models(self) -> None:
        assert {each.proposal: each.status for each in self.of(Proposal).values()} == self.proposals
        for each in self.of(Proposal).values():
            assert each.open == (each.closed_at is None)

    @invariant()
    def revision_counts_registry_facts(self) -> None:
        if self.log:
            assert get(self.view, DEPLOYMENT, Deployment).revision == self.revision

    def teardown(self) -> None:
        """A replay of the log's bytes gives the same view."""
        view: dict[str, Entity] = {}
        for event in self.log:
            apply(view, evolve(view, event))
        assert view == self.view


def apply(view: dict[str, Entity], changes: dict[str, Entity | None]) -> None:
    """Make the changes."""
    for name, entity in changes.items():
        if entity is None:
            view.pop(name, None)
        else:
            view[name] = entity


TestGovernance = Governance.TestCase
TestGovernance.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
