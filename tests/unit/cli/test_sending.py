"""From a command line to the command on the bus: every command that sends one, with a reason and as a dry run."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.unit.cli.conftest import KEY, ORDERS, Terminal

from keyfold.cli import main
from keyfold.events.signatures import Signer

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
PUBLIC = Signer(b"p" * 32).public_key.hex()
ML_DSA = Signer(b"p" * 32, "ML-DSA-65").public_key.hex()
PAST = "2020-01-31T12:00:00.000Z"
LATER = "2999-01-31T12:00:00.000Z"
DIGEST = "ab" * 32
POLICY = "permit (principal, action, resource);"
ON_KEY, ON_REGISTRY = f"key/{KEY}", "registry"

Case = tuple[list[str], str, str | None, dict[str, Any]]
CASES: dict[str, Case] = {
    "key create": (
        [
            "--usage-budget", "9", "--rotate-at", "0", "--tag", "a=b", "--protection", "SOFTWARE", "--spec", "RSA_2048",
            "--usage", "SIGN_VERIFY", "--not-before", PAST, "--not-after", LATER, "--rotation-period", "90s",
            "--origin", "EXTERNAL",
        ],
        "CreateKey", None,
        {
            "usage_budget": 9, "rotate_at_percent": None, "tags": {"a": "b"}, "protection": "SOFTWARE",
            "key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY", "not_before": PAST, "not_after": LATER,
            "rotation_period_seconds": 90, "origin": "EXTERNAL",
        },
    ),
    "key validity": (
        [ORDERS, "--not-before", "never", "--not-after", LATER], "UpdateKeyValidity", ON_KEY,
        {"not_before": "never", "not_after": LATER},
    ),
    "key rotation enable": ([ORDERS, "365"], "EnableKeyRotation", ON_KEY, {"rotation_period_seconds": 365 * 86_400}),
    "key rotation disable": ([ORDERS], "DisableKeyRotation", ON_KEY, {}),
    "key disable-version": ([ORDERS, "1"], "DisableKeyVersion", ON_KEY, {"version": 1}),
    "key enable-version": ([ORDERS, "1"], "EnableKeyVersion", ON_KEY, {"version": 1}),
    "key destroy-version": ([ORDERS, "1", "--yes"], "DestroyKeyVersion", ON_KEY, {"version": 1}),
    "key compromise": (
        [ORDERS, "--occurred-at", PAST, "--version", "2", "--version", "1", "--version", "2", "--no-rotate"],
        "MarkKeyCompromised", ON_KEY, {"occurred_at": PAST, "versions": [1, 2]},
    ),
    "key import-parameters": (
        [ORDERS, "--version", "2", "--algorithm", "RSAES_OAEP_SHA_256", "--wrapping-key-spec", "RSA_3072"],
        "GetParametersForImport", ON_KEY,
        {"key_version": 2, "wrapping_algorithm": "RSAES_OAEP_SHA_256", "wrapping_key_spec": "RSA_3072"},
    ),
    "key delete-material": (
        [ORDERS, "--version", "1"], "DeleteImportedKeyMaterial", ON_KEY, {"key_version": 1, "cause": "requested"},
    ),
    "key rotate": ([ORDERS], "RotateKey", ON_KEY, {"cause": "requested"}),
    "key enable": ([ORDERS], "EnableKey", ON_KEY, {}),
    "key disable": ([ORDERS], "DisableKey", ON_KEY, {}),
    "key schedule-deletion": ([KEY, "--seconds", "5"], "ScheduleKeyDeletion", ON_KEY, {"pending_window_seconds": 5}),
    "key cancel-deletion": ([ORDERS], "CancelKeyDeletion", ON_KEY, {}),
    "key destroy-now": ([ORDERS, "--yes"], "DestroyKeyNow", ON_KEY, {}),
    "key tag": ([ORDERS, "team=shop", "x=y=z"], "TagResource", ON_KEY, {"tags": {"team": "shop", "x": "y=z"}}),
    "key untag": ([ORDERS, "team", "x"], "UntagResource", ON_KEY, {"tag_keys": ["team", "x"]}),
    "key budget": (
        [ORDERS, "100", "--rotate-at", "90"], "UpdateUsageBudget", ON_KEY, {"items": 100, "rotate_at_percent": 90},
    ),
    "alias create": (["alias/b", ORDERS], "CreateAlias", ON_REGISTRY, {"alias": "alias/b", "key_id": KEY}),
    "alias update": ([ORDERS, KEY], "UpdateAlias", ON_REGISTRY, {"alias": ORDERS, "key_id": KEY}),
    "alias delete": ([ORDERS], "DeleteAlias", ON_REGISTRY, {"alias": ORDERS}),
    "principal register": (
        ["bob", "--group", "ops", "--tag", "t=1", "--type", "human", "--expires", LATER, "--public-key", ML_DSA],
        "RegisterPrincipal", ON_REGISTRY,
        {
            "principal": "bob", "groups": ["ops"], "tags": {"t": "1"}, "principal_type": "human", "expires_at": LATER,
            "public_key": ML_DSA, "algorithm": "ML-DSA-65",
        },
    ),
    "principal update": (
        ["bob", "--group", "ops", "--no-tags", "--expires", "never"], "UpdatePrincipal", ON_REGISTRY,
        {"principal": "bob", "groups": ["ops"], "tags": {}, "expires_at": "never"},
    ),
    "principal suspend": (["bob"], "SuspendPrincipal", ON_REGISTRY, {"principal": "bob"}),
    "principal resume": (["bob"], "ResumePrincipal", ON_REGISTRY, {"principal": "bob"}),
    "principal revoke": (["bob"], "RevokePrincipal", ON_REGISTRY, {"principal": "bob"}),
    "principal key add": (
        ["bob", "--public-key", PUBLIC, "--expires", LATER], "AddSigningKey", ON_REGISTRY,
        {"principal": "bob", "public_key": PUBLIC, "algorithm": "Ed25519", "expires_at": LATER},
    ),
    "principal key rotate": (["admin-1"], "RotateSigningKey", ON_REGISTRY, {"principal": "admin-1"}),
    "principal key revoke": (
        ["bob", DIGEST], "RevokeSigningKey", ON_REGISTRY, {"principal": "bob", "signing_key": DIGEST},
    ),
    "issuer put": (
        [
            "ci", "--url", "https://ci.example", "--audience", "keyfold", "--algorithm", "ES256",
            "--algorithm", "EdDSA", "--jwks-source", "ci.json", "--keys-lifetime", "12h", "--max-token", "15m",
            "--groups-claim", "roles", "--group", "dev=builders", "--tag", "repo=repository", "--base-group", "builds",
        ],
        "PutIssuer", ON_REGISTRY,
        {
            "issuer": "ci", "url": "https://ci.example", "audience": "keyfold", "algorithms": ["ES256", "EdDSA"],
            "jwks_source": "ci.json", "keys_lifetime_seconds": 43_200, "max_token_seconds": 900,
            "groups_claim": "roles", "groups": {"dev": "builders"}, "tags": {"repo": "repository"},
            "base_groups": ["builds"],
        },
    ),
    "issuer keys": (["ci", "jwks.json"], "PutIssuerKeys", ON_REGISTRY, {"issuer": "ci", "jwks": '{"keys":[]}'}),
    "issuer delete": (["ci"], "DeleteIssuer", ON_REGISTRY, {"issuer": "ci"}),
    "policy put": (["p", "p.cedar"], "PutPolicy", ON_REGISTRY, {"policy": "p", "text": POLICY}),
    "policy delete": (["p", "--key", ORDERS], "DeletePolicy", ON_KEY, {"policy": "p"}),
    "grant create": (
        [
            ORDERS, "bob", "--verb", "Decrypt", "--verb", "Encrypt", "--expires", LATER, "--context-subset", "t=7",
            "--context-equals", "t=7", "--max-operations", "5", "--max-items", "50", "--delegable",
            "--retiring", "carol", "--parent", ID, "--algorithm", "ECDSA_SHA_256", "--algorithm", "SYMMETRIC_DEFAULT",
        ],
        "CreateGrant", ON_KEY,
        {
            "grantee": "bob", "verbs": ["Decrypt", "Encrypt"], "expires_at": LATER,
            "max_operations": 5, "max_items": 50,
            "encryption_context_subset": {"t": "7"}, "encryption_context_equals": {"t": "7"}, "delegable": True,
            "retiring_principal": "carol", "parent": ID, "algorithms": ["ECDSA_SHA_256", "SYMMETRIC_DEFAULT"],
        },
    ),
    "grant retire": ([ID, "--key", ORDERS], "RetireGrant", ON_KEY, {"grant": ID}),
    "grant revoke": ([ID, "--key", KEY], "RevokeGrant", ON_KEY, {"grant": ID}),
    "limit put": (
        [
            "l", "5", "--period", "1m", "--kind", "rate", "--unit", "items", "--burst", "7", "--per", "key",
            "--principal", "bob", "--group", "ops", "--key", ORDERS, "--verb", "Decrypt",
        ],
        "PutLimit", ON_REGISTRY,
        {
            "limit": "l", "kind": "rate", "amount": 5, "period_seconds": 60, "unit": "items", "burst": 7, "per": "key",
            "principal": "bob", "group": "ops", "key_id": KEY, "verbs": ["Decrypt"],
        },
    ),
    "limit delete": (["l"], "DeleteLimit", ON_REGISTRY, {"limit": "l"}),
    "proposal create": (
        ["DisableKey", ORDERS, "--argument", "reason=disclosed", "--expires", LATER], "ProposeCommand", ON_KEY,
        {"verb": "DisableKey", "arguments": {"reason": "disclosed"}, "expires_at": LATER},
    ),
}  # fmt: skip
ELSEWHERE = {
    "proposal approve", "proposal deny", "proposal cancel", "login", "import",
    "alerts ack", "alerts close", "alerts suppress", "alerts unsuppress",
}  # fmt: skip
USES = {
    "encrypt", "decrypt", "re-encrypt", "data-key", "data-key-pair", "random", "sign", "verify", "mac", "verify-mac",
    "derive", "encapsulate", "decapsulate",
}  # fmt: skip


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the cases name."""
    monkeypatch.chdir(tmp_path)
    Path("jwks.json").write_text('{"keys":[]}')
    Path("p.cedar").write_text(POLICY)


