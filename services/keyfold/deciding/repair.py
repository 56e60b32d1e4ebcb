"""Whether policies, of the registry or of a key, could still be repaired: asked before a change that might lock out.

Pure: it asks an authorizer about a supposed registry, and decides nothing itself. An administrator can repair it if she
may put and delete its policies, alone or by a proposal that everybody who may approve approves.

It errs on one side, by counting too few: whose rights end by themselves, at a time or with a token, does not count;
approvers beyond the first 1,000 (members of `approvers` first) are not seen, nor administrators beyond the first 10
that need approvals; a quorum that only some of the approvers together would meet is not found; and no source is named.
A reason is given, as the caller chooses it freely.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from keyfold.deciding.cedar import REGISTRY_ID, Authorizer, Request, Verdict
from keyfold.events.entities import DEPLOYMENT, Deployment, Key, Principal
from keyfold.events.view import View, get

ADMINISTRATORS: Final = "administrators"
APPROVERS: Final = "approvers"
MIN_ADMINISTRATORS: Final = 2
MAX_APPROVERS: Final = 1_000
MAX_PROPOSERS: Final = 10
_VERBS: Final = ("PutPolicy", "DeletePolicy")
_REASON: Final = "repair"


def repairers(
    authorizer: Authorizer,
    registry: View,
    now_ms: int,
    enough: int = MIN_ADMINISTRATORS,
    *,
    key: Key | None = None,
    status: str | None = None,
) -> int:
    """Count the administrators who could repair the registry's policies at this time, up to `enough`, by name.

    With a `key`, its policies count instead, as it is given and in the state `status`. `registry` need not be the one
    that the authorizer decides on; nothing that it remembers is changed. Only if an administrator needs approvals, and
    may propose, are others asked whether they may approve: of those who may act at all, the first 1,000 by name.
    Raises KeyError before genesis.
    """
    supposed = _Supposed(authorizer, registry, now_ms, key, status)
    able = (person for person in supposed.administrators() if supposed.can_repair(person))
    return sum(1 for _ in islice(able, enough))


def lasting_administrators(registry: View, now_ms: int, enough: int = MIN_ADMINISTRATORS) -> int:
    """Count the administrators who may act and last, whatever policies say, up to `enough`."""
    people = (entity for entity in registry.values() if isinstance(entity, Principal))
    found = (each for each in people if ADMINISTRATORS in each.groups and each.may_act(now_ms) and _lasting(each))
    return sum(1 for _ in islice(found, enough))


class _Supposed:
    """A registry (and a key) as it would be, and who could act in it at a time, in the order of names."""

    def __init__(
        self, authorizer: Authorizer, registry: View, now_ms: int, key: Key | None, status: str | None
    ) -> None:
        self._key, self._status = key, status
        self._authorizer, self._registry, self._now_ms = authorizer.supposing(registry), registry, now_ms
        self._revision = get(registry, DEPLOYMENT, Deployment).policies_revision
        self._people = [entity for entity in registry.values() if isinstance(entity, Principal)]
        self._proposers = 0

    def administrators(self) -> Iterator[Principal]:
        return self._able(person for person in self._people if ADMINISTRATORS in person.groups)

    def can_repair(self, person: Principal) -> bool:
        verdicts = {verb: self._ask(person, verb) for verb in _VERBS}
        denied = [verb for verb, verdict in verdicts.items() if not verdict.allowed]
        if not denied:
            return True
        if not all(verdicts[verb].approvals for verb in denied) or not self._ask(person, "ProposeCommand").allowed:
            return False
        self._proposers += 1
        if self._proposers > MAX_PROPOSERS:
            return False
        approvers = self._approvers_of(person)
        return all(self._ask(person, verb, approvals=approvers).allowed for verb in denied)

    def _approvers_of(self, proposer: Principal) -> tuple[str, ...]:
        """Return everybody who may approve what she proposes, without approvals of her own. She herself never may."""
        name = proposer.principal
        others = islice((person for person in self._able(self._people) if person.principal != name), MAX_APPROVERS)
        return tuple(each.principal for each in others if self._ask(each, "ApproveProposal", target=name).allowed)

    def _able(self, people: Iterable[Principal]) -> Iterator[Principal]:
        """Leave out whose rights end by themselves: nobody would be asked before the last of them is over."""
        ordered = sorted(people, key=lambda person: (APPROVERS not in person.groups, person.principal))
        return (person for person in ordered if person.may_act(self._now_ms) and _lasting(person))

    def _ask(
        self, person: Principal, action: str, target: str | None = None, approvals: tuple[str, ...] = ()
    ) -> Verdict:
        request = Request(
            principal=person,
            action=action,
            key=self._key,
            resource_id=self._key.key_id if self._key else REGISTRY_ID,
            is_key=self._key is not None,
            creation=None,
            contexts=(),
            items=0,
            bytes=0,
            now_ms=self._now_ms,
            reason=_REASON,
            target=target,
            approvals=approvals,
            status=self._status,
        )
        return self._authorizer.authorize(request, self._registry, self._revision)


def _lasting(person: Principal) -> bool:
    """Tell whether somebody stays until a command ends it: not an issuer's, with no end, with a key that has none."""
    keys = (key for key in person.keys if key.status == "Active" and key.expires_at is None)
    return person.principal_type != "federated" and person.expires_at is None and any(keys)
