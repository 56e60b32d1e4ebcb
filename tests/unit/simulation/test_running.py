"""The engine over a scenario: findings come at the end of their tick, and a copy goes on by itself."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from simulation.evaluation import evaluate
from simulation.main import BEGIN, END, between_marks, lines, main, seeds_of
from simulation.report import details, report, summary
from simulation.requests import Request, observations
from simulation.rhythm import START_MS
from simulation.running import Run
from simulation.scenario import Scenario

from keyfold.analytics.engine import Engine
from keyfold.analytics.findings import Signal
from keyfold.analytics.ticks import TICK_MS, Tick


class Denials:
    """The simplest detector: five denials in one tick; it remembers how many ticks it saw."""

    name = "denials"
    scopes = frozenset({"principal", "key"})

    def begin(self) -> list[int]:
        """Return a counter."""
        return [0]

    def look(self, entity: str, tick: Tick, memory: list[int]) -> Iterator[Signal]:
        """Count denials."""
        memory[0] += 1
        number = sum(count for use, count in tick.commands.items() if use.result == "denied")
        if number >= 5:
            yield Signal("high", tick.start_ms, tick.end_ms, number, 0, "denials", f"{number} denials")

    def dump(self, memory: list[int]) -> list[int]:
        """Return it as it is."""
        return memory

    def load(self, document: list[int]) -> list[int]:
        """Return it as it is."""
        return document


def denied(number: int, at_ms: int) -> Iterable[Request]:
    """Return some denials a second apart."""
    return [Request(at_ms + step * 1_000, "eve", "k", "Decrypt", 1, "denied", "AccessDenied") for step in range(number)]


def used(at_ms: int) -> Request:
    """Return a use of the key: a key begins with what was allowed."""
    return Request(at_ms, "bob", "k", "GetPublicKey", 1)


def few(made: Scenario) -> Scenario:
    """Return the part of those who are probed at full strength, and of two administrators."""
    names = {label.principal for label in made.labels if label.kind in {"denial-probing", "mass-deletion"}}
    requests = ([one for one in some if one.principal in names] for some in (made.clean, made.attacked))
    clean, attacked = requests
    return replace(made, clean=clean, attacked=attacked)


def test_what_is_found_is_told_at_the_end_of_its_tick() -> None:
    """Not when the next observation happens to come."""
    run = Run(Engine([Denials()]))
    run.take(observations([used(START_MS), *denied(6, START_MS + 1_000), *denied(1, START_MS + 600_000)]))
    moments = [moment for alert in run.alerts.values() for moment in alert.moments]
    assert {moment.time_ms for moment in moments} == {START_MS + TICK_MS}
    assert {name for moment in moments for name in moment.names} == {"principal/eve", "key/k"}


def test_every_entity_sees_each_tick_once() -> None:
    """Ticks of principals and their key are closed once each, also the last; who was not active has none."""
    run = Run(Engine([Denials()]))
    later = (one._replace(principal="adam") for one in denied(3, START_MS + 60_000))
    run.take(observations([used(START_MS - TICK_MS), *denied(3, START_MS), *later]))
    assert {entity: state.memories["denials"] for entity, state in run.states.items()} == {
        "principal/bob": [1], "principal/eve": [1], "principal/adam": [1], "key/k": [3],
    }  # fmt: skip
    assert (run.costs.observations, run.costs.ticks) == (8, 6)  # a use is authorized, and completed


def test_a_copy_goes_on_by_itself() -> None:
    """What a copy learns the original does not know."""
    run = Run(Engine([Denials()]))
    run.take(observations(denied(1, START_MS)))
    copy = run.copy()
    later = observations([*denied(1, START_MS), *denied(8, START_MS + 60_000)])
    copy.take(one for one in later if one.ref.offset > 0)
    assert copy.alerts
    assert not run.alerts
    assert run.states["principal/eve"].memories["denials"] == [1]


def test_an_evaluation_finds_what_its_detector_is_for(small: Scenario) -> None:
    """Probing at full strength is found within a tick or two, and honest weeks are told from attacked ones."""
    evaluated = evaluate(few(small), [Denials()])
    found = {(one.label.kind, one.label.strength): one for one in evaluated.judgement.judged}
    probing = found["denial-probing", "strong"]
    assert probing.after_ms is not None
    assert probing.after_ms <= 2 * TICK_MS
    assert found["mass-deletion", "strong"].after_ms is None
    assert evaluated.days == 7
    assert len(evaluated.before) == 1
    assert "seed 2: " in summary(evaluated)
    text = report([evaluated])
    assert "| denial-probing | strong | 1 of 1 |" in text
    assert "| mass-deletion | strong | 0 of 1 | – | – | – |" in text
    assert "mass-deletion strong " in details([evaluated])


def test_seeds_are_ranges_and_lists() -> None:
    """As on the command line."""
    assert seeds_of("11-15,3") == [11, 12, 13, 14, 15, 3]
    with pytest.raises(ValueError, match="invalid literal"):
        seeds_of("x")


def test_tables_are_put_between_marks() -> None:
    """What stands around stays; what was between goes; without marks nothing is written."""
    page = f"a\n{BEGIN}\nold\n{END}\nb\n"
    assert between_marks(page, "new\n") == f"a\n{BEGIN}\nnew\n{END}\nb\n"
    with pytest.raises(ValueError, match="evaluation:begin"):
        between_marks(END + BEGIN, "new\n")


def test_a_scenario_is_written_with_labels_first(small: Scenario) -> None:
    """Clean ones have no labels, and fewer observations."""
    attacked = Counter(next(iter(line)) for line in lines(few(small), clean=False))
    clean = Counter(next(iter(line)) for line in lines(few(small), clean=True))
    assert attacked["label"] == len(small.labels) > 20
    assert clean["label"] == 0
    assert clean["observation"] < attacked["observation"]


def test_the_command_line_names_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Both forms have help."""
    for arguments in (["--help"], ["evaluate", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
    assert "--train" in capsys.readouterr().out
