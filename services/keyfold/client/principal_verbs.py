"""Control verbs about who may sign commands: principals, their signing keys, and the issuers of identity tokens.

What may be raised, and what `options` are, is in `control`. Public keys are raw bytes: 32 of Ed25519, 1,952 of
ML-DSA-65.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack

from keyfold.client.arguments import When, moment
from keyfold.client.control import Control, Options
from keyfold.client.errors import InvalidArgument
from keyfold.client.results import Completed
from keyfold.events.arguments import JwsAlgorithm, PrincipalType
from keyfold.events.signatures import SignatureAlgorithm


class PrincipalVerbs(Control):
    """Verbs about principals, signing keys and issuers."""

    async def register_principal(
        self,
        principal: str,
        public_key: bytes,
        *,
        algorithm: SignatureAlgorithm = "Ed25519",
        groups: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        principal_type: PrincipalType = "workload",
        expires_at: When | None = None,
        **options: Unpack[Options],
    ) -> Completed:
        """Let somebody sign commands with this key, until `expires_at` if that is given."""
        arguments = {
            "principal": principal,
            **_key(public_key, algorithm),
            "groups": list(groups),
            "tags": dict(tags or {}),
            "principal_type": principal_type,
            "expires_at": self._moment(expires_at),
        }
        return await self._do("RegisterPrincipal", None, arguments, **options)

    async def update_principal(
        self,
        principal: str,
        *,
        groups: Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
        expires_at: When | Literal["never"] | None = None,
        **options: Unpack[Options],
    ) -> Completed:
        """Replace a principal's groups, tags or end; what is None stays as it is, `never` takes the end away."""
        arguments = {
            "principal": principal,
            "groups": None if groups is None else list(groups),
            "tags": None if tags is None else dict(tags),
            "expires_at": expires_at if expires_at == "never" else self._moment(expires_at),
        }
        return await self._do("UpdatePrincipal", None, arguments, **options)

    async def suspend_principal(self, principal: str, **options: Unpack[Options]) -> Completed:
        """Refuse what this principal signs until it is resumed. A `reason` is kept with the principal."""
        arguments = {"principal": principal, "reason": options.get("reason") or ""}
        return await self._do("SuspendPrincipal", None, arguments, **options)

    async def resume_principal(self, principal: str, **options: Unpack[Options]) -> Completed:
        """Let a suspended principal act again."""
        return await self._do("ResumePrincipal", None, {"principal": principal}, **options)

    async def revoke_principal(self, principal: str, **options: Unpack[Options]) -> Completed:
        """Refuse everything that this principal signs from now on; its name is not used again."""
        return await self._do("RevokePrincipal", None, {"principal": principal}, **options)

    async def add_signing_key(
        self,
        principal: str,
        public_key: bytes,
        *,
        algorithm: SignatureAlgorithm = "Ed25519",
        expires_at: When | None = None,
        **options: Unpack[Options],
    ) -> Completed:
        """Let a principal sign with one more key, until `expires_at` if that is given."""
        arguments = {
            "principal": principal, **_key(public_key, algorithm), "expires_at": self._moment(expires_at),
        }  # fmt: skip
        return await self._do("AddSigningKey", None, arguments, **options)

    async def rotate_signing_key(
        self,
        principal: str,
        public_key: bytes,
        replaces: str,
        *,
        algorithm: SignatureAlgorithm = "Ed25519",
        expires_at: When | None = None,
        **options: Unpack[Options],
    ) -> Completed:
        """Put a new key in the place of the one with the fingerprint `replaces`, which is revoked by the same command.

        A client that replaced its own key must be connected again with the new one.
        """
        arguments = {
            "principal": principal, **_key(public_key, algorithm), "replaces": replaces,
            "expires_at": self._moment(expires_at),
        }  # fmt: skip
        return await self._do("RotateSigningKey", None, arguments, **options)

    async def revoke_signing_key(self, principal: str, signing_key: str, **options: Unpack[Options]) -> Completed:
        """Refuse what is signed with this key, named by its fingerprint, from now on."""
        arguments = {"principal": principal, "signing_key": signing_key}
        return await self._do("RevokeSigningKey", None, arguments, **options)

    async def assume_principal_with_web_identity(
        self, issuer: str, token: str, **options: Unpack[Options]
    ) -> Completed:
        """Prove with an issuer's token who this client is; its own key must be the one that the token binds.

        `Keyfold.connect(token=…, issuer=…)` does this by itself, and again before the token ends.
        """
        signer = self._identity.signer
        arguments = {"issuer": issuer, "token": token, **_key(signer.public_key, signer.algorithm)}
        return await self._do("AssumePrincipalWithWebIdentity", None, arguments, **options)

    async def put_issuer(
        self,
        issuer: str,
        url: str,
        audience: str,
        algorithms: Sequence[JwsAlgorithm],
        *,
        jwks_source: str | None = None,
        keys_lifetime_seconds: int = 86_400,
        max_token_seconds: int = 3_600,
        groups_claim: str | None = None,
        groups: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        base_groups: Sequence[str] = (),
        **options: Unpack[Options],
    ) -> Completed:
        """Accept the tokens of an OpenID Connect issuer; see `keyfold.events.arguments.PutIssuerArguments`."""
        arguments = {
            "issuer": issuer,
            "url": url,
            "audience": audience,
            "algorithms": list(algorithms),
            "jwks_source": jwks_source,
            "keys_lifetime_seconds": keys_lifetime_seconds,
            "max_token_seconds": max_token_seconds,
            "groups_claim": groups_claim,
            "groups": dict(groups or {}),
            "tags": dict(tags or {}),
            "base_groups": list(base_groups),
        }
        return await self._do("PutIssuer", None, arguments, **options)

    async def put_issuer_keys(self, issuer: str, jwks: str, **options: Unpack[Options]) -> Completed:
        """Put an issuer's public keys, a JSON Web Key Set (RFC 7517) as text; the scheduler sends this."""
        return await self._do("PutIssuerKeys", None, {"issuer": issuer, "jwks": jwks}, **options)

    async def delete_issuer(self, issuer: str, **options: Unpack[Options]) -> Completed:
        """Accept no token of this issuer any more."""
        return await self._do("DeleteIssuer", None, {"issuer": issuer}, **options)

    def _moment(self, when: When | None) -> str | None:
        return None if when is None else moment(when, self._exchange.now_ms())


def _key(public_key: bytes, algorithm: SignatureAlgorithm) -> dict[str, Any]:
    if not isinstance(public_key, bytes):
        raise InvalidArgument("a public key is raw bytes: 32 of Ed25519, 1,952 of ML-DSA-65")
    return {"public_key": public_key.hex(), "algorithm": algorithm}
