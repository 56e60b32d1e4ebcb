"""`keyfold capabilities`: which keys can be made here, as the HSM worker found by trying its token and library."""

import typer

from keyfold.cli import output
from keyfold.cli.exits import NotReady
from keyfold.cli.session import Session, of
from keyfold.config import Config
from keyfold.events.entities import CAPABILITIES, Capabilities
from keyfold.events.errors import KeyfoldError
from keyfold.log import RegistryFollower


def capabilities(context: typer.Context) -> None:
    """Show which key specs, usages and algorithms are offered, at which protection level.

    Read from the projections; from the verified log where they cannot be read.

    Example: keyfold capabilities
    """
    session = of(context)
    config = session.config
    found = session.run(_found(session, config))
    if found is None:
        raise NotReady("the HSM worker has not said yet what its token can do; see `keyfold status`")
    rows = [(c.key_spec, c.key_usage, c.protection, c.algorithms, c.resident) for c in found.capabilities]
    table = output.table(("SPEC", "USAGE", "PROTECTION", "ALGORITHMS", "RESIDENT"), rows, empty="nothing is offered")
    about = [("module", found.module), ("found", found.found_at), ("imports", found.imports)]
    session.show(found, f"{table}\n\n{output.pairs(about)}")


async def _found(session: Session, config: Config) -> Capabilities | None:
    try:
        async with session.queries(config) as queries:
            found = await queries.capabilities()
    except KeyfoldError as error:
        session.say(f"the projections cannot be read ({error.code}); reading the log")
        found = None
    return found or await _logged(session, config)


async def _logged(session: Session, config: Config) -> Capabilities | None:
    follower = RegistryFollower(session.bus(config), config.deployment or "")
    try:
        await follower.start()
        found = follower.view.get(CAPABILITIES)
        return found if isinstance(found, Capabilities) else None
    finally:
        await follower.stop()
