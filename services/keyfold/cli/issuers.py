"""`keyfold issuer …` and `keyfold login`: whose identity tokens are accepted, and acting as who a token says one is."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from keyfold.cli import output
from keyfold.cli.arguments import NoWait, Reason, Trial, chosen, how, pairs, read_text, seconds
from keyfold.cli.session import of
from keyfold.cli.writing import write
from keyfold.client import Completed, DryRun, Keyfold
from keyfold.client.federation import federated_identity
from keyfold.events.arguments import JwsAlgorithm
from keyfold.identity import Identity, copy_identity, load_identity

app = typer.Typer(name="issuer", help="Whose identity tokens are accepted.", no_args_is_help=True)

Algorithms = Annotated[
    list[str], typer.Option(metavar="ALG", help="How its tokens may be signed, like ES256; may be repeated.")
]
Groups = Annotated[list[str] | None, typer.Option(metavar="VALUE=GROUP", help="A value of the claim gives this group.")]
JwksSource = Annotated[
    str | None, typer.Option(metavar="URL-OR-FILE", help="Where the scheduler reads its keys; else `issuer keys`.")
]
IssuerName = Annotated[str, typer.Argument(metavar="NAME", help="The issuer's name here.")]


@app.command()
def put(
    context: typer.Context,
    name: IssuerName,
    *,
    url: Annotated[str, typer.Option(help="The `iss` of its tokens.")],
    audience: Annotated[str, typer.Option(help="The one `aud` that tokens must have.")],
    algorithm: Algorithms,
    jwks_source: JwksSource = None,
    keys_lifetime: Annotated[str, typer.Option(metavar="SPAN", help="How long its keys are used once read.")] = "1d",
    longest: Annotated[str, typer.Option("--max-token", metavar="SPAN", help="How long a token may live.")] = "1h",
    groups_claim: Annotated[str | None, typer.Option(metavar="CLAIM", help="The claim that --group maps.")] = None,
    group: Groups = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="CLAIM=TAG", help="A claim becomes this tag.")] = None,
    base_group: Annotated[list[str] | None, typer.Option(metavar="GROUP", help="A group for all.")] = None,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Accept the tokens of an OpenID Connect issuer.

    Example: keyfold issuer put ci --url https://ci.example --audience keyfold --algorithm ES256 --base-group builds
    """
    algorithms: list[JwsAlgorithm] = chosen(algorithm, get_args(JwsAlgorithm), "--algorithm")
    groups, tags = pairs(group, "--group"), pairs(tag, "--tag")
    lifetime, token = seconds(keys_lifetime, "--keys-lifetime"), seconds(longest, "--max-token")
    write(
        of(context),
        lambda kms: kms.put_issuer(
            name, url, audience, algorithms, jwks_source=jwks_source, keys_lifetime_seconds=lifetime,
            max_token_seconds=token, groups_claim=groups_claim, groups=groups, tags=tags, base_groups=base_group or (),
            **how(reason, dry_run),
        ),
        lambda _: f"tokens of {url} are accepted as {name}, once there are keys",
        no_wait=no_wait,
    )  # fmt: skip


@app.command()
def keys(
    context: typer.Context,
    name: IssuerName,
    source: Annotated[str, typer.Argument(metavar="FILE", help="A JSON Web Key Set; - for standard input.")],
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Put an issuer's public keys by hand, where the scheduler cannot read them.

    Example: keyfold issuer keys ci jwks.json
    """
    jwks = read_text(source)
    write(
        of(context),
        lambda kms: kms.put_issuer_keys(name, jwks, **how(reason, dry_run)),
        lambda _: f"issuer {name} has these keys",
        no_wait=no_wait,
    )


@app.command()
def delete(
    context: typer.Context, name: IssuerName, *, reason: Reason = None, dry_run: Trial = False, no_wait: NoWait = False
) -> None:
    """Accept no token of an issuer any more. Who authenticated before may act until that token ends.

    Example: keyfold issuer delete ci
    """
    write(
        of(context),
        lambda kms: kms.delete_issuer(name, **how(reason, dry_run)),
        lambda _: f"issuer {name} is gone",
        no_wait=no_wait,
    )


@app.command("list")
def list_(context: typer.Context) -> None:
    """List issuers.

    Example: keyfold issuer list
    """
    session = of(context)
    found = session.ask(lambda queries: queries.issuers())
    rows = [(i.issuer, i.url, i.audience, i.algorithms, i.jwks_source, i.keys_expire_at) for i in found]
    headers = ("ISSUER", "URL", "AUDIENCE", "ALGORITHMS", "KEYS FROM", "KEYS UNTIL")
    session.show(found, output.table(headers, rows, empty="no issuers"))


def login(
    context: typer.Context,
    *,
    issuer: Annotated[str, typer.Option(metavar="NAME", help="The issuer's name here.")],
    token_file: Annotated[str, typer.Option(metavar="FILE", help="The identity token; - for standard input.")],
    key_file: Annotated[Path, typer.Option(metavar="FILE", help="The key that the token binds.")],
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Prove with an issuer's token who one is; writes an identity file, to act --as until the token ends.

    `keyfold principal key thumbprint FILE` makes the key and shows what the token must bind.

    Example: keyfold login --issuer ci --token-file token.jwt --key-file laptop.json
    """
    session = of(context)
    config = session.config
    token = read_text(token_file).strip()
    identity = federated_identity(issuer, token, load_identity(key_file).signer, config.deployment or "")
    path = config.identities_directory / f"{identity.name}.json"

    async def verb(kms: Keyfold) -> Completed:
        done = await kms.assume_principal_with_web_identity(issuer, token, **how(reason, dry_run))
        if not isinstance(done, DryRun):
            _keep(identity, key_file, path)
        return done

    write(
        session,
        verb,
        lambda _: f"you are {identity.name} until the token ends: keyfold --as {identity.name} …",
        no_wait=no_wait,
        more=lambda _: {"principal": identity.name, "identity": path},
        identity=identity,
    )


def _keep(identity: Identity, key_file: Path, path: Path) -> None:
    """Write the identity file; that of an earlier token makes room, for its key ends with that token.

    If we crash in between there is none: log in again.
    """
    if path.exists():
        if load_identity(path).signer.fingerprint == identity.signer.fingerprint:
            return
        path.unlink()
    copy_identity(key_file, path, identity.name, identity.deployment)
