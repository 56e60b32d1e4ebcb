"""`evolve`: how an event changes entities. Pure and total over the vocabulary; the same for every reader.

It returns only what changed (None for removed), never writes, and trusts that authorship was checked before. Facts
that change no entity (denials, uses, completions) return nothing. A `KeyError` means that the event cannot follow from
the view it was given: the log and the state disagree, and the reader must stop.
"""

from collections.abc import Callable
from typing import Any, Final

from keyfold.events import evolve_governance, facts
from keyfold.events.entities import (
    DEPLOYMENT,
    Alias,
    Deployment,
    Entity,
    Key,
    KeyStatus,
    KeyVersion,
    RegistryPolicy,
    SealingKey,
)
from keyfold.events.streams import REGISTRY
from keyfold.events.view import Changes, View, get

__all__ = ["PROTECTING", "Changes", "View", "evolve", "get"]

PROTECTING: Final = frozenset({"Encrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"})


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


def _key(view: View, event: facts.Event) -> Key:
    return get(view, event.subject, Key)


def _changed(view: View, event: facts.Event, **update: Any) -> Changes:
    return {event.subject: _key(view, event).model_copy(update=update)}


def _with_version(key: Key, number: int, **update: Any) -> tuple[KeyVersion, ...]:
    return tuple(v.model_copy(update=update) if v.version == number else v for v in key.versions)


def _key_created(_view: View, event: facts.KeyCreated) -> Changes:
    data = event.data
    first = KeyVersion(version=1, offset=data.decision.offset, created_at=event.time)
    key = Key(
        key_id=data.key_id,
        key_spec=data.key_spec,
        protection=data.protection,
        description=data.description,
        tags=data.tags,
        status="Enabled",
        created_at=event.time,
        created_by=data.created_by,
        versions=(first,),
        current_version=1,
        usage_budget=data.usage_budget,
        rotate_at_percent=data.rotate_at_percent,
    )
    return {event.subject: key}


def _key_rotated(view: View, event: facts.KeyRotated) -> Changes:
    key = _key(view, event)
    if event.data.version != len(key.versions) + 1:
        raise KeyError(f"{event.subject} version {event.data.version}")
    added = KeyVersion(version=event.data.version, offset=event.data.decision.offset, created_at=event.time)
    status = "Enabled" if key.status == "Failed" else key.status
    return _changed(view, event, versions=(*key.versions, added), current_version=added.version, status=status)


def _status(status: KeyStatus) -> Callable[[View, Any], Changes]:
    def handler(view: View, event: facts.Event) -> Changes:
        if _key(view, event).status == "Failed":
            return {}
        return _changed(view, event, status=status, deletion_date=None, reason=getattr(event.data, "reason", ""))

    return handler


def _key_tagged(view: View, event: facts.KeyTagged) -> Changes:
    return _changed(view, event, tags=event.data.tags)


def _usage_budget_updated(view: View, event: facts.UsageBudgetUpdated) -> Changes:
    data = event.data
    return _changed(view, event, usage_budget=data.items, rotate_at_percent=data.rotate_at_percent)


def _key_deletion_scheduled(view: View, event: facts.KeyDeletionScheduled) -> Changes:
    if _key(view, event).status == "Failed":
        return {}
    return _changed(view, event, status="PendingDeletion", deletion_date=event.data.deletion_date)


def _key_destroyed(view: View, event: facts.KeyDestroyed) -> Changes:
    versions = tuple(v.model_copy(update={"status": "Destroyed"}) for v in _key(view, event).versions)
    last = len(versions)
    return _changed(view, event, status="Destroyed", deletion_date=None, versions=versions, current_version=last)


def _authorized(view: View, event: facts.CommandAuthorized) -> Changes:
    """Budgets are charged at authorization: what may have been used counts as used."""
    data = event.data
    if data.verb not in PROTECTING or data.key_version is None:
        return {}
    key = _key(view, event)
    count = key.version(data.key_version).protected_items + data.items
    return _changed(view, event, versions=_with_version(key, data.key_version, protected_items=count))


def _operation_failed(view: View, event: facts.OperationFailed) -> Changes:
    """A version whose material could not be made is not current; a key without any is failed.

    Policy may have decided about the key meanwhile, as it learns later what failed, while others read the failure
    first: both must come to the same. Destroyed is final; what else was decided about a key without material leaves it
    failed, and another version mends it.
    """
    key = view.get(event.subject)
    if event.data.verb not in {"CreateKey", "RotateKey"} or not isinstance(key, Key) or key.status == "Destroyed":
        return {}
    failed = next((v.version for v in key.versions if v.offset == event.data.offset), None)
    if failed is None:
        return {}
    versions = _with_version(key, failed, status="Failed")
    usable = [v.version for v in versions if v.status == "Active"]
    if not usable:
        return _changed(view, event, versions=versions, status="Failed", deletion_date=None, reason="")
    return _changed(view, event, versions=versions, current_version=max(usable))


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
    facts.KeyCreated: _key_created,
    facts.KeyRotated: _key_rotated,
    facts.KeyEnabled: _status("Enabled"),
    facts.KeyDisabled: _status("Disabled"),
    facts.KeyDeletionScheduled: _key_deletion_scheduled,
    facts.KeyDeletionCancelled: _status("Disabled"),
    facts.KeyDestroyed: _key_destroyed,
    facts.KeyTagged: _key_tagged,
    facts.UsageBudgetUpdated: _usage_budget_updated,
    facts.CommandAuthorized: _authorized,
    facts.OperationFailed: _operation_failed,
    facts.AliasCreated: _alias_set,
    facts.AliasUpdated: _alias_set,
    facts.AliasDeleted: _alias_deleted,
    facts.SealingKeyPublished: _sealing_key_published,
    facts.SealingKeyErased: _sealing_key_erased,
    facts.Genesis: _genesis,
    **evolve_governance.HANDLERS,
}
