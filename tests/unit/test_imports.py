"""Import rules: the pure package imports nothing impure, third parties are met in one place, and names are exported
as recorded.

The layers between processes are in `.importlinter`; it is run here too.
"""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EVENTS = ROOT / "events" / "keyfold" / "events"
MODULES = sorted(path.stem for path in EVENTS.glob("*.py") if path.stem != "__init__")

STANDARD = {
    "base64", "binascii", "collections", "dataclasses", "datetime", "enum", "functools", "hashlib", "hmac", "json",
    "math", "re", "struct", "types", "typing", "uuid",
}  # fmt: skip
OTHERS = {"cryptography", "numpy", "pydantic"}


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Return each imported module with the names that are taken from it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or "", [alias.name for alias in node.names]


@pytest.mark.parametrize("module", MODULES)
def test_events_is_pure(module: str) -> None:
    """A module of `keyfold.events` imports its own package and a few libraries that do no I/O, and nothing else."""
    for name, _ in imports(EVENTS / f"{module}.py"):
        top = name.split(".")[0]
        assert top in STANDARD | OTHERS or name.startswith("keyfold.events"), name


@pytest.mark.parametrize("module", MODULES)
def test_events_has_no_clock_and_no_randomness(module: str) -> None:
    """Time, ids and randomness come in as arguments: no module reads a clock, draws a number, or opens anything."""
    banned = {"now", "utcnow", "today", "uuid1", "uuid4", "generate", "open", "print", "input", "getenv"}
    for node in ast.walk(ast.parse((EVENTS / f"{module}.py").read_text("utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in banned, f"{module}: {name}()"


def test_events_loads_nothing_that_does_io() -> None:
    """Importing all of `keyfold.events` loads no part of a service and no library that meets the world."""
    loads = "; ".join(f"import keyfold.events.{module}" for module in MODULES)
    shown = "print(*sorted(name for name in sys.modules))"
    made = subprocess.run(
        [sys.executable, "-c", f"import sys; {loads}; {shown}"], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(made.stdout.split())
    strangers = {
        "aiokafka",
        "psycopg",
        "pkcs11",
        "faust",
        "cedarpy",
        "typer",
        "structlog",
        "prometheus_client",
        "uvloop",
    }
    assert not strangers & loaded
    own = {name for name in loaded if name.startswith("keyfold.")}
    assert all(name.startswith("keyfold.events") for name in own)


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("aiokafka", ["keyfold/bus"]),
        ("psycopg", ["keyfold/projections"]),
        ("pkcs11", ["keyfold/token"]),
        ("faust", ["keyfold/analytics"]),
        ("cedarpy", ["keyfold/deciding"]),
        ("joserfc", ["keyfold/deciding"]),
        ("aiohttp", ["keyfold/scheduler"]),
    ],
)
def test_libraries_have_one_home(library: str, homes: list[str]) -> None:
    """Each library that meets the world is imported in one place."""
    for source in ("events", "projections", "services"):
        for path in (ROOT / source).rglob("*.py"):
            place = path.relative_to(ROOT / source).as_posix()
            if not place.startswith(tuple(homes)):
                assert library not in {name.split(".")[0] for name, _ in imports(path)}, place


def test_import_linter() -> None:
    """The contracts of `.importlinter` are kept."""
    linter = Path(sys.executable).parent / "lint-imports"
    made = subprocess.run(
        [str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )
    assert made.returncode == 0, made.stdout[-3000:]


def test_namespace_has_no_init() -> None:
    """`keyfold` is a namespace package of three roots: no root has an `__init__.py` directly under it."""
    for source in ("events", "projections", "services"):
        assert not (ROOT / source / "keyfold" / "__init__.py").exists()


EXPORTS = {
    "arguments": "Context GrantVerb JwsAlgorithm KeySpec LimitKind MAX_ITEMS MAX_PROTECTED_ITEMS PrincipalType "
    "Protection PublicKey SigningKeyArgument Tags Text VerbName",
    "bodies": "Body REPLY_KEY_BYTES SUITE decode encode info",
    "checkpoints": "CONSISTENCY_HEADER Checkpoint LogPair NEXT_HEADER Sign SignedCheckpoint cosign_ed25519 "
    "cosign_ml_dsa_44 log_keys log_pairs open_checkpoint open_log_checkpoint origin_of parse_checkpoint "
    "partition_of_origin sign_ed25519",
    "chains": "Accepted ChainGap ChainReader ChainRepeat Place read_event single_header",
    "command_envelope": "Arguments Command CommandData DataPlaneCommand DataPlaneData MAX_CONTEXTS_BYTES "
    "MAX_CONTEXT_BYTES MAX_LIFETIME_MS ReplyAddress TYPE_PREFIX check_scope peek_reply source_of",
    "commands": "AnyCommand BY_VERB COMMANDS algorithm_of arguments_model parse_command type_of",
    "directory": "GENESIS directory_names directory_partition public_key_name verify_verbatim",
    "entities": "Alias Approval AttachedPolicy Bucket DEPLOYMENT Deployment Entity Grant Grants Issuer Key KeyStatus "
    "KeyVersion Limit Principal PrincipalKey PrincipalStatus Proposal ProposalStatus RegistryPolicy SealingKey "
    "SigningKey VersionStatus bucket_name grants_name",
    "event": "Code Count Decision DecisionData Event PolicyEvent ProposalUse Role Version",
    "evolve": "Changes PROTECTING View evolve get",
    "identities": "principal_name",
    "log_leaves": "OFFSETS_HEADER entry_of leaf_of",
    "log_proofs": "LogProof MAGIC parse_proof",
    "lthash": "BYTES LANES Sum element empty replace to_bytes",
    "merkle": "ProofInvalid leaf_hash levels_of node_hash path_of root_of verify_inclusion",
    "notes": "ED25519 ED25519_COSIGNATURE MAX_NOTE_BYTES MAX_NUMBER ML_DSA_44_COSIGNATURE Note NoteInvalid "
    "NoteSignature PUBLIC_KEY_BYTES VerifierKey check_name decode_base64 decode_number key_id parse_note parse_vkey",
    "proposals": "NOT_PROPOSABLE proposed_command proposed_in",
    "replies": "CORRELATION_HEADER ItemResult Reply ReplyData ReplyInvalid SALT_BYTES decode_items encode_items "
    "parse_reply seal unseal usage_mac",
    "signatures": "COMMAND EMPTY_DIGEST HEAD PUBLIC_KEY_BYTES REPLY STATEMENT SignatureAlgorithm Signer Verifier "
    "check_public_key command_message command_message_of_digest fingerprint pae reply_message",
    "statements": "Chain ChainHead Entry GENESIS_DIGEST Header MAX_LEAVES PATH_HEADER SEALED_HEADER SIGNATURE_HEADER "
    "SIGNER_HEADER STATEMENT_HEADER Statement UntrustedRecord parse_statement sign_entries verify_entry",
    "streams": "AliasName Fingerprint KeyId KEY_PREFIX Name NAME_PATTERN PRINCIPAL_PREFIX REGISTRY Stream UUID_PATTERN "
    "Uuid is_stream key_id_bytes key_id_of key_stream partition_of principal_stream",
    "strictjson": "Frozen MAX_DEPTH canonical loads parse",
    "tree": "CompactRange Node Subtree TILE_HEIGHT consistency_path inclusion_path range_hash verify_consistency "
    "verify_inclusion",
    "trust": "CLOCK_TOLERANCE_MS Certificate MAX_CERTIFICATE_MS Trust check_author",
    "view": "Changes View get",
}


@pytest.mark.parametrize("module", sorted(EXPORTS))
def test_exports(module: str) -> None:
    """What other packages build on is there under its name."""
    made = importlib.import_module(f"keyfold.events.{module}")
    assert [name for name in EXPORTS[module].split() if not hasattr(made, name)] == []


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_stay_small(module: str) -> None:
    """Every module says in its docstring what it does; functions stay under 40 lines."""
    tree = ast.parse((EVENTS / f"{module}.py").read_text("utf-8"))
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 40, node.name
