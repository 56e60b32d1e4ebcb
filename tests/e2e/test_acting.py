"""Analytics acts on incidents in a running deployment: people approve what it proposes, by command line."""

import asyncio
import json
import time
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.e2e.conftest import CommandLine
from tests.unit.analytics.found import found

from keyfold.analytics.acting import ACTING_FILE
from keyfold.analytics.connecting import Acting
from keyfold.analytics.incidents import Incident, Incidents
from keyfold.client.sync import Keyfold
from keyfold.config import load_config
from keyfold.events.errors import InvalidState, KeyfoldError, NotFound
from keyfold.projections.memory.responses import MemoryResponses
from keyfold.projections.responses import ResponseRow
from keyfold.projections.store.responses import PostgresResponses

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


def incident(entity: str, detector: str) -> Incident:
    """An incident about this entity; the detector makes its id another."""
    made = Incidents().take(found(detector, entity, severity="critical"))[-1].incident
    assert made is not None
    return replace(made, revision=1, until_ms=time.time_ns() // 1_000_000)


def act(keyfold: CommandLine, *incidents: Incident, **settings: Any) -> list[ResponseRow]:
    """Act with a process's own parts and these settings, and return what is on the incidents' records."""
    config = load_config(keyfold.data / "keyfold.json")
    (keyfold.data / ACTING_FILE).write_text(json.dumps(settings))

    async def work() -> list[ResponseRow]:
        acting, record = Acting(config, "test"), PostgresResponses(config.postgres_reader_dsn)
        assert acting.actor is not None
        try:
            for each in incidents:
                await acting.actor.act(each)
            names = dict.fromkeys(each.id for each in incidents)
            return [row for name in names for row in await record.of_incident(name)]
        finally:
            await acting.close()
            await record.close()

    running: Coroutine[Any, Any, list[ResponseRow]] = work()
    return asyncio.run(running)


@pytest.fixture(scope="module")
def key(keyfold: CommandLine) -> str:
    """A key, somebody who approves, and somebody whose use is unusual."""
    keyfold.done("principal", "register", "ann", "--group", "approvers", "--type", "human")
    keyfold.done("principal", "register", "mallory")
    key_id: str = keyfold.done("--json", "key", "create", "--alias", "alias/vault").document["key_id"]
    return key_id


def test_a_key_is_disabled_when_somebody_approves(keyfold: CommandLine, key: str) -> None:
    """The incident makes a proposal, once; its reason names the incident; after the approval the key is disabled."""
    about = incident(f"key/{key}", "usage-rate")
    (row,) = act(keyfold, about, about)
    assert (row.verb, row.outcome) == ("DisableKey", "proposed")
    assert row.command_id is not None
    assert "Enabled" in keyfold.done("key", "describe", key).out
    shown = keyfold.done("proposal", "show", row.command_id).out
    assert all(word in shown for word in ("analytics", "DisableKey", f"incident {about.id}"))
    done = keyfold.done("--json", "--as", "ann", "proposal", "approve", row.command_id, "--yes").document
    assert done["status"] == "Executed"
    assert "Disabled" in keyfold.done("key", "describe", key).out
    keyfold.done("key", "enable", key)


def test_a_second_process_makes_no_second_proposal(keyfold: CommandLine, key: str) -> None:
    """One that lost its record sends the same command, and finds that it was sent."""
    about = incident(f"key/{key}", "fan-out")
    (row,) = act(keyfold, about)
    forgotten = replace(about, id=about.id)
    config = load_config(keyfold.data / "keyfold.json")

    async def again() -> str:
        acting = Acting(config, "other")
        assert acting.actor is not None
        acting.actor._responses = MemoryResponses()
        try:
            await acting.actor.act(forgotten)
            (found_again,) = await acting.actor._responses.of_incident(about.id)
            return found_again.outcome
        finally:
            await acting.close()

    assert asyncio.run(again()) == "repeated"
    named = [each for each in keyfold.done("--json", "proposal", "list").document if each["proposal"] == row.command_id]
    assert len(named) == 1


def test_issuing_needs_a_policy(keyfold: CommandLine, key: str) -> None:
    """Without it the command is denied, which is recorded, and nothing breaks; with it the principal is suspended."""
    (refused,) = act(keyfold, incident("principal/mallory", "usage-rate"), mode="issue")
    assert (refused.outcome, refused.code) == ("refused", "ApprovalRequired")
    assert "Active" in keyfold.done("principal", "show", "mallory").out
    assert "Enabled" in keyfold.done("key", "describe", key).out
    text = 'permit (principal in Group::"analytics", action == Action::"SuspendPrincipal", resource);'
    (keyfold.folder / "issuing.cedar").write_text(text)
    keyfold.done("policy", "put", "issuing", "issuing.cedar")
    (issued,) = act(keyfold, incident("principal/mallory", "first-use"), mode="issue")
    assert (issued.outcome, issued.code) == ("issued", None)
    assert "Suspended" in keyfold.done("principal", "show", "mallory").out


def test_what_operators_do_about_incidents_is_in_the_log(keyfold: CommandLine) -> None:
    """Acknowledged, closed (again, if found anew), suppressed and not any more; an auditor finds all of it right."""
    config = load_config(keyfold.data / "keyfold.json")
    identity = config.identities_directory / "admin-1.json"
    about = incident("principal/mallory", "usage-rate").id
    with Keyfold.connect(bootstrap_servers=config.bootstrap_servers, identity=identity) as kms:
        kms.acknowledge_incident(about, "mine")
        kms.close_incident(about, "TRUE_POSITIVE", "the key was stolen")
        with pytest.raises(InvalidState):
            kms.acknowledge_incident(about, "mine")
        kms.close_incident(about, "TRUE_POSITIVE", "the key was stolen")
        for until in (timedelta(days=91), timedelta(seconds=-1)):
            with pytest.raises(KeyfoldError):
                kms.put_suppression("exports", detector="fan-out", until=until)
        kms.put_suppression("exports", detector="fan-out", until=timedelta(days=90))
        kms.delete_suppression("exports")
        with pytest.raises(NotFound):
            kms.delete_suppression("exports")
    lines = keyfold.done("audit", "query", "--principal", "admin-1", "--format", "json", "-n", "200").out.splitlines()
    rows = [json.loads(line) for line in lines]
    verbs = {(row["verb"], row["outcome"]) for row in rows}
    acts = ("AcknowledgeIncident", "CloseIncident", "PutSuppression", "DeleteSuppression")
    assert {(verb, outcome) for verb in acts for outcome in ("authorized", "completed")} <= verbs
    assert {(verb, "denied") for verb in acts if verb != "CloseIncident"} <= verbs
    keyfold.done("audit", "verify")


def test_administrators_are_never_suspended(keyfold: CommandLine) -> None:
    """By settings nothing is sent; where these spare nobody, policy refuses."""
    about = incident("principal/admin-2", "usage-rate")
    assert act(keyfold, about, mode="issue") == []
    (refused,) = act(keyfold, about, mode="issue", never=[])
    assert (refused.outcome, refused.code) == ("refused", "ApprovalRequired")  # what another policy asks for
    assert "Active" in keyfold.done("principal", "show", "admin-2").out
