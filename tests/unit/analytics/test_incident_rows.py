"""A batch of documents is in its rows as a whole or not at all, wherever the writing of them ended."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfold.analytics import incident_rows as module
from keyfold.analytics.incident_rows import JOURNAL, Rows, batch_rows, remembered

Documents = dict[str, Any]
NAMES = st.sampled_from(["clock", "incident/a", "incident/b", "suppression/ü", "seen/1"])
BATCHES = st.lists(
    st.dictionaries(NAMES, st.one_of(st.none(), st.integers(), st.text(max_size=40)), min_size=1), max_size=6
)


def put(rows: dict[bytes, bytes], changes: Rows, most: int) -> int:
    """Write the first so many of some rows; return how many more could be."""
    for name, row in list(changes.items())[:most]:
        if row is None:
            rows.pop(name, None)
        else:
            rows[name] = row
    return max(0, most - len(changes))


def after(documents: Documents, batch: Documents) -> Documents:
    return {name: each for name, each in (documents | batch).items() if each is not None}


@given(BATCHES, st.lists(st.integers(0, 12), max_size=6), st.sampled_from([1, 60, 10_000]))
def test_a_batch_is_there_or_is_not(batches: list[Documents], crashes: list[int], size: int) -> None:
    """However often the writing ends after whichever row, and however many parts the journal has."""
    rows: dict[bytes, bytes] = {}
    known: Documents = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_PART", size)
        for batch in batches:
            left = crashes.pop(0) if crashes else 10_000
            left = put(rows, remembered(rows).unwritten, left)
            put(rows, batch_rows(batch), left)
            found = remembered(rows).documents
            assert found in (known, after(known, batch))
            known = found
    put(rows, remembered(rows).unwritten, 10_000)
    assert remembered(rows) == module.Remembered(known, {})


def test_what_a_crash_left_unwritten_is_the_rest_of_the_batch() -> None:
    """And nothing of a batch that is whole."""
    rows: dict[bytes, bytes] = {}
    put(rows, batch_rows({"a": 1, "b": 2, "c": None}), 2)
    assert remembered(rows).unwritten == {b"b": b"2"}
    put(rows, batch_rows({"a": 1, "b": 2, "c": None}), 9)
    assert remembered(rows).unwritten == {}


def test_no_row_is_larger_than_a_record_may_be() -> None:
    """A batch of a thousand large incidents makes many parts, and comes back."""
    documents = {f"incident/{number}": {"sentence": "x" * 12_000} for number in range(200)}
    rows = {name: row for name, row in batch_rows(documents).items() if row is not None}
    assert max(map(len, rows.values())) < module.MAX_PART + 13_000
    assert sum(name.startswith(JOURNAL) for name in rows) == 5
    assert remembered({name: row for name, row in rows.items() if name.startswith(JOURNAL)}).documents == documents


def test_the_journal_of_an_older_release_is_read() -> None:
    """It was one row, without a head."""
    rows = {JOURNAL: json.dumps({"a": 1, "b": None, "c": 3}).encode(), b"a": b"1", b"b": b"2"}
    assert remembered(rows) == module.Remembered({"a": 1, "c": 3}, {b"b": None, b"c": b"3"})


@pytest.mark.parametrize("row", [b"{", b"[]", b"7", b'{"":7}', b'{"":["a"]}'])
def test_other_rows_are_refused(row: bytes) -> None:
    """Whoever reads such a memory begins anew."""
    with pytest.raises(ValueError):  # noqa: PT011 - any
        remembered({JOURNAL: row})
