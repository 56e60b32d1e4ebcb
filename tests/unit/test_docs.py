"""The documents say what the code says: error codes, topics, verbs, events, settings, commands, log actions, and links.

Only names are compared, in tables between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. Whether a sentence is true is
for its reader. What docs/governance.md promises of decisions is tried in `test_governance_page`.
"""

import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import keyfold
from keyfold.cli.main import app, globals_first
from keyfold.config import Config
from keyfold.deciding.cedar import validate_policy
from keyfold.deciding.lifecycle import ALLOWED
from keyfold.events.commands import COMMANDS
from keyfold.events.errors import KeyfoldError
from keyfold.events.facts import BY_TYPE, EVENT_TYPES
from keyfold.events.topics import TOPICS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [path for folder in ("services", "projections") for path in (ROOT / folder).rglob("*.py")]
CODE = re.compile(r"`([^`]+)`")
COMMAND_LINE = re.compile(r"^(keyfold [^#|<>\n]+)|`(keyfold [a-z-][^`]*)`", re.MULTILINE)
CEDAR = re.compile(r"^```cedar\n(.*?)^```$", re.DOTALL | re.MULTILINE)
EVENT_FILTER = re.compile(r"--type ([a-z.-]+)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def rows(page: str, name: str) -> list[list[str]]:
    """The cells of each row of a marked table, without its head."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    table = text.split(f"<!-- {name}:begin -->", 1)[1].split(f"<!-- {name}:end -->", 1)[0]
    lines = [line for line in table.strip().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(page: str, name: str, column: int = 0) -> set[str]:
    """Everything in backquotes in one column of a marked table."""
    return {code for row in rows(page, name) for code in CODE.findall(row[column])}


def subclasses(kind: type[KeyfoldError]) -> Iterator[type[KeyfoldError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


@pytest.fixture(scope="module")
def codes() -> dict[str, bool]:
    """Every error code of the project, and whether its class says retriable."""
    for module in pkgutil.walk_packages(keyfold.__path__, "keyfold."):
        if not module.name.endswith(("__main__", ".launch")):
            importlib.import_module(module.name)
    ours = [kind for kind in subclasses(KeyfoldError) if kind.__module__.startswith("keyfold.")]
    return {kind.code: kind.retriable for kind in ours}


def test_every_error_code_is_explained(codes: dict[str, bool]) -> None:
    """docs/operations.md says what to do about each error code, and about no other."""
    assert names("operations.md", "errors") == set(codes)


def test_error_codes_are_retriable_as_documented(codes: dict[str, bool]) -> None:
    """The column `retriable` is what the classes say."""
    said = {code: row[1] for row in rows("operations.md", "errors") for code in CODE.findall(row[0])}
    assert said == {code: "yes" if retriable else "no" for code, retriable in codes.items()}


def test_every_topic_is_listed_with_its_writers() -> None:
    """docs/architecture.md lists the topics of the table in code, in its order, with all writers."""
    said = [(CODE.findall(row[0])[0], row[4]) for row in rows("architecture.md", "topics")]
    assert [name for name, _ in said] == [topic.name for topic in TOPICS]
    for topic, (_, writers) in zip(TOPICS, said, strict=True):
        assert all(writer in writers for writer in topic.writers), topic.name


def test_every_verb_is_listed() -> None:
    """docs/architecture.md lists every verb and no other."""
    assert names("architecture.md", "verbs") == {command.verb for command in COMMANDS}


def test_verbs_become_events_that_exist() -> None:
    """What docs/architecture.md says a verb becomes is in the vocabulary."""
    known = {kind.__name__ for kind in EVENT_TYPES} | {command.verb for command in COMMANDS}
    assert names("architecture.md", "verbs", 2) | names("architecture.md", "verbs", 3) <= known


def test_every_event_type_is_listed_under_its_author() -> None:
    """docs/architecture.md says which role writes each event type, and on which topic."""
    said = {
        (row[0], row[1].split(",")[0], event)
        for row in rows("architecture.md", "events")
        for event in CODE.findall(row[2])
    }
    assert said == {(kind.role, kind.topic.removeprefix("keyfold."), kind.__name__) for kind in EVENT_TYPES}


def test_every_setting_is_explained() -> None:
    """docs/operations.md explains each field of the settings file."""
    assert names("operations.md", "settings") == set(Config.model_fields)


def test_every_environment_variable_is_explained() -> None:
    """docs/operations.md explains each KEYFOLD_ variable that the code or a script reads."""
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    texts = [path.read_text("utf-8") for path in (*SOURCES, *scripts)]
    read = {found for text in texts for found in re.findall(r"KEYFOLD_[A-Z0-9_]+", text)}
    said = names("operations.md", "environment")
    assert read == {name for name in said if name.startswith("KEYFOLD_")}


def test_every_log_action_is_explained() -> None:
    """docs/operations.md explains each action that a process may log."""
    calls = re.compile(r"log(?:\(\))?\.(?:debug|info|warning|error|critical|exception)\(\s*\"([^\"%]+)\"")
    logged = {
        action
        for path in SOURCES
        if not path.is_relative_to(ROOT / "services" / "keyfold" / "client")
        for action in calls.findall(path.read_text("utf-8").replace("get_logger()", "log()"))
    }
    assert logged - names("operations.md", "actions") == set()


def test_the_lifecycle_is_the_tables() -> None:
    """docs/architecture.md says which verbs each state of a key allows, as the one table in code does."""
    said = {row[0].split()[0]: set(CODE.findall(row[1])) for row in rows("architecture.md", "lifecycle")}
    states = {state for allowed in ALLOWED.values() for state in allowed} | {"Destroyed"}
    assert said.keys() == states
    said["Enabled"] = ALLOWED.keys() - said["Enabled"]
    assert said == {state: {verb for verb, allowed in ALLOWED.items() if state in allowed} for state in states}


def test_every_command_is_listed() -> None:
    """docs/operations.md lists every command of the command line, and no other."""
    assert names("operations.md", "commands") == set(leaves(typer.main.get_command(app)))


def leaves(command: Any, path: str = "") -> Iterator[str]:
    """The commands that do something, by their words."""
    for name, child in getattr(command, "commands", {}).items():
        yield from leaves(child, f"{path} {name}".strip())
    if not hasattr(command, "commands"):
        yield path


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_cedar_texts_can_be_put(page: Path) -> None:
    """Every fenced Cedar text of a page is valid."""
    for text in CEDAR.findall(page.read_text("utf-8")):
        validate_policy(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_event_types_exist(page: Path) -> None:
    """Every `--type TYPE` of a page is the short name of an event type."""
    for short in EVENT_FILTER.findall(page.read_text("utf-8")):
        assert short == "human" or f"keyfold.{short}.v1" in BY_TYPE, short


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that exists, and a heading in it if it names one."""
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if heading:
            assert heading in headings(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_command_lines_exist(page: Path) -> None:
    """Every `keyfold …` line of a page names commands and options that the program has."""
    for fenced, inline in COMMAND_LINE.findall(page.read_text("utf-8")):
        line = fenced or inline
        command: Any = typer.main.get_command(app)
        words = globals_first(shlex.split(line)[1:])
        while words:
            word = words.pop(0)
            if word.startswith("-"):
                option = next((p for p in command.params if word.split("=")[0] in p.opts), None)
                assert option is not None, line
                words = words if option.is_flag or "=" in word else words[1:]
            elif hasattr(command, "commands"):
                assert word in command.commands, line
                command = command.commands[word]


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_decision_is_in_the_index() -> None:
    """The list of decisions links every record."""
    folder = ROOT / "docs" / "decisions"
    listed = set(LINK.findall((folder / "README.md").read_text("utf-8")))
    assert listed == {path.name for path in folder.glob("[0-9]*.md")}


@pytest.mark.parametrize("record", sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")), ids=lambda path: path.stem)
def test_decisions_have_one_form(record: Path) -> None:
    """A record is numbered as its file is, and says question, decision, reasons and what follows, in this order."""
    text = record.read_text("utf-8")
    assert text.startswith(f"# {int(record.name[:4])}. ")
    places = [text.index(f"**{part}.**") for part in ("Question", "Decision", "Why", "Consequence")]
    assert places == sorted(places)


def test_decisions_are_numbered_on() -> None:
    """No number is left out or given twice."""
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
