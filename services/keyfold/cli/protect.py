"""`encrypt`, `decrypt`, `re-encrypt`, `data-key`, `random`: using keys on files and pipes.

`encrypt` makes an envelope (`keyfold.client.envelope`): any size, in constant memory, with a data key of its own. With
`--direct` it makes the ciphertext that the SDK's `encrypt` gives, for up to 900,000 bytes. `decrypt` tells the two
apart by how they begin. With an RSA --algorithm they work on one small item (`rsa`).
"""

import asyncio
import base64
import sys
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, cast
from uuid import UUID

import typer

from keyfold.cli.arguments import Approved, KeyName, Pairs, Reason, Trial, UsedVersion
from keyfold.cli.contexts import ProtectedPairs, Tenant, contexts
from keyfold.cli.exits import UsageError
from keyfold.cli.rsa import Rsa, required
from keyfold.cli.session import Session, of
from keyfold.cli.transfer import STANDARD, Again, checked_target, convert, read_item, reading_from, write_secret
from keyfold.cli.writing import try_out, try_use
from keyfold.client import DataKey, DryRun, Keyfold
from keyfold.client.data_verbs import Use
from keyfold.client.envelope import EnvelopeInvalid
from keyfold.client.envelope.streams import decrypt_chunks, encrypt_stream, read_header
from keyfold.events.ciphertext import HEADER_BYTES, MAGIC, parse_header
from keyfold.events.specs import EncryptionAlgorithm

ENVELOPE_MAGIC: Final = b"KFENV"
_HINT: Final = "leave --direct away: an envelope takes any size"
_SYMMETRIC: Final = "SYMMETRIC_DEFAULT"
_WITH_PLAINTEXT: Final = {True: "GenerateDataKey", False: "GenerateDataKeyWithoutPlaintext"}

Source = Annotated[str, typer.Argument(metavar="FILE", help="A file; - for standard input.")]
Target = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Where the result goes; - for standard output.")
]
Direct = Annotated[
    bool, typer.Option("--direct", help="One ciphertext as the SDK makes it, no envelope (≤ 900,000 bytes).")
]
OnlyKey = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="Accept only what was encrypted under this key.")
]
How = Annotated[
    EncryptionAlgorithm, typer.Option("--algorithm", "-a", help="RSAES_… for an RSA key: one small item, no context.")
]
PlaintextFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write the data key itself, to a 0600 file.")
]


