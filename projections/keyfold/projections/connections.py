"""What a connection string for Postgres must and must not say. Pure; nothing is connected or read.

Both forms of libpq are understood: keywords (`host=… user=…`) and URIs (`postgresql://…`). Libpq itself refuses a
private key or a password file that others may read.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

_WORD: Final = re.compile(r"(\w+)\s*=\s*('(?:\\.|[^'\\])*'|(?:\\.|[^\s\\])*)")
_UNVERIFIED: Final = frozenset({"allow", "prefer", "require", "verify-ca"})


def require_sound(dsn: str) -> str:
    """Return a connection string that holds no secret, and no TLS that checks less than it seems to.

    Raises `ValueError`, never with what was given. No `sslmode` at all is for a server on the same machine.
    """
    told = _parameters(dsn)
    if "password" in told or "sslpassword" in told:
        raise ValueError("a password must not stand in a connection string; name a passfile (0600)")
    mode = told.get("sslmode")
    if mode in _UNVERIFIED:
        raise ValueError(f"sslmode={mode} does not check whom it talks to; set sslmode=verify-full and sslrootcert")
    if mode == "verify-full" and "sslrootcert" not in told:
        raise ValueError("sslmode=verify-full needs sslrootcert, the file of the server's certificate authority")
    if "sslkey" in told and "sslcert" not in told:
        raise ValueError("sslkey needs sslcert")
    if mode != "verify-full" and told.keys() & {"sslrootcert", "sslcert", "sslkey"}:
        raise ValueError("TLS files are of no use without sslmode=verify-full")
    return dsn


def _parameters(dsn: str) -> Mapping[str, str]:
    if dsn.startswith(("postgresql://", "postgres://")):
        place = urlsplit(dsn)
        told = dict(parse_qsl(place.query))
        return told if place.password is None else {**told, "password": ""}
    return {name.lower(): value.strip("'") for name, value in _WORD.findall(dsn)}
