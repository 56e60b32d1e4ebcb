"""Views of entities that differ from what really is, to ask what would be then. Pure; nothing is decided here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keyfold.events.entities import AttachedPolicy, Entity, Key, RegistryPolicy
from keyfold.events.evolve import View


@dataclass(frozen=True, slots=True)
class Proposed:
    """Policies by name: the registry's, and keys' by key id. They stand beside those in force, or instead of all.

    One that has the name of a policy in force takes its place, for the whole of the log.
    """

    registry: Mapping[str, str]
    keys: Mapping[str, Mapping[str, str]]
    instead_of_all: bool = False


class Above(Mapping[str, Entity]):
    """A view with some entities put above it."""

    def __init__(self, view: View, put: View) -> None:
        self._view, self._put = view, put

    def __getitem__(self, name: str) -> Entity:
        return self._put[name] if name in self._put else self._view[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._view, **self._put})

    def __len__(self) -> int:
        return len({**self._view, **self._put})


class Supposed(Mapping[str, Entity]):
    """A view in which proposed policies are in force."""

    def __init__(self, view: View, proposed: Proposed) -> None:
        self._view, self._proposed = view, proposed

    def __getitem__(self, name: str) -> Entity:
        kind, _, rest = name.partition("/")
        if kind == "policy":
            text = self._proposed.registry.get(rest)
            if text is not None:
                return RegistryPolicy(policy=rest, text=text, updated_at="")
            if self._proposed.instead_of_all:
                raise KeyError(name)
        entity = self._view[name]
        return self._key(entity) if isinstance(entity, Key) else entity

    def __iter__(self) -> Iterator[str]:
        for name in self._view:
            kind, _, rest = name.partition("/")
            if kind != "policy" or not (self._proposed.instead_of_all or rest in self._proposed.registry):
                yield name
        yield from (f"policy/{name}" for name in self._proposed.registry)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _key(self, key: Key) -> Key:
        proposed = self._proposed.keys.get(key.key_id, {})
        if not proposed and not (self._proposed.instead_of_all and key.policies):
            return key
        kept = () if self._proposed.instead_of_all else (each for each in key.policies if each.policy not in proposed)
        added = (AttachedPolicy(policy=name, text=text) for name, text in proposed.items())
        return key.model_copy(update={"policies": (*kept, *added)})
