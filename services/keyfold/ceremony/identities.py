"""The identity files that a deployment begins with: its services' signing keys and its first principals' keys.

The notary has none: its keys are in a token.

Each is a 0600 file that is made once and never overwritten; a file from an earlier attempt of the same deployment is
used again, one that belongs to another deployment is refused. No key is in two of them: a service's key says what a
service says, and a principal's asks for what policy lets the principal do.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from keyfold.ceremony.errors import CeremonyIncomplete
from keyfold.events.signatures import check_public_key
from keyfold.identity import Identity, IdentityUnusable, create_identity, load_identity

ADMINISTRATORS: Final = ("admin-1", "admin-2")
SCHEDULER: Final = "scheduler"
ANALYTICS: Final = "analytics"
ANALYTICS_FILE: Final = "analytics-principal"
"""Its key as a principal is another than the service's, which signs alerts."""
NOTARY: Final = "notary"
SERVICE_ROLES: Final = ("policy", "hsm", "projector", NOTARY, ANALYTICS)


def identity_path(directory: Path, name: str) -> Path:
    """Where a name's identity file lies."""
    return directory / f"{name}.json"


def ensure_identity(directory: Path, name: str, deployment: str, file: str | None = None) -> Identity:
    """Make an identity file, or take the one that an earlier attempt made. Raises `CeremonyIncomplete`.

    It is called by its name, or as `file` says.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = identity_path(directory, file or name)
    if not path.exists():
        return _checked(create_identity(path, name, deployment), path)
    return load_known(directory, name, deployment, file)


def load_known(directory: Path, name: str, deployment: str, file: str | None = None) -> Identity:
    """Read an identity file of this deployment. Raises `CeremonyIncomplete`."""
    path = identity_path(directory, file or name)
    if not path.exists():
        raise CeremonyIncomplete(f"there is no identity file {path}; put it (or its copy) there, then run it again")
    try:
        identity = load_identity(path)
    except IdentityUnusable as error:
        raise CeremonyIncomplete(f"{error}; move it away, then run the ceremony again") from None
    if identity.name != name or identity.deployment != deployment:
        raise CeremonyIncomplete(
            f"{path} is {identity.name!r} of another deployment; move it away, then run the ceremony again"
        )
    return _checked(identity, path)


def require_own_key(path: Path, identity: Identity, others: Mapping[str, str]) -> None:
    """Raise `CeremonyIncomplete` where the key is one of others, which are told by fingerprint whose they are."""
    whose = others.get(identity.signer.fingerprint)
    if whose is not None:
        raise CeremonyIncomplete(
            f"{path} has the same key as {whose}, and each has a key of its own: move the file away, or, if it is a "
            f"principal's under the name of a service, call it {identity.name}-principal.json; then run the ceremony "
            "again"
        )


def _checked(identity: Identity, path: Path) -> Identity:
    if identity.signer.algorithm != "Ed25519":
        raise CeremonyIncomplete(
            f"{path} holds a key of {identity.signer.algorithm}; only Ed25519 keys take part in a ceremony: use another"
        )
    try:
        check_public_key(identity.signer.public_key)
    except ValueError as error:
        raise CeremonyIncomplete(f"{path} holds {error}; move it away, then run the ceremony again") from None
    return identity
