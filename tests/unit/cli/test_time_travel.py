"""A key as of a time and its history: what the projections say now, and what they would have said then."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.property.lasting import LastingArchive
from tests.support.archive import Archive
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS
from tests.unit.auditing.archived import Log
from tests.unit.cli.conftest import Terminal
from tests.unit.cli.policy_world import World, world
from tests.unit.deciding.replays import KEY_ID, ONE, asked, put, quiet, read
from tests.unit.deciding.replays import Wish as Wished

from keyfold.auditing.rooted import NotRooted
from keyfold.auditing.sources import KafkaSource
from keyfold.bus import Outbound
from keyfold.cli.exits import UsageError
from keyfold.cli.key_show import described
from keyfold.cli.policy_sources import Replaying, Source
from keyfold.cli.session import Session, now_ms
from keyfold.cli.time_travel import history as histories
from keyfold.cli.time_travel import reading
from keyfold.cli.time_travel.archived import recorded_log
from keyfold.cli.time_travel.history import history
from keyfold.cli.time_travel.key_at import key_at
from keyfold.cli.time_travel.timeline import Entry
from keyfold.cli.time_travel.who_could import answers
from keyfold.deciding.remaking import remake
from keyfold.deciding.wishing import Wish
from keyfold.events import facts, topics
from keyfold.events.errors import NotFound
from keyfold.events.streams import REGISTRY, key_id_of
from keyfold.events.times import to_milliseconds, to_text

DAY_MS = 86_400_000
NAME = {"alias": "alias/orders", "key_id": KEY_ID}


def one_by_one(made: Archive, *wishes: Wished, by: str = "alice") -> None:
    """Ask, a second apart."""
    for wish in wishes:
        made.now_ms += 1000
        asked(made, wish, by=by)


def lived() -> Archive:
    """A key that is named, used on two days, rotated, granted, disabled, and whose name then means nothing."""
    made = quiet()
    one_by_one(made, ("CreateKey", ONE, {"arguments": {"tags": {"team": "shop"}}}))
    one_by_one(made, ("CreateAlias", REGISTRY, {"arguments": NAME}))
    one_by_one(made, put("own", "permit (principal, action, resource);", ONE))
    one_by_one(made, *[("Encrypt", ONE, {"contexts": [{"t": "7"}], "items": 3})] * 2)
    one_by_one(made, ("DestroyKeyNow", ONE, {"dry_run": True}), ("RotateKey", ONE, {}))
    made.now_ms += DAY_MS
    one_by_one(made, ("Decrypt", ONE, {"contexts": [{"t": "7"}], "items": 2}), by="bob")
    made.random.seed(4)
    made.answer(100)
    read(made)
    grant = {"grantee": "dave", "verbs": ["Decrypt"], "expires_at": to_text(made.now_ms + 10 * DAY_MS)}
    one_by_one(made, ("CreateGrant", ONE, {"arguments": grant}), ("DisableKey", ONE, {"arguments": {"reason": "look"}}))
    one_by_one(made, *[("Decrypt", ONE, {})] * 3, by="bob")
    one_by_one(made, ("DeleteAlias", REGISTRY, {"arguments": {"alias": "alias/orders"}}))
    return made


def at(made: Archive, kind: type[facts.Event], later_ms: int = 0) -> str:
    """The time of the first event of a kind."""
    found = next(leaf.event for leaves in made.log.values() for leaf in leaves if isinstance(leaf.event, kind))
    return to_text(to_milliseconds(found.time) + later_ms)


async def sources(made: World) -> list[Source]:
    """The verified log, the audit trail, and records as an archive has them: all say the same."""
    records = KafkaSource(made.bus, DEPLOYMENT, PARTITIONS)
    return [await made.log(), made.audit(), await recorded_log(records)]


# A key as of a time


async def test_a_key_now_is_what_the_projections_say() -> None:
    """From events alone the same rows follow as the projector writes, for keys of every kind that lived long."""
    archive = LastingArchive(random.Random(43)).live(80)  # noqa: S311 - choices of a test
    made = await world(archive)
    log, compared = await made.log(), 0
    for stream in sorted({each.subject for leaves in archive.log.values() for each in (leaf.event for leaf in leaves)}):
        key_id = key_id_of(stream)
        if key_id is None or await made.queries.describe_key(key_id) is None:
            continue
        found, known = await key_at(log, key_id, None), await described(made.queries, key_id, now_ms())
        assert (found.key, found.versions, found.aliases) == (known.key, known.versions, known.aliases)
        assert (sorted(found.usage, key=str), found.public_key) == (sorted(known.usage, key=str), known.public_key)
        assert found.grants == tuple(sorted(await made.queries.grants(key_id=key_id), key=lambda each: each.created_at))
        compared += 1
    assert compared > 3


async def test_a_key_as_of_a_time() -> None:
    """Versions, tags, names, policies, grants and use are those of then, wherever it is read from."""
    archive = lived()
    for log in await sources(await world(archive)):
        first = await key_at(log, KEY_ID, at(archive, facts.KeyCreated))
        assert (len(first.versions), first.key.tags, first.key.policies, first.aliases) == (1, {"team": "shop"}, (), ())
        then = await key_at(log, "alias/orders", at(archive, facts.GrantCreated, -1))
        assert (len(then.versions), then.aliases, then.grants) == (2, ("alias/orders",), ())
        assert [policy.policy for policy in then.key.policies] == ["own"]
        assert {(use.principal, use.verb): use.items for use in then.usage} == {
            ("alice", "Encrypt"): 6, ("bob", "Decrypt"): 2,
        }  # fmt: skip
        now = await key_at(log, KEY_ID, None)
        assert (now.key.status, now.aliases, [grant.grantee for grant in now.grants]) == ("Disabled", (), ["dave"])


async def test_a_key_that_was_not_there_is_not_found() -> None:
    """By id and by name, before it was created and after its name was taken away."""
    archive = lived()
    log = await (await world(archive)).log()
    with pytest.raises(NotFound, match="did not exist"):
        await key_at(log, KEY_ID, to_text(START_MS))
    with pytest.raises(NotFound, match="named no key at"):
        await key_at(log, "alias/orders", to_text(START_MS))
    with pytest.raises(NotFound, match="named no key so far"):
        await key_at(log, "alias/orders", None)


# Who could


async def test_who_could_then() -> None:
    """In the world of the time: before the grant, with it, and after the key was disabled."""
    archive = lived()
    for log in await sources(await world(archive)):
        before = await answers(log, KEY_ID, Wish("Decrypt"), at(archive, facts.KeyCreated), "carol")
        assert [(each.principal, each.could) for each in before.principals] == [("carol", True)]
        after = await answers(log, KEY_ID, Wish("Decrypt"), None)
        assert (after.state, after.state_answer) == ("Disabled", "KeyDisabled")
        assert {each.afterwards for each in after.principals if each.permitted} == {"KeyDisabled"}


async def test_who_could_asks_about_known_principals_and_verbs_only() -> None:
    """Somebody who was not registered then, and arguments that are missing, are told."""
    log = await (await world(lived())).log()
    with pytest.raises(NotFound, match="knew no principal nobody"):
        await answers(log, KEY_ID, Wish("Decrypt"), None, "nobody")
    with pytest.raises(UsageError, match="destination_key_id: say which"):
        await answers(log, KEY_ID, Wish("ReEncryptFrom"), None)


# History


def told(entries: list[Entry]) -> list[tuple[str, str, str | None, str | None]]:
    return [(entry.kind, entry.what, entry.principal, entry.state) for entry in entries]


async def test_a_history_is_in_the_order_of_the_log() -> None:
    """Facts with the state behind them; uses, denials and dry runs between them are counted."""
    archive = lived()
    for log in await sources(await world(archive)):
        entries = await history(log, KEY_ID, None, None, single=False)
        shown = [each for each in told(entries) if each[1] not in {"key.material-generated", "key.use-ceased"}]
        assert shown == [
            ("fact", "key.created", "alice", "Enabled"),
            ("fact", "alias.created", "alice", None),
            ("fact", "policy.put", "alice", "Enabled"),
            ("use", "Encrypt", "alice", None),
            ("dry run", "DestroyKeyNow", "alice", None),
            ("fact", "key.rotated", "alice", "Enabled"),
            ("use", "Decrypt", "bob", None),
            ("fact", "grant.created", "alice", "Enabled"),
            ("fact", "key.disabled", "alice", "Disabled"),
            ("denial", "Decrypt", "bob", None),
            ("fact", "alias.deleted", "alice", None),
        ]
        assert [each.order for each in entries] == sorted(each.order for each in entries)
        encrypted = next(entry for entry in entries if entry.what == "Encrypt")
        assert (encrypted.commands, encrypted.items, encrypted.open) == (2, 6, 0)
        assert next(entry for entry in entries if entry.kind == "denial").commands == 3


async def test_all_uses_are_shown_by_themselves() -> None:
    """With their contexts and commands; nothing else changes, and the sums are the same."""
    log = await (await world(lived())).log()
    counted, single = [await history(log, KEY_ID, None, None, single=each) for each in (False, True)]
    assert sum(entry.commands for entry in counted) == sum(entry.commands for entry in single) == 7
    assert all(entry.commands == 1 for entry in single if entry.kind in {"use", "denial", "dry run"})
    assert [e.details["contexts"] for e in single if e.what == "Encrypt"] == ['[{"t": "7"}]'] * 2
    assert [each for each in told(single) if each[0] == "fact"] == [each for each in told(counted) if each[0] == "fact"]


async def test_a_history_between_two_times() -> None:
    """From `since` on, up to and with `until`; the state is what all before has made."""
    archive = lived()
    log = await (await world(archive)).log()
    since, until = at(archive, facts.KeyRotated), at(archive, facts.GrantCreated)
    entries = await history(log, KEY_ID, since, until, single=False)
    assert [e.what for e in entries if e.what != "key.material-generated"] == [
        "key.rotated",
        "Decrypt",
        "grant.created",
    ]
    with pytest.raises(NotFound, match=r"no key .* by "):
        await history(log, KEY_ID, None, to_text(START_MS), single=False)


async def test_uses_are_divided_by_day() -> None:
    """The same principal and verb on another day is another line."""
    made = quiet()
    asked(made, ("CreateKey", ONE, {}), ("Encrypt", ONE, {}))
    made.now_ms += DAY_MS
    asked(made, ("Encrypt", ONE, {}), ("Encrypt", ONE, {}))
    entries = await history(await (await world(made)).log(), KEY_ID, None, None, single=False)
    assert [(e.commands, e.open) for e in entries if e.kind == "use"] == [(1, 1), (2, 2)]


async def test_uses_on_both_sides_of_a_fact_are_two_lines() -> None:
    """What was used before a rotation, and what after it."""
    made = quiet()
    one_by_one(made, ("CreateKey", ONE, {}), ("Encrypt", ONE, {}), ("RotateKey", ONE, {}), ("Encrypt", ONE, {}))
    entries = await history(await (await world(made)).log(), KEY_ID, None, None, single=False)
    assert [(e.what, e.commands, e.versions) for e in entries if e.kind == "use"] == [
        ("Encrypt", 1, {1}), ("Encrypt", 1, {2}),
    ]  # fmt: skip


async def test_what_time_alone_changes_is_told() -> None:
    """A key becomes active and expires without an event."""
    made = quiet()
    start, end = to_text(made.now_ms + DAY_MS), to_text(made.now_ms + 3 * DAY_MS)
    asked(made, ("CreateKey", ONE, {"arguments": {"not_before": start, "not_after": end}}))
    made.now_ms += 2 * DAY_MS
    asked(made, ("TagResource", ONE, {"arguments": {"tags": {"a": "b"}}}))
    made.now_ms += 2 * DAY_MS
    asked(made, ("TagResource", ONE, {"arguments": {"tags": {"a": "c"}}}))
    entries = await history(await (await world(made)).log(), KEY_ID, None, None, single=False)
    assert [(e.what, e.state) for e in entries] == [
        ("key.created", "PreActive"), ("it is Enabled now", "Enabled"), ("key.tagged", "Enabled"),
        ("it is Expired now", "Expired"), ("key.tagged", "Expired"),
    ]  # fmt: skip
    assert [e.time for e in entries if e.kind == "time"] == [start, end]


async def test_names_are_followed_where_they_go() -> None:
    """A name that moves to another key is told at both, with where it went."""
    made = quiet()
    other = KEY_ID[:-1] + ("1" if KEY_ID[-1] != "1" else "2")
    asked(made, ("CreateKey", ONE, {}), ("CreateAlias", REGISTRY, {"arguments": NAME}))
    asked(made, ("UpdateAlias", REGISTRY, {"arguments": {**NAME, "key_id": other}}))
    asked(made, ("DeleteAlias", REGISTRY, {"arguments": {"alias": "alias/orders"}}))
    entries = await history(await (await world(made)).log(), KEY_ID, None, None, single=False)
    named = [(e.what, e.details.get("moved_to")) for e in entries if e.what.startswith("alias")]
    assert named == [("alias.created", None), ("alias.updated", other)]


# Archives


async def test_records_replay_as_the_log_does() -> None:
    """Read without a follower, by what root certifies in them; a stranger's record is passed over."""
    made = await world(lived())
    await made.send([Outbound(topics.EVENTS, 1, ONE.encode(), b"{}", ())])
    log = await recorded_log(KafkaSource(made.bus, DEPLOYMENT, PARTITIONS))
    verdicts = [remake(each).verdict async for each in Replaying(log, range(PARTITIONS)).decisions()]
    assert verdicts == ["reproduced"] * made.archive.decisions
    assert log.passed_over == 1
    assert await log.key_id(KEY_ID) == KEY_ID
    with pytest.raises(NotFound):
        await log.key_id("alias/orders")


