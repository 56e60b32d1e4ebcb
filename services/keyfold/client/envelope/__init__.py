"""Envelope encryption of files and streams of any size with a data key of their own, in constant memory.

`encrypt_files` and `decrypt_files` take many files in few commands; `encrypt_stream` and `decrypt_stream` are for
pipes and for programs without asyncio. The format is documented in `format`; it refuses truncation, reordering,
duplication, extension and a wrong context. The context is authenticated but not stored: give it again to decrypt.
"""

from keyfold.client.envelope.files import (
    FileJob,
    FileResult,
    decrypt_file,
    decrypt_files,
    encrypt_file,
    encrypt_files,
)
from keyfold.client.envelope.format import CHUNK_BYTES, EnvelopeInvalid, Header
from keyfold.client.envelope.streams import decrypt_stream, encrypt_stream

__all__ = [
    "CHUNK_BYTES",
    "EnvelopeInvalid",
    "FileJob",
    "FileResult",
    "Header",
    "decrypt_file",
    "decrypt_files",
    "decrypt_stream",
    "encrypt_file",
    "encrypt_files",
    "encrypt_stream",
]
