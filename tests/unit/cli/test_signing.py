"""Signing, authenticating, agreeing and RSA from the command line, over files and pipes."""

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_public_key
from tests.unit.cli.conftest import KEY, Terminal
from tests.unit.cli.test_transfer import Pipe

from keyfold.events.specs import ALGORITHMS

SIGNING = [
    ("ECC_NIST_P256", "ECDSA_SHA_256"), ("RSA_2048", "RSASSA_PSS_SHA_256"),
    ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
    ("ML_DSA_44", "ML_DSA_SHAKE_256"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the files lie."""
    monkeypatch.chdir(tmp_path)
    Path("message").write_bytes(b"a message" * 1000)
    Path("other").write_bytes(b"another")
    Path("digest").write_bytes(b"d" * 32)


def made(terminal: Terminal, spec: str, usage: str | None = None) -> str:
    words = ["--usage", usage] if usage else []
    key: str = terminal.done("--json", "key", "create", "--spec", spec, *words).document["key_id"]
    return key


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_a_signature_verifies_and_no_other(terminal: Terminal, spec: str, algorithm: str) -> None:
    """By the service and offline; exit code 4 where it does not."""
    key, how = made(terminal, spec, "SIGN_VERIFY"), ["--algorithm", algorithm]
    terminal.done("sign", key, "message", *how, "-o", "message.sig", "--reason", "release")
    terminal.done("verify", key, "message.sig", "message", *how)
    assert terminal.done("verify", key, "message.sig", "message", *how, "--offline").received == []
    assert terminal.done("--json", "verify", key, "message.sig", "message", *how).document == {"valid": True}
    for words in ([], ["--offline"]):
        ran = terminal("--json", "verify", key, "message.sig", "other", *how, *words)
        assert (ran.code, "InvalidSignature" in ran.err) == (4, True)


def test_a_signature_is_printed_with_its_version(terminal: Terminal) -> None:
    """As base64, for pipes; older versions verify when they are named."""
    key, how = made(terminal, "ECC_NIST_P256", "SIGN_VERIFY"), ["--algorithm", "ECDSA_SHA_256"]
    terminal.done("sign", key, "message", *how, "-o", "old.sig")
    terminal.done("key", "rotate", key)
    printed = terminal.done("--json", "sign", key, "message", *how).document
    assert (printed["key_version"], printed["algorithm"]) == (2, "ECDSA_SHA_256")
    assert terminal("verify", key, "old.sig", "message", *how).code == 4
    for words in ([], ["--offline"]):
        terminal.done("verify", key, "old.sig", "message", *how, "--key-version", "1", *words)


def test_a_message_comes_from_a_pipe(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does what is too long for a command, which is signed as its digest."""
    key, how = made(terminal, "ECC_NIST_P256", "SIGN_VERIFY"), ["--algorithm", "ECDSA_SHA_256"]
    long = os.urandom(2_000_000)
    monkeypatch.setattr(sys, "stdin", Pipe(long))
    terminal.done("sign", key, *how, "-o", "long.sig")
    Path("long").write_bytes(long)
    (got,) = terminal.done("verify", key, "long.sig", "long", *how).received
    assert got.data.arguments.message_type == "DIGEST"
    assert terminal("verify", key, "-", "-", *how).code == 2


def test_a_mac_verifies_and_no_other(terminal: Terminal) -> None:
    """Exit code 4 where it does not."""
    key, how = made(terminal, "HMAC_256"), ["--algorithm", "HMAC_SHA_256"]
    terminal.done("mac", key, "message", *how, "-o", "message.mac", "--reason", "r")
    assert len(Path("message.mac").read_bytes()) == 32
    terminal.done("verify-mac", key, "message.mac", "message", *how)
    ran = terminal("--json", "verify-mac", key, "message.mac", "other", *how)
    assert (ran.code, "InvalidMac" in ran.err) == (4, True)
    assert terminal.done("--json", "mac", key, "message", *how).document["key_version"] == 1


@pytest.mark.parametrize("form", ["pem", "der"])
def test_two_sides_derive_one_secret(terminal: Terminal, form: str) -> None:
    """Of the other's public key, in PEM or DER; the secret goes into a private file."""
    ours, theirs = made(terminal, "ECC_NIST_P256", "KEY_AGREEMENT"), made(terminal, "ECC_NIST_P256", "KEY_AGREEMENT")
    for key, name in ((ours, "ours"), (theirs, "theirs")):
        terminal.done("key", "public-key", key, "-o", f"{name}.pub", "--format", form)
    terminal.done("derive", ours, "theirs.pub", "-o", "one")
    ran = terminal.done("--json", "derive", theirs, "ours.pub", "-o", "two", "--key-version", "1")
    assert Path("one").read_bytes() == Path("two").read_bytes()
    assert stat.S_IMODE(Path("one").stat().st_mode) == 0o600
    assert ran.document == {"output": "two", "bytes": 32, "key_version": 1}
    assert terminal("derive", ours, "message", "-o", "three").code != 0


def test_an_encapsulated_secret_comes_back(terminal: Terminal) -> None:
    """ML-KEM: the ciphertext may be seen, the secret is in a private file."""
    key = made(terminal, "ML_KEM_768")
    terminal.done("encapsulate", key, "--secret", "one", "-o", "one.kem")
    terminal.done("decapsulate", key, "one.kem", "-o", "two")
    assert Path("one").read_bytes() == Path("two").read_bytes()
    assert stat.S_IMODE(Path("one").stat().st_mode) == 0o600
    assert terminal.done("--json", "encapsulate", key, "--secret", "x").document["ciphertext"]


def test_a_secret_never_goes_to_a_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is sent, as is a folder that is not there."""
    key, screen = made(terminal, "ML_KEM_768"), Pipe(terminal=True)
    terminal.done("encapsulate", key, "--secret", "one", "-o", "one.kem")
    assert terminal("encapsulate", key, "--secret", "no/one").received == []
    assert terminal("decapsulate", key, "one.kem", "-o", "no/two").received == []
    monkeypatch.setattr(sys.stdout, "isatty", screen.isatty)
    ran = terminal("decapsulate", key, "one.kem", "-o", "-")
    assert (ran.code, ran.received) == (2, [])


@pytest.mark.parametrize("target", ["no/where", "-"])
@pytest.mark.parametrize(
    "words",
    [
        ["sign", KEY, "message", "-a", "ECDSA_SHA_256"], ["mac", KEY, "message", "-a", "HMAC_SHA_256"],
        ["derive", KEY, "message"], ["decapsulate", KEY, "message"], ["encapsulate", KEY, "--secret", "x"],
        ["data-key-pair", KEY, "--spec", "ECC_NIST_P256"],
    ],
)  # fmt: skip
def test_where_a_result_goes_is_looked_at_first(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, words: list[str], target: str
) -> None:
    """No command is sent whose result would have nowhere to go: no folder, or bytes for a terminal."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    ran = terminal(*words, "-o", target)
    assert (ran.code, ran.received, sorted(path.name for path in Path().iterdir() if path.is_file())) == (
        2, [], ["digest", "message", "other"],
    )  # fmt: skip
    if "--secret" not in words:
        assert len(terminal.done(*words, "-o", target, "--dry-run").received) == 1


def test_files_may_lie_in_the_home_directory(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a shell says it, also where no shell has seen it."""
    home, key = tmp_path / "home", made(terminal, "ML_KEM_768")
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    terminal.done("encapsulate", key, "--secret", "~/one", "-o", "~/one.kem")
    words = ["data-key-pair", KEY, "--spec", "ECC_NIST_P256", "-o", "~/pair.enc"]
    terminal.done(*words, "--private-key", "~/pair.key", "--public-key", "~/pair.pem")
    terminal.done("data-key", KEY, "--plaintext", "~/key", "-o", "~/key.enc")
    terminal.done("random", "8", "-o", "~/random")
    assert sorted(path.name for path in home.iterdir()) == sorted(
        ["one", "one.kem", "pair.enc", "pair.key", "pair.pem", "key", "key.enc", "random"]
    )


def test_a_data_key_pair_is_made_and_opened(terminal: Terminal) -> None:
    """The private key is encrypted under KEY; in clear only if a file is named for it."""
    words = ["data-key-pair", KEY, "--spec", "ECC_NIST_P256", "-o", "pair.enc", "--public-key", "pair.pem", "-c", "t=7"]
    (got,) = terminal.done(*words).received
    assert got.command.verb == "GenerateDataKeyPairWithoutPlaintext"
    (got,) = terminal.done(*words, "--private-key", "pair.key", "--reason", "r").received
    assert (got.command.verb, got.data.contexts, got.data.reason) == ("GenerateDataKeyPair", [{"t": "7"}], "r")
    private = load_der_private_key(Path("pair.key").read_bytes(), None)
    public: Any = load_pem_public_key(Path("pair.pem").read_bytes())
    assert private.public_key() == public
    assert stat.S_IMODE(Path("pair.key").stat().st_mode) == 0o600
    assert Path("pair.enc").read_bytes()


def test_rsa_encrypts_one_small_item(terminal: Terminal) -> None:
    """The version is said, since the ciphertext does not name it; the key must be named to decrypt."""
    key, how = made(terminal, "RSA_2048", "ENCRYPT_DECRYPT"), ["--algorithm", "RSAES_OAEP_SHA_256"]
    ran = terminal.done("encrypt", key, "other", *how)
    assert "--key-version 1" in ran.err
    terminal.done("decrypt", "other.kf", "-o", "back", "--key", key, "--key-version", "1", *how)
    assert Path("back").read_bytes() == b"another"
    for words in (["-o", "x"], ["--key", key, "-o", "x", "-c", "a=b"]):
        assert (terminal("decrypt", "other.kf", *how, *words).code, Path("x").exists()) == (2, False)
    assert terminal("encrypt", key, "other", *how, "-c", "a=b", "-o", "y").code == 2


@pytest.mark.parametrize(
    ("words", "verb", "expected"),
    [
        (["sign", KEY, "other", "-a", "ECDSA_SHA_256"], "Sign", {"signing_algorithm": "ECDSA_SHA_256"}),
        (
            ["verify", KEY, "other", "digest", "-a", "ECDSA_SHA_256", "--message-type", "DIGEST", "--key-version", "3"],
            "Verify", {"message_type": "DIGEST", "key_version": 3},
        ),
        (["mac", KEY, "other", "-a", "HMAC_SHA_256"], "GenerateMac", {"mac_algorithm": "HMAC_SHA_256"}),
        (["verify-mac", KEY, "other", "other", "-a", "HMAC_SHA_256"], "VerifyMac", {"key_version": None}),
        (["derive", KEY, "other", "-o", "x"], "DeriveSharedSecret", {"key_agreement_algorithm": "ECDH"}),
        (["encapsulate", KEY, "--secret", "x"], "Encapsulate", {}),
        (["decapsulate", KEY, "other", "-o", "x", "--key-version", "2"], "Decapsulate", {"key_version": 2}),
        (
            ["data-key-pair", KEY, "--spec", "RSA_2048"], "GenerateDataKeyPairWithoutPlaintext",
            {"key_pair_spec": "RSA_2048"},
        ),
        (["data-key-pair", KEY, "--spec", "RSA_2048", "--private-key", "x"], "GenerateDataKeyPair", {}),
        (["encrypt", KEY, "other", "-a", "RSAES_OAEP_SHA_1"], "Encrypt", {"encryption_algorithm": "RSAES_OAEP_SHA_1"}),
        (
            ["decrypt", "other", "--key", KEY, "-a", "RSAES_OAEP_SHA_1", "--key-version", "2"],
            "Decrypt", {"encryption_algorithm": "RSAES_OAEP_SHA_1", "key_version": 2},
        ),
    ],
)  # fmt: skip
def test_each_can_be_tried(terminal: Terminal, words: list[str], verb: str, expected: dict[str, Any]) -> None:
    """The command that would be sent, as a dry run; no file is written."""
    before = sorted(path.name for path in Path().iterdir())
    (got,) = terminal.done("--json", *words, "--dry-run", "--reason", "r", "--proposal", KEY).received
    arguments = got.data.arguments.model_dump()
    assert (got.command.verb, got.data.dry_run, got.data.reason, got.data.proposal) == (verb, True, "r", KEY)
    assert arguments | expected == arguments
    assert sorted(path.name for path in Path().iterdir()) == before


@pytest.mark.parametrize(
    ("words", "how"),
    [
        (["sign", "message"], []), (["sign", "long"], []), (["sign", "digest"], ["--message-type", "DIGEST"]),
        (["verify", "other", "message"], []), (["verify", "other", "long"], []),
        (["verify", "other", "digest"], ["--message-type", "DIGEST", "--key-version", "1"]),
        (["mac", "message"], []), (["verify-mac", "digest", "message"], []),
    ],
)  # fmt: skip
def test_what_is_tried_is_what_would_be_sent(terminal: Terminal, words: list[str], how: list[str]) -> None:
    """A long message as its digest, a proof beside it: bytes and arguments are those of the command itself."""
    Path("long").write_bytes(os.urandom(2_000_000))
    macked = "mac" in words[0]
    key = made(terminal, "HMAC_256") if macked else made(terminal, "ECC_NIST_P256", "SIGN_VERIFY")
    line = [words[0], key, *words[1:], "-a", "HMAC_SHA_256" if macked else "ECDSA_SHA_256", *how]
    (tried,) = terminal.done(*line, "--dry-run").received
    (sent,) = terminal(*line).received
    assert (tried.data.dry_run, sent.data.dry_run) == (True, False)
    assert (tried.data.bytes, tried.data.arguments) == (sent.data.bytes, sent.data.arguments)


@pytest.mark.parametrize(
    ("message", "how"), [("other", ["--message-type", "DIGEST"]), ("long", ["-a", "ED25519_SHA_512"])]
)
def test_what_could_not_be_sent_is_not_tried(terminal: Terminal, message: str, how: list[str]) -> None:
    """A digest of another length; a long message that has no digest."""
    Path("long").write_bytes(os.urandom(2_000_000))
    for words in (["sign", KEY, message], ["verify", KEY, "digest", message]):
        ran = terminal(*words, "-a", "ECDSA_SHA_256", *how, "--dry-run")
        assert (ran.code == 0, ran.received) == (False, [])


def test_every_algorithm_is_a_choice(terminal: Terminal) -> None:
    """Each that a key may have, and no other."""
    for verb, usage in (("sign", "SIGN_VERIFY"), ("mac", "GENERATE_VERIFY_MAC"), ("encrypt", "ENCRYPT_DECRYPT")):
        known = {name for (_, used), names in ALGORITHMS.items() if used == usage for name in names}
        for name in sorted(known):
            assert terminal(verb, KEY, "other", "-a", name, "--dry-run").code == 0, name
        assert terminal(verb, KEY, "other", "-a", "ROT_13", "--dry-run").code == 2


def test_re_encryption_goes_to_another_key(terminal: Terminal) -> None:
    """Two commands; the context stays unless another is named. Tried, it is the first of them."""
    other = made(terminal, "SYMMETRIC_DEFAULT")
    Path("direct").write_bytes(
        b"KFCT" + bytes([1]) + bytes.fromhex(KEY.replace("-", "")) + bytes([0, 0, 0, 1, 1]) + b"x" * 40
    )
    (got,) = terminal.done("re-encrypt", "direct", "--to", other, "-c", "t=7", "--dry-run").received
    assert (got.command.verb, got.data.arguments.destination_key_id) == ("ReEncryptFrom", other)
    (got,) = terminal.done("re-encrypt", "direct", "--to", KEY, "-c", "t=7", "--dry-run").received
    assert got.command.verb == "ReEncrypt"
