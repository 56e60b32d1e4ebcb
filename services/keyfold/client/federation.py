"""Federation: acting as the principal that an OpenID Connect issuer's token names, with a key that the token binds.

The client has no registration of its own. It shows the token, signs with the bound key from then on, and shows a fresh
token before the last one ends. The token's claims are read here only to learn one's own name and when to come again;
whether the token is genuine is the service's to say. Tokens and claims never stand in messages or logs.
"""

import asyncio
import base64
import inspect
import json
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final, Protocol

from pydantic import BaseModel, Field, StrictStr

from keyfold.client.errors import InvalidArgument
from keyfold.client.results import Completed
from keyfold.events.errors import KeyfoldError, TokenNotBound, Unavailable
from keyfold.events.identities import principal_name
from keyfold.events.signatures import Signer
from keyfold.identity import Identity

logger = logging.getLogger(__name__)

TokenSource = str | Callable[[str], str | Awaitable[str]]
"""A token, or what gets one: it is called with the thumbprint that the token must bind (`cnf.jkt`, RFC 9449). A
blocking function is called in a thread."""

_RENEW_AT: Final = 0.8
_SHORTEST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


class TokenSourceFailed(Unavailable):
    """The program's own token source raised, or did not answer in time."""

    code = "TokenSourceFailed"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of itself, unverified."""

    url: str
    subject: str
    expires_ms: int
    thumbprint: str | None


class _Confirmation(BaseModel):
    jkt: StrictStr | None = None


class _Claims(BaseModel):
    iss: StrictStr
    sub: StrictStr
    exp: Annotated[float, Field(ge=0, le=1e11)]
    cnf: _Confirmation | None = None


class Client(Protocol):
    """What federation asks of a connected client."""

    async def assume_principal_with_web_identity(self, issuer: str, token: str, /) -> Completed: ...


def thumbprint(public_key: bytes) -> str:
    """Return the SHA-256 thumbprint (RFC 7638) of an Ed25519 public key as a JWK (RFC 8037): the token's `cnf.jkt`."""
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public_key)}
    return _base64url(sha256(json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()).digest())


def read_claims(token: str) -> Claims:
    """Read a token's claims without verifying them. Raises `InvalidArgument`."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        found = _Claims.model_validate(claims)
        (found.iss + found.sub).encode()
    except (ValueError, AttributeError, RecursionError):
        raise InvalidArgument("the identity token is no JWT with iss, sub and exp") from None
    return Claims(found.iss, found.sub, int(found.exp * 1000), found.cnf.jkt if found.cnf else None)


def federated_identity(issuer: str, token: str, signer: Signer, deployment: str) -> Identity:
    """Return the identity that a token gives to the holder of a key, if the service accepts the token.

    Raises `InvalidArgument`, and `TokenNotBound` where the token names another key's thumbprint.
    """
    _check_key(signer)
    claims = read_claims(token)
    own = thumbprint(signer.public_key)
    if claims.thumbprint is not None and claims.thumbprint != own:
        raise TokenNotBound(f"the identity token binds another key; ask the issuer for one that binds jkt {own}")
    return Identity(principal_name(issuer, claims.url, claims.subject), deployment, signer)


class Federation:
    """One client's standing with an issuer. `signer` is an Ed25519 key, for this alone."""

    def __init__(
        self, issuer: str, source: TokenSource, signer: Signer, *, clock_ms: Callable[[], int], timeout_s: float
    ) -> None:
        _check_key(signer)
        self._issuer, self._source, self._signer = issuer, source, signer
        self._clock_ms, self._timeout_s = clock_ms, timeout_s
        self._token = ""
        self._name = ""
        self._task: asyncio.Task[None] | None = None

    async def identify(self, deployment: str) -> Identity:
        """Get the first token and return who it says this is. Raises `TokenSourceFailed`, `InvalidArgument`."""
        self._token = await self._fetch()
        identity = federated_identity(self._issuer, self._token, self._signer, deployment)
        self._name = identity.name
        return identity

    async def begin(self, client: Client) -> None:
        """Show the token; from then on show a fresh one in time, in the background, if there is where to get one."""
        await client.assume_principal_with_web_identity(self._issuer, self._token)
        if not isinstance(self._source, str):
            self._task = asyncio.create_task(self._keep(client), name="federation")

    async def stop(self) -> None:
        """Show no further tokens."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _keep(self, client: Client) -> None:
        """Come again when most of the token's time is over; after a failure, try again until it works."""
        pause_s = 0.0
        while True:
            await asyncio.sleep(pause_s or self._until_renewal_s())
            try:
                await self._renew(client)
                pause_s = 0.0
            except Exception as error:  # noqa: BLE001 - whatever it was: nobody else would ever try again
                pause_s = min(2 * pause_s or _SHORTEST_PAUSE_S, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311
                kind = error.code if isinstance(error, KeyfoldError) else type(error).__name__
                logger.warning("client.authentication-failed issuer=%s reason=%s", self._issuer, kind)

    async def _renew(self, client: Client) -> None:
        token = await self._fetch()
        identity = federated_identity(self._issuer, token, self._signer, "")
        if identity.name != self._name:
            raise InvalidArgument("the fresh identity token is about somebody else")
        await client.assume_principal_with_web_identity(self._issuer, token)
        self._token = token

    def _until_renewal_s(self) -> float:
        left_s = (read_claims(self._token).expires_ms - self._clock_ms()) / 1000
        return max(_RENEW_AT * left_s, _SHORTEST_PAUSE_S)

    async def _fetch(self) -> str:
        """Ask the source, which may be anybody's code, under a deadline."""
        if isinstance(self._source, str):
            return self._source
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._call(self._source, thumbprint(self._signer.public_key))
        except TimeoutError:
            raise TokenSourceFailed(f"no identity token came within {self._timeout_s} s") from None
        except KeyfoldError:
            raise
        except Exception as error:
            raise TokenSourceFailed(f"the source of identity tokens failed: {type(error).__name__}") from error

    @staticmethod
    async def _call(source: Callable[[str], str | Awaitable[str]], bound: str) -> str:
        found = source(bound) if inspect.iscoroutinefunction(source) else await asyncio.to_thread(source, bound)
        token = await found if inspect.isawaitable(found) else found
        if not isinstance(token, str):
            raise InvalidArgument("a source of identity tokens returns text")
        return token


def _check_key(signer: Signer) -> None:
    if signer.algorithm != "Ed25519":
        raise InvalidArgument(f"tokens bind Ed25519 keys, and this one is {signer.algorithm}")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