async def test_records_of_another_deployment_are_not_believed() -> None:
    """Its genesis names another root key."""
    made = await world(quiet())
    with pytest.raises(NotRooted, match="no genesis of deployment 000"):
        await recorded_log(KafkaSource(made.bus, "0" * 64, PARTITIONS))


# The commands


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> Terminal:
    """A command line whose log is an archive's."""

    @asynccontextmanager
    async def opened(session: Session, *, trail: bool, archive: Path | None = None) -> AsyncIterator[Source]:
        yield await (await world(lived())).log()

    for module in ("key_show", "time_travel.history", "time_travel.who_could", "time_travel.replay"):
        monkeypatch.setattr(f"keyfold.cli.{module}.opened", opened)
    monkeypatch.setattr(reading, "now_ms", lambda: START_MS + 30 * DAY_MS)
    return terminal


def test_key_show_at(looking: Terminal) -> None:
    """The layout of today's, with the time and the grants of then; a span is counted back from now."""
    shown = looking.done("key", "show", "alias/orders", "--at", to_text(START_MS + DAY_MS + 8500)).out
    assert shown.startswith("as of 2026-")
    words = ("team=shop", "alias/orders", "own", "VERSION", "alice", "no grants")
    assert [word for word in words if word not in shown] == []
    told = looking.done("--json", "key", "show", KEY_ID, "--at", "25d").document
    assert (told["state"], [grant["grantee"] for grant in told["grants"]]) == ("Disabled", ["dave"])
    assert looking("key", "show", KEY_ID, "--at", "2099-01-01T00:00:00.000Z").code == 2
    assert looking("key", "show", KEY_ID, "--at", "yesterday").code == 2
    assert looking("key", "show", KEY_ID, "--at", to_text(START_MS)).code == 1


