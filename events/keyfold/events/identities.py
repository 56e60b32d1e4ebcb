"""How a federated principal is named: after its issuer and its subject there, so that a client knows its own name.

It verifies nothing. Who may bear a name is decided from a token, in `keyfold.deciding.federation`.
"""

import re
from hashlib import sha256
from typing import Final

SLUG_LENGTH: Final = 20
DIGEST_LENGTH: Final = 26
NO_SLUG: Final = "subject"
_OTHER: Final = re.compile(rb"[^a-z0-9]+")


def principal_name(issuer: str, url: str, subject: str) -> str:
    """Return the name of an issuer's principal, at most 64 characters, as `streams.Name` takes.

    It is `<issuer>.<slug>.<digest>`: the issuer's name here (at most 16 characters), the readable part of the subject,
    and the first 26 hex digits (104 bits) of SHA-256 over the issuer's address, a line feed and the subject. The digest
    tells apart what reads alike, and is too long for anybody to find a second subject of the same name.
    """
    digest = sha256(f"{url}\n{subject}".encode()).hexdigest()[:DIGEST_LENGTH]
    return f"{issuer}.{_slug(subject)}.{digest}"


def _slug(subject: str) -> str:
    """Only ASCII letters are lowered: Unicode's tables differ between languages and versions."""
    plain = _OTHER.sub(b"-", subject.encode().lower()).decode().strip("-")
    return plain[:SLUG_LENGTH].rstrip("-") or NO_SLUG
