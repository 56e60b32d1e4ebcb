"""The rules of import: parameters for one import, the import itself, deletion of imported material. Pure.

An import token is used up when an import is authorized, whatever comes of it. That material is there is stated by the
HSM worker, which also knows whether it is the same as before.
"""

from collections.abc import Callable
from typing import Any, Final

from keyfold.deciding.keys import governed_key
from keyfold.deciding.lifecycle import await_import, version_for
from keyfold.deciding.rules import Rule, authorized
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.commands import AnyCommand
from keyfold.events.entities import CAPABILITIES, Capabilities, Key
from keyfold.events.import_format import takes
from keyfold.events.times import DAY_MS, to_milliseconds, to_text

PARAMETERS_LIFETIME_MS: Final = DAY_MS


def _external_key(command: AnyCommand, world: World) -> Key:
    key = governed_key(command, world)
    if key.origin != "EXTERNAL":
        raise errors.InvalidState("material is imported into keys of origin EXTERNAL only")
    return key


def _get_parameters(command: Any, world: World) -> Rule:
    key, arguments = _external_key(command, world), command.data.arguments
    version = version_for(command.verb, key, arguments.key_version or _waiting(key))
    if not takes(arguments.wrapping_algorithm, key.key_spec):
        raise errors.InvalidKeyUsage("private keys are wrapped by RSA_AES_KEY_WRAP_SHA_256; OAEP is too short for them")
    found = world.registry.get(CAPABILITIES)
    if isinstance(found, Capabilities) and arguments.wrapping_algorithm not in found.imports:
        raise errors.Unsupported("this token does not unwrap by this algorithm")
    return facts.ImportParametersIssued, {
        "key_id": key.key_id,
        "import_token": command.id,
        "version": version.version,
        "key_spec": key.key_spec,
        "key_usage": key.key_usage,
        "protection": key.protection,
        "wrapping_algorithm": arguments.wrapping_algorithm,
        "wrapping_key_spec": arguments.wrapping_key_spec,
        "expires_at": to_text(world.now_ms + PARAMETERS_LIFETIME_MS),
    }


def _waiting(key: Key) -> int:
    """Return the first version without material, else the current one: its own material may come again."""
    usable = (version for version in key.versions if version.status in {"Active", "Disabled"})
    return next((version.version for version in usable if not version.material), key.current_version)


def _import(command: Any, world: World) -> Rule:
    key, data = _external_key(command, world), command.data
    parameters = key.import_parameters
    if not isinstance(data, DataPlaneData) or data.items != 1 or data.contexts != [{}]:
        raise errors.InvalidCommand("an import has one item, the wrapped material, and one empty context")
    if parameters is None or parameters.import_token != data.arguments.import_token:
        raise errors.ImportTokenInvalid
    if to_milliseconds(parameters.expires_at) <= world.now_ms:
        raise errors.ImportTokenExpired
    valid_to = data.arguments.valid_to
    if valid_to is not None and to_milliseconds(valid_to) <= world.now_ms:
        raise errors.InvalidCommand("material is valid to a time that is ahead")
    version = version_for(command.verb, key, parameters.version)
    return authorized(command, key, version.version)


def _delete(command: Any, world: World) -> Rule:
    key, arguments = _external_key(command, world), command.data.arguments
    version = version_for(command.verb, key, arguments.key_version or key.current_version)
    if not version.material:
        await_import(key)
        raise errors.KeyPendingImport
    over = version.valid_to is not None and to_milliseconds(version.valid_to) <= world.now_ms
    if arguments.cause == "expired" and not over:
        raise errors.InvalidState("the material is still valid")
    return facts.ImportedKeyMaterialDeleted, {
        "key_id": key.key_id,
        "version": version.version,
        "cause": arguments.cause,
    }


RULES: Final[dict[str, Callable[[Any, World], Rule]]] = {
    "GetParametersForImport": _get_parameters,
    "ImportKeyMaterial": _import,
    "DeleteImportedKeyMaterial": _delete,
}
