"""A registry of any size for measuring decisions: so many policies, so many principals, and the commands they sign.

Each policy is for one group, so of all of them exactly one is about any one principal; it asks for two tags of the
encryption context. Keys are on one partition. Nothing is measured here, and nothing is what a deployment would have.
"""

import json
import os
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from keyfold.bus import Inbound
from keyfold.deciding.admission import Admitted, Place, admit
from keyfold.deciding.cedar import Authorizer
from keyfold.deciding.world import World
from keyfold.events import topics
from keyfold.events.commands import type_of
from keyfold.events.entities import (
    DEPLOYMENT,
    Deployment,
    Entity,
    Grant,
    Grants,
    Key,
    KeyVersion,
    Limit,
    Principal,
    PrincipalKey,
    RegistryPolicy,
    SigningKey,
    grants_name,
)
from keyfold.events.signatures import Signer, command_message
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.times import DAY_MS, to_text

NOW_MS: Final = 1_790_000_000_000
AT: Final = to_text(NOW_MS)
LIFETIME_MS: Final = 600_000
KEYS: Final = 100
ROOT: Final = Signer(b"\1" * 32).fingerprint
PLACE: Final = Place(ROOT, 1, 2)
SEALED: Final = b"a sealed body of the usual size" * 40
CONDITION: Final = """
when {{ context.encryption_context.hasTag("tenant") && context.encryption_context.getTag("tenant") == "t{n}" {more} }}
unless {{ context.encryption_context.hasTag("document") && context.encryption_context.getTag("document") == "secret" }}
"""
MORE: Final = {
    "": "",
    "time": "&& context.time.hour < 24",
    "approvals": "&& context.approvals.count >= 0",
}


def uuid(number: int) -> str:
    """Return a well-formed id for a number."""
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


SEALING_KEY: Final = uuid(0x5EA1)


def policy_text(number: int, asks: str = "") -> str:
    """Return the policy of one team; it also asks for nothing, the `time`, or `approvals`."""
    scope = f'principal in Group::"team-{number}", action == Action::"Encrypt", resource'
    return f"permit({scope}){CONDITION.format(n=number, more=MORE[asks])};"


def key_stream(number: int) -> str:
    """Return the stream of one of the keys."""
    return f"key/{uuid(number % KEYS)}"


def name_of(number: int) -> str:
    """Return a principal's name."""
    return f"p{number:06d}"


@dataclass(frozen=True, slots=True)
class Population:
    """Entities of the registry and of one partition; `signers` has a real key for each principal, where asked for."""

    policies: int
    registry: dict[str, Entity]
    entities: dict[str, Entity]
    signers: list[Signer] = field(default_factory=list)

    def world(self, authorizer: Authorizer, offset_ms: int = 0) -> World:
        """Return what one decision is made from."""
        return World(1, NOW_MS + offset_ms, self.entities, self.registry, authorizer, facts_n=0)

    def record(self, number: int, principal: int, verb: str = "Encrypt", document: str | None = None) -> Inbound:
        """Return one signed command as it is read from the log."""
        signer, stream = self.signers[principal], key_stream(principal)
        value = self.document(number, principal, verb, document, signer.fingerprint)
        signature = signer.sign(command_message(ROOT, stream.encode(), value, SEALED))
        headers = (
            (SIGNER_HEADER, signer.fingerprint.encode()),
            (SIGNATURE_HEADER, signature),
            (SEALED_HEADER, SEALED),
        )
        return Inbound(topics.COMMANDS, PLACE.partition, number, NOW_MS, stream.encode(), value, headers)

    def document(
        self, number: int, principal: int, verb: str = "Encrypt", document: str | None = None, key: str = "0" * 64
    ) -> bytes:
        """Return a command's value: 100 items under one context, which names a document or none."""
        name = name_of(principal)
        context = {"tenant": f"t{principal % self.policies}"} | ({} if document is None else {"document": document})
        data = {
            "principal": name,
            "signing_key": key,
            "sealing_key": SEALING_KEY,
            "expires_at": to_text(NOW_MS + LIFETIME_MS),
            "reply": {"topic": topics.REPLIES, "partition": 0, "correlation_id": f"c-{number}"},
            "arguments": {},
            "contexts": [context],
            "items": 100,
            "bytes": 3_200,
        }
        return json.dumps(_envelope(number, name, key_stream(principal), verb, data)).encode()

    def admitted(self, record: Inbound) -> Admitted:
        """Admit a record of this population."""
        return admit(record, PLACE, self.registry, NOW_MS)


