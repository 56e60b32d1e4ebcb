"""Issuers for the tests of the scheduler."""

from typing import Any

from keyfold.events.entities import Issuer
from keyfold.events.times import to_text

LIFETIME_S = 400


def issuer(name: str = "corp", *, updated_ms: int = 0, put_ms: int | None = 5_000, **changes: Any) -> Issuer:
    """Make an issuer whose settings were put at one time and its keys at another (None: never)."""
    values: dict[str, Any] = {
        "issuer": name,
        "url": f"https://{name}.example",
        "audience": "keyfold",
        "algorithms": ("EdDSA",),
        "jwks_source": f"{name}.json",
        "keys_lifetime_seconds": LIFETIME_S,
        "max_token_seconds": 3600,
        "groups_claim": None,
        "groups": {},
        "tags": {},
        "base_groups": (),
        "updated_at": to_text(updated_ms),
        "jwks": None if put_ms is None else "{}",
        "keys_expire_at": None if put_ms is None else to_text(put_ms + LIFETIME_S * 1000),
    }
    return Issuer(**{**values, **changes})
