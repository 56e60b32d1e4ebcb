"""Reading the key sets (JWKS, RFC 7517) that issuers publish: at an http or https address, or in a file.

The only module that meets aiohttp. What is read comes in time, is small and is a set of public keys; all else is an
error that names the kind of failure, never the address or what was there, and goes no further: what is sent stays in
the log for ever. Whether the keys are usable is policy's to decide.
"""

import asyncio
import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp

from keyfold.deciding.jwks import parse
from keyfold.events.errors import InvalidIssuer, Unavailable

MAX_BYTES: Final = 65_536
MAX_REDIRECTS: Final = 3
_ADDRESS: Final = ("http://", "https://")
_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# Compressed content could be small here and large when it is opened.
_HEADERS: Final = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}


class KeySetUnreadable(Unavailable):
    """An issuer's key set cannot be read where the issuer's settings say it is."""

    code = "KeySetUnreadable"


class KeySets:
    """Reads key sets. `directory` has those that are files; `deadline_s` bounds one reading, redirects and all."""

    def __init__(self, session: aiohttp.ClientSession, directory: Path, deadline_s: float) -> None:
        self._session, self._directory, self._deadline_s = session, directory, deadline_s

    async def read(self, source: str) -> str:
        """Return a key set as text. Raises `KeySetUnreadable`."""
        try:
            async with asyncio.timeout(self._deadline_s):
                if source.startswith(_ADDRESS):
                    content = await self._fetch(source)
                else:
                    content = await asyncio.to_thread(_read_file, self._directory, source)
            return _public(content.decode())
        except KeySetUnreadable:
            raise
        except TimeoutError:
            raise KeySetUnreadable(f"no answer within {self._deadline_s:g} s") from None
        except InvalidIssuer as error:
            raise KeySetUnreadable(f"not a key set: {error}") from None
        except UnicodeDecodeError:
            raise KeySetUnreadable("not a key set: it is not UTF-8") from None
        except Exception as error:  # noqa: BLE001 - whatever others serve, it must not stop the scheduler
            raise KeySetUnreadable(f"it cannot be read ({type(error).__name__})") from None

    async def _fetch(self, address: str) -> bytes:
        for _ in range(1 + MAX_REDIRECTS):
            async with self._session.get(address, headers=_HEADERS, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return await _content(response)
                address = _redirected(address, response.headers.get("Location", ""))
        raise KeySetUnreadable(f"it redirects more than {MAX_REDIRECTS} times")


def _public(text: str) -> str:
    parse(text, ())
    return text


@asynccontextmanager
async def open_key_sets(directory: Path, deadline_s: float) -> AsyncIterator[KeySets]:
    """Connections of their own for the length of the block: no cookies, no proxy, nothing of the environment."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=deadline_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    ) as session:
        yield KeySets(session, directory, deadline_s)


async def _content(response: aiohttp.ClientResponse) -> bytes:
    if response.status != 200:
        raise KeySetUnreadable(f"it answers with status {response.status}")
    content = b""
    async for part in response.content.iter_any():
        content += part
        _check_size(len(content))
    return content


def _redirected(address: str, location: str) -> str:
    """Return the next address. Another scheme could lose the protection that the first one has."""
    there = urljoin(address, location)
    if urlsplit(there).scheme != urlsplit(address).scheme:
        raise KeySetUnreadable("it redirects to another scheme")
    return there


def _read_file(directory: Path, name: str) -> bytes:
    """Read a regular file that is in the directory; a link in it may lead to another place in it only."""
    if _FILE.fullmatch(name) is None:
        raise KeySetUnreadable("its source is neither an address nor a plain file name")
    path = (directory / name).resolve(strict=True)
    if not path.is_relative_to(directory.resolve()):
        raise KeySetUnreadable("the file is outside of the directory of key sets")
    # A pipe in this place must not make us wait for somebody who writes into it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise KeySetUnreadable("it is not a regular file")
        content = file.read(MAX_BYTES + 1)
    _check_size(len(content))
    return content


def _check_size(count: int) -> None:
    if count > MAX_BYTES:
        raise KeySetUnreadable(f"it is larger than {MAX_BYTES // 1024} KiB")
