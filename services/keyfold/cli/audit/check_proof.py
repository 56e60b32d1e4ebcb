"""`keyfold audit check-proof`: believes a proof offline, with public keys alone. No deployment is needed or asked.

It reads the named files and nothing else: no settings, no data directory, no network.
"""

from pathlib import Path
from typing import Annotated

import typer

from keyfold.auditing.proving import check_proof as check
from keyfold.auditing.root_records import from_document, trust_of
from keyfold.cli.audit.showing import proven_data, proven_text
from keyfold.cli.exits import UsageError
from keyfold.cli.session import of
from keyfold.events.notes import NoteInvalid, VerifierKey, parse_vkey
from keyfold.events.trust import Trust


def check_proof(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A proof, as `keyfold audit prove` writes it.")],
    *,
    keys: Annotated[
        list[str] | None, typer.Option("--key", metavar="VKEY", help="A key of the log, or a file with some.")
    ] = None,
    witnesses: Annotated[
        list[str] | None, typer.Option("--witness", metavar="VKEY", help="A key of a witness, or a file with some.")
    ] = None,
    quorum: Annotated[
        int | None, typer.Option("--quorum", min=0, metavar="K", help="So many must have cosigned (default: all).")
    ] = None,
    deployment: Annotated[
        str | None, typer.Option("--deployment", metavar="FINGERPRINT", help="The root key's fingerprint.")
    ] = None,
    certificates: Annotated[
        Path | None, typer.Option("--certificates", metavar="FILE", help="As `audit keys --save` wrote them.")
    ] = None,
) -> None:
    """Check that a proof is good: leaf, path, the log's signatures, cosignatures. Exit code 4 where it is not.

    With --deployment and --certificates the log's keys are those that root certified, and the author is checked too.

    Example: keyfold audit check-proof outcome.tlog-proof --key log.keys --witness witness.keys --quorum 1

    Example: keyfold audit check-proof outcome.tlog-proof --deployment 6b1f... --certificates root.json
    """
    session = of(context)
    if not keys and deployment is None:
        raise UsageError("name keys of the log with --key, or --deployment and --certificates")
    proven = check(
        file.read_bytes(),
        read_keys(keys or ()),
        witnesses=read_keys(witnesses or ()),
        quorum=quorum,
        trust=_trust(deployment, certificates),
    )
    session.show(proven_data(proven), f"the proof is good\n{proven_text(proven)}")


def read_keys(named: list[str] | tuple[str, ...]) -> list[VerifierKey]:
    """Return verifier keys from their text, or from files with one on each line. Raises `UsageError`."""
    found: list[VerifierKey] = []
    for name in named:
        is_vkey = name.count("+") > 1 and not Path(name).is_file()
        lines = [name] if is_vkey else Path(name).read_text().splitlines()
        try:
            found += [parse_vkey(line) for line in lines if line.strip() and not line.startswith("#")]
        except NoteInvalid as error:
            raise UsageError(f"{name} is no verifier key and no file of some: {error}") from None
    return found


def _trust(deployment: str | None, certificates: Path | None) -> Trust | None:
    if deployment is None and certificates is None:
        return None
    if deployment is None or certificates is None:
        raise UsageError("--deployment and --certificates belong together")
    return trust_of(from_document(certificates.read_bytes()), deployment)
