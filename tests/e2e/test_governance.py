"""Governance as people use it, by command line: quorum, break-glass, grants, limits, keys, federation, dry runs."""

import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from joserfc import jwk, jwt
from tests.e2e.conftest import CommandLine

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

QUORUM = """
forbid (principal, action == Action::"ScheduleKeyDeletion", resource) unless { context.approvals.count >= 2 };
permit (principal in Group::"break-glass", action in [Action::"Decrypt", Action::"ProposeCommand"], resource)
    when { context.reason != "" };
forbid (principal in Group::"break-glass", action == Action::"Decrypt", resource)
    unless { context.approvals.count >= 2 };
"""
USE = 'permit (principal == Principal::"writer", action in [Action::"Encrypt", Action::"GenerateDataKey"], resource);'
BUILDS = 'permit (principal in Group::"builds", action == Action::"Encrypt", resource);'


@pytest.fixture(scope="module")
def key(keyfold: CommandLine) -> str:
    """A key that `writer` may encrypt with, approvers, one who may break the glass, and a policy that asks for two."""
    for name, group in (("ann", "approvers"), ("ben", "approvers"), ("cem", "approvers"), ("greta", "break-glass")):
        keyfold.done("principal", "register", name, "--group", group, "--type", "human")
    keyfold.done("principal", "register", "writer")
    for name, text in (("quorum", QUORUM), ("builds", BUILDS), ("use", USE)):
        (keyfold.folder / f"{name}.cedar").write_text(text)
    key_id: str = keyfold.done("--json", "key", "create", "--alias", "alias/vault").document["key_id"]
    keyfold.done("policy", "put", "use", "use.cedar", "--key", "alias/vault")
    keyfold.done("policy", "put", "quorum", "quorum.cedar")
    keyfold.done("--as", "writer", "encrypt", "alias/vault", "-", "-o", "note.kf", "--direct", stdin="hidden")
    return key_id


def test_two_others_agree_to_a_deletion(keyfold: CommandLine, key: str) -> None:
    """A deletion is refused, proposed, approved by two others, and happens with the second approval."""
    refused = keyfold("key", "schedule-deletion", "alias/vault", "--days", "7")
    assert (refused.code, "ApprovalRequired" in refused.err) == (1, True)
    words = ("proposal", "create", "ScheduleKeyDeletion", "alias/vault", "--argument", "pending_window_seconds=604800")
    proposal = keyfold.done("--json", *words, "--reason", "end of contract").document
    name = proposal["proposal"]
    own = keyfold("proposal", "approve", name, "--yes")
    assert own.code == 1
    assert "Enabled" in keyfold.done("key", "describe", key).out
    keyfold.done("--as", "ann", "proposal", "approve", name, "--yes")
    again = keyfold("--as", "ann", "proposal", "approve", name, "--yes")
    assert (again.code, "AlreadyApproved" in again.err) == (1, True)
    done = keyfold.done("--json", "--as", "ben", "proposal", "approve", name, "--yes").document
    assert done["status"] == "Executed"
    assert "PendingDeletion" in keyfold.done("key", "describe", key).out
    shown = keyfold.done("proposal", "show", name).out
    assert all(word in shown for word in ("Executed", "ann", "ben", "end of contract", proposal["digest"]))
    late = keyfold("--as", "cem", "proposal", "approve", name, "--yes")
    assert (late.code, "ProposalClosed" in late.err) == (1, True)
    keyfold.done("key", "cancel-deletion", "alias/vault")
    keyfold.done("key", "enable", "alias/vault")


