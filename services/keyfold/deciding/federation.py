"""Principals of OpenID Connect issuers: the rules of issuers and their keys, and who a token says its bearer is. Pure.

An issuer's token is evidence in the log, like everything else: who it is about is decided again from the same bytes,
the issuer as it was put and the time of the decision, at any later time. Nothing is fetched here; the scheduler reads
key sets and puts them. Whether a token is genuine is `jwt`'s business, what is in a key set `jwks`'s.

Deleting an issuer does not revoke its principals: their keys end with their tokens, or when they are revoked.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from keyfold.deciding import jwks, jwt
from keyfold.deciding.rules import Rule
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.commands import AssumePrincipalWithWebIdentity
from keyfold.events.entities import Issuer, Principal, SigningKey
from keyfold.events.evolve import View
from keyfold.events.evolve_governance import principal_key, with_token_key
from keyfold.events.identities import principal_name
from keyfold.events.signatures import fingerprint
from keyfold.events.times import SECOND_MS, to_text

MAX_FEDERATED_KEYS: Final = 100
MAX_TAG: Final = 1024
_ADDRESS: Final = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!-~]*)?")
_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a verified token is about, and what its claims map to, in the words of `facts.PrincipalAuthenticated`."""

    principal: str
    issuer: str
    token_subject: str
    token_id: str | None
    groups: list[str]
    tags: dict[str, str]
    expires_at: str


def authenticate(command: AssumePrincipalWithWebIdentity, registry: View, now_ms: int) -> Identity:
    """Return whom a command's token is about, if it binds the command's key and the command names that principal.

    That the key signed the command is admission's to check. Raises `UnknownIssuer`, `InvalidToken` and its kin, or
    `InvalidCommand`.
    """
    data, arguments = command.data, command.data.arguments
    issuer = registry.get(f"issuer/{arguments.issuer}")
    if not isinstance(issuer, Issuer):
        raise errors.UnknownIssuer
    if arguments.algorithm != "Ed25519":
        raise errors.TokenNotBound("keys of federated principals are Ed25519")
    public_key = bytes.fromhex(arguments.public_key)
    token = jwt.verify(arguments.token, issuer, public_key, now_ms)
    name = principal_name(issuer.issuer, issuer.url, token.subject)
    if data.principal != name or data.signing_key != fingerprint(public_key):
        raise errors.InvalidCommand("the command is not in the name of the token's principal and key")
    return Identity(
        principal=name,
        issuer=issuer.issuer,
        token_subject=token.subject,
        token_id=token.token_id,
        groups=_groups(token.claims, issuer),
        tags=_tags(token.claims, issuer),
        expires_at=to_text(token.expires_ms),
    )


def principal_of(identity: Identity, public_key: str, registry: View, now_ms: int) -> Principal:
    """Return the principal as it is if the command is decided in its favour; it may be one that cannot be."""
    time = to_text(now_ms)
    key = principal_key(public_key, "Ed25519", time, identity.expires_at)
    known = registry.get(f"principal/{identity.principal}")
    if not isinstance(known, Principal):
        known = Principal(
            principal=identity.principal,
            principal_type="federated",
            keys=(),
            registered_at=time,
            issuer=identity.issuer,
            token_subject=identity.token_subject,
        )
    return with_token_key(known, key, tuple(identity.groups), identity.tags, now_ms)


def _groups(claims: dict[str, Any], issuer: Issuer) -> list[str]:
    """Values that are mapped to nothing give nothing. A claim that is no text or list of texts is refused."""
    value = claims.get(issuer.groups_claim, []) if issuer.groups_claim is not None else []
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise errors.InvalidToken("the token's groups must be text or a list of texts")
    mapped = (issuer.groups[each] for each in values if each in issuer.groups)
    return list(dict.fromkeys((*issuer.base_groups, *mapped)))


def _tags(claims: dict[str, Any], issuer: Issuer) -> dict[str, str]:
    """A claim that is missing gives no tag. One that no tag can hold is refused: cut off, it would mean another."""
    found = {tag: claims[claim] for claim, tag in issuer.tags.items() if claim in claims}
    if not all(isinstance(value, str) and len(value) <= MAX_TAG for value in found.values()):
        raise errors.InvalidToken(f"a claim that is mapped to a tag must be text of at most {MAX_TAG} characters")
    return found


