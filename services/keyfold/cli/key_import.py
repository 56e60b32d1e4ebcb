"""`keyfold import`, `key import-parameters`, `key delete-material`: key material that its owner made elsewhere.

The material is read from a file, checked against the key's spec, and wrapped under a public key of this one import
before anything leaves this process. For a ceremony on a machine without network: `key import-parameters -o FILE` where
the deployment can be reached, `import --parameters FILE -o BLOB` where the material is, `import --parameters FILE
--wrapped BLOB` back at the deployment. The files of the first and third step hold nothing secret.
"""

import base64
import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter

from keyfold.cli.arguments import KeyName, NoWait, OneVersion, Reason, Trial, ValidTo, how, optional_moment
from keyfold.cli.exits import UsageError
from keyfold.cli.projected import key_of, wait_for
from keyfold.cli.session import Session, of
from keyfold.cli.transfer import STANDARD
from keyfold.cli.writing import tell_dry_run, try_out, write
from keyfold.client import Completed, DryRun, ImportParameters, Keyfold, When
from keyfold.client.data_verbs import Use
from keyfold.client.importing import wrap_key_material
from keyfold.client.material import KeyMaterial, MaterialEncoding, read_key_material
from keyfold.events import facts
from keyfold.events.errors import NotFound
from keyfold.events.specs import KeySpec, WrappingAlgorithm, WrappingKeySpec
from keyfold.projections.ports import AuditFilter

app = typer.Typer()

Algorithm = Annotated[WrappingAlgorithm, typer.Option("--algorithm", help="How the material is wrapped.")]
ParametersFile = Annotated[
    Path | None, typer.Option("--parameters", metavar="FILE", help="What `key import-parameters -o` wrote.")
]
_DEFAULT_ALGORITHM: Final = "RSA_AES_KEY_WRAP_SHA_256"
_KEY_SPEC: Final = TypeAdapter[KeySpec](KeySpec)


@app.command("import-parameters")
def import_parameters(
    context: typer.Context,
    key: KeyName,
    *,
    version: OneVersion = None,
    algorithm: Algorithm = _DEFAULT_ALGORITHM,
    wrapping_key_spec: Annotated[WrappingKeySpec, typer.Option(help="The key that it is wrapped under.")] = "RSA_4096",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write them for `import --parameters`.")
    ] = None,
    issued: Annotated[
        bool, typer.Option("--issued", help="Those that were issued last, for example after approvals.")
    ] = False,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Ask for what one import needs: a public wrapping key and an import token, good for 24 hours and one use.

    They are no secret. Each makes the one before void.

    Example: keyfold key import-parameters alias/byok -o parameters.json
    """
    session = of(context)
    config = session.config

    async def work() -> tuple[ImportParameters | DryRun, KeySpec | None]:
        if issued:
            return await _issued(session, key)
        async with session.client(config) as kms:
            got = await kms.get_parameters_for_import(
                key, version=version, wrapping_algorithm=algorithm, wrapping_key_spec=wrapping_key_spec,
                **how(reason, dry_run),
            )  # fmt: skip
        spec = None
        if not no_wait and not isinstance(got, DryRun):
            await wait_for(session, config, got.import_token)
        if output is not None and not isinstance(got, DryRun):
            spec = await _spec(session, got.key_id)
        return got, spec

    got, spec = session.run(work())
    if isinstance(got, DryRun):
        tell_dry_run(session, got)
        return
    facts = {**_facts(got), "command_id": got.import_token}
    if output is not None:
        output.write_text(json.dumps({**_facts(got), "key_spec": spec}, indent=2) + "\n", "utf-8")
    where = f"written to {output}" if output else f"import token {got.import_token}"
    session.show(facts, f"parameters for version {got.version} of {key}, until {got.expires_at}: {where}")


def import_(
    context: typer.Context,
    key: KeyName,
    source: Annotated[str | None, typer.Argument(metavar="[FILE]", help="The material; - for standard input.")] = None,
    *,
    form: Annotated[MaterialEncoding, typer.Option("--format", help="How the file holds it.")] = "auto",
    valid_to: ValidTo = None,
    version: OneVersion = None,
    algorithm: Algorithm = _DEFAULT_ALGORITHM,
    wrapping_key_spec: Annotated[WrappingKeySpec, typer.Option(help="The key that it is wrapped under.")] = "RSA_4096",
    parameters: ParametersFile = None,
    wrapped: Annotated[
        Path | None, typer.Option(metavar="BLOB", help="Import what was wrapped before; needs --parameters.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="BLOB", help="Only wrap; needs --parameters. No network.")
    ] = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Import key material into a key of origin EXTERNAL: a secret, or a private key (PKCS #8), from a file.

    --dry-run tries the command that would come next: without --parameters that is GetParametersForImport.

    Example: keyfold import alias/byok key.bin --format raw --valid-to 365d

    Example: keyfold import alias/byok key.pem --parameters parameters.json -o wrapped.bin
    """
    session, until = of(context), optional_moment(valid_to)
    use = Use(reason=reason)
    given = _read_parameters(parameters)
    _check_form(source, given, wrapped, output)
    if output is not None:
        _wrap_only(session, output, given, source or STANDARD, form)
        return
    if dry_run:
        _try(session, key, given[0].import_token if given else None, version, use)
        return

    async def send(kms: Keyfold) -> Completed:
        if given is not None:
            blob = wrapped.read_bytes() if wrapped else wrap_key_material(given[0], _material(source, given[1], form))
            return await kms.import_key_material(key, blob, import_token=given[0].import_token, valid_to=until, **use)
        material = _material(source, await _spec(session, await kms.resolve(key)), form)
        return await kms.import_key(
            key, material, version=version, wrapping_algorithm=algorithm, wrapping_key_spec=wrapping_key_spec,
            valid_to=until, reason=reason,
        )  # fmt: skip

    write(session, send, lambda done: _told(key, done, until), no_wait=no_wait)


