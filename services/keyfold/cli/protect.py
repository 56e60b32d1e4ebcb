"""`encrypt`, `decrypt`, `re-encrypt`, `data-key`, `random`: using keys on files and pipes.

`encrypt` makes an envelope (`keyfold.client.envelope`): any size, in constant memory, with a data key of its own. With
`--direct` it makes the ciphertext that the SDK's `encrypt` gives, for up to 900,000 bytes. `decrypt` tells the two
apart by how they begin. Plaintext leaves only when it is known to be complete and authentic, and files of it are 0600.
"""

import base64
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, BinaryIO, Final, cast

import typer

from keyfold.cli.arguments import KeyName, Pairs, pairs
from keyfold.cli.exits import UsageError
from keyfold.cli.output import size
from keyfold.cli.session import Session, of
from keyfold.client import DataKey, Keyfold
from keyfold.client.envelope import EnvelopeInvalid
from keyfold.client.envelope.files import atomic_output
from keyfold.client.envelope.streams import decrypt_chunks, encrypt_stream, read_header
from keyfold.events.ciphertext import HEADER_BYTES, MAGIC, parse_header
from keyfold.events.errors import BatchTooLarge

STANDARD: Final = "-"
ENVELOPE_MAGIC: Final = b"KFENV"
_DIRECT_LIMIT: Final = 900_000
_IN_MEMORY: Final = 16 * 1024 * 1024

Source = Annotated[str, typer.Argument(metavar="[FILE]", help="A file; - for standard input.", show_default=False)]
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
        bool, typer.Option("--direct", help="One ciphertext without an envelope, as the SDK makes it (≤ 900,000 bytes).")
    ] = False,
) -> None:
    """Encrypt a file or standard input. FILE goes to FILE.kf unless told otherwise.

    Example: keyfold --as alice encrypt alias/orders orders.csv --context table=orders
    Example: tar c . | keyfold --as alice encrypt alias/backup > backup.tar.kf
    """
    session = of(context)
    target = output or (STANDARD if source == STANDARD else f"{source}.kf")
    encryption_context = pairs(context_pairs)

    async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
        if direct:
            plaintext = _limited(reading)
            writing.write(await kms.encrypt(key, plaintext, context=encryption_context))
            return len(plaintext)
        key_id = await kms.resolve(key)
        data_key = await kms.generate_data_key(key_id, context=encryption_context)
        return encrypt_stream(reading, writing, key_id=key_id, data_key=data_key, context=encryption_context)

    count = _convert(session, source, target, work)
    _told(session, source, target, count, "encrypted")


def decrypt(
    context: typer.Context,
    source: Source = STANDARD,
    *,
    output: Target = None,
    context_pairs: Pairs = None,
    key: Annotated[str | None, typer.Option("--key", help="Accept what was encrypted under this key only.")] = None,
) -> None:
    """Decrypt what `encrypt` or the SDK made; the same --context is needed. FILE.kf goes to FILE.

    Example: keyfold --as alice decrypt orders.csv.kf --context table=orders
    Example: keyfold --as alice decrypt < backup.tar.kf | tar x
    """
    session = of(context)
    target = output or _plain_name(source)
    encryption_context = pairs(context_pairs)

    async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
        start = reading.read(len(ENVELOPE_MAGIC))
        source = cast(BinaryIO, _Again(start, reading))
        only = await kms.resolve(key) if key is not None else None
        if start[: len(MAGIC)] == MAGIC:
            return await _decrypt_direct(kms, source, writing, encryption_context, only)
        header = read_header(source)
        _require_key(header.key_id, only)
        data_key = await kms.decrypt(header.key_id, header.encrypted_key, context=encryption_context)
        return decrypt_chunks(header, data_key, source, writing, encryption_context)

    count = _convert(session, source, target, work)
    _told(session, source, target, count, "decrypted")