def encrypt(
    context: typer.Context,
    key: KeyName,
    source: Source = STANDARD,
    *,
    output: Target = None,
    context_pairs: Pairs = None,
    protected: ProtectedPairs = None,
    tenant: Tenant = None,
    direct: Direct = False,
    algorithm: How = "SYMMETRIC_DEFAULT",
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Encrypt a file or standard input. FILE goes to FILE.kf unless told otherwise.

    An envelope takes one `GenerateDataKey`, `--direct` one `Encrypt`: that is what is tried or was approved.

    Example: keyfold --as alice encrypt alias/orders orders.csv --context table=orders

    Example: tar c . | keyfold --as alice encrypt alias/backup > backup.tar.kf
    """
    about, use = contexts(context_pairs, protected, tenant), Use(reason=reason, proposal=proposal)
    if dry_run:
        verb, size = ("Encrypt", _size(source)) if direct or algorithm != _SYMMETRIC else ("GenerateDataKey", 0)
        try_use(of(context), verb, key, use, context=about, size_bytes=size, arguments=_named(algorithm))
        return
    target = _sealed_name(source, output)
    if algorithm != _SYMMETRIC:
        _no_context(about)
        Rsa(of(context), key, algorithm, use).encrypt(source, target)
        return

    async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
        if direct:
            plaintext = await asyncio.to_thread(_limited, reading)
            writing.write(await kms.encrypt(key, plaintext, context=about, **use))
            return len(plaintext)
        key_id, logged = await kms.resolve(key), await kms.context_as_logged(about)
        data_key = await kms.generate_data_key(key_id, context=logged, **use)
        return await asyncio.to_thread(
            encrypt_stream, reading, writing, key_id=key_id, data_key=data_key, context=logged
        )

    convert(of(context), source, target, work, "encrypted")


def decrypt(
    context: typer.Context,
    source: Source = STANDARD,
    *,
    output: Target = None,
    context_pairs: Pairs = None,
    protected: ProtectedPairs = None,
    tenant: Tenant = None,
    key: OnlyKey = None,
    algorithm: How = "SYMMETRIC_DEFAULT",
    key_version: UsedVersion = None,
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Decrypt what `encrypt` or the SDK made; the same --context is needed. FILE.kf goes to FILE.

    It takes one `Decrypt`, of an envelope's data key or of the ciphertext. --key-version is for RSA keys, with --key.

    Example: keyfold --as alice decrypt orders.csv.kf --context table=orders

    Example: keyfold --as alice decrypt < backup.tar.kf | tar x
    """
    session, about, use = of(context), contexts(context_pairs, protected, tenant), Use(reason=reason, proposal=proposal)
    if algorithm != _SYMMETRIC:
        _no_context(about)
        if dry_run:
            said = _named(algorithm, key_version)
            try_use(session, "Decrypt", required(key), use, size_bytes=_size(source), arguments=said)
        else:
            rsa = Rsa(session, required(key), algorithm, use)
            rsa.decrypt(source, output or _plain_name(source), key_version)
        return
    if dry_run:
        with reading_from(source) as reading:
            key_id, sealed = _sealed_in(reading)
        try_use(session, "Decrypt", key_id, use, context=about, size_bytes=len(sealed))
        return

    async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
        start = await asyncio.to_thread(reading.read, len(ENVELOPE_MAGIC))
        only = await kms.resolve(key) if key is not None else None
        decrypted = _decrypt_direct if start.startswith(MAGIC) else _decrypt_envelope
        again = cast(BinaryIO, Again(start, reading))
        return await decrypted(kms, again, writing, context=about, only=only, use=use)

    convert(session, source, output or _plain_name(source), work, "decrypted")


def re_encrypt(
    context: typer.Context,
    source: Source = STANDARD,
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="KEY", help="Encrypt under this key instead (two commands).")
    ] = None,
    output: Target = None,
    context_pairs: Pairs = None,
    protected: ProtectedPairs = None,
    tenant: Tenant = None,
    to_context: Annotated[
        list[str] | None,
        typer.Option("--to-context", metavar="NAME=VALUE", help="The new encryption context; else it stays as it is."),
    ] = None,
    to_protected: Annotated[
        list[str] | None,
        typer.Option("--to-protected-context", metavar="NAME=VALUE", help="The same, protected under --tenant's key."),
    ] = None,
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Encrypt a `--direct` ciphertext again under its key's newest version, without showing the plaintext to anybody.

    An envelope must be decrypted and encrypted again instead. Many ciphertexts are moved by `keyfold rewrap`.

    Example: keyfold --as alice re-encrypt secret.bin --output secret.bin

    Example: keyfold --as alice re-encrypt secret.bin --to alias/archive --output moved.bin
    """
    session, about, use = of(context), contexts(context_pairs, protected, tenant), Use(reason=reason, proposal=proposal)
    then = contexts(to_context, to_protected, tenant) if to_context or to_protected else None
    if dry_run:
        with reading_from(source) as reading:
            sealed = _direct(reading)
        try_out(session, lambda kms: _try_re_encryption(kms, sealed, to, about, use))
        return

    async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
        ciphertext = await asyncio.to_thread(_direct, reading)
        fresh = await kms.re_encrypt(
            key_of(ciphertext), ciphertext, destination_key=to, context=about, destination_context=then, **use
        )
        writing.write(fresh)
        return len(fresh)

    convert(session, source, output or STANDARD, work, "re-encrypted")


async def _try_re_encryption(kms: Keyfold, sealed: bytes, to: str | None, about: dict[str, str], use: Use) -> DryRun:
    """Try the first of the commands that it takes."""
    source, destination = key_of(sealed), None if to is None else await kms.resolve(to)
    if destination in {None, source}:
        return await kms.dry_run("ReEncrypt", source, context=about, size_bytes=len(sealed), **use)
    arguments = {"destination_key_id": destination}
    return await kms.dry_run("ReEncryptFrom", source, context=about, size_bytes=len(sealed), arguments=arguments, **use)


def data_key(
    context: typer.Context,
    key: KeyName,
    *,
    plaintext: PlaintextFile = None,
    size_bytes: Annotated[int, typer.Option("--bytes", min=1, max=1024, help="Its length.")] = 32,
    output: Target = None,
    context_pairs: Pairs = None,
    protected: ProtectedPairs = None,
    tenant: Tenant = None,
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Make a data key, encrypted under KEY; `decrypt` gives it back. Prints base64 unless --output names a file.

    Example: keyfold --as alice data-key alias/orders --plaintext key.bin --output key.enc
    """
    session, about, use = of(context), contexts(context_pairs, protected, tenant), Use(reason=reason, proposal=proposal)
    if dry_run:
        verb, arguments = _WITH_PLAINTEXT[plaintext is not None], {"number_of_bytes": size_bytes}
        try_out(session, lambda kms: kms.dry_run(verb, key, context=about, arguments=arguments, **use))
        return
    clear_path = None if plaintext is None else checked_target(str(plaintext))
    sealed_path = None if output in {None, STANDARD} else checked_target(output or "")
    made = session.run(_made_data_key(session, key, size_bytes, about, use, in_clear=clear_path is not None))
    if clear_path is not None:
        write_secret(clear_path, made.plaintext)
    encoded = base64.b64encode(made.ciphertext).decode()
    human = encoded
    if sealed_path is not None:
        write_secret(sealed_path, made.ciphertext)
        human = f"encrypted data key written to {output}"
    session.show({"ciphertext": encoded, "output": output, "plaintext_file": plaintext}, human)