def _try(session: Session, key: str, token: str | None, version: int | None, use: Use) -> None:
    """Try the command that comes next: the import itself, or what has to come before it."""

    async def trial(kms: Keyfold) -> DryRun:
        if token is not None:
            arguments = {"import_token": token}
            return await kms.dry_run("ImportKeyMaterial", key, arguments=arguments, size_bytes=1, **use)
        return await kms.get_parameters_for_import(key, version=version, dry_run=True, reason=use.get("reason"))

    try_out(session, trial)


@app.command("delete-material")
def delete_material(
    context: typer.Context,
    key: KeyName,
    *,
    version: OneVersion = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Delete imported material; the version waits until the very same material is imported again.

    Example: keyfold key delete-material alias/byok
    """
    write(
        of(context),
        lambda kms: kms.delete_imported_key_material(key, version=version, **how(reason, dry_run)),
        lambda _: f"the material of {key} is deleted",
        no_wait=no_wait,
    )


def _told(key: str, done: Completed, until: When | None) -> str:
    version = f"version {done.version} of " if done.version else ""
    return f"material imported into {version}{key}" + ("; it is deleted when its time is over" if until else "")


def _check_form(
    source: str | None, given: tuple[ImportParameters, KeySpec] | None, wrapped: Path | None, output: Path | None
) -> None:
    if (source is None) == (wrapped is None):
        raise UsageError("name the file with the material, or what was wrapped before with --wrapped")
    if given is None and (wrapped is not None or output is not None):
        raise UsageError("--wrapped and --output need --parameters: a blob is for one import only")
    if wrapped is not None and output is not None:
        raise UsageError("what is wrapped already is not wrapped again; leave --output or --wrapped away")


def _wrap_only(
    session: Session, output: Path, given: tuple[ImportParameters, KeySpec] | None, source: str, form: MaterialEncoding
) -> None:
    if given is None:
        raise UsageError("--output needs --parameters")
    blob = wrap_key_material(given[0], _material(source, given[1], form))
    output.write_bytes(blob)
    told = f"wrapped for version {given[0].version} of {given[0].key_id}, {len(blob)} bytes in {output}"
    session.show({"output": output, "bytes": len(blob), "import_token": given[0].import_token}, told)


def _material(source: str | None, spec: KeySpec, form: MaterialEncoding) -> KeyMaterial:
    if source in {None, STANDARD}:
        return read_key_material(typer.get_binary_stream("stdin").read(), spec, encoding=form)
    return read_key_material(Path(source or "").expanduser(), spec, encoding=form)


async def _issued(session: Session, key: str) -> tuple[ImportParameters, KeySpec]:
    """Read the last parameters of a key from the audit trail."""
    async with session.queries(session.config) as queries:
        found = await key_of(queries, key)
        kind = facts.ImportParametersCreated
        page = await queries.audit(AuditFilter(key_id=found.key_id, event_type=kind.type_name), limit=1)
    event = facts.parse_event(page.rows[0].value) if page.rows else None
    if not isinstance(event, kind):
        raise NotFound(f"no parameters were issued for {key}")
    data = event.data
    return ImportParameters(
        key_id=data.key_id, version=data.version, import_token=data.import_token,
        wrapping_algorithm=data.wrapping_algorithm, public_key=base64.b64decode(data.public_key),
        expires_at=data.expires_at,
    ), found.key_spec  # fmt: skip


async def _spec(session: Session, key_id: str) -> KeySpec:
    async with session.queries(session.config) as queries:
        return (await key_of(queries, key_id)).key_spec


def _facts(parameters: ImportParameters) -> dict[str, Any]:
    return {
        "key_id": parameters.key_id,
        "version": parameters.version,
        "import_token": parameters.import_token,
        "wrapping_algorithm": parameters.wrapping_algorithm,
        "public_key": base64.b64encode(parameters.public_key).decode(),
        "expires_at": parameters.expires_at,
    }


def _read_parameters(path: Path | None) -> tuple[ImportParameters, KeySpec] | None:
    """Return parameters from a file, and the spec of their key. Raises `UsageError` for a file that holds none."""
    if path is None:
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
        return ImportParameters(
            key_id=str(found["key_id"]),
            version=int(found["version"]),
            import_token=str(found["import_token"]),
            wrapping_algorithm=found["wrapping_algorithm"],
            public_key=base64.b64decode(found["public_key"], validate=True),
            expires_at=str(found["expires_at"]),
        ), _KEY_SPEC.validate_python(found["key_spec"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} holds no import parameters; `keyfold key import-parameters -o` writes them") from None