def _assume_principal(command: Any, world: World) -> Rule:
    arguments = command.data.arguments
    identity = authenticate(command, world.entities, world.now_ms)
    known = world.entities.get(f"principal/{identity.principal}")
    if isinstance(known, Principal):
        _check_known(known, identity, command.data.signing_key, world.now_ms)
    index = world.entities.get(f"signing-key/{command.data.signing_key}")
    if isinstance(index, SigningKey) and index.principal != identity.principal:
        raise errors.AlreadyExists("the signing key is another principal's")
    return facts.PrincipalAuthenticated, asdict(identity) | {
        "public_key": arguments.public_key,
        "algorithm": arguments.algorithm,
    }


def _check_known(known: Principal, identity: Identity, signing_key: str, now_ms: int) -> None:
    """A digest in a name is short: the name is its first bearer's, whoever else finds a subject that gives it."""
    if (known.issuer, known.token_subject) != (identity.issuer, identity.token_subject):
        raise errors.AlreadyExists("another principal has this name")
    if known.status == "Revoked":
        raise errors.PrincipalRevoked
    if known.status == "Suspended":
        raise errors.PrincipalSuspended
    if known.expired(now_ms):
        raise errors.PrincipalExpired
    key = known.key(signing_key)
    if key is not None and key.status == "Revoked":
        raise errors.SigningKeyRevoked
    if sum(each.signing_key != signing_key for each in known.usable_keys(now_ms)) >= MAX_FEDERATED_KEYS:
        raise errors.InvalidCommand(f"the principal has {MAX_FEDERATED_KEYS} keys in use; wait until tokens expire")


def _issuer(command: Any, world: World) -> Issuer:
    issuer = world.entities.get(f"issuer/{command.data.arguments.issuer}")
    if not isinstance(issuer, Issuer):
        raise errors.NotFound
    return issuer


def _put_issuer(command: Any, world: World) -> Rule:
    arguments = command.data.arguments
    _check_settings(arguments, world.deployment.development)
    others = (entity for entity in world.entities.values() if isinstance(entity, Issuer))
    if any(other.url == arguments.url and other.issuer != arguments.issuer for other in others):
        raise errors.AlreadyExists("another issuer has this address")
    return facts.IssuerPut, arguments.model_dump()


def _readable(address: str, development: bool) -> bool:
    """Over plain http somebody on the way could put in keys of their own; only a development deployment takes it."""
    return _ADDRESS.fullmatch(address) is not None and (development or address.startswith("https:"))


def _check_settings(arguments: Any, development: bool) -> None:
    if not _readable(arguments.url, development):
        raise errors.InvalidIssuer("`url` must be an https address")
    source = arguments.jwks_source
    if source is not None and not _readable(source, development) and _FILE.fullmatch(source) is None:
        raise errors.InvalidIssuer("`jwks_source` must be an https address or a plain file name")
    if len(set(arguments.tags.values())) != len(arguments.tags):
        raise errors.InvalidIssuer("two claims are mapped to one tag")


def _delete_issuer(command: Any, world: World) -> Rule:
    return facts.IssuerDeleted, {"issuer": _issuer(command, world).issuer}


def _put_issuer_keys(command: Any, world: World) -> Rule:
    issuer, text = _issuer(command, world), command.data.arguments.jwks
    jwks.check(text, issuer.algorithms)
    expires_at = to_text(world.now_ms + issuer.keys_lifetime_seconds * SECOND_MS)
    return facts.IssuerKeysPut, {"issuer": issuer.issuer, "jwks": text, "expires_at": expires_at}


RULES: Final[dict[str, Callable[[Any, Any], Rule]]] = {
    "PutIssuer": _put_issuer,
    "DeleteIssuer": _delete_issuer,
    "PutIssuerKeys": _put_issuer_keys,
    "AssumePrincipalWithWebIdentity": _assume_principal,
}
