"""`keyfold principal key …`: the keys that a principal signs with, and the files that hold them.

Rotating replaces an identity file by its successor, in three steps: the new key is written beside it, the service takes
it in the old one's place, the files are swapped. If we crash between the second and the third, both files are there;
the same command run again asks the projections which key is current, and swaps.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from keyfold.cli import output
from keyfold.cli.arguments import Ends, NoWait, PrincipalName, Reason, Trial, how, optional_moment, public_key
from keyfold.cli.exits import UsageError
from keyfold.cli.session import Session, now_ms, of
from keyfold.cli.writing import write
from keyfold.client import Completed, DryRun, Keyfold, thumbprint
from keyfold.config import Config
from keyfold.events.entities import Principal
from keyfold.events.errors import KeyfoldError, NotFound
from keyfold.events.signatures import SignatureAlgorithm, Signer
from keyfold.identity import (
    SERVICES,
    IdentityUnusable,
    create_identity,
    load_identity,
    prepare_successor,
    principal_path,
    successor_path,
    swap_in_successor,
)

app = typer.Typer(name="key", help="The keys that principals sign with.", no_args_is_help=True)

KeyFile = Annotated[Path, typer.Argument(metavar="FILE", help="A key file; made (0600) if there is none.")]


@app.command()
def add(
    context: typer.Context,
    name: PrincipalName,
    *,
    key: Annotated[str | None, typer.Option("--public-key", metavar="HEX", help="The key.")] = None,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its identity file; made (0600) if there is none.")
    ] = None,
    algorithm: Annotated[SignatureAlgorithm, typer.Option(help="Of a key that is made here.")] = "Ed25519",
    expires: Ends = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Let a principal sign with one more key.

    Example: keyfold principal key add alice --key-file alice-laptop.json --expires 90d
    """
    if (key is None) == (key_file is None):
        raise UsageError("name the key: --public-key HEX or --key-file FILE")
    session, until = of(context), optional_moment(expires)
    if key is not None:
        raw, used = public_key(key)
    else:
        signer = _key_in(session.config, key_file or Path(), name, algorithm, dry_run=dry_run)
        raw, used = signer.public_key, signer.algorithm
    require_no_service(session.config, raw)
    write(
        session,
        lambda kms: kms.add_signing_key(name, raw, algorithm=used, expires_at=until, **how(reason, dry_run)),
        lambda _: f"principal {name} signs with one more key" + (f", in {key_file}" if key_file else ""),
        no_wait=no_wait,
        more=lambda _: {"principal": name, "public_key": raw.hex(), "algorithm": used, "identity": key_file},
    )


