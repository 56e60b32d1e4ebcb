"""Examples of commands and events about key specs, versions, import, compromise and storage epochs.

Part of `examples.py`, which gives the names (`given`), signs the commands and makes the decisions and the names of
outcomes. A command is a stream, arguments and other data; an event is a class, a stream, the name of its command (empty
where it has none) and data without the decision or what every outcome says.
"""

from base64 import b64encode
from hashlib import sha256, shake_256
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from keyfold.events import facts

Command = tuple[str, dict[str, Any], dict[str, Any]]
Event = tuple[type[facts.Event], str, str, dict[str, Any]]
OTHER_KEY = "0193f3a0-7c00-7000-8000-00000000000d"
TOMORROW, NEXT_YEAR = "2026-02-01T12:00:00.000Z", "2027-01-31T12:00:00.000Z"
YESTERDAY = "2026-01-30T12:00:00.000Z"
MODULE = "SoftHSM 2.6"
QUARTER = 90 * 86_400
BLOB = "YmxvYg=="
DIGEST = sha256(b"an example").hexdigest()
_RSA: dict[str, Any] = {"key_spec": "RSA_3072", "key_usage": "SIGN_VERIFY", "protection": "HSM"}
_EDWARDS: dict[str, Any] = {"key_spec": "ECC_NIST_EDWARDS25519", "key_usage": "SIGN_VERIFY", "protection": "HSM"}
_SYMMETRIC: dict[str, Any] = {"key_spec": "SYMMETRIC_DEFAULT", "key_usage": "ENCRYPT_DECRYPT", "protection": "HSM"}
_SCHEDULER = {"principal": "scheduler"}


def _text(public_key: Any) -> str:
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b64encode(der).decode()


def verifying_key(given: Any) -> str:
    """Return the public half of an Ed25519 key version, SubjectPublicKeyInfo (RFC 8410) in base64."""
    return _text(Ed25519PublicKey.from_public_bytes(given.signer("key version").public_key))


def wrapping_key() -> str:
    """Return a public key of the form of RSA-4096. Its modulus is a hash's output, so it wraps for nobody."""
    modulus = int.from_bytes(shake_256(b"keyfold example wrapping key").digest(512), "big") | 1 << 4095 | 1
    return _text(RSAPublicNumbers(65_537, modulus).public_key())


def arguments(given: Any) -> dict[str, Command]:
    """Return the example of every verb that is not in `examples` or `governance`."""
    key = given.KEY_STREAM
    version = {"version": 1, "reason": "superseded"}
    token = given.command_id("GetParametersForImport")
    turned = [{"partition": partition, "offset": 10 + partition} for partition in range(4)]
    return {
        "UpdateKeyValidity": (key, {"not_before": TOMORROW, "not_after": NEXT_YEAR}, {}),
        "EnableKeyRotation": (key, {"rotation_period_seconds": QUARTER}, {}),
        "DisableKeyRotation": (key, {}, {}),
        "DisableKeyVersion": (key, version, {}),
        "EnableKeyVersion": (key, version, {}),
        "DestroyKeyVersion": (key, version, {}),
        "MarkKeyCompromised": (key, {"versions": [1], "occurred_at": YESTERDAY, "reason": "incident 17"}, {}),
        "GetPublicKey": (key, {"key_version": 1}, {}),
        "GetParametersForImport": (
            key,
            {"wrapping_algorithm": "RSA_AES_KEY_WRAP_SHA_256", "wrapping_key_spec": "RSA_4096", "key_version": 2},
            {},
        ),
        "ImportKeyMaterial": (
            key,
            {"import_token": token, "valid_to": NEXT_YEAR},
            {"contexts": [{}], "items": 1, "bytes": 552},
        ),
        "DeleteImportedKeyMaterial": (key, {"key_version": 2, "cause": "requested"}, {}),
        "BeginStorageEpoch": ("registry", {}, {"reason": "keys were destroyed"}),
        "EndStorageEpoch": ("registry", {"epoch": 1, "evidence": turned}, _SCHEDULER),
        **_uses(given),
    }


def _uses(given: Any) -> dict[str, Command]:
    key, plane = given.KEY_STREAM, given.DATA_PLANE
    bare = plane | {"contexts": [{}]}
    return {
        "ReEncryptFrom": (key, {"destination_key_id": OTHER_KEY}, plane),
        "ReEncryptTo": (key, {"source_key_id": OTHER_KEY}, plane),
        "Sign": (key, {"signing_algorithm": "ED25519_SHA_512", "message_type": "RAW"}, bare),
        "Verify": (
            key,
            {"signing_algorithm": "ED25519_SHA_512", "message_type": "RAW", "key_version": 1},
            bare | {"bytes": 215},
        ),
        "GenerateMac": (key, {"mac_algorithm": "HMAC_SHA_256"}, bare),
        "VerifyMac": (key, {"mac_algorithm": "HMAC_SHA_256", "key_version": 1}, bare | {"bytes": 119}),
        "DeriveSharedSecret": (
            key,
            {"key_agreement_algorithm": "ECDH", "key_version": 1},
            bare | {"bytes": 273},
        ),
        "Encapsulate": (key, {"key_encapsulation_algorithm": "ML_KEM"}, bare | {"bytes": 0}),
        "Decapsulate": (
            key,
            {"key_encapsulation_algorithm": "ML_KEM", "key_version": 1},
            bare | {"bytes": 3264},
        ),
        "GenerateDataKeyPair": (key, {"key_pair_spec": "ECC_NIST_P256"}, plane | {"bytes": 0}),
        "GenerateDataKeyPairWithoutPlaintext": (key, {"key_pair_spec": "RSA_2048"}, plane | {"bytes": 0}),
    }


