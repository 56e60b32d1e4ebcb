"""Every policy that is in force, read and indexed: the registry's, and those of the keys that were asked for lately.

A text that cannot be read is in force too: as a denial of everything that it could have been about. It never comes
from a `PutPolicy`, which is validated, but could from a reset, or after a change of Cedar.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

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

Texts = dict[str, tuple[str, tuple[Policy, ...] | None]]
"""By a policy's name: its text, and what was read of it; None if it could not be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """Texts that belong together, read. `unreadable` are the ids of texts that could not be."""

    index: Index
    unreadable: tuple[str, ...]


class KeyPolicies(NamedTuple):
    """A key's own policies at a revision, read."""

    policies: Sequence[AttachedPolicy]
    revision: int
    texts: Texts
    shelf: Shelf


class Library:
    """Reads a text once, for as long as it is in force or was used lately.

    What `known`, another library, has read of keys by now is not read again; nothing is changed in it.
    """

    def __init__(self, known: "Library | None" = None) -> None:
        self._known = known
        self._texts: Texts = {}
        self._registry = _shelf("registry", {})
        self._keys: Lru[str, KeyPolicies] = Lru(KEY_TEXT)
        self._sets: Lru[tuple[Policy, ...], cedarpy.PolicySet] = Lru(SET_TEXT)

    def beside(self) -> "Library":
        """Return a library for other policies than those in force, for a short while: it knows what was read here."""
        library = Library(self if self._known is None else self._known)
        library._texts = self._texts
        return library

    def load(self, registry: Mapping[str, Entity]) -> None:
        """Take the registry's policies as they are now; texts that did not change are not read again."""
        policies = (entity for entity in registry.values() if isinstance(entity, RegistryPolicy))
        self._texts = _read("registry", policies, self._texts)
        self._registry = _shelf("registry", self._texts)

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
            known = None if self._known is None else self._known._sets.peek(policies)
            made = policy_set(policies) if known is None else known
            self._sets.put(policies, made, sum(len(policy.document) for policy in policies))
        return made

    def _of(self, key: Key) -> Shelf:
        known = self._keys.get(key.key_id)
        if known is None and self._known is not None:
            known = self._known._keys.peek(key.key_id)
        # The texts are compared beside the revision: a revision may come again with other texts after a rollback.
        if known is not None and known.revision == key.policy_revision and known.policies == key.policies:
            return known.shelf
        texts = _read("key", key.policies, {} if known is None else known.texts)
        shelf = _shelf("key", texts)
        weight = 1 + sum(len(attached.text) for attached in key.policies)
        self._keys.put(key.key_id, KeyPolicies(key.policies, key.policy_revision, texts, shelf), weight)
        return shelf


def _read(owner: str, attached: Iterable[RegistryPolicy | AttachedPolicy], before: Texts) -> Texts:
    """Read texts; those that were the same before, under the same name, are taken from there."""
    read: Texts = {}
    for each in attached:
        known = before.get(each.policy)
        read[each.policy] = known if known and known[0] == each.text else (each.text, _policies(owner, each))
    return read


def _policies(owner: str, attached: RegistryPolicy | AttachedPolicy) -> tuple[Policy, ...] | None:
    try:
        policies = read_policies(attached.text, f"{owner}/{attached.policy}")
        policy_set(policies)
    except (InvalidPolicy, ValueError):
        return None
    return policies


def _shelf(owner: str, texts: Texts) -> Shelf:
    index = Index(policy for _, policies in texts.values() for policy in policies or ())
    return Shelf(index, tuple(f"{owner}/{name}" for name, (_, policies) in texts.items() if policies is None))
