"""Every policy that is in force, read and indexed: the registry's, and those of the keys that were asked for lately.

A text that cannot be read is in force too: as a denial of everything that it could have been about. It never comes
from a `PutPolicy`, which is validated, but could from a reset, or after a change of Cedar.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cedarpy

from keyfold.deciding.cedar.evaluation import resource_of
from keyfold.deciding.cedar.index import Index
from keyfold.deciding.cedar.lru import Lru
from keyfold.deciding.cedar.policies import Policy, policy_set, read_policies
from keyfold.deciding.cedar.requests import Request
from keyfold.events.entities import AttachedPolicy, Entity, Key, RegistryPolicy
from keyfold.events.errors import InvalidPolicy

# Weights are characters of policy text (about a kilobyte of memory for each hundred).
KEY_TEXT: Final = 4_000_000
SET_TEXT: Final = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """Texts that belong together, read. `unreadable` are the ids of texts that could not be."""

    index: Index
    unreadable: tuple[str, ...]


class Library:
    """Reads a text once, for as long as it is in force or was used lately."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[str, tuple[Policy, ...] | None]] = {}
        self._registry = _shelf({})
        self._keys: Lru[str, tuple[Sequence[AttachedPolicy], int, Shelf]] = Lru(KEY_TEXT)
        self._sets: Lru[tuple[Policy, ...], cedarpy.PolicySet] = Lru(SET_TEXT)

    def load(self, registry: Mapping[str, Entity]) -> None:
        """Take the registry's policies as they are now; texts that did not change are not read again."""
        read = {}
        for entity in registry.values():
            if isinstance(entity, RegistryPolicy):
                before = self._texts.get(entity.policy)
                same = before is not None and before[0] == entity.text
                read[entity.policy] = before if same and before else (entity.text, _read("registry", entity))
        self._texts = read
        self._registry = _shelf({f"registry/{name}": policies for name, (_, policies) in sorted(read.items())})

    def applicable(self, request: Request) -> tuple[tuple[Policy, ...], tuple[str, ...]]:
        """Return the policies that can match, in order of their ids, and the ids of unreadable texts."""
        who, resource = request.principal, resource_of(request)
        shelves = [self._registry] if request.key is None else [self._registry, self._of(request.key)]
        found = {
            policy.policy_id: policy
            for shelf in shelves
            for policy in shelf.index.matching(who.principal, who.groups, request.action, resource)
        }
        unreadable = sorted(name for shelf in shelves for name in shelf.unreadable)
        return tuple(found[name] for name in sorted(found)), tuple(unreadable)

    def set_of(self, policies: tuple[Policy, ...]) -> cedarpy.PolicySet:
        """Return the set of these policies. Policies are compared by identity, so a set is never of older texts."""
        made = self._sets.get(policies)
        if made is None:
            made = policy_set(policies)
            self._sets.put(policies, made, sum(len(policy.document) for policy in policies))
        return made

    def _of(self, key: Key) -> Shelf:
        known = self._keys.get(key.key_id)
        # The texts are compared beside the revision: a revision may come again with other texts after a rollback.
        if known is not None and known[1] == key.policy_revision and known[0] == key.policies:
            return known[2]
        shelf = _shelf({f"key/{attached.policy}": _read("key", attached) for attached in key.policies})
        weight = 1 + sum(len(attached.text) for attached in key.policies)
        self._keys.put(key.key_id, (key.policies, key.policy_revision, shelf), weight)
        return shelf


def _read(owner: str, attached: RegistryPolicy | AttachedPolicy) -> tuple[Policy, ...] | None:
    try:
        policies = read_policies(attached.text, f"{owner}/{attached.policy}")
        policy_set(policies)
    except (InvalidPolicy, ValueError):
        return None
    return policies


def _shelf(texts: Mapping[str, tuple[Policy, ...] | None]) -> Shelf:
    index = Index(policy for policies in texts.values() for policy in policies or ())
    return Shelf(index, tuple(name for name, policies in texts.items() if policies is None))
