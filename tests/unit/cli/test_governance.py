"""Principals, grants, limits and issuers on the command line: what is shown of them."""

from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import KEY, ORDERS, Terminal

from keyfold.ceremony import SERVICE_ROLES
from keyfold.ceremony.identities import ANALYTICS_FILE, identity_path
from keyfold.events.entities import Grant, Issuer, Limit, Principal, PrincipalKey
from keyfold.events.signatures import Signer
from keyfold.identity import SERVICES, create_identity, load_identity, principal_path

ID = "01890a5d-ac96-774b-bcce-b302099a8059"
LATER, SINCE = "2999-01-31T12:00:00.000Z", "2026-01-31T12:00:00.000Z"


def key_of(seed: bytes, **fields: Any) -> PrincipalKey:
    signer = Signer(seed * 32)
    known = {"algorithm": "Ed25519", "added_at": SINCE, "public_key": signer.public_key.hex()}
    return PrincipalKey(signing_key=signer.fingerprint, **known | fields)


def principal(**fields: Any) -> Principal:
    known = {"principal": "bob", "keys": (key_of(b"1"),), "registered_at": SINCE}
    return Principal(**known | fields)


def grant(**fields: Any) -> Grant:
    known = {
        "grant": ID, "key_id": KEY, "grantee": "bob", "verbs": ("Decrypt",), "expires_at": LATER,
        "encryption_context_equals": None, "encryption_context_subset": {"t": "7"}, "algorithms": None,
        "max_operations": 5, "max_items": None, "delegable": False, "retiring_principal": "carol", "parent": None,
        "created_by": "admin-1", "created_at": SINCE, "used_operations": 2,
    }  # fmt: skip
    return Grant(**known | fields)


def test_a_principal_is_shown_with_its_keys(terminal: Terminal) -> None:
    """Their whole fingerprints, kinds and states; an end that has come is told."""
    keys = (key_of(b"1"), key_of(b"2", status="Revoked"), key_of(b"3", expires_at=SINCE))
    found = principal(keys=keys, groups=("ops",), status="Suspended", reason="on leave", expires_at=SINCE)
    terminal.projected.principals_.append(found)
    out = terminal.done("principal", "show", "bob").out
    assert "Suspended (on leave)" in out
    for key, status in zip(keys, ("Active", "Revoked", "Expired"), strict=True):
        assert any(key.signing_key in line and status in line for line in out.splitlines())
    assert [line.split()[2] for line in terminal.done("principal", "key", "list", "bob").out.splitlines()[1:]] == [
        "Active", "Revoked", "Expired",
    ]  # fmt: skip
    document = terminal.done("--json", "principal", "show", "bob").document
    assert [key["signing_key"] for key in document["keys"]] == [key.signing_key for key in keys]


def test_principals_are_listed(terminal: Terminal) -> None:
    """With their kind and how many of their keys can be used."""
    federated = principal(principal="ci.main.0", principal_type="federated", issuer="ci", token_subject="main")
    terminal.projected.principals_ += [principal(expires_at=SINCE), federated]
    rows = [line.split() for line in terminal.done("principal", "list").out.splitlines()[1:]]
    assert [(row[0], row[1], row[2], row[-1]) for row in rows] == [
        ("bob", "Expired", "workload", "1"), ("ci.main.0", "Active", "federated", "1"),
    ]  # fmt: skip
    assert "ci, main" in terminal.done("principal", "show", "ci.main.0").out


@pytest.mark.parametrize(
    "words", [["principal", "show", "eve"], ["principal", "key", "list", "eve"], ["grant", "show", ID]]
)
def test_what_is_unknown_is_not_found(terminal: Terminal, words: list[str]) -> None:
    """Exit code 1, and where to look."""
    ran = terminal(*words)
    assert (ran.code, "list" in ran.err) == (1, True)


def test_a_principal_is_registered_with_a_key_made_here(terminal: Terminal) -> None:
    """Of the algorithm that is asked for; its identity file can sign at once."""
    ran = terminal.done("--json", "principal", "register", "bob", "--algorithm", "ML-DSA-65")
    identity = load_identity(terminal.identities / "bob.json")
    arguments = ran.received[0].command.data.arguments
    assert (arguments.public_key, arguments.algorithm) == (identity.signer.public_key.hex(), "ML-DSA-65")
    assert ran.document["identity"] == str(terminal.identities / "bob.json")
    terminal.done("--as", "bob", "key", "rotate", ORDERS)


def test_a_refused_registration_leaves_no_file(terminal: Terminal) -> None:
    """But one that was there before stays, and one whose registration is unknown."""
    terminal.prepare.append(lambda deployment: deployment.scripts.append(lambda got: "AccessDenied"))
    assert terminal("principal", "register", "bob").code == 1
    assert not (terminal.identities / "bob.json").exists()
    create_identity(terminal.identities / "bob.json", "bob", terminal.deployment)
    assert terminal("principal", "register", "bob").code == 1
    assert (terminal.identities / "bob.json").exists()


