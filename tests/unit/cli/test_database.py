"""`keyfold database`: the table of rights as it is shown, and password files."""

import base64
import hashlib
import hmac
import json
import stat
from pathlib import Path

import pytest

from keyfold.cli import database
from keyfold.cli.exits import UsageError
from keyfold.cli.main import run
from keyfold.config import ConfigError
from keyfold.projections.access import AUDITOR, DATABASE_GRANTS, OWNER, ROLES, SCHEMA_GRANTS, VIEW_GRANTS, Grant
from keyfold.projections.store.access import scram_verifier


def test_the_table_is_shown_without_a_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is connected to; every role is there."""
    assert run(["--data", str(tmp_path), "--json", "database", "grants"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["role"] for row in told} == set(ROLES)
    assert run(["--data", str(tmp_path), "database", "grants", "--commands", "kf"]) == 0
    assert "GRANT CONNECT ON DATABASE kf TO keyfold_auditor;" in capsys.readouterr().out


def test_passwords_are_for_roles_that_are_made(tmp_path: Path) -> None:
    """The option alone does nothing, and says so."""
    assert run(["--data", str(tmp_path), "database", "grants", "--passwords", str(tmp_path / "new")]) != 0
    assert not (tmp_path / "new").exists()


def test_a_password_file_is_made_once(tmp_path: Path) -> None:
    """In libpq's form, for its owner only; what is there is kept, and what others may read is refused."""
    first = database._password(tmp_path, AUDITOR)
    file = tmp_path / f"{AUDITOR}.pgpass"
    assert file.read_text() == f"*:*:*:{AUDITOR}:{first}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert database._password(tmp_path, AUDITOR) == first
    file.write_text("localhost:5432:keyfold:other:'; DROP ROLE postgres\n")
    with pytest.raises(UsageError) as caught:
        database._password(tmp_path, AUDITOR)
    assert "DROP" not in str(caught.value)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        database._password(tmp_path, AUDITOR)


def test_a_verifier_proves_a_password_without_telling_it() -> None:
    """The proof that a client makes of the password (RFC 5802, section 3) fits what the server keeps."""
    verifier = scram_verifier("pencil", b"W22ZaJ0SNY7soEsU")
    scheme, rest = verifier.split("$", 1)
    head, keys = rest.split("$")
    rounds, salt = head.split(":")
    stored, server = (base64.b64decode(key) for key in keys.split(":"))
    assert (scheme, rounds) == ("SCRAM-SHA-256", "4096")
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", base64.b64decode(salt), int(rounds))
    client_key, message = hmac.digest(salted, b"Client Key", "sha256"), b"what both have said"
    proof = bytes(a ^ b for a, b in zip(client_key, hmac.digest(stored, message, "sha256"), strict=True))
    recovered = bytes(a ^ b for a, b in zip(proof, hmac.digest(stored, message, "sha256"), strict=True))
    assert hashlib.sha256(recovered).digest() == stored
    assert hmac.digest(salted, b"Server Key", "sha256") == server
    assert "pencil" not in verifier


def test_nobody_is_granted_what_is_anothers() -> None:
    """Only analytics changes alerts, nobody deletes, and no right is granted on to others."""
    rows: tuple[Grant, ...] = (*DATABASE_GRANTS, *SCHEMA_GRANTS, *VIEW_GRANTS)
    statements = [row.statement("d") for row in rows]
    assert not any(
        word in each for each in statements for word in ("GRANT OPTION", "DELETE", "TRUNCATE", "ALL", "PUBLIC")
    )
    writers = {
        row.role
        for row in rows
        if row.name.startswith("keyfold_alerts.") and {"INSERT", "UPDATE"} & set(row.privileges)
    }
    assert writers == {"keyfold_analytics"}
    assert not [row for row in rows if row.role == OWNER and row.kind != "DATABASE"]
    assert [row for row in rows if row.role == AUDITOR and set(row.privileges) - {"SELECT", "USAGE", "CONNECT"}] == []