def test_history_is_a_table_and_a_document(looking: Terminal) -> None:
    """The same entries in both."""
    shown = looking.done("history", KEY_ID).out
    told = looking.done("--json", "history", KEY_ID).document
    assert len(told["entries"]) == len(shown.splitlines()) - 3
    assert "2 commands, 6 items, version 1" in shown
    assert "Decrypt denied" in shown
    assert "DestroyKeyNow tried" in shown
    assert "order" not in told["entries"][0]
    assert looking.done("history", KEY_ID, "--all").out.count(" Encrypt ") == 2


def test_long_texts_are_cut_for_people(looking: Terminal) -> None:
    """A table stays readable; the document has all of it."""
    assert histories._short("x" * 1000) == "x" * 160 + "…"
    assert histories._short(["a"]) == '["a"]'


def test_who_could_is_a_table_and_a_document(looking: Terminal) -> None:
    """With what was supposed, what the state says, and how many could."""
    shown = looking.done("who-could", "alias/orders", "Decrypt", "--at", to_text(START_MS + DAY_MS + 8500)).out
    assert "supposed  encryption_algorithm=SYMMETRIC_DEFAULT" in shown
    assert "permitted" in shown
    told = looking.done("--json", "who-could", KEY_ID, "Decrypt", "--principal", "carol", "-c", "t=7").document
    assert (told["state_answer"], told["contexts"]) == ("KeyDisabled", [{"t": "7"}])
    assert [(each["principal"], each["could"]) for each in told["principals"]] == [("carol", False)]
    assert looking("who-could", KEY_ID, "Frobnicate").code == 2
    assert looking("who-could", KEY_ID, "ReEncryptTo").code == 2
    known = looking.done("--json", "who-could", KEY_ID, "RetireGrant", "--argument", f"grant={KEY_ID}").document
    assert known["state_answer"] is None