def test_a_strangers_file_is_not_registered(terminal: Terminal) -> None:
    """Its key would be somebody else's."""
    create_identity(terminal.identities / "bob.json", "eve", terminal.deployment)
    assert terminal("principal", "register", "bob").code == 2


def test_a_principal_that_is_called_like_a_service_has_a_file_of_its_own(terminal: Terminal) -> None:
    """A later ceremony would take the file for the service's; the name still means the principal everywhere."""
    path = terminal.identities / "analytics-principal.json"
    assert terminal.done("--json", "principal", "register", "analytics").document["identity"] == str(path)
    assert not (terminal.identities / "analytics.json").exists()
    terminal.done("--as", "analytics", "key", "rotate", ORDERS)


@pytest.mark.parametrize("copied", [True, False])
def test_a_services_key_is_nobody_elses(terminal: Terminal, copied: bool) -> None:
    """Neither as a copied file nor by its public key: nothing is sent."""
    service = create_identity(terminal.identities / "analytics.json", "analytics", terminal.deployment)
    words = ["--public-key", service.signer.public_key.hex()]
    if copied:
        words, copy = [], terminal.identities / "analytics-principal.json"
        copy.write_bytes((terminal.identities / "analytics.json").read_bytes())
        copy.chmod(0o600)
    added = ["principal", "key", "add", "analytics", "--key-file", str(terminal.identities / "analytics.json")]
    for line in (["principal", "register", "analytics", *words], added):
        ran = terminal(*line)
        assert (ran.code, ran.received) == (2, [])
        assert "a service's" in ran.err


def test_files_of_services_are_those_of_the_ceremony() -> None:
    """One list says whom a ceremony certifies, the other which names are taken."""
    assert set(SERVICE_ROLES) == SERVICES
    assert principal_path(Path(), "analytics") == identity_path(Path(), ANALYTICS_FILE)
    assert principal_path(Path(), "alice") == identity_path(Path(), "alice")


def test_grants_are_listed_and_shown(terminal: Terminal) -> None:
    """With their terms and how much is used; an end that has come is told."""
    terminal.projected.grants_ += [grant(), grant(expires_at=SINCE), grant(status="Revoked")]
    rows = [line.split() for line in terminal.done("grant", "list").out.splitlines()[1:]]
    assert [row[1] for row in rows] == ["Active", "Expired", "Revoked"]
    out = terminal.done("grant", "show", ID).out
    for part in ("bob", "Decrypt", "t=7", "2 of 5", "unlimited", "carol", LATER):
        assert part in out, part
    terminal.done("grant", "list", "--key", ORDERS, "--grantee", "bob", "--live")
    wanted = terminal.projected.asked[-1][1]
    assert (wanted["key_id"], wanted["grantee"], wanted["live_at"] is None) == (KEY, "bob", False)


@pytest.mark.parametrize("verb", ["retire", "revoke"])
def test_a_grant_is_ended_on_its_keys_stream(terminal: Terminal, verb: str) -> None:
    """Which the projections know; who has none of them names the key."""
    terminal.projected.grants_.append(grant())
    (got,) = terminal.done("grant", verb, ID).received
    assert got.command.subject == f"key/{KEY}"
    terminal.projected.grants_.clear()
    assert terminal("grant", verb, ID).code == 1
    terminal.done("grant", verb, ID, "--key", ORDERS)


def test_limits_are_listed(terminal: Terminal) -> None:
    """What, how much, for whom."""
    terminal.projected.limits_.append(
        Limit(
            limit="l", limit_kind="rate", unit="items", amount=5, period_seconds=60, burst=7, per="key",
            principal=None, group="ops", key_id=KEY, verbs=("Decrypt",), updated_at=SINCE,
        )
    )  # fmt: skip
    out = terminal.done("limit", "list").out
    assert "5 items in 60 s" in out
    assert "ops" in out
    assert terminal.done("--json", "limit", "list").document[0]["burst"] == 7


def test_issuers_are_listed(terminal: Terminal) -> None:
    """And until when their keys are used."""
    terminal.projected.issuers_.append(
        Issuer(
            issuer="ci", url="https://ci.example", audience="keyfold", algorithms=("ES256",), jwks_source="ci.json",
            keys_lifetime_seconds=600, max_token_seconds=900, groups_claim=None, groups={}, tags={}, base_groups=(),
            updated_at=SINCE, keys_expire_at=LATER,
        )
    )  # fmt: skip
    out = terminal.done("issuer", "list").out
    assert all(part in out for part in ("https://ci.example", "ES256", "ci.json", LATER))
