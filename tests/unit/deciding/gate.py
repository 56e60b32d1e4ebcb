"""A hall where bearers of an issuer's tokens authenticate."""

from typing import Any

from tests.unit.deciding.hall import Hall
from tests.unit.deciding.issuers import NAME, SUBJECT, assumption, jwks, settings, token

from keyfold.events import facts
from keyfold.events.entities import Issuer
from keyfold.events.identities import principal_name

EVERYBODY = 'permit (principal, action == Action::"AssumePrincipalWithWebIdentity", resource);'
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


class Gate(Hall):
    """A hall with an issuer whose key is put. Its settings are changed by name."""

    def __init__(self, policy: str = EVERYBODY, **changes: Any) -> None:
        super().__init__()
        assert self.code("PutPolicy", policy="federation", text=policy) is None
        assert self.code("PutIssuer", **settings(**changes)) is None
        assert self.code("PutIssuerKeys", issuer=NAME, jwks=jwks()) is None

    def assume(self, bearer: str = "api", **claims: Any) -> str | None:
        """Authenticate with a fresh token; return why it is denied or rejected, None if it is not."""
        self.number += 1
        now = self.now_ms // SECOND
        using = token(bearer, **{"iat": now, "exp": now + 600} | claims)
        name = principal_name(NAME, self.issuer().url, claims.get("sub", SUBJECT))
        batch = self.decide(assumption(bearer, self.number, using=using, principal=name, issued_ms=self.now_ms))
        if batch.dead_letters:
            return batch.dead_letters[0][1].split(":")[0]
        event = self.last()
        return event.data.code if isinstance(event, facts.CommandDenied) else None

    def issuer(self) -> Issuer:
        found = self.state.entities[f"issuer/{NAME}"]
        assert isinstance(found, Issuer)
        return found
