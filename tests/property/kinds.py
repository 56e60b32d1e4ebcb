"""What is asked about the life and the use of one key, of whatever spec: random arguments that fit it most of the time.

Beside it what the HSM worker says of an import. Nothing here decides; a key that does not exist is asked about as well.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from tests.support.desk import outcome_of
from tests.support.people import PARTITIONS, key_stream, uuid

from keyfold.events import facts
from keyfold.events.arguments import MAX_ITEMS
from keyfold.events.commands import parse_command
from keyfold.events.costs import max_items
from keyfold.events.entities import Deployment, Entity, Key
from keyfold.events.specs import ALGORITHMS, USAGE_OF_VERB, message_types
from keyfold.events.times import DAY_MS, HOUR_MS, to_text

SYMMETRIC: Final = ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
KINDS: Final = (*[SYMMETRIC] * 30, *sorted(ALGORITHMS))
"""Spec and usage: the symmetric ones are the majority."""
NINETY_DAYS: Final = 90 * 86_400
PAIRS: Final = ("RSA_2048", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519")
CONTEXTS: Final[tuple[list[dict[str, str]], ...]] = (
    [{}],
    [{"tenant": "acme"}],
    [{"tenant": "acme"}, {"tenant": "globex"}],
    [{}, {"x": "y"}],
)
ALGORITHM: Final = {
    "Encrypt": "encryption_algorithm", "Decrypt": "encryption_algorithm",
    "Sign": "signing_algorithm", "Verify": "signing_algorithm",
    "GenerateMac": "mac_algorithm", "VerifyMac": "mac_algorithm",
    "DeriveSharedSecret": "key_agreement_algorithm",
    "Encapsulate": "key_encapsulation_algorithm", "Decapsulate": "key_encapsulation_algorithm",
}  # fmt: skip
"""How the arguments of a verb name its algorithm."""
NAMES_VERSION: Final = frozenset({"Verify", "VerifyMac", "Decrypt", "DeriveSharedSecret", "Decapsulate"})
Arguments = Callable[[Random, Key | None, int], dict[str, Any]]


def creation(r: Random, _key: Key | None, now_ms: int) -> dict[str, Any]:
    """A key of some kind; one in twenty is of a kind that does not exist."""
    spec, usage = r.choice(KINDS)
    if r.random() < 0.05:
        usage = r.choice(KINDS)[1]
    origin = r.choice(["KEYFOLD", "KEYFOLD", "EXTERNAL"])
    period = r.choice([None, None, NINETY_DAYS]) if origin == "KEYFOLD" or r.random() < 0.05 else None
    bounds = {"not_before": _moment(r, now_ms), "not_after": _moment(r, now_ms)} if r.random() < 0.2 else {}
    kind = {"key_spec": spec, "key_usage": usage, "origin": origin, "protection": r.choice(["HSM", "SOFTWARE"])}
    told = {"tags": r.choice([{}, {"tenant": "acme"}]), "usage_budget": r.choice([10, 1000])}
    return {**kind, **told, "rotation_period_seconds": period, **bounds}


def _moment(r: Random, now_ms: int) -> str | None:
    return r.choice([None, to_text(now_ms - HOUR_MS), to_text(now_ms + HOUR_MS), to_text(now_ms + DAY_MS)])


def _bounds(r: Random, _key: Key | None, now_ms: int) -> dict[str, Any]:
    ends = {name: _moment(r, now_ms) for name in ("not_before", "not_after")}
    return {name: r.choice(["never", end]) for name, end in ends.items()}


def _number(r: Random, key: Key | None) -> int:
    """A version that exists, or the one after."""
    most = 1 if key is None else len(key.versions)
    return r.randint(1, most) if r.random() < 0.9 else most + 1


def _version(*statuses: str) -> Arguments:
    """Name an old version with such a status, or, where there is none and now and then, any."""

    def choose(r: Random, key: Key | None, _now_ms: int) -> dict[str, Any]:
        known = [] if key is None else [v.version for v in key.versions if v.status in statuses]
        old = [number for number in known if key is not None and number != key.current_version]
        number = r.choice(old) if old and r.random() < 0.8 else _number(r, key)
        return {"version": number, "reason": r.choice(["", "audit"])}

    return choose


def _compromise(r: Random, key: Key | None, now_ms: int) -> dict[str, Any]:
    return {
        "versions": r.choice([None, [_number(r, key)]]),
        "occurred_at": to_text(now_ms + r.choice([0, -1, -DAY_MS, -DAY_MS, 1])),
        "reason": r.choice(["", "stolen"]),
    }


def _parameters(r: Random, key: Key | None, _now_ms: int) -> dict[str, Any]:
    algorithm = r.choice(["RSA_AES_KEY_WRAP_SHA_256", "RSA_AES_KEY_WRAP_SHA_256", "RSAES_OAEP_SHA_256"])
    return {"wrapping_algorithm": algorithm, "key_version": r.choice([None, None, _number(r, key)])}


def _import(r: Random, key: Key | None, now_ms: int) -> dict[str, Any]:
    known = key.import_parameters if key is not None and r.random() < 0.9 else None
    ends = r.choice([None, None, to_text(now_ms + HOUR_MS), to_text(now_ms)])
    return {"import_token": uuid(0xABC) if known is None else known.import_token, "valid_to": ends}


def _deletion(r: Random, key: Key | None, _now_ms: int) -> dict[str, Any]:
    version = r.choice([None, None, _number(r, key)])
    return {"key_version": version, "cause": r.choice(["requested", "requested", "expired"])}


ARGUMENTS: Final[dict[str, Arguments]] = {
    "CreateKey": creation,
    "RotateKey": lambda r, _k, _n: {"cause": r.choice(["requested"] * 3 + ["usage-budget", "period", "compromise"])},
    "UpdateKeyValidity": _bounds,
    "EnableKeyRotation": lambda r, _k, _n: {"rotation_period_seconds": r.choice([NINETY_DAYS, NINETY_DAYS, 1])},
    "DisableKeyVersion": _version("Active"),
    "EnableKeyVersion": _version("Disabled"),
    "DestroyKeyVersion": _version("Disabled"),
    "MarkKeyCompromised": _compromise,
    "GetPublicKey": lambda r, key, _n: {"key_version": r.choice([None, _number(r, key)])},
    "GetParametersForImport": _parameters,
    "ImportKeyMaterial": _import,
    "DeleteImportedKeyMaterial": _deletion,
}


def arguments(r: Random, verb: str, key: Key | None, now_ms: int) -> dict[str, Any]:
    """Arguments of a verb on a key, for this key; empty for a verb that needs none, or that is not about one key."""
    if verb in USAGE_OF_VERB:
        return _use(r, verb, key)
    return ARGUMENTS[verb](r, key, now_ms) if verb in ARGUMENTS else {}


def _use(r: Random, verb: str, key: Key | None) -> dict[str, Any]:
    if verb in {"ReEncryptFrom", "ReEncryptTo"}:
        other = {"ReEncryptFrom": "destination_key_id", "ReEncryptTo": "source_key_id"}[verb]
        return {other: key_stream(r.randint(1, 9)).removeprefix("key/")}
    if "KeyPair" in verb:
        return {"key_pair_spec": r.choice(PAIRS)}
    name = ALGORITHM.get(verb)
    if name is None:
        return {}
    algorithm = r.choice(_algorithms(verb, key))
    found: dict[str, Any] = {name: algorithm}
    if name == "signing_algorithm":
        found["message_type"] = r.choice([*message_types(algorithm)] * 5 + ["EXTERNAL_MU"])
    symmetric = verb == "Decrypt" and (key is None or key.key_spec == "SYMMETRIC_DEFAULT")
    if verb in NAMES_VERSION and r.random() < (0.02 if symmetric else 0.5):
        found["key_version"] = _number(r, key)
    return found


def _algorithms(verb: str, key: Key | None) -> tuple[str, ...]:
    """Those of the key; those of any other key of the verb's usage where it has another."""
    usage = USAGE_OF_VERB[verb]
    if key is not None and key.key_usage == usage:
        return ALGORITHMS[key.key_spec, usage]
    return next(names for (_, known), names in ALGORITHMS.items() if known == usage)


