"""Importing key material from the command line: in one go, and in the three steps of an offline ceremony."""

import base64
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import pairs
from tests.unit.cli.conftest import CREATED, KEY, ORDERS, Terminal, a_key

from keyfold.cli import main
from keyfold.events import facts

SMALL = ["--wrapping-key-spec", "RSA_3072"]
LATER = "2999-01-31T12:00:00.000Z"


@pytest.fixture
def key(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A key that waits for its material, which lies in the file `secret`."""
    monkeypatch.chdir(tmp_path)
    Path("secret").write_bytes(os.urandom(32))
    key_id: str = terminal.done("--json", "key", "create", "--origin", "EXTERNAL").document["key_id"]
    terminal.projected.keys_[key_id] = a_key(key_id=key_id, origin="EXTERNAL")
    return key_id


def test_material_is_imported_in_one_go(terminal: Terminal, key: str) -> None:
    """Parameters, wrapping, import; what the service opens is what the file held."""
    ran = terminal.done("--json", "import", key, "secret", "--valid-to", LATER, "--reason", "moving in", *SMALL)
    ask, bring = (got.command for got in ran.received)
    assert (ask.verb, bring.verb, bring.data.arguments.valid_to) == (
        "GetParametersForImport",
        "ImportKeyMaterial",
        LATER,
    )
    assert (ask.data.reason, bring.data.reason) == ("moving in", "moving in")
    assert terminal.held.versions[key] == [Path("secret").read_bytes()]
    assert "imported" in terminal.done("import", key, "secret", *SMALL).out


@pytest.mark.parametrize(
    ("form", "encode"),
    [
        ("raw", bytes), ("hex", lambda data: data.hex().encode() + b"\n"), ("base64", base64.b64encode),
        ("auto", bytes),
    ],
)  # fmt: skip
def test_files_have_forms(terminal: Terminal, key: str, form: str, encode: Any) -> None:
    """The material is the same in each."""
    secret = Path("secret").read_bytes()
    Path("written").write_bytes(encode(secret))
    terminal.done("import", key, "written", "--format", form, *SMALL)
    assert terminal.held.versions[key] == [secret]


def test_what_does_not_fit_the_spec_is_found_here(terminal: Terminal, key: str) -> None:
    """Nothing is sent, and the material is not shown."""
    Path("short").write_bytes(b"not 32 bytes")
    ran = terminal("import", key, "short", "--format", "raw")
    assert (ran.code, ran.received) == (2, [])
    assert "not 32 bytes" not in ran.err


def test_a_ceremony_has_three_steps(terminal: Terminal, key: str) -> None:
    """Parameters here, wrapping on a machine without a deployment, import here; the files are no secret."""
    terminal.done("key", "import-parameters", key, "-o", "parameters.json", *SMALL)
    told = json.loads(Path("parameters.json").read_text())
    assert (told["key_id"], told["key_spec"], told["version"]) == (key, "SYMMETRIC_DEFAULT", 1)
    elsewhere = ["--data", "nowhere", "import", key, "secret", "--parameters", "parameters.json", "-o", "wrapped"]
    assert main.run(elsewhere) == 0
    secret = Path("secret").read_bytes()
    assert secret not in Path("wrapped").read_bytes()
    (got,) = terminal.done("import", key, "--parameters", "parameters.json", "--wrapped", "wrapped").received
    assert got.data.arguments.import_token == told["import_token"]
    assert terminal.held.versions[key] == [secret]
    again = terminal("--json", "import", key, "--parameters", "parameters.json", "--wrapped", "wrapped")
    assert (again.code, "ImportTokenInvalid" in again.err) == (1, True)


def test_private_keys_are_imported(terminal: Terminal, key: str) -> None:
    """PKCS #8, in PEM."""
    signing = terminal.done("--json", "key", "create", "--origin", "EXTERNAL", "--spec", "ML_DSA_65").document["key_id"]
    terminal.projected.keys_[signing] = a_key(key_id=signing, key_spec="ML_DSA_65", key_usage="SIGN_VERIFY")
    brought = pairs.make("ML_DSA_65")
    Path("key.pem").write_bytes(pairs.pkcs8(brought, pairs.Encoding.PEM))
    terminal.done("import", signing, "key.pem", "--format", "pem", *SMALL)
    assert terminal.held.versions[signing] == [pairs.to_wrap(brought)]


def test_parameters_that_were_issued_are_read_again(terminal: Terminal, key: str) -> None:
    """After approvals somebody else's command made them; they are in the log for all."""
    event = facts.ImportParametersCreated.new(
        "1.1.outcome", f"key/{KEY}", CREATED, offset=1, command_id=KEY, command_digest="0" * 64, principal="ann",
        verb="GetParametersForImport", key_id=KEY, import_token=KEY, version=1,
        wrapping_algorithm="RSAES_OAEP_SHA_256", public_key="AAAA", expires_at=LATER, attributes={},
    )  # fmt: skip
    terminal.projected.rows_ = (SimpleNamespace(outcome="completed", value=event.to_value()),)
    ran = terminal.done("--json", "key", "import-parameters", ORDERS, "--issued", "--no-wait")
    assert (ran.received, ran.document["import_token"], ran.document["public_key"]) == ([], KEY, "AAAA")


def test_an_import_can_be_tried(terminal: Terminal, key: str) -> None:
    """The command that comes next: that for parameters, or the import itself."""
    (got,) = terminal.done("import", key, "secret", "--dry-run").received
    assert (got.command.verb, got.command.data.dry_run) == ("GetParametersForImport", True)
    terminal.done("key", "import-parameters", key, "-o", "parameters.json", *SMALL)
    words = ["import", key, "secret", "--parameters", "parameters.json", "--dry-run", "--reason", "r"]
    (got,) = terminal.done(*words).received
    assert (got.command.verb, got.command.data.dry_run, got.command.data.reason) == ("ImportKeyMaterial", True, "r")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key_id":"x"}', "not JSON"])
def test_other_files_are_no_parameters(terminal: Terminal, key: str, text: str) -> None:
    """A usage error, whatever is wrong with them."""
    Path("parameters.json").write_text(text)
    ran = terminal("import", key, "secret", "--parameters", "parameters.json", "-o", "wrapped")
    assert (ran.code, "import-parameters" in ran.err, Path("wrapped").exists()) == (2, True, False)
