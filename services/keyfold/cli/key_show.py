"""`keyfold key show`, `describe`, `versions`, `public-key`: keys as they are, by what the projections say.

A key's state follows from what was decided and from the time (this machine's clock); it is not stored. A public key is
read from the directory and believed by the worker's signature. A key as of an earlier time is read from the log.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from keyfold.cli import output
from keyfold.cli.arguments import KeyName, OneVersion
from keyfold.cli.projected import key_of
from keyfold.cli.session import Session, now_ms, of
from keyfold.cli.time_travel.reading import ArchiveDirectory, At, Trail, instant, opened
from keyfold.events.entities import Key, KeyVersion
from keyfold.events.key_states import state_of
from keyfold.events.times import to_text
from keyfold.projections.ports import Queries
from keyfold.projections.rows import PublicKeyRow, Usage, VersionRow

if TYPE_CHECKING:
    from keyfold.cli.time_travel.key_at import KeyAt
    from keyfold.client import PublicKey

app = typer.Typer()


@dataclass(frozen=True, slots=True)
class Described:
    """A key with what the projections know about it, at `now_ms`."""

    key: Key
    versions: tuple[VersionRow, ...]
    aliases: tuple[str, ...]
    usage: tuple[Usage, ...]
    public_key: PublicKeyRow | None
    now_ms: int

    @property
    def state(self) -> str:
        """The state that the key is in now."""
        return state_of(self.key, self.now_ms)

    def as_data(self) -> dict[str, Any]:
        """Return all of it as a document."""
        return {
            **self.key.model_dump(mode="json"),
            "state": self.state,
            "versions": [self.version(row) for row in self.versions],
            "aliases": self.aliases,
            "usage": self.usage,
            "public_key": self.public_key.public_key if self.public_key else None,
        }

    def version(self, row: VersionRow) -> dict[str, Any]:
        """Return one version as a document, with what follows from it and the time."""
        known = self.key.version(row.version)
        current = row.version == self.key.current_version
        usable = {"usable_material": known.has_material(self.now_ms), "compromised": known.compromised}
        return {**output.plain(row), **usable, "current": current}


@app.command()
def show(
    context: typer.Context, key: KeyName, *, at: At = None, trail: Trail = False, archive: ArchiveDirectory = None
) -> None:
    """Show a key: its state now, its versions, its public key, its names and its use; or as all that was at a time.

    With --at it is read from the verified log, and its grants are shown too. An alias means the key that it meant then.

    Example: keyfold key show alias/orders

    Example: keyfold key show alias/orders --at 2026-01-31T12:00:00.000Z
    """
    session, when = of(context), instant(at, "--at")
    if when is None and not trail and archive is None:
        _show(session, key)
        return
    from keyfold.cli.time_travel.key_at import key_at

    async def work() -> "KeyAt":
        async with opened(session, trail=trail, archive=archive) as log:
            return await key_at(log, key, when)

    found = session.run(work())
    then = Described(found.key, found.versions, found.aliases, found.usage, found.public_key, found.at_ms)
    as_of = to_text(found.at_ms)
    session.show(
        {**then.as_data(), "grants": found.grants, "as_of": as_of},
        f"as of {as_of}\n\n{description(then)}\n\n{_grants(found)}",
    )


@app.command()
def describe(context: typer.Context, key: KeyName) -> None:
    """Show a key, as `key show` does.

    Example: keyfold key describe alias/orders
    """
    _show(of(context), key)


@app.command()
def versions(context: typer.Context, key: KeyName) -> None:
    """List the versions of a key: status, material, what they served, and when they were erased.

    Example: keyfold key versions alias/orders
    """
    session = of(context)
    found = _read(session, key)
    session.show([found.version(row) for row in found.versions], versions_table(found))


@app.command("public-key")
def public_key(
    context: typer.Context,
    key: KeyName,
    *,
    version: OneVersion = None,
    form: Annotated[Literal["pem", "der"], typer.Option("--format", help="How it is written into a file.")] = "pem",
    to: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where it goes; - for standard output.")
    ] = None,
) -> None:
    """Print the public half of a version (SubjectPublicKeyInfo), as the HSM worker signed that it is.

    Example: keyfold key public-key alias/releases -o releases.pem
    """
    from keyfold.cli.transfer import STANDARD

    session = of(context)
    config = session.config

    async def work() -> "PublicKey":
        async with session.client(config) as kms:
            return await kms.public_key(key, version)

    found = session.run(work())
    facts = {"key_id": found.key_id, "version": found.version, "key_spec": found.key_spec, "key_usage": found.key_usage}
    if to in {None, STANDARD}:
        session.show({**facts, "public_key": found.pem()}, found.pem().rstrip())
        return
    path = Path(to or "")
    path.write_bytes(found.pem().encode() if form == "pem" else found.public_key)
    session.show({**facts, "output": path}, f"public key of version {found.version} written to {path}")


def _show(session: Session, key: str) -> None:
    found = _read(session, key)
    session.show(found.as_data(), description(found))


def _read(session: Session, key: str) -> Described:
    return session.ask(lambda queries: described(queries, key, now_ms()))


async def described(queries: Queries, name: str, at_ms: int) -> Described:
    """Return a key with what the projections know about it. Raises `NotFound`."""
    key = await key_of(queries, name)
    return Described(
        key,
        await queries.key_versions(key.key_id),
        tuple(alias.alias for alias in await queries.aliases(key_id=key.key_id)),
        await queries.usage(stream=f"key/{key.key_id}"),
        await queries.public_key(key.key_id),
        at_ms,
    )


def description(found: Described) -> str:
    """Return what a person wants to know about a key."""
    used = output.table(
        ("PRINCIPAL", "VERB", "VERSION", "COMMANDS", "ITEMS", "FAILED", "LAST"),
        [(u.principal, u.verb, u.version, u.commands, u.items, u.failed_items, u.last_used_at) for u in found.usage],
        empty="not used yet",
    )
    return f"{output.pairs(_facts(found))}\n\n{versions_table(found)}\n\n{used}"


def _facts(found: Described) -> list[tuple[str, Any]]:
    key = found.key
    why = key.reason or key.current.compromise_reason
    waits = key.import_parameters
    return [
        ("key", key.key_id),
        ("state", found.state + (f" ({why})" if why else "")),
        ("deletion", key.deletion_date),
        ("spec", f"{key.key_spec}, {key.key_usage}, {key.protection}" + (", imported" * (key.origin == "EXTERNAL"))),
        *([("protects", _validity(key))] if key.not_before or key.not_after else []),
        *([("import", f"of version {waits.version} is open until {waits.expires_at}")] if waits else []),
        ("created", f"{key.created_at} by {key.created_by}"),
        ("description", key.description),
        ("tags", key.tags),
        ("aliases", found.aliases),
        ("policies", [policy.policy for policy in key.policies]),
        ("budget", _budget(key)),
        *([("rotation", _rotation(key))] if key.rotation_period_seconds else []),
        *([("public key", found.public_key.public_key)] if found.public_key else []),
    ]


def _grants(found: "KeyAt") -> str:
    rows = [
        (g.grant, "Expired" if g.status == "Active" and not g.live(found.at_ms) else g.status, g.grantee, g.verbs,
         g.created_by, g.expires_at)
        for g in found.grants
    ]  # fmt: skip
    return output.table(("GRANT", "STATUS", "GRANTEE", "VERBS", "BY", "UNTIL"), rows, empty="no grants")


def _budget(key: Key) -> str:
    rotated = f"rotated at {key.rotate_at_percent} %" if key.rotate_at_percent else "not rotated by itself"
    return f"{key.usage_budget} items a version, {rotated}"


def _validity(key: Key) -> str:
    return f"from {key.not_before or 'the beginning'} to {key.not_after or 'no end'}"


def _rotation(key: Key) -> str:
    period = key.rotation_period_seconds or 0
    return f"every {period // 86_400} days" if period % 86_400 == 0 else f"every {period} seconds"


def versions_table(found: Described) -> str:
    """Return the versions of a key, one a line."""
    headers = ("VERSION", "STATUS", "MATERIAL", "CREATED", "PROTECTED", "USED", "LAST USED", "VALID TO", "ERASED")
    rows = []
    for row in found.versions:
        known = found.key.version(row.version)
        number = f"{row.version} (current)" if row.version == found.key.current_version else str(row.version)
        rows.append(
            (
                number, _status(known), _material(known, found.now_ms), row.created_at, row.protected_items,
                row.used_items, row.last_used_at, row.valid_to, _erased(row),
            )
        )  # fmt: skip
    return output.table(headers, rows)


def _status(version: KeyVersion) -> str:
    told = f"{version.status} since {version.changed_at}" if version.status == "Disabled" else version.status
    if version.compromised:
        told += f", compromised since {version.occurred_at} (marked {version.compromised_at})"
    return told


def _material(version: KeyVersion, at_ms: int) -> str:
    if version.status in {"Destroyed", "Failed"}:
        return "no"
    if version.has_material(at_ms):
        return "yes"
    return "awaited" if version.material_offset is None else "deleted"


def _erased(row: VersionRow) -> str | None:
    if row.certified_at is not None:
        return f"certified {row.certified_at}"
    return row.erased_at
