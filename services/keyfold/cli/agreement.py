"""`keyfold derive`, `encapsulate`, `decapsulate`, `data-key-pair`: shared secrets, and key pairs for others to use.

Secrets go into files that only their owner may read (0600), or into a pipe when that is asked for; never to a terminal.
"""

import base64
from pathlib import Path
from typing import Annotated, Final

import typer
from cryptography.hazmat.primitives import serialization

from keyfold.cli.arguments import Approved, KeyName, Pairs, Reason, Trial, UsedVersion
from keyfold.cli.contexts import ProtectedPairs, Tenant, contexts
from keyfold.cli.exits import UsageError
from keyfold.cli.session import Session, of
from keyfold.cli.transfer import STANDARD, check_target, checked_target, give, read_file, write_secret
from keyfold.cli.writing import try_use
from keyfold.client import Encapsulation
from keyfold.client.data_verbs import Use
from keyfold.client.values import DataKeyPair, EncryptedDataKeyPair
from keyfold.client.verifying import to_pem
from keyfold.events.specs import KeyPairSpec

SecretTarget = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Where the secret goes (0600); - for a pipe.")
]
Target = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Raw bytes into a file; without it base64.")
]
Encapsulated = Annotated[str, typer.Argument(metavar="[FILE]", help="What `encapsulate` made; - for standard input.")]
_PAIRS: Final = {True: "GenerateDataKeyPair", False: "GenerateDataKeyPairWithoutPlaintext"}


def derive(
    context: typer.Context,
    key: KeyName,
    peer: Annotated[str, typer.Argument(metavar="PUBLIC-KEY", help="The other side's public key, PEM or DER (SPKI).")],
    *,
    output: SecretTarget,
    key_version: UsedVersion = None,
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Agree on a shared secret (ECDH): the raw x-coordinate, of which keys are then derived.

    Example: keyfold --as alice derive alias/agreement peer.pem -o secret.bin
    """
    session, use, public = of(context), Use(reason=reason, proposal=proposal), _public_key(peer)
    if dry_run:
        said = {"key_version": key_version}
        try_use(session, "DeriveSharedSecret", key, use, size_bytes=len(public), arguments=said)
        return
    check_target(output)

    async def work() -> tuple[bytes, int]:
        async with session.client(session.config) as kms:
            made = await kms.derive_shared_secret(key, public, key_version=key_version, **use)
            return made.shared_secret, made.key_version

    secret, version = session.run(work())
    give(session, "shared_secret", secret, output, {"key_version": version})


def encapsulate(
    context: typer.Context,
    key: KeyName,
    *,
    secret_file: Annotated[Path, typer.Option("--secret", metavar="FILE", help="Where the shared secret goes (0600).")],
    output: Target = None,
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Make a fresh shared secret and what encapsulates it (ML-KEM), which `decapsulate` turns back into the secret.

    Example: keyfold --as alice encapsulate alias/kem --secret secret.bin -o secret.kem
    """
    session, use = of(context), Use(reason=reason, proposal=proposal)
    if dry_run:
        try_use(session, "Encapsulate", key, use)
        return
    secret_path = checked_target(str(secret_file))
    check_target(output)

    async def work() -> Encapsulation:
        async with session.client(session.config) as kms:
            return await kms.encapsulate(key, **use)

    made = session.run(work())
    write_secret(secret_path, made.shared_secret)
    give(session, "ciphertext", made.ciphertext, output, {"key_version": made.key_version, "secret_file": secret_file})


def decapsulate(
    context: typer.Context,
    key: KeyName,
    ciphertext: Encapsulated = STANDARD,
    *,
    output: SecretTarget,
    key_version: UsedVersion = None,
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Turn an encapsulation (ML-KEM) into the shared secret. A wrong one gives another secret, as FIPS 203 says.

    Example: keyfold --as alice decapsulate alias/kem secret.kem -o secret.bin
    """
    session, use, data = of(context), Use(reason=reason, proposal=proposal), read_file(ciphertext)
    if dry_run:
        try_use(session, "Decapsulate", key, use, size_bytes=len(data), arguments={"key_version": key_version})
        return
    check_target(output)

    async def work() -> bytes:
        async with session.client(session.config) as kms:
            return await kms.decapsulate(key, data, key_version=key_version, **use)

    give(session, "shared_secret", session.run(work()), output, {})


def data_key_pair(
    context: typer.Context,
    key: KeyName,
    *,
    spec: Annotated[KeyPairSpec, typer.Option(help="What kind of key pair.")],
    private_file: Annotated[
        Path | None, typer.Option("--private-key", metavar="FILE", help="Also write the private key (PKCS #8), 0600.")
    ] = None,
    public_file: Annotated[
        Path | None, typer.Option("--public-key", metavar="FILE", help="Write the public key (PEM).")
    ] = None,
    output: Target = None,
    context_pairs: Pairs = None,
    protected: ProtectedPairs = None,
    tenant: Tenant = None,
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Make a key pair whose private key is encrypted under KEY; `decrypt` gives it back (PKCS #8, DER).

    Example: keyfold --as alice data-key-pair alias/orders --spec ECC_NIST_P256 --public-key pair.pem -o pair.enc
    """
    session, about, use = of(context), contexts(context_pairs, protected, tenant), Use(reason=reason, proposal=proposal)
    if dry_run:
        verb, arguments = _PAIRS[private_file is not None], {"key_pair_spec": spec}
        try_use(session, verb, key, use, context=about, arguments=arguments)
        return
    private_path, public_path = (checked_target(str(path)) if path else None for path in (private_file, public_file))
    check_target(output)
    made = session.run(_made_pair(session, key, spec, about, use, in_clear=private_path is not None))
    if private_path is not None and isinstance(made, DataKeyPair):
        write_secret(private_path, made.private_key)
    if public_path is not None:
        public_path.write_text(to_pem(made.public_key), "ascii")
    facts = {
        "key_version": made.key_version,
        "public_key": base64.b64encode(made.public_key).decode(),
        "private_key_file": private_file,
    }
    give(session, "encrypted_private_key", made.encrypted_private_key, output, facts)


async def _made_pair(
    session: Session, key: str, spec: KeyPairSpec, about: dict[str, str], use: Use, *, in_clear: bool
) -> EncryptedDataKeyPair:
    async with session.client(session.config) as kms:
        if in_clear:
            return await kms.generate_data_key_pair(key, spec, context=about, **use)
        return await kms.generate_data_key_pair_without_plaintext(key, spec, context=about, **use)


def _public_key(source: str) -> bytes:
    """Return a public key as SubjectPublicKeyInfo (DER). Raises `UsageError`."""
    data = read_file(source)
    if not data.lstrip().startswith(b"-----BEGIN"):
        return data
    try:
        found = serialization.load_pem_public_key(data)
    except ValueError:
        raise UsageError(f"{source} holds no public key in PEM") from None
    return found.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
