"""The parts of detectors: windows, baselines, what is known, words; and what all detectors promise."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from tests.unit.analytics.detectors.lives import ALICE, DAY, HOUR, MINUTE, MONDAY_MS, look, office, seen

from keyfold.analytics.detectors import DetectorSettings, all_detectors, baseline
from keyfold.analytics.detectors.baseline import Baselines, Limits
from keyfold.analytics.detectors.known import Known
from keyfold.analytics.detectors.settings import BaselineSettings, FirstUseSettings
from keyfold.analytics.detectors.sliding import Sliding
from keyfold.analytics.detectors.verbs import DATA_KEY, DECRYPT, ENCRYPT, POWER, SIGN
from keyfold.analytics.detectors.wording import plural, span, usual
from keyfold.analytics.engine import Engine
from keyfold.events import commands

ALL = all_detectors()


def test_a_window_holds_its_length_and_no_more() -> None:
    """In sixths."""
    window = Sliding(60_000)
    assert [window.add(time, 1) for time in (0, 10_000, 59_000, 60_000, 200_000)] == [1, 2, 3, 3, 1]


def test_a_baseline_follows_the_hours_of_the_week() -> None:
    """Mondays at nine are busy, other hours are not; what is expected is what was, within the neighbouring hours."""
    baselines = Baselines.begin(Limits(BaselineSettings(), (MINUTE,), noise=1.0), 0)
    first = MONDAY_MS // HOUR
    for hour in range(24 * 7 * 8):
        busy = hour % 168 in {9, 10}
        baselines.judge(first + hour, [400 if busy else 20], 1)
    week = first + 24 * 7 * 8
    baselines.judge(week + 3, [20], 1)
    assert 15 < baselines.each[0].expected < 30
    baselines.judge(week + 9, [20], 1)
    assert 150 < baselines.each[0].expected < 500


def test_probabilities_are_those_of_a_normal_residual() -> None:
    """One in a thousand lies 3.09 deviations above the mean."""
    assert baseline.deviations(1e-3) == pytest.approx(3.0902, abs=1e-4)


def test_what_is_known_is_bounded() -> None:
    """A full set calls nothing new any more."""
    known = Known(FirstUseSettings(remembered=3), 0)
    assert known.add(["a", "b", "c"], 0) == ["a", "b", "c"]
    assert known.add(["d"], 1) == []


def test_words() -> None:
    """Numbers, times and hours as people say them."""
    assert [span(each) for each in (10_000, MINUTE, 10 * MINUTE, HOUR, 3 * HOUR, DAY, 34 * DAY)] == [
        "10 seconds", "a minute", "10 minutes", "an hour", "3 hours", "a day", "34 days",
    ]  # fmt: skip
    assert plural(1, "item") + plural(4120, "item") == "1 item4,120 items"
    assert usual(35.2, MONDAY_MS + DAY + 3 * HOUR) == "where about 35 are usual on a Tuesday at 03:00 UTC"
    assert usual(0.2, MONDAY_MS) == "where none is usual on a Monday at 00:00 UTC"


def test_verbs_are_those_of_commands() -> None:
    """No verb is misspelled, and none has two meanings."""
    internal = {"ReEncryptFrom", "ReEncryptTo"}
    assert (DECRYPT | SIGN | ENCRYPT | DATA_KEY | POWER) - internal <= set(commands.BY_VERB)
    assert len(DECRYPT | SIGN | ENCRYPT | DATA_KEY) == sum(map(len, (DECRYPT, SIGN, ENCRYPT, DATA_KEY)))


def test_names_are_unique_and_every_parameter_is_described() -> None:
    """Findings are identified by them; operators read the rest."""
    assert len({each.name for each in ALL}) == len(ALL) == 12
    assert len(Engine(ALL).detectors["principal"]) == 12

    def fields(model: type) -> None:
        for name, field in model.model_fields.items():  # type: ignore[attr-defined]
            if hasattr(field.annotation, "model_fields"):
                fields(field.annotation)
            else:
                assert field.description, name

    fields(DetectorSettings)


@pytest.mark.parametrize("detector", ALL, ids=lambda each: each.name)
def test_a_memory_is_small_json_and_anything_else_is_refused(detector) -> None:  # type: ignore[no-untyped-def]
    """Six weeks of a principal are some kilobytes at most."""
    memory = detector.begin()
    look(detector, office(6, contexts=("tenant=alder",)), ALICE, memory)
    document = json.dumps(detector.dump(memory))
    assert len(document) < 2_500
    assert detector.dump(detector.load(json.loads(document))) == detector.dump(memory)
    for wrong in (None, 7, [], "x", {"a": 1}, [1, 2, 3, 4, 5, 6, 7, 8, 9]):
        with pytest.raises(ValueError):  # noqa: PT011 - any
            detector.load(wrong)


@pytest.mark.parametrize("detector", ALL, ids=lambda each: each.name)
def test_memories_are_bounded_whatever_happens(detector) -> None:  # type: ignore[no-untyped-def]
    """Thousands of keys, contexts and policies in one day."""
    life = [
        seen(
            step * 10_000,
            "PutPolicy" if step % 3 == 0 else "Decrypt",
            key_id=f"key-{step}",
            contexts=(f"object={step}",),
            administrative=step % 3 == 0,
            target=f"policy-{step}",
        )
        for step in range(6_000)
    ]
    memory = detector.begin()
    look(detector, life, ALICE, memory)
    assert len(json.dumps(detector.dump(memory))) < 30_000


def parameters() -> Iterator[str]:
    """The rows of the table of parameters."""
    usual = BaselineSettings()
    for name, field in BaselineSettings.model_fields.items():
        yield f"| `*.baseline.{name}` | {field.default:g} | {field.description} |"

    def rows(settings: BaseModel, path: tuple[str, ...]) -> Iterator[str]:
        for name, field in type(settings).model_fields.items():
            value = getattr(settings, name)
            if isinstance(value, BaselineSettings):
                for each in BaselineSettings.model_fields:
                    if getattr(value, each) != getattr(usual, each):
                        dotted = ".".join((*path, name, each))
                        yield f"| `{dotted}` | {getattr(value, each):g} | as in every baseline |"
            elif isinstance(value, BaseModel):
                yield from rows(value, (*path, name))
            else:
                yield f"| `{'.'.join((*path, name))}` | {value:g} | {field.description} |"

    yield from rows(DetectorSettings(), ())


def test_the_page_says_which_detectors_there_are_and_every_parameter() -> None:
    """With the defaults that they have."""
    page = (Path(__file__).parents[4] / "docs" / "detectors.md").read_text("utf-8")
    table = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 4]
    assert table == list(parameters())
    assert {each.name for each in ALL} == set(re.findall(r"^\| `([a-z-]+)` \| [pk]", page, re.MULTILINE))
