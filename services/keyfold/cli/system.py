"""Bringing a deployment up and down: infrastructure, root ceremony, services, in this order, each step repeatable.

Used by `up`, `init` and `demo`. It remembers what ran before, so that it can stop exactly what it started.
"""

from collections.abc import Iterable

import uvloop

from keyfold.ceremony import Initialised, initialise
from keyfold.cli.session import Session, now_ms
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
    stack.start_infrastructure()
    ensure_initialised(session, stack)
    stack.start_services()
    return stack.config


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
