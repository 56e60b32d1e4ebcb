"""`keyfold key disable-version`, `enable-version`, `destroy-version`: one version of a key, never the current one."""

import typer

from keyfold.cli.arguments import KeyName, NoWait, Reason, Trial, VersionNumber, how
from keyfold.cli.confirming import Yes, confirmed
from keyfold.cli.session import of
from keyfold.cli.writing import write

app = typer.Typer()


@app.command("disable-version")
def disable_version(
    context: typer.Context,
    key: KeyName,
    version: VersionNumber,
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Stop a version from opening and verifying; others go on. A --reason is kept with the version.

    Example: keyfold key disable-version alias/orders 1 --reason "everything was re-encrypted"
    """
    write(
        of(context),
        lambda kms: kms.disable_key_version(key, version, **how(reason, dry_run)),
        lambda _: f"version {version} of {key} is disabled",
        no_wait=no_wait,
    )


@app.command("enable-version")
def enable_version(
    context: typer.Context,
    key: KeyName,
    version: VersionNumber,
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Let a disabled version open and verify again.

    Example: keyfold key enable-version alias/orders 1
    """
    write(
        of(context),
        lambda kms: kms.enable_key_version(key, version, **how(reason, dry_run)),
        lambda _: f"version {version} of {key} is active",
        no_wait=no_wait,
    )


@app.command("destroy-version")
def destroy_version(
    context: typer.Context,
    key: KeyName,
    version: VersionNumber,
    *,
    yes: Yes = False,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Destroy the material of one version that was disabled, or marked as compromised, seven days ago or earlier.

    What still names this version cannot be opened any more: `keyfold rewrap --report-only` counts it beforehand.

    Example: keyfold key destroy-version alias/orders 1 --yes
    """
    session = of(context)
    if not dry_run:
        confirmed(session, key, f"Destroy version {version} of {key} for good?", yes=yes, version=version)
    write(
        session,
        lambda kms: kms.destroy_key_version(key, version, **how(reason, dry_run)),
        lambda _: f"version {version} of {key} is destroyed",
        no_wait=no_wait,
    )
