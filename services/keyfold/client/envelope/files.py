"""Envelopes of files: one command makes (or opens) the data keys of many, and no file is ever seen half written.

Output goes to a hidden file beside the destination, is flushed to disk, and takes the destination's name only when it
is complete and authentic. It is readable by its owner only. File work runs in threads.
"""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

from keyfold.client.core import BatchResult, Context
from keyfold.client.data_verbs import DataKey
from keyfold.client.envelope.format import CHUNK_BYTES, EnvelopeInvalid, Header
from keyfold.client.envelope.streams import decrypt_chunks, encrypt_stream, read_header
from keyfold.client.protected import is_protected
from keyfold.events.errors import KeyfoldError

_AT_ONCE: Final = 4


class Keys(Protocol):
    """What envelopes need of a client; `keyfold.client.Keyfold` is one."""

    async def resolve(self, key: str) -> str: ...

    async def context_as_logged(self, context: Context) -> dict[str, str]: ...

    async def generate_data_key_batch(
        self, key: str, count: int, *, contexts: Sequence[Context], reason: str | None
    ) -> list[DataKey | KeyfoldError]: ...

    async def decrypt_batch(
        self, key: str, ciphertexts: Sequence[bytes], *, contexts: Sequence[Context], reason: str | None
    ) -> BatchResult: ...


@dataclass(frozen=True, slots=True)
class FileJob:
    """One file to encrypt or decrypt. Source and destination may be the same."""

    source: Path
    destination: Path
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of a job: the plaintext's size, or the error; then the destination is as it was before."""

    job: FileJob
    size_bytes: int = 0
    error: Exception | None = None


async def encrypt_file(
    kms: Keys,
    key: str,
    source: Path | str,
    destination: Path | str,
    *,
    context: Context | None = None,
    reason: str | None = None,
) -> int:
    """Encrypt one file; return its size in bytes. Raises `KeyfoldError` or `OSError`.

    `reason` is said with the command that makes the data key, for policies that ask for one.
    """
    job = FileJob(Path(source), Path(destination), context or {})
    return _one(await encrypt_files(kms, key, [job], reason=reason))


async def decrypt_file(
    kms: Keys,
    source: Path | str,
    destination: Path | str,
    *,
    context: Context | None = None,
    key: str | None = None,
    reason: str | None = None,
) -> int:
    """Decrypt one file; return the plaintext's size in bytes. Raises `EnvelopeInvalid`, `KeyfoldError` or `OSError`.

    With `key` (id or alias), an envelope made under any other key is refused. `reason` is said with the command that
    opens the data key.
    """
    job = FileJob(Path(source), Path(destination), context or {})
    return _one(await decrypt_files(kms, [job], key=key, reason=reason))


async def encrypt_files(
    kms: Keys, key: str, jobs: Sequence[FileJob], *, chunk_bytes: int = CHUNK_BYTES, reason: str | None = None
) -> list[FileResult]:
    """Encrypt many files, each with a data key of its own; all data keys come from one call."""
    if not jobs:
        return []
    key_id = await kms.resolve(key)
    logged = await _all_as_logged(kms, jobs)
    contexts = {at: made for at, made in enumerate(logged) if not isinstance(made, KeyfoldError)}
    made_keys: Sequence[Any] = ()
    if contexts:
        whose = list(contexts.values())
        made_keys = await kms.generate_data_key_batch(key_id, len(whose), contexts=whose, reason=reason)
    data_keys = dict(zip(contexts, made_keys, strict=True))

    def work(at: int, source: BinaryIO, target: BinaryIO) -> int:
        data_key = data_keys.get(at, logged[at])
        if isinstance(data_key, KeyfoldError):
            raise data_key
        return encrypt_stream(
            source, target, key_id=key_id, data_key=data_key, context=contexts[at], chunk_bytes=chunk_bytes
        )

    return await _run(jobs, work)


async def decrypt_files(
    kms: Keys, jobs: Sequence[FileJob], *, key: str | None = None, reason: str | None = None
) -> list[FileResult]:
    """Decrypt many files; their data keys are opened together, one call per key."""
    only = await kms.resolve(key) if key is not None else None
    read = await asyncio.gather(*(asyncio.to_thread(_header, job, only) for job in jobs))
    headers, logged = await _contexts_of(kms, jobs, read)
    data_keys = await _open_data_keys(kms, logged, headers, reason)

    def work(at: int, source: BinaryIO, target: BinaryIO) -> int:
        header, data_key = headers[at], data_keys[at]
        if isinstance(header, Exception):
            raise header
        if isinstance(data_key, Exception):
            raise data_key
        if read_header(source) != header:
            raise EnvelopeInvalid(f"{jobs[at].source} changed while it was read")
        return decrypt_chunks(header, data_key, source, target, logged[at])

    return await _run(jobs, work)


