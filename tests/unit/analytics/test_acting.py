"""Acting on incidents, with commands and a record in memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.unit.analytics.found import ALICE, KEY, KEY_ID, START_MS, act, found

from keyfold.analytics.acting import ActingOnIncidents, ActingSettings, Step, command_id_of, load_acting, wanted
from keyfold.analytics.findings import HOUR_MS
from keyfold.analytics.incidents import Incident, Incidents
from keyfold.client import Completed, DeadlineExceeded
from keyfold.config import ConfigError
from keyfold.events.errors import AccessDenied, AlreadyExists, IdempotencyConflict, KeyfoldError
from keyfold.events.times import to_text
from keyfold.projections.errors import StoreUnavailable
from keyfold.projections.memory.responses import MemoryResponses
from keyfold.projections.responses import ResponseRow


def incident(entity: str = ALICE, severity: Any = "high", **more: Any) -> Incident:
    made = Incidents().take(found(entity=entity, severity=severity, **more))[-1].incident
    assert made is not None
    return made


class Service:
    """Answers commands as policy does: an id is decided once. `fails` are errors of the next answers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str | None, dict[str, Any], str]] = []
        self.known: set[str] = set()
        self.fails: list[KeyfoldError] = []
        self.lost = False
        self.dies: bool | None = None  # the next time, before it arrives or (True) after

    async def once(
        self, command_id: str, verb: str, key: str | None = None, *,
        arguments: dict[str, Any], reason: str, timeout_s: float,
    ) -> Completed:  # fmt: skip
        assert timeout_s > 0
        if self.fails:
            raise self.fails.pop(0)
        dies, self.dies = self.dies, None
        if dies is False:
            raise Killed
        if command_id in self.known:
            raise AlreadyExists
        self.known.add(command_id)
        self.sent.append((command_id, verb, key, arguments, reason))
        if dies:
            raise Killed
        if self.lost:
            self.lost = False
            raise DeadlineExceeded("the answer was lost")
        return Completed(command_id)