def variants(given: Any) -> dict[str, Command]:
    """Return commands that use what is optional, by name; a name starts with the verb."""
    key, bare = given.KEY_STREAM, given.DATA_PLANE | {"contexts": [{}]}
    span = {"not_before": TOMORROW, "not_after": NEXT_YEAR, "rotation_period_seconds": QUARTER}
    oaep = {"encryption_algorithm": "RSAES_OAEP_SHA_256", "key_version": 1}
    message = {"signing_algorithm": "ML_DSA_SHAKE_256", "message_type": "EXTERNAL_MU"}
    digest = {"signing_algorithm": "ECDSA_SHA_256", "message_type": "DIGEST"}
    signing = {"verbs": ["Sign", "Verify", "GetPublicKey"], "algorithms": ["ECDSA_SHA_256", "ED25519_SHA_512"]}
    return {
        "CreateKey for signatures": (key, {**_RSA, **span}, {}),
        "CreateKey for imported material": (key, {"origin": "EXTERNAL", "protection": "SOFTWARE"}, {}),
        "RotateKey after a compromise": (key, {"cause": "compromise"}, _SCHEDULER),
        "UpdateKeyValidity without an end": (key, {"not_after": "never"}, {}),
        "MarkKeyCompromised in all versions": (key, {"occurred_at": YESTERDAY}, {}),
        "DeleteImportedKeyMaterial at its end": (key, {"cause": "expired"}, _SCHEDULER),
        "CreateGrant for signatures": (key, {"grantee": "bob", "expires_at": NEXT_YEAR, **signing}, {}),
        "Decrypt with RSA": (key, oaep, bare | {"bytes": 1152}),
        "Sign of a digest": (key, digest, bare | {"bytes": 96}),
        "Sign of a message representative": (key, message, bare | {"bytes": 192}),
    }


def events(given: Any) -> list[Event]:
    """Return the example of every event that is not in `examples` or `governance`."""
    stream, key = given.KEY_STREAM, {"key_id": given.KEY_ID}
    version = {**key, "version": 1, "reason": "superseded"}
    marked = {**key, "versions": [1], "occurred_at": YESTERDAY, "reason": "incident 17"}
    issued = {**_SYMMETRIC, **_import(given), "wrapping_key_spec": "RSA_4096", "expires_at": TOMORROW}
    return [
        (facts.KeyValidityUpdated, stream, "UpdateKeyValidity", {**key, "not_before": TOMORROW, "not_after": None}),
        (facts.KeyRotationEnabled, stream, "EnableKeyRotation", {**key, "rotation_period_seconds": QUARTER}),
        (facts.KeyRotationDisabled, stream, "DisableKeyRotation", key),
        (facts.KeyVersionDisabled, stream, "DisableKeyVersion", version),
        (facts.KeyVersionEnabled, stream, "EnableKeyVersion", version),
        (facts.KeyVersionDestroyed, stream, "DestroyKeyVersion", version),
        (facts.KeyCompromised, stream, "MarkKeyCompromised", marked),
        (facts.ImportParametersIssued, stream, "GetParametersForImport", issued),
        (
            facts.ImportedKeyMaterialDeleted,
            stream,
            "DeleteImportedKeyMaterial",
            {**key, "version": 2, "cause": "requested"},
        ),
        (facts.StorageEpochBegun, "registry", "BeginStorageEpoch", {"epoch": 2}),
        *_outcomes(given),
        *_storage(given),
        *_keystore(given),
    ]


def _import(given: Any) -> dict[str, Any]:
    token = given.command_id("GetParametersForImport")
    wrapping = {"wrapping_algorithm": "RSA_AES_KEY_WRAP_SHA_256"}
    return {"key_id": given.KEY_ID, "import_token": token, "version": 2, **wrapping}


def _outcomes(given: Any) -> list[Event]:
    stream = given.KEY_STREAM
    attributes = {"CKA_EXTRACTABLE": False, "CKA_SENSITIVE": True, "CKA_MODULUS_BITS": 4096}
    created = {**_import(given), "public_key": wrapping_key(), "expires_at": TOMORROW, "attributes": attributes}
    material = {**_SYMMETRIC, "key_id": given.KEY_ID, "version": 2, "blob_digest": DIGEST}
    token = given.command_id("GetParametersForImport")
    imported = {**material, "import_token": token, "key_check_value": "dc95c0", "valid_to": NEXT_YEAR}
    return [
        (facts.ImportParametersCreated, stream, "GetParametersForImport", created),
        (facts.KeyMaterialImported, stream, "ImportKeyMaterial", imported),
    ]