def _envelope(number: int, name: str, stream: str, verb: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": uuid(number),
        "source": f"principal/{name}",
        "type": type_of(verb),
        "subject": stream,
        "time": AT,
        "datacontenttype": "application/json",
        "data": data,
    }


def populate(policies: int, principals: int, *, real_keys: bool = True) -> Population:
    """Make a registry. Without real keys nobody in it can sign, which is enough for measuring memory."""
    registry: dict[str, Entity] = {
        DEPLOYMENT: Deployment(
            root_public_key=ROOT, partitions=PLACE.partitions, development=False, current_sealing_key=SEALING_KEY
        )
    }
    registry.update(_policies(policies))
    signers = []
    for number in range(principals):
        signer = Signer(sha256(f"benchmark {number}".encode()).digest()) if real_keys else None
        registry.update(_person(number, policies, signer))
        signers += [signer] if signer else []
    return Population(policies, registry, {key_stream(number): _key(number) for number in range(KEYS)}, signers)


def _policies(count: int, asks: str = "") -> dict[str, Entity]:
    return {
        f"policy/policy-{number}": RegistryPolicy(
            policy=f"policy-{number}", text=policy_text(number, asks), updated_at=AT
        )
        for number in range(count)
    }


def _person(number: int, policies: int, signer: Signer | None) -> dict[str, Entity]:
    public_key = signer.public_key if signer else os.urandom(32)
    fingerprint = signer.fingerprint if signer else os.urandom(32).hex()
    key = PrincipalKey(signing_key=fingerprint, public_key=public_key.hex(), algorithm="Ed25519", added_at=AT)
    name, team = name_of(number), number % policies
    person = Principal(
        principal=name, keys=(key,), groups=(f"team-{team}", "users"), tags={"tenant": f"t{team}"}, registered_at=AT
    )
    return {f"principal/{name}": person, f"signing-key/{fingerprint}": SigningKey(principal=name)}


def _key(number: int) -> Key:
    return Key(
        key_id=uuid(number),
        key_spec="SYMMETRIC_DEFAULT",
        protection="SOFTWARE",
        description="",
        tags={},
        status="Enabled",
        created_at=AT,
        created_by="admin-1",
        versions=(KeyVersion(version=1, offset=0, created_at=AT),),
        current_version=1,
    )


def asking(known: Population, what: str) -> Population:
    """Return the same with policies that ask for more: the `time`, or `approvals`."""
    registry = known.registry | _policies(known.policies, what)
    return Population(known.policies, registry, known.entities, known.signers)


def with_grants(known: Population, principals: int) -> Population:
    """Return the same with a grant for each of the first principals, of a verb that no policy is about: Decrypt."""
    entities = dict(known.entities)
    for number in range(principals):
        key_id, name, grant = key_stream(number).removeprefix("key/"), name_of(number), uuid(0x6000_0000 + number)
        entities[f"grant/{grant}"] = Grant(
            grant=grant,
            key_id=key_id,
            grantee=name,
            verbs=("Decrypt",),
            expires_at=to_text(NOW_MS + DAY_MS),
            encryption_context_equals=None,
            encryption_context_subset={"tenant": f"t{number % known.policies}"},
            algorithms=None,
            max_operations=10**9,
            max_items=10**12,
            delegable=False,
            retiring_principal=None,
            parent=None,
            created_by="admin-1",
            created_at=AT,
        )
        entities[grants_name(key_id, name)] = Grants(grants=(grant,))
    return Population(known.policies, known.registry, entities, known.signers)


def with_limits(known: Population) -> Population:
    """Return the same with four limits that hold for everybody: rates and quotas, of commands and of items."""
    limits = [_limit("commands", "rate", "principal"), _limit("items", "rate", "key")]
    limits += [_limit("commands", "quota", "key"), _limit("items", "quota", "principal")]
    deployment = known.registry[DEPLOYMENT].model_copy(update={"limits": tuple(limit.limit for limit in limits)})
    registry = known.registry | {DEPLOYMENT: deployment} | {f"limit/{limit.limit}": limit for limit in limits}
    return Population(known.policies, registry, dict(known.entities), known.signers)


def _limit(unit: Any, kind: Any, per: Any) -> Limit:
    return Limit(
        limit=f"{kind}-{unit}",
        limit_kind=kind,
        unit=unit,
        amount=10**9,
        period_seconds=3600,
        burst=10**9,
        per=per,
        principal=None,
        group=None,
        key_id=None,
        verbs=(),
        updated_at=AT,
    )