async def _made_data_key(
    session: Session, key: str, size: int, about: dict[str, str], use: Use, *, in_clear: bool
) -> DataKey:
    async with session.client(session.config) as kms:
        if in_clear:
            return await kms.generate_data_key(key, number_of_bytes=size, context=about, **use)
        sealed = await kms.generate_data_key_without_plaintext(key, number_of_bytes=size, context=about, **use)
        return DataKey(b"", sealed)


def random(
    context: typer.Context,
    count: Annotated[int, typer.Argument(metavar="BYTES", min=1, max=1024, help="How many, 1 to 1024.")] = 32,
    *,
    output: Target = None,
    reason: Reason = None,
    dry_run: Trial = False,
) -> None:
    """Random bytes from the token: hexadecimal, or raw into a file (0600) with --output.

    Example: keyfold --as alice random 32
    """
    session, use = of(context), Use(reason=reason)
    if dry_run:
        try_out(session, lambda kms: kms.dry_run("GenerateRandom", arguments={"number_of_bytes": count}, **use))
        return
    path = None if output in {None, STANDARD} else checked_target(output or "")
    config = session.config

    async def work() -> bytes:
        async with session.client(config) as kms:
            return await kms.generate_random(count, **use)

    drawn = session.run(work())
    if path is None:
        session.show({"hex": drawn.hex()}, drawn.hex())
        return
    write_secret(path, drawn)
    session.show({"output": output, "bytes": count}, f"{count} random bytes written to {output}")


async def _decrypt_direct(
    kms: Keyfold, source: BinaryIO, target: BinaryIO, *, context: dict[str, str], only: str | None, use: Use
) -> int:
    """Decrypt one ciphertext of the service; return the length of its plaintext."""
    ciphertext = await asyncio.to_thread(_limited, source)
    key_id = key_of(ciphertext)
    _require_key(key_id, only)
    plaintext = await kms.decrypt(key_id, ciphertext, context=context, **use)
    target.write(plaintext)
    return len(plaintext)


async def _decrypt_envelope(
    kms: Keyfold, source: BinaryIO, target: BinaryIO, *, context: dict[str, str], only: str | None, use: Use
) -> int:
    """Have the data key of an envelope decrypted, and with it the rest; return the length of the plaintext."""
    header = await asyncio.to_thread(read_header, source)
    _require_key(header.key_id, only)
    logged = await kms.context_as_logged(context)
    data_key = await kms.decrypt(header.key_id, header.encrypted_key, context=logged, **use)
    return await asyncio.to_thread(decrypt_chunks, header, data_key, source, target, logged)


def _sealed_in(source: BinaryIO) -> tuple[str, bytes]:
    """Return the key of an envelope or a direct ciphertext, and what of it the service would be asked to decrypt."""
    start = source.read(len(ENVELOPE_MAGIC))
    again = cast(BinaryIO, Again(start, source))
    if start.startswith(MAGIC):
        ciphertext = _limited(again)
        return key_of(ciphertext), ciphertext
    header = read_header(again)
    return header.key_id, header.encrypted_key


def _direct(source: BinaryIO) -> bytes:
    ciphertext = _limited(source)
    if ciphertext.startswith(ENVELOPE_MAGIC):
        raise UsageError("this is an envelope: decrypt it and encrypt it again to move it to the newest version")
    return ciphertext


def _size(source: str) -> int:
    with reading_from(source) as reading:
        return len(_limited(reading))


def key_of(ciphertext: bytes) -> str:
    """Return the id of the key that a direct ciphertext names. Raises `InvalidCiphertext`."""
    return str(UUID(bytes=parse_header(ciphertext[:HEADER_BYTES])[0]))


def _require_key(found: str, only: str | None) -> None:
    if only is not None and found != only:
        raise EnvelopeInvalid(f"it was encrypted under another key ({found})")


def _limited(source: BinaryIO) -> bytes:
    """Read a whole direct item; a ciphertext is a little longer than its plaintext."""
    return read_item(source, _HINT)


def _named(algorithm: EncryptionAlgorithm, version: int | None = None) -> dict[str, Any]:
    if algorithm == _SYMMETRIC:
        return {}
    return {"encryption_algorithm": algorithm} | ({} if version is None else {"key_version": version})


def _no_context(about: dict[str, str]) -> None:
    if about:
        raise UsageError("RSA keys bind no encryption context; leave --context away")


def _sealed_name(source: str, output: str | None) -> str:
    target = output or (STANDARD if source == STANDARD else f"{source}.kf")
    if target == STANDARD and sys.stdout.isatty():
        raise UsageError("ciphertext is binary; say with --output where it goes, or pipe it on")
    return target


def _plain_name(source: str) -> str:
    if source == STANDARD:
        return STANDARD
    if source.endswith(".kf"):
        return source.removesuffix(".kf")
    raise UsageError(f"{source} does not end in .kf; say with --output where the plaintext goes (- for stdout)")
