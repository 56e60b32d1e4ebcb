"""`encrypt`, `decrypt`, `re-encrypt`, `data-key`, `random`: using keys on files and pipes.

`encrypt` makes an envelope (`keyfold.client.envelope`): any size, in constant memory, with a data key of its own. With
`--direct` it makes the ciphertext that the SDK's `encrypt` gives, for up to 900,000 bytes. `decrypt` tells the two
apart by how they begin.
"""

import asyncio
import base64
import sys
from pathlib import Path
from typing import Annotated, BinaryIO, Final, cast
from uuid import UUID

import typer

from keyfold.cli.arguments import KeyName, Pairs, pairs
from keyfold.cli.exits import UsageError
from keyfold.cli.session import of
from keyfold.cli.transfer import STANDARD, Again, convert, write_secret
from keyfold.client import DataKey, Keyfold
from keyfold.client.envelope import EnvelopeInvalid
from keyfold.client.envelope.streams import decrypt_chunks, encrypt_stream, read_header
from keyfold.events.ciphertext import HEADER_BYTES, MAGIC, parse_header
from keyfold.events.errors import BatchTooLarge

ENVELOPE_MAGIC: Final = b"KFENV"
_DIRECT_LIMIT: Final = 900_000

Source = Annotated[str, typer.Argument(metavar="FILE", help="A file; - for standard input.")]
Target = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Where the result goes; - for standard output.")
]


def encrypt(
    context: typer.Context,
    key: KeyName,
    source: Source = STANDARD,
    *,
    output: Target = None,
    context_pairs: Pairs = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="One ciphertext as the SDK makes it, no envelope (≤ 900,000 bytes).")
    ] = False,
) -> None:
    """Encrypt a file or standard input. FILE goes to FILE.kf unless told otherwise.

    Example: keyfold --as alice encrypt alias/orders orders.csv --context table=orders

    Example: tar c . | keyfold --as alice encrypt alias/backup > backup.tar.kf
    """
    target = output or (STANDARD if source == STANDARD else f"{source}.kf")
    if target == STANDARD and sys.stdout.isatty():
        raise UsageError("ciphertext is binary; say with --output where it goes, or pipe it on")
    about = pairs(context_pairs)

    async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
        if direct:
            plaintext = await asyncio.to_thread(_limited, reading)
            writing.write(await kms.encrypt(key, plaintext, context=about))
            return len(plaintext)
        key_id = await kms.resolve(key)
        data_key = await kms.generate_data_key(key_id, context=about)
        return await asyncio.to_thread(
            encrypt_stream, reading, writing, key_id=key_id, data_key=data_key, context=about
        )

    convert(of(context), source, target, work, "encrypted")


def decrypt(
    context: typer.Context,
    source: Source = STANDARD,
    *,
    output: Target = None,
    context_pairs: Pairs = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Accept only what was encrypted under this key.")
    ] = None,
) -> None:
    """Decrypt what `encrypt` or the SDK made; the same --context is needed. FILE.kf goes to FILE.

    Example: keyfold --as alice decrypt orders.csv.kf --context table=orders

    Example: keyfold --as alice decrypt < backup.tar.kf | tar x
    """
    about = pairs(context_pairs)

    async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
        start = await asyncio.to_thread(reading.read, len(ENVELOPE_MAGIC))
        again = cast(BinaryIO, Again(start, reading))
        only = await kms.resolve(key) if key is not None else None
        if start.startswith(MAGIC):
            plaintext = await _decrypt_direct(kms, again, about, only)
            writing.write(plaintext)
            return len(plaintext)
        header = await asyncio.to_thread(read_header, again)
        _require_key(header.key_id, only)
        data_key = await kms.decrypt(header.key_id, header.encrypted_key, context=about)
        return await asyncio.to_thread(decrypt_chunks, header, data_key, again, writing, about)

    convert(of(context), source, output or _plain_name(source), work, "decrypted")