def _header(job: FileJob, only: str | None) -> Header | Exception:
    try:
        with job.source.open("rb") as source:
            header = read_header(source)
    except (OSError, EnvelopeInvalid) as error:
        return error
    if only is not None and header.key_id != only:
        return EnvelopeInvalid(f"{job.source} was encrypted under another key ({header.key_id})")
    return header


async def _open_data_keys(
    kms: Keys, logged: Sequence[Context], headers: Sequence[Header | Exception], reason: str | None
) -> list[bytes | KeyfoldError]:
    """Return each job's data key or error; a key that refuses everything costs its own files only."""
    found: list[bytes | KeyfoldError] = [b""] * len(headers)
    by_key: dict[str, list[int]] = {}
    for at, header in enumerate(headers):
        if isinstance(header, Header):
            by_key.setdefault(header.key_id, []).append(at)
    for key_id, places in by_key.items():
        wrapped = [header.encrypted_key for at in places if isinstance(header := headers[at], Header)]
        try:
            contexts = [logged[at] for at in places]
            results = await kms.decrypt_batch(key_id, wrapped, contexts=contexts, reason=reason)
        except KeyfoldError as error:
            results = [error] * len(places)
        for at, result in zip(places, results, strict=True):
            found[at] = result
    return found


async def _contexts_of(
    kms: Keys, jobs: Sequence[FileJob], headers: Sequence[Header | Exception]
) -> tuple[list[Header | Exception], list[Context]]:
    """Return headers, and contexts as the log has them; where one cannot be made, that is the job's error."""
    found, logged = list(headers), list[Context]()
    for at, made in enumerate(await _all_as_logged(kms, jobs)):
        if isinstance(made, KeyfoldError) and isinstance(found[at], Header):
            found[at] = made
        logged.append({} if isinstance(made, KeyfoldError) else made)
    return found, logged


async def _all_as_logged(kms: Keys, jobs: Sequence[FileJob]) -> list[Context | KeyfoldError]:
    """Return each job's context as the log has it, or why it cannot be made."""
    found: list[Context | KeyfoldError] = []
    for made in await asyncio.gather(*(_as_logged(kms, job) for job in jobs), return_exceptions=True):
        if isinstance(made, BaseException) and not isinstance(made, KeyfoldError):
            raise made
        found.append(made)
    return found


async def _as_logged(kms: Keys, job: FileJob) -> Context:
    """Return a job's context as the log has it: an envelope binds no protected value, but its digest."""
    return await kms.context_as_logged(job.context) if is_protected(job.context) else job.context


Work = Callable[[int, BinaryIO, BinaryIO], int]


async def _run(jobs: Sequence[FileJob], work: Work) -> list[FileResult]:
    """Do the file work in threads, a few at a time. When cancelled, no further destination is written."""
    gate, cancelled = asyncio.Semaphore(_AT_ONCE), threading.Event()

    async def one(at: int) -> FileResult:
        async with gate:
            return await asyncio.to_thread(_convert, at, jobs[at], work, cancelled)

    try:
        return list(await asyncio.gather(*(one(at) for at in range(len(jobs)))))
    except asyncio.CancelledError:
        cancelled.set()
        raise


def _convert(at: int, job: FileJob, work: Work, cancelled: threading.Event) -> FileResult:
    try:
        with job.source.open("rb") as source, atomic_output(job.destination) as target:
            size = work(at, cast(BinaryIO, _Stoppable(source, cancelled)), target)
    except (OSError, KeyfoldError) as error:
        return FileResult(job, error=error)
    return FileResult(job, size)


@contextmanager
def atomic_output(destination: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when the block ends well, durably; otherwise it is removed.

    If we crash before the rename, a hidden temporary file remains and the destination is as it was.
    """
    handle, temporary = tempfile.mkstemp(dir=destination.parent, prefix=f".{destination.name[:100]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(destination)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(destination.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class _Stoppable:
    """A source that ends with an error when its reader was cancelled: threads can't be."""

    def __init__(self, source: BinaryIO, cancelled: threading.Event) -> None:
        self._source, self._cancelled = source, cancelled

    def read(self, size: int) -> bytes:
        if self._cancelled.is_set():
            raise InterruptedError("cancelled")
        return self._source.read(size)


def _one(results: list[FileResult]) -> int:
    if results[0].error is not None:
        raise results[0].error
    return results[0].size_bytes