def re_encrypt(
    context: typer.Context,
    source: Source = STANDARD,
    *,
    output: Target = None,
    context_pairs: Pairs = None,
) -> None:
    """Encrypt again under the newest version of the same key, inside the service. For envelopes, it renews the header's
    data key ciphertext only if they are encrypted anew: use decrypt and encrypt. For `--direct` ciphertexts.

    Example: keyfold --as alice re-encrypt token.bin -o token.bin
    """
    session = of(context)
    target = output or STANDARD
    encryption_context = pairs(context_pairs)

    async def work(kms: Keyfold, reading: BinaryIO, writing: BinaryIO) -> int:
        ciphertext = _limited(reading)
        if ciphertext.startswith(ENVELOPE_MAGIC):
            raise UsageError("this is an envelope: decrypt it and encrypt it again to move it to the newest version")
        fresh = await kms.re_encrypt(_key_of(ciphertext), ciphertext, context=encryption_context)
        writing.write(fresh)
        return len(fresh)

    count = _convert(session, source, target, work)
    _told(session, source, target, count, "re-encrypted")


def data_key(
    context: typer.Context,
    key: KeyName,
    *,
    plaintext: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the data key itself, to a new 0600 file.")
    ] = None,
    size_bytes: Annotated[int, typer.Option("--bytes", min=1, max=1024, help="Its length.")] = 32,
    output: Target = None,
    context_pairs: Pairs = None,
) -> None:
    """Make a data key, encrypted under KEY; `decrypt` gives it back. Prints base64 unless --output names a file.

    Example: keyfold --as alice data-key alias/orders --plaintext key.bin --output key.enc
    """
    session = of(context)
    config, encryption_context = session.config, pairs(context_pairs)

    async def work() -> DataKey:
        async with session.client(config) as kms:
            if plaintext is not None:
                return await kms.generate_data_key(key, number_of_bytes=size_bytes, context=encryption_context)
            made = await kms.generate_data_key_without_plaintext(
                key, number_of_bytes=size_bytes, context=encryption_context
            )
            return DataKey(b"", made)

    made = session.run(work())
    if plaintext is not None:
        _write(plaintext, made.plaintext)
    if output not in {None, STANDARD}:
        _write(Path(cast(str, output)), made.ciphertext)
    encoded = base64.b64encode(made.ciphertext).decode()
    human = encoded if output in {None, STANDARD} else f"data key written to {output}"
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
    if output in {None, STANDARD}:
        session.show({"hex": drawn.hex()}, drawn.hex())
        return
    _write(Path(cast(str, output)), drawn)
    session.show({"output": output, "bytes": count}, f"{count} random bytes written to {output}")


class _Again:
    """A source whose first bytes were read already."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start, self._rest = start, rest

    def read(self, count: int = -1) -> bytes:
        if count < 0:
            start, self._start = self._start, b""
            return start + self._rest.read()
        start, self._start = self._start[:count], self._start[count:]
        return start + (self._rest.read(count - len(start)) if len(start) < count else b"")


Work = "Callable[[Keyfold, BinaryIO, BinaryIO], Awaitable[int]]"


async def _decrypt_direct(
    kms: Keyfold, source: BinaryIO, target: BinaryIO, context: dict[str, str], only: str | None
) -> int:
    ciphertext = _limited(source)
    key_id = _key_of(ciphertext)
    _require_key(key_id, only)
    plaintext = await kms.decrypt(key_id, ciphertext, context=context)
    target.write(plaintext)
    return len(plaintext)


def _key_of(ciphertext: bytes) -> str:
    from uuid import UUID

    return str(UUID(bytes=parse_header(ciphertext[:HEADER_BYTES])[0]))


def _require_key(found: str, only: str | None) -> None:
    if only is not None and found != only:
        raise EnvelopeInvalid(f"it was encrypted under another key ({found})")


def _limited(source: BinaryIO) -> bytes:
    data = source.read(_DIRECT_LIMIT + 1)
    if len(data) > _DIRECT_LIMIT:
        raise BatchTooLarge(f"more than {_DIRECT_LIMIT} bytes; leave --direct away: an envelope takes any size")
    return data


def _plain_name(source: str) -> str:
    if source == STANDARD:
        return STANDARD
    if source.endswith(".kf"):
        return source.removesuffix(".kf")
    raise UsageError(f"{source} does not end in .kf; say with --output where the plaintext goes (- for stdout)")