def test_two_places_to_read_from_are_one_too_many(terminal: Terminal, tmp_path: Path) -> None:
    """An archive is read without a deployment; it is not the audit trail."""
    ran = terminal("history", KEY_ID, "--trail", "--archive", str(tmp_path))
    assert (ran.code, "choose one" in ran.err) == (2, True)
    assert terminal("history", KEY_ID, "--archive", str(tmp_path / "none")).code in {2, 3, 4}


async def exported(directory: Path) -> None:
    """Write a deployment's log into an archive."""
    made, log = await world(lived()), Log(honest=False)
    for partition in range(PARTITIONS):
        log.kept[partition] += made.cluster.log(topics.EVENTS, partition).read(0, committed=True, max_records=10**6)[0]
    await log.export(directory, form="jsonl")


def test_an_archive_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a deployment: the same history, key, answers and decisions, and the fingerprint that they rest on."""
    asyncio.run(exported(tmp_path / "log"))
    terminal, archive = Terminal(tmp_path / "nowhere", capsys), ("--archive", str(tmp_path / "log"))
    ran = terminal.done("history", KEY_ID, *archive)
    assert "2 commands, 6 items, version 1" in ran.out
    assert f"reading an archive of deployment {DEPLOYMENT}" in ran.err
    assert terminal.done("--json", "key", "show", KEY_ID, *archive).document["state"] == "Disabled"
    told = terminal.done("--json", "who-could", KEY_ID, "Decrypt", *archive).document
    assert told["state_answer"] == "KeyDisabled"
    summary = terminal.done("--json", "replay", "--signatures", *archive).document["summary"]
    assert summary["decisions"] == summary["reproduced"] > 10