def test_the_glass_is_broken_once(keyfold: CommandLine, key: str) -> None:
    """A decrypt that two approved opens one ciphertext, once, for its proposer, with the reason that was agreed to."""
    decrypt = ("--as", "greta", "decrypt", "note.kf", "-o", "-", "--reason", "incident 7")
    refused = keyfold(*decrypt)
    assert (refused.code, "ApprovalRequired" in refused.err) == (1, True)
    words = ("--as", "greta", "proposal", "create", "Decrypt", "alias/vault", "--items", "1", "--reason", "incident 7")
    name = keyfold.done("--json", *words).document["proposal"]
    keyfold.done("--as", "ann", "proposal", "approve", name, "--yes")
    assert keyfold(*decrypt, "--proposal", name).code == 1
    approved = keyfold.done("--json", "--as", "cem", "proposal", "approve", name, "--yes").document
    assert approved["status"] == "Approved"
    assert keyfold.done(*decrypt, "--proposal", name).out == "hidden"
    again = keyfold(*decrypt, "--proposal", name)
    assert (again.code, "ProposalClosed" in again.err) == (1, True)


def test_a_proposal_is_denied(keyfold: CommandLine, key: str) -> None:
    """One who may approve may deny; then nobody's approval helps."""
    words = ("proposal", "create", "ScheduleKeyDeletion", "alias/vault", "--argument", "pending_window_seconds=604800")
    name = keyfold.done("--json", *words).document["proposal"]
    keyfold.done("--as", "ann", "proposal", "deny", name, "--yes", "--reason", "no")
    assert keyfold("--as", "ben", "proposal", "approve", name, "--yes").code == 1
    assert "Denied" in keyfold.done("proposal", "list").out


def test_a_grant_is_used_up(keyfold: CommandLine, key: str) -> None:
    """A grant lets somebody decrypt twice, and not a third time; revoked, not at all."""
    keyfold.done("principal", "register", "reader")
    decrypt = ("--as", "reader", "decrypt", "note.kf", "-o", "-")
    assert keyfold(*decrypt).code == 1
    words = ("grant", "create", "alias/vault", "reader", "--verb", "Decrypt", "--expires", "1h")
    keyfold.done(*words, "--max-operations", "2")
    assert [keyfold(*decrypt).code for _ in range(3)] == [0, 0, 1]
    grant = keyfold.done("--json", *words).document["grant"]
    assert keyfold.done(*decrypt).out == "hidden"
    keyfold.done("grant", "revoke", grant)
    assert keyfold(*decrypt).code == 1
    assert "Revoked" in keyfold.done("grant", "list", "--key", "alias/vault").out


def test_a_limit_holds(keyfold: CommandLine, key: str) -> None:
    """A quota of two commands a day on this key is a quota of two."""
    words = ("--kind", "quota", "--period", "365d", "--per", "key", "--principal", "writer")
    keyfold.done("limit", "put", "few", "2", *words)
    encrypt = ("--as", "writer", "encrypt", "alias/vault", "-", "-o", "more.kf", "--direct")
    assert [keyfold(*encrypt, stdin="x").code for _ in range(3)] == [0, 0, 1]
    keyfold.done("limit", "delete", "few")
    assert keyfold(*encrypt, stdin="x").code == 0


def test_a_signing_key_is_rotated(keyfold: CommandLine, key: str) -> None:
    """A principal changes its own key, for ML-DSA-65; the old one is refused, the identity file has the new one."""
    keyfold.done("principal", "register", "turner")
    file = next(keyfold.data.rglob("identities/turner.json"))
    old = file.read_bytes()
    keyfold.done("--as", "turner", "principal", "key", "rotate", "turner", "--algorithm", "ML-DSA-65")
    assert file.read_bytes() != old
    keyfold.done("--as", "turner", "policy", "list")
    dry = keyfold("--as", "turner", "random", "8")
    assert "AccessDenied" in dry.err
    kept = keyfold.folder / "old.json"
    kept.write_bytes(old)
    kept.chmod(0o600)
    refused = keyfold("--as", str(kept), "random", "8")
    assert (refused.code, "SigningKeyRevoked" in refused.err) == (1, True)


