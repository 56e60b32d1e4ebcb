"""`keyfold topics apply`: the cluster's topics as the table says, as far as that harms no record."""

from dataclasses import dataclass

import typer

from keyfold.cli.session import Session, of
from keyfold.config import Config


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done: names of topics that were created, and a sentence for each setting that was altered."""

    created: tuple[str, ...]
    altered: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return it as text; empty where there was nothing to do."""
        return [*([f"created {', '.join(self.created)}"] if self.created else []), *self.altered]


def apply(context: typer.Context) -> None:
    """Create the topics that are missing, and alter settings that differ from the table, where no record suffers.

    What may not be altered is named with the reason; then nothing is.

    Example: keyfold topics apply
    """
    session = of(context)
    done = session.run(apply_table(session, session.config))
    session.show(done, "\n".join(done.lines()) or "all topics are as they must be")


async def apply_table(session: Session, config: Config) -> Applied:
    """Make the topics as the table says; repeatable. Raises `TopicMismatch` for what must stay as it is.

    If we crash in between, what was created and altered stays, and the rest is found by the next attempt.
    """
    admin = session.bus(config).admin()
    in_sync = 2 if config.replication_factor > 2 else 1
    await admin.start()
    try:
        created = await admin.create_topics(
            config.partitions, replication_factor=config.replication_factor, min_insync_replicas=in_sync
        )
        altered = await admin.alter_topics(config.partitions, min_insync_replicas=in_sync)
        await admin.verify_topics(config.partitions, min_insync_replicas=in_sync)
    finally:
        await admin.stop()
    return Applied(tuple(created), tuple(altered))