class World:
    """An actor, what it sends, what it records, and its clock."""

    def __init__(self, **settings: Any) -> None:
        self.settings = ActingSettings(**settings)
        self.service, self.responses = Service(), MemoryResponses()
        self.now_ms = START_MS
        self.slept: list[float] = []

    def actor(self) -> ActingOnIncidents:
        return ActingOnIncidents(self.service, self.responses, self.settings, lambda: self.now_ms, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def outcomes(self, about: Incident) -> list[tuple[str, str, str | None]]:
        return [(row.verb, row.outcome, row.code) for row in await self.responses.of_incident(about.id)]


async def test_it_proposes_by_default() -> None:
    """To suspend the principal, for a day, for a reason that names the incident; and what it did is recorded."""
    world, about = World(), incident()
    await world.actor().act(about)
    ((command_id, verb, key, arguments, reason),) = world.service.sent
    assert (verb, key, reason) == ("ProposeCommand", None, f"incident {about.id}: {about.sentence}")
    assert arguments == {
        "verb": "SuspendPrincipal",
        "arguments": {"principal": "alice", "reason": reason},
        "expires_at": to_text(START_MS + 24 * HOUR_MS),
    }
    (row,) = await world.responses.of_incident(about.id)
    assert (row.target, row.outcome, row.command_id, row.attempts) == (ALICE, "proposed", command_id, 1)


async def test_it_proposes_to_disable_a_key_on_its_stream() -> None:
    """Where the incident is about a key."""
    world = World()
    await world.actor().act(incident(KEY))
    ((_, verb, key, arguments, _),) = world.service.sent
    assert (verb, key, arguments["verb"]) == ("ProposeCommand", KEY_ID, "DisableKey")


@pytest.mark.parametrize(("entity", "verb", "key"), [(ALICE, "SuspendPrincipal", None), (KEY, "DisableKey", KEY_ID)])
async def test_it_issues_where_it_is_told_to(entity: str, verb: str, key: str | None) -> None:
    """The command itself, and nothing is proposed."""
    world, about = World(mode="issue"), incident(entity)
    await world.actor().act(about)
    assert [(sent[1], sent[2]) for sent in world.service.sent] == [(verb, key)]
    assert await world.outcomes(about) == [(verb, "issued", None)]


@pytest.mark.parametrize(
    ("settings", "about"),
    [
        ({"mode": "off"}, incident()),
        ({}, incident(severity="medium")),
        ({"minimum_severity": "critical"}, incident()),
        ({"never": [ALICE]}, incident()),
        ({"suspend_principals": False}, incident()),
        ({"disable_keys": False}, incident(KEY)),
        ({"never": []}, incident("principal/scheduler")),
        ({"never": []}, incident("principal/analytics")),
        ({}, incident("principal/admin-1")),
        ({}, replace(incident(), state="closed")),
    ],
)
async def test_it_leaves_alone(settings: dict[str, Any], about: Incident) -> None:
    """What is off, too mild, spared, a service's or an administrator's, or closed; nothing is recorded either."""
    world = World(**settings)
    await world.actor().act(about)
    assert (world.service.sent, await world.outcomes(about)) == ([], [])


def test_only_whom_the_worst_finding_is_about() -> None:
    """Keys that the finding names beside its principal are not touched; a worse finding turns it to another."""
    incidents = Incidents()
    first = incidents.take(found(severity="high", key_id=KEY_ID))[-1].incident
    assert first is not None
    assert first.entities == (ALICE, KEY)
    assert wanted(first, ActingSettings()) == Step("SuspendPrincipal", ALICE)
    worse = incidents.take(found(entity=KEY, minute=1, severity="critical"))[-1].incident
    assert worse is not None
    assert wanted(worse, ActingSettings()) == Step("DisableKey", KEY)
    strange = replace(first, sentence="Something else")
    assert wanted(strange, ActingSettings()) == Step("SuspendPrincipal", ALICE)


def test_nobody_is_hit_in_the_place_of_one_that_is_not_listed() -> None:
    """An incident lists fifty entities; its worst finding may be about one more."""
    incidents = Incidents()
    for number in range(60):
        key_id = f"01890a5d-ac96-774b-bcce-{number:012x}"
        incidents.take(found(entity="principal/innocent", aspect=str(number), key_id=key_id))
    worst = found(
        entity="principal/attacker", minute=1, severity="critical", key_id=f"01890a5d-ac96-774b-bcce-{3:012x}"
    )
    grown = incidents.take(worst)[-1].incident
    assert grown is not None
    assert "principal/attacker" not in grown.entities
    assert wanted(grown, ActingSettings()) == Step("SuspendPrincipal", "principal/attacker")
    assert wanted(replace(grown, suspect=""), ActingSettings()) is None


@pytest.mark.parametrize(("detector", "entity"), [("denials", KEY), ("replays", ALICE)])
def test_nobody_is_hit_for_what_others_can_do_to_them(detector: str, entity: str) -> None:
    """Whoever may do nothing can be denied on any key, and whoever sees a command can send it again."""
    about = incident(entity, "critical", detector=detector)
    assert wanted(about, ActingSettings()) is None
    assert wanted(incident(ALICE, "critical", detector="denials"), ActingSettings()) == Step("SuspendPrincipal", ALICE)


def test_the_one_that_tries_is_hit_and_not_the_key_that_it_tries() -> None:
    """Of equally severe findings that one counts which says who did it, whichever comes first."""
    key, alice = found("denials", KEY, severity="critical"), found("denials", severity="critical", key_id=KEY_ID)
    for order in ((key, alice), (alice, key)):
        incidents = Incidents()
        last = [incidents.take(each)[-1].incident for each in order][-1]
        assert last is not None
        assert wanted(last, ActingSettings()) == Step("SuspendPrincipal", ALICE)


def test_nobody_is_shielded_by_noise_of_others() -> None:
    """Whoever may do nothing is denied on the thief's key a thousand times: the incident is critical, and the thief the
    one to stop; of a suspect that is less severe than that nothing is done, however loud the rest."""
    noise = found("denials", KEY, severity="critical")
    thief = found("usage-rate", severity="high", key_id=KEY_ID, minute=1)
    for order in ((noise, thief), (thief, noise)):
        incidents = Incidents()
        last = [incidents.take(each)[-1].incident for each in order][-1]
        assert last is not None
        assert last.severity == "critical"
        assert wanted(last, ActingSettings()) == Step("SuspendPrincipal", ALICE)
    incidents = Incidents()
    bystander = found("usage-rate", severity="low", key_id=KEY_ID, minute=1)
    last = [incidents.take(each)[-1].incident for each in (noise, bystander)][-1]
    assert last is not None
    assert wanted(last, ActingSettings()) is None


async def test_what_is_long_over_is_left() -> None:
    """After an outage incidents of hours ago come: who is stopped then may be somebody else's problem by now."""
    world, about = World(longest_age_hours=2), incident()
    world.now_ms = about.until_ms + 2 * HOUR_MS + 1
    await world.actor().act(about)
    assert (world.service.sent, await world.outcomes(about)) == ([], [])
    world.now_ms -= 1
    await world.actor().act(about)
    assert len(world.service.sent) == 1


async def test_an_incident_that_grows_is_acted_on_once() -> None:
    """And one that turns to others again, up to a number."""
    world, about = World(most_an_incident=2), incident()
    for _ in range(3):
        await world.actor().act(about)
    entities = (ALICE, KEY, "principal/carol")
    for entity in entities[1:]:
        await world.actor().act(replace(about, entities=entities, suspect=entity))
    assert [sent[3]["verb"] for sent in world.service.sent] == ["SuspendPrincipal", "DisableKey"]


async def test_what_rises_after_its_incident_was_closed_is_acted_on() -> None:
    """It is another incident, on whose record there is nothing yet."""
    world, incidents = World(), Incidents()
    first = incidents.take(found(severity="high", minute=1))[-1].incident
    assert first is not None
    await world.actor().act(first)
    incidents.act(act("close", first.id, minute=2, resolution="BENIGN"))
    second = incidents.take(found(severity="critical", minute=3))[-1].incident
    assert second is not None
    await world.actor().act(second)
    assert len(world.service.sent) == 2
    for about in (first, second):
        assert await world.outcomes(about) == [("SuspendPrincipal", "proposed", None)]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("arrived", [False, True])
async def test_a_crash_after_the_record_sends_once(arrived: bool) -> None:
    """What is recorded and not answered is sent again under its id: once if it never was, else to no effect."""
    world, about = World(), incident()
    world.service.dies = arrived
    with pytest.raises(Killed):
        await world.actor().act(about)
    assert len(world.service.sent) == arrived
    (row,) = await world.responses.of_incident(about.id)
    assert (row.outcome, row.command_id) == ("sending", command_id_of(about.id, Step("SuspendPrincipal", ALICE)))
    assert await world.responses.sent_since(to_text(START_MS)) == 1
    world.now_ms += 1
    await world.actor().act(about)
    assert len(world.service.sent) == 1
    assert await world.outcomes(about) == [
        ("SuspendPrincipal", "repeated", "AlreadyExists") if arrived else ("SuspendPrincipal", "proposed", None)
    ]


async def test_what_was_never_sent_is_not_forgotten_when_the_incident_turns_to_another() -> None:
    """A restart may find the incident grown: both are stopped. Whom nothing is to be done about by now is not."""
    for settings, stopped in (({}, [ALICE, KEY]), ({"suspend_principals": False}, [KEY])):
        world, about = World(), incident()
        world.service.dies = False
        with pytest.raises(Killed):
            await world.actor().act(about)
        world.settings = ActingSettings.model_validate(settings)
        grown = replace(about, entities=(ALICE, KEY), suspect=KEY, severity="critical")
        for _ in range(2):
            await world.actor().act(grown)
        done = [row for row in await world.responses.of_incident(about.id) if row.outcome == "proposed"]
        assert sorted(row.target for row in done) == sorted(stopped)
        assert len(world.service.sent) == len(stopped)


async def test_nothing_is_sent_before_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be written, nothing happens; where the answer cannot, it is sent again under the same id."""
    world, about = World(), incident()
    record, away = world.responses.record, [True, False, True]

    async def sometimes(row: ResponseRow) -> None:
        if away.pop(0):
            raise StoreUnavailable("no Postgres")
        await record(row)

    monkeypatch.setattr(world.responses, "record", sometimes)
    await world.actor().act(about)
    assert (world.service.sent, await world.outcomes(about)) == ([], [])
    await world.actor().act(about)
    assert (len(world.service.sent), await world.outcomes(about)) == (1, [("SuspendPrincipal", "sending", None)])
    away.append(False)
    await world.actor().act(about)
    assert len(world.service.sent) == 1
    assert await world.outcomes(about) == [("SuspendPrincipal", "repeated", "AlreadyExists")]


async def test_a_record_that_was_lost_sends_the_same_id() -> None:
    """The second process learns that it was done, and records that."""
    world, about = World(), incident()
    await world.actor().act(about)
    world.responses = MemoryResponses()
    await world.actor().act(about)
    assert len(world.service.sent) == 1
    assert await world.outcomes(about) == [("SuspendPrincipal", "repeated", "AlreadyExists")]


def test_ids_follow_from_what_they_are_for() -> None:
    """Different for each incident, verb and target; the same in each process; a UUID."""
    steps = [Step("SuspendPrincipal", ALICE), Step("DisableKey", KEY)]
    ids = [command_id_of(name, step) for name in ("a", "b") for step in steps]
    assert len(set(ids)) == 4
    assert {UUID(each).version for each in ids} == {8}
    assert command_id_of("a", steps[0]) == "651ef7b0-36a7-8cf4-9a71-6e9069bee0b5"


async def test_a_refusal_is_final() -> None:
    """Denied once, it is recorded, and not asked again."""
    world, about = World(mode="issue"), incident()
    world.service.fails = [AccessDenied()]
    await world.actor().act(about)
    await world.actor().act(about)
    assert (world.service.sent, world.slept) == ([], [])
    assert await world.outcomes(about) == [("SuspendPrincipal", "refused", "AccessDenied")]


async def test_what_may_pass_is_tried_again() -> None:
    """With pauses that double, under the same id; a lost answer is no second command."""
    world, about = World(), incident()
    world.service.fails, world.service.lost = [DeadlineExceeded("no broker")], True
    await world.actor().act(about)
    assert world.slept == [1, 2]
    assert len(world.service.sent) == 1
    assert await world.outcomes(about) == [("SuspendPrincipal", "repeated", "AlreadyExists")]


async def test_it_gives_up() -> None:
    """After its attempts; what was not answered is recorded as failed, and left."""
    world, about = World(attempts=3), incident()
    world.service.fails = [DeadlineExceeded("no broker") for _ in range(9)]
    await world.actor().act(about)
    await world.actor().act(about)
    assert (len(world.service.fails), world.slept) == (6, [1, 2])
    (row,) = await world.responses.of_incident(about.id)
    assert (row.outcome, row.code, row.attempts) == ("failed", "DeadlineExceeded", 3)


async def test_a_conflict_is_what_was_sent_before() -> None:
    """Policy remembers the id: its one decision stands, whatever it was."""
    world, about = World(mode="issue"), incident()
    world.service.fails = [IdempotencyConflict()]
    await world.actor().act(about)
    assert await world.outcomes(about) == [("SuspendPrincipal", "repeated", "IdempotencyConflict")]


async def test_a_flood_is_held_back() -> None:
    """At most so many in any hour of the clock; the others are recorded as withheld, and never sent."""
    world = World(most_an_hour=2)
    crowd = [incident(f"principal/p{number}") for number in range(4)]
    for about in crowd[:3]:
        await world.actor().act(about)
    assert len(world.service.sent) == 2
    assert await world.outcomes(crowd[2]) == [("SuspendPrincipal", "withheld", None)]
    world.now_ms += HOUR_MS + 1
    for about in crowd[2:]:
        await world.actor().act(about)
    assert [sent[3]["arguments"]["principal"] for sent in world.service.sent] == ["p0", "p1", "p3"]


async def test_nothing_is_sent_without_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the record is away, nobody knows what was done."""

    async def away(_incident: str) -> Any:
        raise StoreUnavailable("no Postgres")

    world = World()
    monkeypatch.setattr(world.responses, "of_incident", away)
    await world.actor().act(incident())
    assert world.service.sent == []


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"mode":"shoot"}', "mode"), ('{"minimum_severity":"huge"}', "minimum_severity"), ("{", "file"),
     ('{"never":"x"}', "never"), ('{"more":1}', "more")],
)  # fmt: skip
def test_wrong_settings_are_told(tmp_path: Path, text: str, said: str) -> None:
    """In one line that names the field and not its value."""
    path = tmp_path / "acting.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        load_acting(path)
    assert "\n" not in str(error.value)


def test_settings(tmp_path: Path) -> None:
    """Without a file the defaults hold: it proposes. With one, what is left out has its default."""
    assert load_acting(tmp_path / "acting.json") == ActingSettings()
    assert ActingSettings().mode == "propose"
    (tmp_path / "acting.json").write_text('{"mode": "issue", "most_an_hour": 1}')
    assert load_acting(tmp_path / "acting.json") == ActingSettings(mode="issue", most_an_hour=1)
