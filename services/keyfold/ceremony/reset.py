"""The ceremony `reset_policies`: root puts the registry's policies and administrators right, outside Cedar.

It is for when nobody else can any more: policies forbid their own repair, or the administrators' keys are lost. It says
one `PolicyReset`, after which the default policies are the registry's only ones. Policies of a key, limits and grants
stay as they are: administrators see to them afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from keyfold.bus import Bus
from keyfold.ceremony import statements, tokens
from keyfold.ceremony.conduct import add, alone, require_deployment, root_identity
from keyfold.ceremony.errors import CeremonyRefused
from keyfold.ceremony.head import Head, author_of, changed
from keyfold.ceremony.identities import ADMINISTRATORS, load_known
from keyfold.ceremony.policy_sets import initial_policies
from keyfold.config import Config
from keyfold.deciding.cedar import Authorizer
from keyfold.deciding.repair import repairers
from keyfold.events import facts
from keyfold.events.entities import Entity, Principal, RegistryPolicy, SigningKey
from keyfold.events.evolve import evolve
from keyfold.events.signatures import fingerprint

_ENOUGH: Final = 2


@dataclass(frozen=True, slots=True)
class PoliciesReset:
    """What a reset did: policies that are gone, those that hold now, who administers, and who was revoked."""

    removed: tuple[str, ...]
    policies: tuple[str, ...]
    administrators: tuple[str, ...]
    revoked: tuple[str, ...]


async def reset_policies(
    config: Config,
    bus: Bus,
    clock_ms: Callable[[], int],
    *,
    reason: str,
    revoked: Sequence[str] = (),
    administrators: Sequence[str] = ADMINISTRATORS,
) -> PoliciesReset:
    """Put the default policies back, register or restore administrators, and revoke principals.

    `administrators` are names of identity files. Raises `CeremonyRefused` where that would leave nobody to repair
    policies, `CeremonyIncomplete` for an identity file that cannot be used, and token errors.
    """
    with alone(config), tokens.token_module(config) as module, root_identity(module, config) as (root, deployment):
        keys = {name: _public_key(config, name, deployment) for name in administrators}
        composing = _Composing(deployment, clock_ms(), reason, tuple(dict.fromkeys(revoked)), keys)
        await add(bus, author_of(root.public_key, root.sign), composing, before_policy=True)
    return composing.result()


def _public_key(config: Config, name: str, deployment: str) -> bytes:
    return load_known(config.identities_directory, name, deployment).signer.public_key


class _Composing:
    """Composes the event anew for each head that it is shown, until one holds it."""

    def __init__(
        self, deployment: str, now_ms: int, reason: str, revoked: tuple[str, ...], keys: Mapping[str, bytes]
    ) -> None:
        self._deployment, self._now_ms, self._reason = deployment, now_ms, reason
        self._revoked, self._keys = revoked, keys
        self._made: list[facts.Event] = []

    def __call__(self, head: Head) -> list[facts.Event]:
        require_deployment(head, self._deployment)
        if head.last in self._made:  # the attempt before was in doubt, and did happen
            return []
        self._check_people(head.registry)
        event = self._event(head)
        self._check_repairable(head.registry, event)
        self._made.append(event)
        return [event]

    def result(self) -> PoliciesReset:
        data = self._made[-1].data
        policies = tuple(policy.policy for policy in data.policies)
        administrators = tuple(initial.principal for initial in data.administrators)
        return PoliciesReset(tuple(data.removed), policies, administrators, tuple(data.revoked))

    def _event(self, head: Head) -> facts.Event:
        policies = initial_policies()
        present = (entity.policy for entity in head.registry.values() if isinstance(entity, RegistryPolicy))
        try:
            return statements.policy_reset(
                head.events + 1,
                self._now_ms,
                reason=self._reason,
                removed=sorted(set(present) - policies.keys()),
                policies=policies,
                administrators=self._keys,
                revoked=self._revoked,
            )
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise CeremonyRefused(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None

    def _check_people(self, registry: Mapping[str, Entity]) -> None:
        for name in self._revoked:
            if not isinstance(registry.get(f"principal/{name}"), Principal):
                raise CeremonyRefused(f"there is no principal {name} to revoke; look at `keyfold principal list`")
            if name in self._keys:
                raise CeremonyRefused(f"{name} cannot be an administrator and be revoked; name others")
        for name, key in self._keys.items():
            holder = registry.get(f"signing-key/{fingerprint(key)}")
            if isinstance(holder, SigningKey) and holder.principal != name:
                raise CeremonyRefused(f"the key in {name}'s identity file is {holder.principal}'s; name another")

    def _check_repairable(self, registry: Mapping[str, Entity], event: facts.Event) -> None:
        afterwards = changed(registry, evolve(registry, event))
        if repairers(Authorizer(), afterwards, self._now_ms, _ENOUGH) < _ENOUGH:
            raise CeremonyRefused(
                "fewer than two administrators could act afterwards; name more of them (--administrator)"
            )
