"""Bringing a deployment up and down: infrastructure, root ceremony, services, in this order, each step repeatable.

Used by `up`, `init` and `demo`. It remembers what ran before, so that it can stop exactly what it started.
"""

from collections.abc import Iterable

import uvloop

from keyfold.bus import TopicMismatch
from keyfold.ceremony import Initialised, initialise
from keyfold.cli.session import Session, now_ms
from keyfold.cli.topic_table import apply_table
from keyfold.config import Config, save_config
from keyfold.embedded import Stack


def begin(session: Session, config: Config) -> Initialised:
    """Run the root ceremony; finds out by itself whether it has taken place."""
    return uvloop.run(initialise(config, session.bus(config), now_ms, session.say))


def ensure_initialised(session: Session, stack: Stack) -> Initialised | None:
    """Run the ceremony unless the settings name a deployment. If we crash before they do, it is found in the log."""
    config = stack.config
    if config.deployment is not None:
        return None
    done = begin(session, config)
    stack.set_deployment(done.deployment)
    return done


def initialise_existing(session: Session, config: Config) -> Initialised:
    """Run the ceremony on infrastructure that somebody else runs, and write the deployment into the settings."""
    done = begin(session, config)
    save_config(config.model_copy(update={"deployment": done.deployment}), session.settings_file)
    return done


def bring_up(session: Session, stack: Stack) -> Config:
    """Start everything that does not run yet."""
    config = stack.start_infrastructure()
    if ensure_initialised(session, stack) is None:
        _follow_table(session, config)
    stack.start_services()
    return stack.config


def _follow_table(session: Session, config: Config) -> None:
    """Give a deployment of an earlier release the topics that came later; what may not be altered does not stop it."""
    try:
        done = session.run(apply_table(session, config))
    except TopicMismatch as error:
        session.say(str(error))
        return
    for line in done.lines():
        session.say(line)


def stop_what_was_started(stack: Stack, ran_before: Iterable[str]) -> None:
    """Stop the parts that run now and did not before, services first; everything if nothing ran before."""
    before = frozenset(ran_before)
    if not before:
        stack.stop()
        return
    mine = [part.name for part in stack.status() if part.state != "stopped" and part.name not in before]
    mine.reverse()
    mine.sort(key=lambda name: name != "supervisor")  # first of all: it would start the others again
    for name in mine:
        stack.stop_part(name)
