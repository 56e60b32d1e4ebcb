"""`evolve`: how an event changes entities. Pure and total over the vocabulary; the same for every reader.

It returns only what changed (None for removed), never writes, and trusts that authorship was checked before. Facts
that change no entity (denials, uses, completions) return nothing. A `KeyError` means that the event cannot follow from
the view it was given: the log and the state disagree, and the reader must stop.
"""

from collections.abc import Callable
from typing import Any, Final

from keyfold.events import evolve_governance, evolve_incidents, evolve_keys, facts
from keyfold.events.entities import (
    CAPABILITIES,
    DEPLOYMENT,
    Alias,
    Capabilities,
    Deployment,
    Entity,
    RegistryPolicy,
    SealingKey,
)
from keyfold.events.evolve_keys import PROTECTING
from keyfold.events.streams import REGISTRY
from keyfold.events.view import Changes, View, get

__all__ = ["PROTECTING", "Changes", "View", "evolve", "get"]


def evolve(view: View, event: facts.Event) -> Changes:
    """Return the entities that the event changes."""
    handler = _HANDLERS.get(type(event))
    changes = handler(view, event) if handler is not None else {}
    if isinstance(event, facts.PolicyEvent):
        if changes and event.subject == REGISTRY:
            changes[DEPLOYMENT] = _counted(changes.get(DEPLOYMENT) or view.get(DEPLOYMENT), event)
        return changes | evolve_governance.consequences(view, event)
    return changes


def _counted(deployment: Entity | None, event: facts.Event) -> Deployment:
    if not isinstance(deployment, Deployment):
        raise KeyError(DEPLOYMENT)
    policies = isinstance(event, facts.PolicyPut | facts.PolicyDeleted)
    revisions = {
        "revision": deployment.revision + 1,
        "policies_revision": deployment.policies_revision + (1 if policies else 0),
    }
    return deployment.model_copy(update=revisions)


def _alias_set(_view: View, event: facts.AliasCreated | facts.AliasUpdated) -> Changes:
    data = event.data
    return {data.alias: Alias(alias=data.alias, key_id=data.key_id, updated_at=event.time)}


def _alias_deleted(_view: View, event: facts.AliasDeleted) -> Changes:
    return {event.data.alias: None}


def _sealing_key_published(view: View, event: facts.SealingKeyPublished) -> Changes:
    data = event.data
    deployment = get(view, DEPLOYMENT, Deployment)
    changes: Changes = {
        DEPLOYMENT: deployment.model_copy(update={"current_sealing_key": data.sealing_key}),
        f"sealing-key/{data.sealing_key}": SealingKey(
            sealing_key=data.sealing_key, public_key=data.public_key, published_at=event.time
        ),
    }
    before = view.get(f"sealing-key/{deployment.current_sealing_key}")
    if isinstance(before, SealingKey):
        changes[f"sealing-key/{before.sealing_key}"] = before.model_copy(update={"retired_at": event.time})
    return changes


def _sealing_key_erased(view: View, event: facts.SealingKeyErased) -> Changes:
    name = f"sealing-key/{event.data.sealing_key}"
    return {name: get(view, name, SealingKey).model_copy(update={"erased_at": event.time})}


def _capabilities_found(_view: View, event: facts.TokenCapabilitiesFound) -> Changes:
    data = event.data
    found = Capabilities(
        module=data.module, capabilities=tuple(data.capabilities), imports=data.imports, found_at=event.time
    )
    return {CAPABILITIES: found}


def _storage_epoch_begun(view: View, event: facts.StorageEpochBegun) -> Changes:
    deployment = get(view, DEPLOYMENT, Deployment)
    return {DEPLOYMENT: deployment.model_copy(update={"storage_epoch": event.data.epoch})}


def _storage_epoch_key_destroyed(view: View, event: facts.StorageEpochKeyDestroyed) -> Changes:
    ended = {"storage_epoch_ended": event.data.epoch, "storage_epoch_end": event.id}
    return {DEPLOYMENT: get(view, DEPLOYMENT, Deployment).model_copy(update=ended)}


def _genesis(_view: View, event: facts.Genesis) -> Changes:
    data = event.data
    changes: Changes = {
        DEPLOYMENT: Deployment(
            root_public_key=data.root_public_key, partitions=data.partitions, development=data.development
        )
    }
    for initial in (*data.administrators, *data.services):
        changes |= evolve_governance.initial_principal(initial, event.time)
    for policy in data.policies:
        changes[f"policy/{policy.policy}"] = RegistryPolicy(
            policy=policy.policy, text=policy.text, updated_at=event.time
        )
    return changes


_HANDLERS: Final[dict[type[facts.Event], Callable[[View, Any], Changes]]] = {
    facts.AliasCreated: _alias_set,
    facts.AliasUpdated: _alias_set,
    facts.AliasDeleted: _alias_deleted,
    facts.SealingKeyPublished: _sealing_key_published,
    facts.SealingKeyErased: _sealing_key_erased,
    facts.TokenCapabilitiesFound: _capabilities_found,
    facts.StorageEpochBegun: _storage_epoch_begun,
    facts.StorageEpochKeyDestroyed: _storage_epoch_key_destroyed,
    facts.Genesis: _genesis,
    **evolve_keys.HANDLERS,
    **evolve_governance.HANDLERS,
    **evolve_incidents.HANDLERS,
}