def senders() -> dict[str, Any]:
    found = {}

    def walk(group: Any, path: tuple[str, ...] = ()) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(command, (*path, name))
            elif {"no_wait", "proposal"} & {parameter.name for parameter in command.params} or name == "random":
                found[" ".join((*path, name))] = command

    walk(typer.main.get_command(main.app))
    return {name: command for name, command in found.items() if name != "projections rebuild"}


def test_every_command_that_sends_one_takes_a_reason_and_a_dry_run() -> None:
    """And each is tried here, or with its own tests."""
    found = senders()
    assert {*CASES, *ELSEWHERE, *USES} == set(found) - {"proposal show"}
    for name in found.keys() - {"proposal show"}:
        assert {"reason", "dry_run"} <= {parameter.name for parameter in found[name].params}, name


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_command_line_sends_its_command(terminal: Terminal, name: str) -> None:
    """As who acts, on the stream that fits it, with these arguments and the reason."""
    words, verb, subject, expected = CASES[name]
    ran = terminal.done("--json", *name.split(), *words, "--reason", "because")
    sent = [got.command for got in ran.received]
    assert [command.verb for command in sent] == [verb]
    assert (sent[0].data.principal, sent[0].data.reason, sent[0].data.dry_run) == ("admin-1", "because", False)
    assert subject is None or sent[0].subject == subject
    arguments = sent[0].data.arguments.model_dump()
    assert arguments | expected == arguments
    assert ran.document["command_id"] == sent[0].id


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_dry_run_changes_nothing(terminal: Terminal, name: str) -> None:
    """It says that it would be allowed, and leaves no file behind."""
    before = sorted(path.name for path in terminal.identities.iterdir())
    ran = terminal.done("--json", *name.split(), *CASES[name][0], "--dry-run")
    (got,) = ran.received
    assert got.command.data.dry_run
    decision = f"{got.record.partition}.{got.record.offset}.decision"
    assert ran.document == {"dry_run": True, "command_id": got.command.id, "decision": decision}
    assert sorted(path.name for path in terminal.identities.iterdir()) == before
    assert "nothing was done" in terminal.done(*name.split(), *CASES[name][0], "--dry-run").out


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_denied_dry_run_is_refused(terminal: Terminal, name: str) -> None:
    """Exit code 1, with the code of the denial."""
    terminal.prepare.append(lambda deployment: deployment.scripts.append(lambda got: "AccessDenied"))
    ran = terminal("--json", *name.split(), *CASES[name][0], "--dry-run")
    assert (ran.code, json.loads(ran.err.splitlines()[-1])["error"]["code"]) == (1, "AccessDenied")