def _storage(given: Any) -> list[Event]:
    symmetric = facts.Capability(**_SYMMETRIC, algorithms=["SYMMETRIC_DEFAULT"])
    resident = facts.Capability(**_EDWARDS, algorithms=["ED25519_SHA_512"], resident=True)
    found = {"module": MODULE, "capabilities": [symmetric, resident], "imports": {"RSA_AES_KEY_WRAP_SHA_256": "token"}}
    destroyed = {"epoch": 1, "token": "kms", "serial": "a1b2c3d4e5f60718", "module": MODULE, "answer": "CKR_OK"}
    evidence = {str(partition): 10 + partition for partition in range(4)}
    erased = {
        "key_id": given.KEY_ID,
        "versions": [1, 2],
        "destroyed_by": {"1": 41, "2": 41},
        "blob_digests": {"1": DIGEST, "2": DIGEST},
        "epoch": 1,
        "epoch_key_destroyed": f"{facts.StorageEpochKeyDestroyed.type_name}/1",
        "sealing_key": given.OLD_SEALING_KEY,
        "module": MODULE,
        "demonstration": True,
        "covers": ["the log and its backups"],
        "does_not_cover": ["backups of the token", "plaintext that callers hold"],
    }
    return [
        (facts.TokenCapabilitiesFound, "registry", "", found),
        (facts.StorageEpochTurned, "partition/1", "", {"epoch": 2, "partition": 1, "versions": 17}),
        (facts.StorageEpochKeyDestroyed, "registry", "", {**destroyed, "found_after": 0, "evidence": evidence}),
        (facts.KeyErased, given.KEY_STREAM, "", erased),
    ]


def _keystore(given: Any) -> list[Event]:
    stream, key = given.KEY_STREAM, {"key_id": given.KEY_ID}
    token = {"import_token": given.command_id("GetParametersForImport")}
    return [
        (facts.KeyMaterialRewrapped, stream, "", {**key, "epoch": 2, "blobs": {"1": BLOB, "2": BLOB}}),
        (facts.ImportKeyStored, stream, "", {**_SYMMETRIC, **_import(given), "blob": BLOB}),
        (facts.ImportKeyErased, stream, "", {**key, **token}),
        (facts.ErasureCertified, stream, "", {**key, "versions": [1, 2]}),
    ]


def event_variants(given: Any) -> dict[str, Event]:
    """Return events that use what is optional, by name; a name starts with the class."""
    stream, key = given.KEY_STREAM, {"key_id": given.KEY_ID}
    use = {**key, "principal": "alice", "protection": "HSM"}
    several = {**use, "verb": "Decrypt", "key_version": None, "items": 3, "bytes": 11, "refused_versions": [1, 3]}
    wrapped = {**use, "verb": "ImportKeyMaterial", "key_version": 2, "items": 1, "bytes": 552}
    made = {**key, **_RSA, "description": "", "tags": {}, "created_by": "alice"}
    span = {"not_before": TOMORROW, "not_after": NEXT_YEAR, "rotation_period_seconds": QUARTER}
    waiting = {**key, **_SYMMETRIC, "version": 2, "origin": "EXTERNAL", "cause": "compromise"}
    pair = {**key, **_EDWARDS, "version": 1, "public_key": verifying_key(given)}
    attributes = {"CKA_KEY_TYPE": "CKK_EC_EDWARDS", "CKA_LOCAL": True, "CKA_EXTRACTABLE": False}
    deleted = {**key, "versions": [2], "offset": 41, "epoch": 1, "blob_digests": {"2": DIGEST}, "destroyed": False}
    return {
        "CommandAuthorized with refused versions": (facts.CommandAuthorized, stream, "Decrypt", several),
        "CommandAuthorized to import": (facts.CommandAuthorized, stream, "ImportKeyMaterial", wrapped),
        "KeyCreated for signatures": (facts.KeyCreated, stream, "CreateKey for signatures", {**made, **span}),
        "KeyRotated to be imported": (facts.KeyRotated, stream, "RotateKey after a compromise", waiting),
        "KeyMaterialGenerated of a key pair": (
            facts.KeyMaterialGenerated,
            stream,
            "CreateKey for signatures",
            {**pair, "blob_digest": DIGEST, "attributes": attributes},
        ),
        "OperationFailed to import": (
            facts.OperationFailed,
            stream,
            "ImportKeyMaterial",
            {**key, "code": "IncorrectKeyMaterial"},
        ),
        "KeyMaterialStored of a key pair": (facts.KeyMaterialStored, stream, "", {**pair, "blob": BLOB}),
        "KeyMaterialStored of imported material": (
            facts.KeyMaterialStored,
            stream,
            "",
            {**key, **_SYMMETRIC, "version": 2, "blob": BLOB, "material_check": DIGEST},
        ),
        "KeyMaterialErased of deleted material": (facts.KeyMaterialErased, stream, "", deleted),
    }
