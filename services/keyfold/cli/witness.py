"""`keyfold witness`: a cosigner of the log's checkpoints, to be run elsewhere by somebody else."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keyfold.auditing.root_records import read_genesis
from keyfold.bus import Bus, BusSettings, KafkaBus
from keyfold.cli.arguments import chosen
from keyfold.cli.exits import UsageError
from keyfold.cli.output import pairs, table
from keyfold.cli.session import Session, of
from keyfold.config import Telemetry, telemetry_at
from keyfold.events.notes import NoteInvalid, check_name
from keyfold.log import TrustKeeper
from keyfold.logging import configure_logging
from keyfold.process import until_signalled
from keyfold.telemetry.serving import serving
from keyfold.witness import Home, Pins, Witness, create_home, open_home
from keyfold.witness.cosigner import ALGORITHMS
from keyfold.witness.vitals import checks_of

app = typer.Typer(name="witness", help="Cosign the log's checkpoints, elsewhere.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The witness's own directory.")]
Bootstrap = Annotated[str | None, typer.Option("--bootstrap", metavar="HOST:PORT", help="The brokers.")]


@app.command()
def init(
    context: typer.Context,
    directory: Directory,
    *,
    name: Annotated[str, typer.Option("--name", help="The witness's name, as cosignatures bear it.")],
    deployment: Annotated[
        str | None, typer.Option("--deployment", metavar="FINGERPRINT", help="The root key's fingerprint.")
    ] = None,
    bootstrap: Bootstrap = None,
    algorithm: Annotated[
        list[str] | None, typer.Option("--algorithm", help="Ed25519 or ML-DSA-44; by default both.")
    ] = None,
) -> None:
    """Make a witness: its keys, and what it pins of the log. Prints its vkeys for those who will ask for its word.

    The fingerprint is what the witness will believe: get it from the root ceremony, not from the cluster.

    Example: keyfold witness init /var/lib/witness --name witness.example/1 --deployment 6b1f... --bootstrap kafka:9092
    """
    session = of(context)
    try:
        check_name(name)
    except NoteInvalid as error:
        raise UsageError(f"--name: {error}") from None
    algorithms = chosen(algorithm or list(ALGORITHMS), ALGORITHMS, "--algorithm")
    fingerprint, bus = _cluster(session, deployment, bootstrap)
    pins = session.run(_pins(bus, fingerprint))
    home = create_home(directory, name, pins, algorithms)
    keys = [str(key) for key in home.cosigner.vkeys]
    if not pins.notary_keys:
        session.say("root has certified no notary yet; the witness will pin its keys when it has")
    session.show({"directory": str(directory), "deployment": fingerprint, "keys": keys}, "\n".join(keys))


@app.command()
def run(
    context: typer.Context,
    directory: Directory,
    *,
    bootstrap: Bootstrap = None,
    once: Annotated[bool, typer.Option("--once", help="Look once at what is there now, then end.")] = False,
    telemetry: Annotated[
        str | None, typer.Option("--telemetry", metavar="HOST:PORT", help="Serve metrics and health there.")
    ] = None,
) -> None:
    """Follow the log's checkpoints and cosign each that extends the one before. Ends on Ctrl-C or SIGTERM.

    A checkpoint that contradicts what was cosigned is refused, kept in DIR/evidence, and told; with --once the exit
    code is 4.

    Example: keyfold witness run /var/lib/witness --bootstrap kafka:9092
    """
    session = of(context)
    home = open_home(directory)
    _, bus = _cluster(session, home.pins.deployment, bootstrap)
    with home.locked():
        witness = Witness(bus, home)
        if once:
            session.run(witness.once())
            session.show({"cosigned": witness.cosigned}, f"{witness.cosigned} checkpoints are cosigned")
        else:
            configure_logging("witness")
            session.run(_followed(witness, telemetry))


@app.command()
def show(context: typer.Context, directory: Directory) -> None:
    """Show a witness: its vkeys, what it pinned, the last checkpoint of each log, and evidence if there is any.

    Example: keyfold --json witness show /var/lib/witness
    """
    home = open_home(directory)
    data = _data(home)
    top = [("name", data["name"]), ("deployment", data["deployment"]), ("evidence", data["evidence"])]
    states = [(row["partition"], row["size"], row["root"][:16]) for row in data["state"]]
    parts = [pairs(top), *data["keys"], table(("partition", "size", "root"), states, empty="nothing is cosigned yet")]
    of(context).show(data, "\n".join(parts))


async def _followed(witness: Witness, address: str | None) -> None:
    async with serving(telemetry_at(Telemetry(), address), "witness") as telemetry:
        telemetry.vitals.add(checks_of(witness))
        await until_signalled(witness.run())


def _cluster(session: Session, deployment: str | None, bootstrap: str | None) -> tuple[str, Bus]:
    """Return the fingerprint and the bus: as named, else those of the deployment in the data directory."""
    if deployment is not None and bootstrap is not None:
        return deployment, KafkaBus(BusSettings(bootstrap_servers=bootstrap, client_id="keyfold-witness"))
    if not session.settings_file.exists():
        raise UsageError("name the cluster with --bootstrap and, for `init`, the --deployment")
    config = session.config
    return deployment or config.deployment or "", session.bus(config)


async def _pins(bus: Bus, deployment: str) -> Pins:
    partitions = (await read_genesis(bus, deployment)).data.partitions
    keeper = TrustKeeper(bus, deployment, partitions)
    try:
        trust = await keeper.catch_up()
    finally:
        await keeper.stop()
    return Pins(deployment, partitions, trust.notary_keys())


def _data(home: Home) -> dict[str, Any]:
    states = [(number, home.state(number)) for number in range(home.pins.partitions)]
    return {
        "name": home.cosigner.name,
        "keys": [str(key) for key in home.cosigner.vkeys],
        "deployment": home.pins.deployment,
        "partitions": home.pins.partitions,
        "state": [
            {"partition": number, "size": state.checkpoint.size, "root": state.checkpoint.root.hex()}
            for number, state in states
            if state is not None
        ],
        "evidence": [str(path) for path in home.evidence()],
    }
