"""The part of generated histories that is about who may do what: principals, issuers, limits, grants, proposals.

Events are such as policy could write; whether it would have is not asked. Some are made on purpose that policy refuses
today and `evolve` takes: a key that is added again, and a key that root gives to somebody else.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from tests.unit.projections.choosing import Chooser

from keyfold.events import facts
from keyfold.events.entities import Grant, Issuer, Key, Limit, Principal, Proposal, RegistryPolicy, bucket_name
from keyfold.events.incident_entities import Incident, Suppression
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ISSUERS = ("ci", "mesh")
LIMITS = ("daily", "burst")
PERMIT = "permit (principal, action, resource);"

Step = Callable[[], None]


class Governing(Chooser):
    """Steps about principals and what they may do."""

    def governing_steps(self, key: Key | None) -> list[Step]:
        """What may happen now, apart from and with this key."""
        found = [self.register, self.put_issuer, self.put_limit, self.reset_policy, self.see_to_incident, self.suppress]
        found += [lambda: self.propose(REGISTRY, "RotateSealingKey")]
        people = [each for each in self.all_of(Principal) if each.status != "Revoked"]
        found += self._person_steps(self.random.choice(people)) if people else []
        if issuers := self.all_of(Issuer):
            issuer = self.random.choice(issuers)
            found += [lambda: self.authenticate(issuer)] * 3 + [lambda: self.put_issuer_keys(issuer)]
            found += [lambda: self.decided(facts.IssuerDeleted, REGISTRY, "DeleteIssuer", issuer=issuer.issuer)]
        if limits := self.all_of(Limit):
            limit = self.random.choice(limits)
            found += [lambda: self.decided(facts.LimitDeleted, REGISTRY, "DeleteLimit", limit=limit.limit)]
        if suppressed := self.all_of(Suppression):
            gone = {"suppression": self.random.choice(suppressed).suppression}
            found += [lambda: self.decided(facts.SuppressionDeleted, REGISTRY, "DeleteSuppression", **gone)]
        if open_ones := [each for each in self.all_of(Proposal) if each.open]:
            proposal = self.random.choice(open_ones)
            found += [lambda: self.close(proposal)] + [lambda: self.approve(proposal)] * 2
        return found + (self._key_steps(key) if key is not None else [])

    def _person_steps(self, person: Principal) -> list[Step]:
        name = person.principal
        found = [lambda: self.update(person), lambda: self.add_key(person)]
        if person.status == "Active":
            why = {"principal": name, "reason": self.random.choice(["", "left"])}
            found += [lambda: self.decided(facts.PrincipalSuspended, REGISTRY, "SuspendPrincipal", **why)]
        else:
            found += [lambda: self.decided(facts.PrincipalResumed, REGISTRY, "ResumePrincipal", principal=name)]
        if active := [key.signing_key for key in person.keys if key.status == "Active"]:
            key = self.random.choice(active)
            found += [lambda: self.rotate_key(person, key)]
            gone = {"principal": name, "signing_key": key}
            found += [lambda: self.decided(facts.SigningKeyRevoked, REGISTRY, "RevokeSigningKey", **gone)]
        return found

    def _key_steps(self, key: Key) -> list[Step]:
        stream = f"key/{key.key_id}"
        known = [each for each in self.all_of(Grant) if each.key_id == key.key_id and each.status == "Active"]
        found = [lambda: self.grant(key, known)] * 2
        found += [lambda: self.set_budget(key), lambda: self.tag(key)]
        found += [lambda: self.warn(key), lambda: self.try_out(stream)]
        found += [lambda: self.propose(stream, self.random.choice(["DisableKey", "Decrypt"]))]
        if known:
            grant = self.random.choice(known)
            found += [lambda: self.end_grant(grant)] * 3
        return found

    def register(self) -> None:
        self.count += 1
        algorithm = self.random.choice(["Ed25519", "Ed25519", "ML-DSA-65"])
        self.decided(
            facts.PrincipalRegistered,
            REGISTRY,
            "RegisterPrincipal",
            principal=f"p{self.count}",
            public_key=self.public_key(algorithm),
            algorithm=algorithm,
            groups=self._groups(),
            tags={},
            principal_type=self.random.choice(["human", "workload"]),
            expires_at=self._expiry(),
        )

    def update(self, person: Principal) -> None:
        facts_now = {"groups": self._groups(), "tags": {"team": "ü"}, "expires_at": self._expiry()}
        self.decided(facts.PrincipalUpdated, REGISTRY, "UpdatePrincipal", principal=person.principal, **facts_now)

    def add_key(self, person: Principal) -> None:
        self.decided(facts.SigningKeyAdded, REGISTRY, "AddSigningKey", **self._key_of(person))

    def rotate_key(self, person: Principal, replaces: str) -> None:
        data = {**self._key_of(person), "replaces": replaces}
        self.decided(facts.SigningKeyRotated, REGISTRY, "RotateSigningKey", **data)

    def put_issuer(self) -> None:
        name = self.random.choice(ISSUERS)
        self.decided(
            facts.IssuerPut,
            REGISTRY,
            "PutIssuer",
            issuer=name,
            url=f"https://{name}.example{self.random.choice(['', '/2'])}",
            audience="keyfold",
            algorithms=["EdDSA", "ES256"],
            jwks_source=self.random.choice([None, "ci.json"]),
            keys_lifetime_seconds=86_400,
            max_token_seconds=3_600,
            groups_claim=self.random.choice([None, "roles"]),
            groups={"Ops, EU": "writers"},
            tags={"repo": "repository"},
            base_groups=self._groups(),
        )

    def put_issuer_keys(self, issuer: Issuer) -> None:
        keys = {"issuer": issuer.issuer, "jwks": f'{{"keys": [{self.random.randint(0, 9)}]}}'}
        self.decided(facts.IssuerKeysPut, REGISTRY, "PutIssuerKeys", **keys, expires_at=self.later(DAY_MS))

    def authenticate(self, issuer: Issuer) -> None:
        """With a key of its own each time, mostly; those that are over are dropped."""
        name = f"{issuer.issuer}.{self.random.choice('ab')}"
        known = self.view.get(f"principal/{name}")
        again = isinstance(known, Principal) and self.random.random() < 0.2
        self.decided(
            facts.PrincipalAuthenticated,
            REGISTRY,
            "AssumePrincipalWithWebIdentity",
            principal=name,
            public_key=known.keys[-1].public_key if again else self.public_key(),
            algorithm="Ed25519",
            expires_at=self.later(HOUR_MS),
            issuer=issuer.issuer,
            token_subject=f"repo:{name}",
            token_id=self.random.choice([None, "t-1"]),
            groups=self._groups(),
            tags={"repository": name},
        )

    def put_limit(self) -> None:
        key = self.random.choice([None, *self.all_of(Key)])
        self.decided(
            facts.LimitPut,
            REGISTRY,
            "PutLimit",
            limit=self.random.choice(LIMITS),
            kind=self.random.choice(["rate", "quota"]),
            unit=self.random.choice(["commands", "items"]),
            amount=100,
            period_seconds=60,
            burst=self.random.choice([100, 10**12]),
            per=self.random.choice(["principal", "key"]),
            principal=self.random.choice([None, "alice"]),
            group=self.random.choice([None, "readers"]),
            key_id=key.key_id if key else None,
            verbs=self.random.choice([[], ["Decrypt"]]),
        )

    def see_to_incident(self) -> None:
        known = [each.incident for each in self.all_of(Incident)]
        act = {"incident": self.random.choice([self.uuid(), *known]), "comment": self.random.choice(["", "seen"])}
        if self.random.random() < 0.5:
            self.decided(facts.IncidentAcknowledged, REGISTRY, "AcknowledgeIncident", by="alice", **act)
        else:
            self.decided(facts.IncidentClosed, REGISTRY, "CloseIncident", by="bob", resolution="BENIGN", **act)

    def suppress(self) -> None:
        self.decided(
            facts.SuppressionPut,
            REGISTRY,
            "PutSuppression",
            suppression=self.random.choice(["exports", "nights"]),
            detector=self.random.choice([None, "fan-out"]),
            entity=self.random.choice([None, "principal/alice"]),
            until=self.later(HOUR_MS),
            comment=self.random.choice(["", "as agreed"]),
            by="alice",
        )

    def charges(self, key_id: str) -> dict[str, Any]:
        """What a decision says that it costs; without a key there is no level for one."""
        limits = [limit for limit in self.all_of(Limit) if key_id or limit.per == "principal"]
        levels = {bucket_name(limit, "alice", key_id): self.random.randint(0, 100_000) for limit in limits}
        return {"charges": levels} if self.random.random() < 0.7 else {}

    def grant(self, key: Key, known: list[Grant]) -> None:
        parents = [each for each in known if each.delegable]
        parent = self.random.choice(parents).grant if parents and self.random.random() < 0.5 else None
        identifier, stream = self.uuid(), f"key/{key.key_id}"
        self.decided(
            facts.GrantCreated,
            stream,
            "CreateGrant",
            decision={"grant": parent} if parent else None,
            key_id=key.key_id,
            grant=identifier,
            grantee=self.random.choice(["bob", "p1"]),
            verbs=self.random.choice([["Encrypt"], ["Decrypt", "CreateGrant"]]),
            expires_at=self.later(20 * DAY_MS),
            encryption_context_equals=self.random.choice([None, {}, {"tenant": "blü"}]),
            encryption_context_subset=self.random.choice([None, {"a": "1"}]),
            algorithms=self.random.choice([None, ["SYMMETRIC_DEFAULT"]]),
            max_operations=self.random.choice([None, 7]),
            max_items=self.random.choice([None, 2**53]),
            delegable=self.random.random() < 0.5,
            retiring_principal=self.random.choice([None, "alice"]),
            parent=parent,
            created_by="alice",
        )
        self.outcome(facts.CommandCompleted, stream, "CreateGrant")

    def end_grant(self, grant: Grant) -> None:
        kind, verb = self.random.choice([(facts.GrantRetired, "RetireGrant"), (facts.GrantRevoked, "RevokeGrant")])
        self.decided(kind, f"key/{grant.key_id}", verb, key_id=grant.key_id, grant=grant.grant)

    def live_grant(self, key: Key) -> dict[str, Any]:
        """What a decision says that needed a grant; nothing where there is none."""
        live = [each for each in self.all_of(Grant) if each.key_id == key.key_id and each.live(self.now_ms)]
        return {"grant": self.random.choice(live).grant} if live and self.random.random() < 0.5 else {}

    def set_budget(self, key: Key) -> None:
        budget = {"items": self.random.choice([5, 40, 2**31]), "rotate_at_percent": self.random.choice([None, 50, 95])}
        stream = f"key/{key.key_id}"
        self.decided(facts.UsageBudgetUpdated, stream, "UpdateUsageBudget", key_id=key.key_id, **budget)

    def tag(self, key: Key) -> None:
        tags = self.random.choice([{}, {"cost": "4712", "b": ""}])
        self.decided(facts.KeyTagged, f"key/{key.key_id}", "TagResource", key_id=key.key_id, tags=tags)

    def warn(self, key: Key) -> None:
        version = key.versions[-1]
        used = {"protected_items": version.protected_items, "usage_budget": key.usage_budget}
        stream = f"key/{key.key_id}"
        more = {"version": version.version, "percent": 80, "offset": self.offsets[stream], **used}
        self.append(facts.UsageBudgetWarning, stream, key_id=key.key_id, **more)

    def try_out(self, stream: str) -> None:
        command = self.signed_command(stream, "Decrypt", dry_run=True)
        would_be = facts.CommandAuthorized.type_name
        tried = {"verb": "Decrypt", "principal": "alice", "would_be": would_be}
        self.decided(facts.DryRunSucceeded, stream, "Decrypt", command=command, **tried)

    def propose(self, stream: str, verb: str) -> None:
        proposed: dict[str, Any] = {"verb": verb, "arguments": {"reason": "audit"} if verb == "DisableKey" else {}}
        if verb == "Decrypt":
            proposed |= {"contexts": [{"tenant": "blue"}], "items": 2, "bytes": 10}
        command = self.signed_command(stream, "ProposeCommand", "bob", arguments=proposed)
        self.decided(
            facts.ProposalCreated,
            stream,
            "ProposeCommand",
            command=command,
            proposal=self.uuid(),
            digest=sha256(command.encode()).hexdigest(),
            verb=verb,
            proposer="bob",
            expires_at=self.later(5 * DAY_MS),
        )

    def approve(self, proposal: Proposal) -> None:
        """One more approval, or the last one: it fails, lets the proposer go on, or carries the command out."""
        if proposal.status == "Approved" or (proposal.approvals and self.random.random() < 0.6):
            self.carry_out(proposal)
            return
        statuses = ["Pending", "Pending", "Failed", *(["Approved"] if proposal.verb == "Decrypt" else [])]
        status = self.random.choice(statuses)
        self.decided(
            facts.ProposalApproved,
            proposal.stream,
            "ApproveProposal",
            proposal=proposal.proposal,
            digest=proposal.digest,
            approver="alice",
            approvals=len(proposal.approvals) + 1,
            status=status,
            code="AccessDenied" if status == "Failed" else None,
        )

    def close(self, proposal: Proposal) -> None:
        if self.random.random() < 0.5:
            more = {"proposal": proposal.proposal, "approver": "alice"}
            self.decided(facts.ProposalDenied, proposal.stream, "DenyProposal", **more)
        else:
            self.decided(facts.ProposalCancelled, proposal.stream, "CancelProposal", proposal=proposal.proposal)

    def carry_out(self, proposal: Proposal) -> None:
        """As the fact that the proposed command becomes; a data-plane command is sent by its proposer."""
        carried = facts.ProposalUse(
            proposal=proposal.proposal,
            command=proposal.command,
            body_digest=proposal.body_digest,
            signature=proposal.signature,
            approvers=["alice"],
        )
        key_id = proposal.stream.removeprefix("key/") if proposal.stream != REGISTRY else None
        why: dict[str, Any] = {"decision": {"proposal": carried}}
        if proposal.verb == "DisableKey":
            if self.view[proposal.stream].status != "Enabled":
                self.close(proposal)
                return
            self.decided(facts.KeyDisabled, proposal.stream, "ApproveProposal", key_id=key_id, reason="audit", **why)
            return
        data_plane = proposal.verb == "Decrypt"
        size = {"items": 2, "bytes": 10} if data_plane else {"items": 0, "bytes": 0}
        verb = proposal.verb if data_plane else "ApproveProposal"
        use = {"key_id": key_id, "key_version": None, "protection": "HSM" if data_plane else None, **size}
        command = self.signed_command(proposal.stream, verb, "bob" if data_plane else "alice")
        why |= {"verb": proposal.verb, "principal": "bob", "command": command}
        self.decided(facts.CommandAuthorized, proposal.stream, verb, **use, **why)

    def reset_policy(self) -> None:
        """Rare, as it should be. A new administrator may be given a key that somebody has."""
        if self.random.random() < 0.7:
            return
        people = [each for each in self.all_of(Principal) if each.keys]
        keys = [key.public_key for each in people for key in each.keys if key.algorithm == "Ed25519"]
        self.count += 1
        given = self.random.choice([self.public_key(), *keys])
        administrators = [
            facts.InitialPrincipal(principal=name, public_key=key, groups=["administrators"])
            for name, key in (("alice", self.public_key()), (f"root{self.count}", given))
        ]
        rules = [policy.policy for policy in self.all_of(RegistryPolicy)]
        self.append(
            facts.PolicyReset,
            REGISTRY,
            reason="nobody could act",
            removed=self.random.sample(rules, self.random.randint(0, len(rules))),
            policies=[facts.InitialPolicy(policy="administrators", text=PERMIT)],
            administrators=administrators,
            revoked=[self.random.choice(people).principal] if self.random.random() < 0.5 else [],
        )

    def _key_of(self, person: Principal) -> dict[str, Any]:
        """A new key for somebody; now and then one that they have already."""
        key, algorithm = self.public_key(), "Ed25519"
        if person.keys and self.random.random() < 0.2:
            known = self.random.choice(person.keys)
            key, algorithm = known.public_key, known.algorithm
        expires_at = self._expiry()
        return {"principal": person.principal, "public_key": key, "algorithm": algorithm, "expires_at": expires_at}

    def _expiry(self) -> str | None:
        return to_text(self.now_ms + 10 * DAY_MS) if self.random.random() < 0.3 else None

    def _groups(self) -> list[str]:
        return self.random.sample(["readers", "writers", "auditors"], self.random.randint(0, 3))