def test_a_reason_is_kept_with_what_is_disabled_or_suspended(terminal: Terminal) -> None:
    """And said with the command."""
    for words in (["key", "disable", ORDERS], ["principal", "suspend", "bob"]):
        (got,) = terminal.done(*words, "--reason", "misuse").received
        assert (got.command.data.reason, got.command.data.arguments.reason) == ("misuse", "misuse")


def test_a_key_is_created_with_its_alias(terminal: Terminal) -> None:
    """Two commands with the same reason; a dry run asks about the key only."""
    ran = terminal.done("key", "create", "--alias", "alias/new", "--reason", "why")
    assert [(got.command.verb, got.command.data.reason) for got in ran.received] == [
        ("CreateKey", "why"), ("CreateAlias", "why"),
    ]  # fmt: skip
    ran = terminal.done("key", "create", "--alias", "alias/new", "--dry-run")
    assert [got.command.verb for got in ran.received] == ["CreateKey"]


def test_a_grant_is_named(terminal: Terminal) -> None:
    """By the id that `grant show` takes."""
    words = ["grant", "create", ORDERS, "bob", "--verb", "Decrypt", "--expires", "30d"]
    ran = terminal.done("--json", *words)
    assert ran.document["grant"] == ran.received[0].command.id
    assert ran.received[0].command.data.arguments.encryption_context_subset is None
    assert ran.received[0].command.id not in terminal.done(*words).out.removeprefix("grant ").partition(":")[2]