@app.command()
def rotate(
    context: typer.Context,
    name: PrincipalName,
    *,
    algorithm: Annotated[
        SignatureAlgorithm | None, typer.Option(help="Of the new key; as the old one's unless named.")
    ] = None,
    expires: Ends = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Put a new key in the place of the one in a principal's identity file here; the old one is revoked.

    Example: keyfold --as alice principal key rotate alice
    """
    session, until = of(context), optional_moment(expires)
    path = _identity_file(session, name)
    old = load_identity(path).signer
    waited = successor_path(path).exists()
    new = passing_key(algorithm or old.algorithm) if dry_run else prepare_successor(path, algorithm=algorithm).signer
    if waited and not dry_run and _is_current(session, name, new.fingerprint):
        swap_in_successor(path)
        session.show(_about(name, path, new), f"the new key was current already; {path} holds it now")
        return

    async def verb(kms: Keyfold) -> Completed:
        done = await kms.rotate_signing_key(
            name, new.public_key, old.fingerprint, algorithm=new.algorithm, expires_at=until, **how(reason, dry_run)
        )
        if not isinstance(done, DryRun):
            # If we crash here, the new key is current and still waits beside the old one's file.
            swap_in_successor(path)
        return done

    told = f"{path} holds the current key of {name}; the one before is revoked"
    with nullcontext() if dry_run else _successor_told(session, path):
        write(session, verb, lambda _: told, no_wait=no_wait, more=lambda _: _about(name, path, new))


@contextmanager
def _successor_told(session: Session, path: Path) -> Iterator[None]:
    """Say after an error where which key is. The new one is kept, also after a refusal: an answer can be lost."""
    waiting = successor_path(path)
    try:
        yield
    except KeyfoldError:
        if waiting.exists():
            session.say(f"{path} holds the key that was current before, {waiting} the new one.")
            session.say("Run the same command again: it finds out which is current, and goes on from there.")
        raise


@app.command()
def revoke(
    context: typer.Context,
    name: PrincipalName,
    fingerprint: Annotated[str, typer.Argument(metavar="FINGERPRINT", help="The key, as `principal key list` says.")],
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Refuse what is signed with a key from now on.

    Example: keyfold principal key revoke alice 5f0c9c3b0e1d4a7f8b2c6d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c
    """
    write(
        of(context),
        lambda kms: kms.revoke_signing_key(name, fingerprint, **how(reason, dry_run)),
        lambda _: f"the key {fingerprint} of {name} is revoked",
        no_wait=no_wait,
    )


@app.command("list")
def list_(context: typer.Context, name: PrincipalName) -> None:
    """List a principal's signing keys, revoked ones too.

    Example: keyfold principal key list alice
    """
    session = of(context)
    found = principal_of(session, name)
    session.show(found.keys, table(found))


@app.command("thumbprint")
def thumbprint_(context: typer.Context, path: KeyFile) -> None:
    """Show what an issuer's token must bind (`cnf.jkt`) for `keyfold login` with this key; make the key first.

    Example: keyfold principal key thumbprint laptop.json
    """
    session = of(context)
    if not path.exists():
        create_identity(path, "", session.config.deployment or "")
    signer = load_identity(path).signer
    if signer.algorithm != "Ed25519":
        raise UsageError(f"{path} holds a key of {signer.algorithm}; tokens bind Ed25519 keys")
    found = thumbprint(signer.public_key)
    session.show({"jkt": found, "public_key": signer.public_key.hex(), "key_file": path}, found)


def principal_of(session: Session, name: str) -> Principal:
    """Return a principal as the projections show it. Raises `NotFound`."""
    found = session.ask(lambda queries: queries.principal(name))
    if found is None:
        raise NotFound(f"there is no principal {name}; `keyfold principal list` shows which there are")
    return found


def table(principal: Principal) -> str:
    """Return a principal's keys for people."""
    now = now_ms()
    rows = [
        (k.signing_key, k.algorithm, _status(k.status, usable=k.usable(now)), k.added_at, k.expires_at)
        for k in principal.keys
    ]
    return output.table(("SIGNING KEY", "ALGORITHM", "STATUS", "SINCE", "UNTIL"), rows, empty="no signing keys")


def passing_key(algorithm: SignatureAlgorithm) -> Signer:
    """Return a key for a dry run to ask about: it is kept nowhere."""
    return Signer(secrets.token_bytes(32), algorithm)


def _status(status: str, *, usable: bool) -> str:
    return "Expired" if status == "Active" and not usable else status


def require_no_service(config: Config, raw: bytes) -> None:
    """Raise `UsageError` for the key of a service whose file is here: what it signs must not count as a command."""
    for path in (config.identities_directory / f"{name}.json" for name in sorted(SERVICES)):
        with suppress(IdentityUnusable):
            if load_identity(path).signer.public_key == raw:
                raise UsageError(f"this is the key in {path}, a service's; a principal has a key of its own")


def _key_in(config: Config, path: Path, name: str, algorithm: SignatureAlgorithm, *, dry_run: bool) -> Signer:
    if not path.exists():
        if dry_run:
            return passing_key(algorithm)
        return create_identity(path, name, config.deployment or "", algorithm=algorithm).signer
    identity = load_identity(path)
    if identity.name not in {"", name}:
        raise UsageError(f"{path} is the identity of {identity.name}; name another file")
    return identity.signer


def _identity_file(session: Session, name: str) -> Path:
    """Return where the identity to rotate lies: the file of who acts, if it is theirs, else the one of that name."""
    config = session.config
    acting = session.identity(config)
    if acting.exists() and load_identity(acting).name == name:
        return acting
    return principal_path(config.identities_directory, name)


def _is_current(session: Session, name: str, fingerprint: str) -> bool:
    key = principal_of(session, name).key(fingerprint)
    return key is not None and key.status == "Active"


def _about(name: str, path: Path, signer: Signer) -> dict[str, Any]:
    return {
        "principal": name,
        "identity": path,
        "signing_key": signer.fingerprint,
        "public_key": signer.public_key.hex(),
        "algorithm": signer.algorithm,
    }
