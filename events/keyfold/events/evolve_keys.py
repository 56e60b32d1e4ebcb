"""How events change keys and their versions. Part of `evolve`, which says what all handlers promise.

Policy folds its own decisions before it learns what the HSM worker did, others read both as they lie in the log. So
what the worker states must come to the same before and after what policy decided meanwhile: it touches fields of its
own, or is told apart by the offsets of the commands. What both have a say in, which version is current and whether the
key is failed, follows from the versions alone.
"""

from collections.abc import Callable
from typing import Any, Final

from keyfold.events import facts
from keyfold.events.entities import ImportParameters, Key, KeyStatus, KeyVersion
from keyfold.events.view import Changes, View, get

VERSION_REASON_CHARACTERS: Final = 100
PROTECTING: Final = frozenset(
    {"Encrypt", "ReEncrypt", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"}
    | {"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "Sign", "GenerateMac", "Encapsulate"}
)
"""Verbs that apply protection (SP 800-57 part 1, section 5.3.5): by the current version only, counted."""


def _key(view: View, event: facts.Event) -> Key:
    return get(view, event.subject, Key)


def _changed(view: View, event: facts.Event, **update: Any) -> Changes:
    return {event.subject: _key(view, event).model_copy(update=update)}


def _with_version(key: Key, *numbers: int, **update: Any) -> tuple[KeyVersion, ...]:
    changed = {key.version(number).version for number in numbers}
    return tuple(v.model_copy(update=update) if v.version in changed else v for v in key.versions)


def _settled(key: Key, versions: tuple[KeyVersion, ...]) -> dict[str, Any]:
    """Return versions with what follows from them: which is current, and that a key without any is failed.

    Current is the newest active version that ever had material; a disabled one only where no other is left. Of versions
    that all wait for their first import, the oldest is.
    """
    usable = [v for v in versions if v.status in {"Active", "Disabled"}]
    ready = [v for v in usable if v.material or v.material_offset is not None]
    best = [v for v in ready if v.status == "Active"] or ready
    current = best[-1].version if best else usable[0].version if usable else len(versions)
    found: dict[str, Any] = {"versions": versions, "current_version": current}
    if not usable and key.status != "Destroyed":
        return found | {"status": "Failed", "deletion_date": None, "reason": ""}
    return found | ({"status": "Enabled"} if usable and key.status == "Failed" else {})


def _new_version(event: facts.KeyCreated | facts.KeyRotated, number: int) -> KeyVersion:
    material = event.data.origin != "EXTERNAL"
    return KeyVersion(version=number, offset=event.data.decision.offset, created_at=event.time, material=material)


def _key_created(_view: View, event: facts.KeyCreated) -> Changes:
    data = event.data
    key = Key(
        key_id=data.key_id,
        key_spec=data.key_spec,
        key_usage=data.key_usage,
        origin=data.origin,
        protection=data.protection,
        description=data.description,
        tags=data.tags,
        status="Enabled",
        created_at=event.time,
        created_by=data.created_by,
        versions=(_new_version(event, 1),),
        current_version=1,
        usage_budget=data.usage_budget,
        rotate_at_percent=data.rotate_at_percent,
        not_before=data.not_before,
        not_after=data.not_after,
        rotation_period_seconds=data.rotation_period_seconds,
        rotation_enabled_at=event.time if data.rotation_period_seconds else None,
    )
    return {event.subject: key}


def _key_rotated(view: View, event: facts.KeyRotated) -> Changes:
    """A version that waits for its material becomes current when it is imported."""
    key = _key(view, event)
    if event.data.version != len(key.versions) + 1:
        raise KeyError(f"{event.subject} version {event.data.version}")
    return _changed(view, event, **_settled(key, (*key.versions, _new_version(event, event.data.version))))


def _status(status: KeyStatus) -> Callable[[View, Any], Changes]:
    def handler(view: View, event: facts.Event) -> Changes:
        if _key(view, event).status == "Failed":
            return _changed(view, event, changed_at=event.time)
        told = {"reason": getattr(event.data, "reason", ""), "changed_at": event.time}
        return _changed(view, event, status=status, deletion_date=None, **told)

    return handler


def _key_tagged(view: View, event: facts.KeyTagged) -> Changes:
    return _changed(view, event, tags=event.data.tags)


def _usage_budget_updated(view: View, event: facts.UsageBudgetUpdated) -> Changes:
    data = event.data
    return _changed(view, event, usage_budget=data.items, rotate_at_percent=data.rotate_at_percent)


def _validity_updated(view: View, event: facts.KeyValidityUpdated) -> Changes:
    return _changed(view, event, not_before=event.data.not_before, not_after=event.data.not_after)


def _rotation_enabled(view: View, event: facts.KeyRotationEnabled) -> Changes:
    period = event.data.rotation_period_seconds
    return _changed(view, event, rotation_period_seconds=period, rotation_enabled_at=event.time)


def _rotation_disabled(view: View, event: facts.KeyRotationDisabled) -> Changes:
    return _changed(view, event, rotation_period_seconds=None, rotation_enabled_at=None)


def _key_deletion_scheduled(view: View, event: facts.KeyDeletionScheduled) -> Changes:
    if _key(view, event).status == "Failed":
        return _changed(view, event, changed_at=event.time)
    date = event.data.deletion_date
    return _changed(view, event, status="PendingDeletion", deletion_date=date, reason="", changed_at=event.time)


def _key_destroyed(view: View, event: facts.KeyDestroyed) -> Changes:
    told = {"status": "Destroyed", "reason": "", "changed_at": event.time}
    versions = tuple(v if v.status == "Destroyed" else v.model_copy(update=told) for v in _key(view, event).versions)
    ended = {"deletion_date": None, "import_parameters": None, "current_version": len(versions)}
    return _changed(view, event, versions=versions, **told, **ended)


def _version_status(status: str) -> Callable[[View, Any], Changes]:
    def handler(view: View, event: Any) -> Changes:
        """Destroyed is final; a version whose material could not be made can only be destroyed."""
        key, told = _key(view, event), {"reason": _short(event.data.reason), "changed_at": event.time}
        before = key.version(event.data.version).status
        if before == "Destroyed" or (before == "Failed" and status != "Destroyed"):
            return {}
        return _changed(view, event, **_settled(key, _with_version(key, event.data.version, status=status, **told)))

    return handler


def _compromised(view: View, event: facts.KeyCompromised) -> Changes:
    """Said again, the first word stands; only the occurrence may prove to be earlier."""
    key, data = _key(view, event), event.data
    first = {"compromised_at": event.time, "occurred_at": data.occurred_at, "compromise_reason": _short(data.reason)}
    marked = {key.version(number).version for number in data.versions}
    versions = tuple(
        version
        if version.version not in marked
        else version.model_copy(update=first)
        if version.occurred_at is None
        else version.model_copy(update={"occurred_at": min(version.occurred_at, data.occurred_at)})
        for version in key.versions
    )
    return _changed(view, event, versions=versions)


def _short(reason: str) -> str:
    """Return as much of a reason as is kept with each version; the event has all of it."""
    return reason[:VERSION_REASON_CHARACTERS]


def _import_parameters_issued(view: View, event: facts.ImportParametersIssued) -> Changes:
    data = event.data
    parameters = ImportParameters(
        import_token=data.import_token,
        version=_key(view, event).version(data.version).version,
        wrapping_algorithm=data.wrapping_algorithm,
        expires_at=data.expires_at,
    )
    return _changed(view, event, import_parameters=parameters)


def _material_imported(view: View, event: facts.KeyMaterialImported) -> Changes:
    """What was decided behind this import counts: a later deletion or import, and destruction."""
    key, data = _key(view, event), event.data
    version = key.version(data.version)
    update: dict[str, Any] = {"key_check_value": data.key_check_value}
    if (version.material_offset or -1) < data.offset:
        update |= {"material": True, "material_offset": data.offset, "valid_to": data.valid_to}
    settled = _settled(key, _with_version(key, data.version, **update))
    return _changed(view, event, **settled, **_import_over(key, data.offset))


def _import_over(key: Key, offset: int) -> dict[str, Any]:
    return {"importing": None} if key.importing == offset else {}


def _imported_material_deleted(view: View, event: facts.ImportedKeyMaterialDeleted) -> Changes:
    key, data = _key(view, event), event.data
    gone = {"material": False, "material_offset": data.decision.offset, "valid_to": None}
    return _changed(view, event, versions=_with_version(key, data.version, **gone))


def _authorized(view: View, event: facts.CommandAuthorized) -> Changes:
    """Budgets are charged at authorization: what may have been used counts as used. An import token is used up."""
    data = event.data
    if data.verb == "ImportKeyMaterial":
        return _changed(view, event, import_parameters=None, importing=data.decision.offset)
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
    if event.data.verb == "ImportKeyMaterial" and isinstance(key, Key):
        return _changed(view, event, **_import_over(key, event.data.offset))
    if event.data.verb not in {"CreateKey", "RotateKey"} or not isinstance(key, Key):
        return {}
    failed = next((v for v in key.versions if v.offset == event.data.offset), None)
    if failed is None or failed.status == "Destroyed":
        return {}
    told = {"status": "Failed", "reason": "", "changed_at": event.time}
    return _changed(view, event, **_settled(key, _with_version(key, failed.version, **told)))


def _key_erased(view: View, event: facts.KeyErased) -> Changes:
    versions = _with_version(_key(view, event), *event.data.versions, erased_at=event.time)
    return _changed(view, event, versions=versions)


HANDLERS: Final[dict[type[facts.Event], Callable[[View, Any], Changes]]] = {
    facts.KeyCreated: _key_created,
    facts.KeyRotated: _key_rotated,
    facts.KeyEnabled: _status("Enabled"),
    facts.KeyDisabled: _status("Disabled"),
    facts.KeyDeletionScheduled: _key_deletion_scheduled,
    facts.KeyDeletionCancelled: _status("Disabled"),
    facts.KeyDestroyed: _key_destroyed,
    facts.KeyTagged: _key_tagged,
    facts.UsageBudgetUpdated: _usage_budget_updated,
    facts.KeyValidityUpdated: _validity_updated,
    facts.KeyRotationEnabled: _rotation_enabled,
    facts.KeyRotationDisabled: _rotation_disabled,
    facts.KeyVersionDisabled: _version_status("Disabled"),
    facts.KeyVersionEnabled: _version_status("Active"),
    facts.KeyVersionDestroyed: _version_status("Destroyed"),
    facts.KeyCompromised: _compromised,
    facts.ImportParametersIssued: _import_parameters_issued,
    facts.ImportedKeyMaterialDeleted: _imported_material_deleted,
    facts.CommandAuthorized: _authorized,
    facts.OperationFailed: _operation_failed,
    facts.KeyMaterialImported: _material_imported,
    facts.KeyErased: _key_erased,
}