def re_encrypt(
    context: typer.Context, source: Source = STANDARD, *, output: Target = None, context_pairs: Pairs = None
) -> None:
    """Encrypt a `--direct` ciphertext again under its key's newest version, without showing the plaintext to anybody.

    An envelope must be decrypted and encrypted again instead.

    Example: keyfold --as alice re-encrypt secret.bin --output secret.bin
    """
    about = pairs(context_pairs)

    async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
        ciphertext = await asyncio.to_thread(_limited, reading)
        if ciphertext.startswith(ENVELOPE_MAGIC):
            raise UsageError("this is an envelope: decrypt it and encrypt it again to move it to the newest version")
        fresh = await kms.re_encrypt(_key_of(ciphertext), ciphertext, context=about)
        writing.write(fresh)
        return len(fresh)

    convert(of(context), source, output or STANDARD, work, "re-encrypted")


def data_key(
    context: typer.Context,
    key: KeyName,
    *,
    plaintext: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the data key itself, to a 0600 file.")
    ] = None,
    size_bytes: Annotated[int, typer.Option("--bytes", min=1, max=1024, help="Its length.")] = 32,
    output: Target = None,
    context_pairs: Pairs = None,
) -> None:
    """Make a data key, encrypted under KEY; `decrypt` gives it back. Prints base64 unless --output names a file.

    Example: keyfold --as alice data-key alias/orders --plaintext key.bin --output key.enc
    """
    session = of(context)
    config, about = session.config, pairs(context_pairs)

    async def work() -> DataKey:
        async with session.client(config) as kms:
            if plaintext is not None:
                return await kms.generate_data_key(key, number_of_bytes=size_bytes, context=about)
            sealed = await kms.generate_data_key_without_plaintext(key, number_of_bytes=size_bytes, context=about)
            return DataKey(b"", sealed)

    made = session.run(work())
    if plaintext is not None:
        write_secret(plaintext, made.plaintext)
    encoded = base64.b64encode(made.ciphertext).decode()
    human = encoded
    if output is not None and output != STANDARD:
        write_secret(Path(output), made.ciphertext)
        human = f"encrypted data key written to {output}"
    session.show({"ciphertext": encoded, "output": output, "plaintext_file": plaintext}, human)


def random(
    context: typer.Context,
    count: Annotated[int, typer.Argument(metavar="BYTES", min=1, max=1024, help="How many, 1 to 1024.")] = 32,
    *,
    output: Target = None,
) -> None:
    """Random bytes from the token: hexadecimal, or raw into a file (0600) with --output.

    Example: keyfold --as alice random 32
    """
    session = of(context)
    config = session.config

    async def work() -> bytes:
        async with session.client(config) as kms:
            return await kms.generate_random(count)

    drawn = session.run(work())
    if output is None or output == STANDARD:
        session.show({"hex": drawn.hex()}, drawn.hex())
        return
    write_secret(Path(output), drawn)
    session.show({"output": output, "bytes": count}, f"{count} random bytes written to {output}")


async def _decrypt_direct(kms: Keyfold, source: BinaryIO, context: dict[str, str], only: str | None) -> bytes:
    ciphertext = await asyncio.to_thread(_limited, source)
    key_id = _key_of(ciphertext)
    _require_key(key_id, only)
    return await kms.decrypt(key_id, ciphertext, context=context)


def _key_of(ciphertext: bytes) -> str:
    return str(UUID(bytes=parse_header(ciphertext[:HEADER_BYTES])[0]))


def _require_key(found: str, only: str | None) -> None:
    if only is not None and found != only:
        raise EnvelopeInvalid(f"it was encrypted under another key ({found})")


def _limited(source: BinaryIO) -> bytes:
    """Read a whole direct item; a ciphertext is a little longer than its plaintext."""
    data = source.read(_DIRECT_LIMIT + 1)
    while len(data) <= _DIRECT_LIMIT and (more := source.read(_DIRECT_LIMIT + 1 - len(data))):
        data += more
    if len(data) > _DIRECT_LIMIT:
        raise BatchTooLarge(f"more than {_DIRECT_LIMIT} bytes; leave --direct away: an envelope takes any size")
    return data


def _plain_name(source: str) -> str:
    if source == STANDARD:
        return STANDARD
    if source.endswith(".kf"):
        return source.removesuffix(".kf")
    raise UsageError(f"{source} does not end in .kf; say with --output where the plaintext goes (- for stdout)")