def batch(r: Random, verb: str, key: Key | None) -> dict[str, Any]:
    """Contexts and sizes of a data-plane command: what the verb and the key allow, and now and then an item more."""
    if verb == "ImportKeyMaterial":
        return {"contexts": [{}], "items": r.choice([1, 1, 1, 2]), "size": 600}
    spec = "SYMMETRIC_DEFAULT" if key is None else key.key_spec
    if verb == "GenerateRandom" or (spec == "SYMMETRIC_DEFAULT" and "KeyPair" not in verb):
        contexts = r.choice(CONTEXTS)
        return {"contexts": contexts, "items": r.choice([len(contexts), 9]), "size": r.choice([10, 100])}
    most = max_items(verb, spec)
    items = r.choice([1, 1, 2, min(9, most), most, min(most + 1, MAX_ITEMS)])
    return {"contexts": r.choice([[{}]] * 9 + [[{"tenant": "acme"}]]), "items": items, "size": r.choice([10, 100])}


def end_of_epoch(r: Random, deployment: Deployment) -> dict[str, Any]:
    """The epoch before the current one, and a place of every partition; at times one too few."""
    named = range(PARTITIONS if r.random() < 0.8 else PARTITIONS - 1)
    epoch = max(1, deployment.storage_epoch - r.choice([0, 1, 1, 1]))
    return {"epoch": epoch, "evidence": [{"partition": n, "offset": r.randint(0, 99)} for n in named]}


def import_outcome(event: facts.CommandAuthorized, key: Key, *, done: bool) -> facts.Outcome:
    """What the worker says of an authorized import into this key: that the material is there, or that it is not."""
    if not done:
        return outcome_of(event, facts.OperationFailed, key_id=key.key_id, code="InvalidCiphertext")
    told = parse_command(event.data.decision.command.encode()).data.arguments
    return outcome_of(
        event,
        facts.KeyMaterialImported,
        key_id=key.key_id,
        version=event.data.key_version,
        key_spec=key.key_spec,
        key_usage=key.key_usage,
        protection=key.protection,
        blob_digest="0" * 64,
        import_token=told.import_token,
        key_check_value="0a4dee",
        valid_to=told.valid_to,
    )


def importing(view: Mapping[str, Entity]) -> list[tuple[str, Key, int]]:
    """The keys whose import has no outcome yet: stream, key and the command's offset."""
    keys = [(name, entity) for name, entity in view.items() if isinstance(entity, Key)]
    return [(name, key, key.importing) for name, key in keys if key.importing is not None]
