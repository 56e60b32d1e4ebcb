"""Whether the policies of a registry could still be repaired, asked before a change that might lock everybody out.

Pure: it asks an authorizer about a supposed registry, and decides nothing itself. An administrator can repair it if she
may put and delete the registry's policies, alone or by a proposal that everybody who may approve approves.

It errs on one side, by counting too few: approvers beyond the first 1,000 are not seen, a quorum that only some subset
of the approvers would meet is not found, and no source is named. A reason is given, as the caller chooses it freely.
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Final

from keyfold.deciding.cedar import REGISTRY_ID, Authorizer, Request, Verdict
from keyfold.events.entities import DEPLOYMENT, Deployment, Principal
from keyfold.events.view import View, get

ADMINISTRATORS: Final = "administrators"
MAX_APPROVERS: Final = 1_000
_VERBS: Final = ("PutPolicy", "DeletePolicy")
_REASON: Final = "repair"


def repairers(authorizer: Authorizer, registry: View, now_ms: int, enough: int = 2) -> int:
    """Count the administrators who could repair the registry's policies at this time, up to `enough`, by name.

    `registry` need not be the one that the authorizer decides on; nothing that it remembers is changed. Of those who
    may act at all, at most the first 1,000 by name are asked whether they may approve, and only if approvals are
    needed. Raises KeyError before genesis.
    """
    supposed = _Supposed(authorizer, registry, now_ms)
    able = (person for person in supposed.administrators() if supposed.can_repair(person))
    return sum(1 for _ in islice(able, enough))


class _Supposed:
    """A registry as it would be, and who could act in it at a time, in the order of names."""

    def __init__(self, authorizer: Authorizer, registry: View, now_ms: int) -> None:
        self._authorizer, self._registry, self._now_ms = authorizer.supposing(registry), registry, now_ms
        self._revision = get(registry, DEPLOYMENT, Deployment).policies_revision
        people = (entity for entity in registry.values() if isinstance(entity, Principal))
        self._people = sorted(people, key=lambda person: person.principal)

    def administrators(self) -> Iterator[Principal]:
        return (person for person in self._able() if ADMINISTRATORS in person.groups)

    def can_repair(self, person: Principal) -> bool:
        verdicts = {verb: self._ask(person, verb) for verb in _VERBS}
        denied = [verb for verb, verdict in verdicts.items() if not verdict.allowed]
        if not all(verdicts[verb].approvals for verb in denied):
            return False
        return not denied or (self._ask(person, "ProposeCommand").allowed and self._approved(person, denied))

    def _approved(self, person: Principal, verbs: list[str]) -> bool:
        others = tuple(name for name in self._approvers if name != person.principal)
        return all(self._ask(person, verb, others).allowed for verb in verbs)

    def _able(self) -> Iterator[Principal]:
        return (person for person in self._people if person.may_act(self._now_ms))

    @cached_property
    def _approvers(self) -> tuple[str, ...]:
        asked = islice(self._able(), MAX_APPROVERS)
        return tuple(person.principal for person in asked if self._ask(person, "ApproveProposal").allowed)

    def _ask(self, person: Principal, action: str, approvals: tuple[str, ...] = ()) -> Verdict:
        request = Request(
            principal=person,
            action=action,
            key=None,
            resource_id=REGISTRY_ID,
            is_key=False,
            creation=None,
            contexts=(),
            items=0,
            bytes=0,
            now_ms=self._now_ms,
            reason=_REASON,
            approvals=approvals,
        )
        return self._authorizer.authorize(request, self._registry, self._revision)