def test_suspended_and_resumed(keyfold: CommandLine, key: str) -> None:
    """A suspended principal is refused until it is resumed."""
    encrypt = ("--as", "writer", "encrypt", "alias/vault", "-", "-o", "more.kf", "--direct")
    keyfold.done("principal", "suspend", "writer", "--reason", "looking into it")
    refused = keyfold(*encrypt, stdin="x")
    assert (refused.code, "PrincipalSuspended" in refused.err) == (1, True)
    keyfold.done("principal", "resume", "writer")
    assert keyfold(*encrypt, stdin="x").code == 0


def test_a_dry_run_changes_nothing(keyfold: CommandLine, key: str) -> None:
    """A dry run says whether it would be allowed; the key stays as it is, and the trail shows that it was asked."""
    keyfold.done("key", "disable", "alias/vault", "--dry-run")
    assert "Enabled" in keyfold.done("key", "describe", key).out
    refused = keyfold("--as", "writer", "key", "disable", "alias/vault", "--dry-run")
    assert (refused.code, "AccessDenied" in refused.err) == (1, True)
    assert "dry-run" in keyfold.done("events", "show", "--key", "alias/vault").out


def test_a_workload_logs_in_with_its_issuers_token(keyfold: CommandLine, key: str) -> None:
    """A token that binds the workload's key gives it the groups of its claims; another token gives nothing."""
    (keyfold.folder / "builds.cedar").write_text(BUILDS)
    keyfold.done("policy", "put", "builds", "builds.cedar", "--key", "alias/vault")
    signing = jwk.ECKey.generate_key("P-256", {"kid": "one", "alg": "ES256", "use": "sig"})
    (keyfold.folder / "jwks.json").write_text(json.dumps({"keys": [signing.as_dict(private=False)]}))
    issuer = ("--url", "https://ci.example", "--audience", "keyfold", "--algorithm", "ES256")
    mapping = ("--groups-claim", "roles", "--group", "release=builds")
    keyfold.done("issuer", "put", "ci", *issuer, *mapping)
    keyfold.done("issuer", "keys", "ci", "jwks.json")
    thumbprint = keyfold.done("--json", "principal", "key", "thumbprint", "build.json").document["jkt"]
    login = ("login", "--issuer", "ci", "--token-file", "token.jwt", "--key-file", "build.json")
    for claims, code in (({"jkt": "A" * 43}, "TokenNotBound"), ({"jkt": thumbprint}, None)):
        _token(keyfold.folder, signing, claims)
        if code is not None:
            refused = keyfold(*login)
            assert (refused.code, code in refused.err) == (1, True)
    done = keyfold.done("--json", *login).document
    encrypt = ("encrypt", "alias/vault", "-", "-o", "built.kf", "--direct")
    keyfold.done("--as", done["principal"], *encrypt, stdin="artefact")
    shown = keyfold.done("principal", "show", done["principal"]).out
    assert "federated" in shown
    assert "builds" in shown


def _token(folder: Path, signing: jwk.ECKey, confirmation: dict[str, str]) -> None:
    now = int(time.time())
    claims = {"iss": "https://ci.example", "aud": "keyfold", "sub": "repo:shop/api", "roles": ["release"]}
    claims |= {"iat": now, "exp": now + 300, "cnf": confirmation}  # type: ignore[dict-item]
    header = {"alg": "ES256", "kid": "one"}
    (folder / "token.jwt").write_text(jwt.encode(header, claims, signing))


def test_an_unsigned_token_is_refused(keyfold: CommandLine, key: str) -> None:
    """`alg: none` is no proof of anything."""
    thumbprint = keyfold.done("--json", "principal", "key", "thumbprint", "build.json").document["jkt"]
    now = int(time.time())
    claims = {"iss": "https://ci.example", "aud": "keyfold", "sub": "root", "iat": now, "exp": now + 300}
    parts = [{"alg": "none"}, claims | {"cnf": {"jkt": thumbprint}}]
    text = ".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    (keyfold.folder / "none.jwt").write_text(f"{text}.")
    refused = keyfold("login", "--issuer", "ci", "--token-file", "none.jwt", "--key-file", "build.json")
    assert (refused.code, "InvalidToken" in refused.err) == (1, True)