def test_spans_count_from_now(terminal: Terminal) -> None:
    """30d is later than 12h."""
    ends = [
        terminal.done("principal", "update", "bob", "--expires", span).received[0].command.data.arguments.expires_at
        for span in ("90s", "15m", "12h", "30d")
    ]
    assert ends == sorted(ends)


@pytest.mark.parametrize(
    "words",
    [
        ["key", "destroy-now", ORDERS],
        ["key", "tag", ORDERS, "nonsense"],
        ["key", "validity", ORDERS],
        ["key", "validity", ORDERS, "--not-after", "soon"],
        ["key", "rotation", "enable", ORDERS, "often"],
        ["key", "create", "--spec", "AES"],
        ["key", "create", "--rotation-period", "0"],
        ["key", "disable-version", ORDERS, "0"],
        ["key", "destroy-version", ORDERS, "1"],
        ["key", "compromise", ORDERS],
        ["key", "compromise", ORDERS, "--occurred-at", "yesterday"],
        ["import", ORDERS],
        ["import", ORDERS, "p.cedar", "--wrapped", "p.cedar"],
        ["import", ORDERS, "--wrapped", "p.cedar"],
        ["import", ORDERS, "p.cedar", "--parameters", "p.cedar"],
        ["key", "schedule-deletion", ORDERS],
        ["principal", "update", "bob"],
        ["principal", "update", "bob", "--group", "a", "--no-groups"],
        ["principal", "update", "bob", "--tag", "a=b", "--no-tags"],
        ["principal", "update", "bob", "--expires", "soon"],
        ["principal", "register", "bob", "--public-key", "00"],
        ["principal", "register", "bob", "--public-key", "xx" * 32],
        ["principal", "register", "../bob"],
        ["principal", "key", "add", "bob"],
        ["principal", "key", "add", "bob", "--public-key", PUBLIC, "--key-file", "x.json"],
        ["issuer", "put", "ci", "--url", "u", "--audience", "a", "--algorithm", "HS256"],
        ["issuer", "put", "ci", "--url", "u", "--audience", "a", "--algorithm", "ES256", "--max-token", "long"],
        ["grant", "create", ORDERS, "bob", "--verb", "RotateKey", "--expires", "1d"],
        ["grant", "create", ORDERS, "bob", "--verb", "Decrypt", "--expires", "0d"],
        ["limit", "put", "l", "5", "--period", "60"],
        ["proposal", "create", "Nonsense"],
        ["proposal", "create", "DisableKey"],
        ["proposal", "create", "DisableKey", ORDERS, "--argument", "reason"],
    ],
)
def test_wrong_words_are_a_usage_error(terminal: Terminal, words: list[str]) -> None:
    """Exit code 2; nothing is sent and no file is made."""
    ran = terminal(*words)
    assert (ran.code, ran.received) == (2, []), ran.err
    assert [path.name for path in terminal.identities.iterdir()] == ["admin-1.json"]


def test_a_policy_is_validated_here(terminal: Terminal, tmp_path: Path) -> None:
    """Without a deployment: exit code 1 and the statement that is wrong, before it is put."""
    assert terminal.done("policy", "validate", "p.cedar").received == []
    Path("bad.cedar").write_text('permit (principal, action == Action::"Nonsense", resource);')
    ran = terminal("--json", "policy", "validate", "bad.cedar")
    assert (ran.code, json.loads(ran.err)["error"]["code"]) == (1, "InvalidPolicy")
    assert main.run(["--data", str(tmp_path / "none"), "policy", "validate", "p.cedar"]) == 0
