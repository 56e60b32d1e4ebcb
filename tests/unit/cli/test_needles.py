"""The search for plaintext: it finds what is there, in every spelling and at every place, and says nothing else."""

import base64
import json
import runpy
from hashlib import shake_256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfold.ceremony.policy_sets import initial_policies, ready_policies
from keyfold.cli.demo import needles
from keyfold.cli.demo.files import choose
from keyfold.cli.demo.needles import Needles, pieces, scan, spellings
from keyfold.cli.demo.vocabulary import vocabulary

ROOT = Path(__file__).resolve().parents[3]

PIECE = b"a line that stands in one document only, 4711"


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(min_size=8, max_size=40))
def test_it_finds_a_needle_at_any_place(before: bytes, after: bytes, needle: bytes) -> None:
    """Alignment does not matter."""
    assert Needles([needle]).within(before + needle + after) == {needle}


@given(st.lists(st.binary(min_size=8, max_size=12), max_size=8), st.binary(max_size=400))
def test_it_finds_exactly_what_is_there(wanted: list[bytes], content: bytes) -> None:
    """The same answer as looking for each one alone."""
    assert Needles(wanted).within(content) == {needle for needle in wanted if needle in content}


@given(st.binary(max_size=9), st.binary(max_size=9))
def test_base64_is_found_at_every_alignment(before: bytes, after: bytes) -> None:
    """A piece inside a longer base64 text is found, wherever it stands in it."""
    text = base64.b64encode(before + PIECE + after)
    assert Needles(spellings(PIECE)).within(text)


def test_hexadecimal_is_found() -> None:
    """Lower case, as all of Keyfold's documents write it."""
    assert Needles(spellings(PIECE)).within(b'{"x":"' + PIECE.hex().encode() + b'"}')


def test_files_are_searched_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A needle that lies over the border of two blocks is found; empty files are no trouble."""
    monkeypatch.setattr(needles, "_BLOCK", 64)
    noise = shake_256(b"1").digest(50)
    (tmp_path / "log").write_bytes(noise + PIECE + noise)
    (tmp_path / "empty").touch()
    seen = scan(sorted(tmp_path.iterdir()), Needles([PIECE]))
    assert [found.path.name for found in seen.found] == ["log"]
    assert (seen.files, seen.bytes) == (2, 100 + len(PIECE))


def test_a_short_needle_is_refused() -> None:
    """Seven bytes would be found by chance."""
    with pytest.raises(ValueError, match="eight bytes"):
        Needles([b"1234567"])


def test_pieces_are_distinctive_lines_spread_over_the_document() -> None:
    """Short and plain lines are left out, and what is public anyway."""
    lines = [f"line number {n} says something of its own" for n in range(100)]
    found = pieces("\n".join([*lines, "short", "=" * 60]).encode(), but_not_in=lines[0].encode())
    assert len(found) == 8
    assert lines[0].encode() not in found
    assert found[-1] > found[0]
    assert all(len(piece) >= needles.MIN_BYTES for piece in found)


def test_binary_documents_have_pieces_too() -> None:
    """Without lines, windows of the content are taken."""
    content = bytes(byte for byte in shake_256(b"2").digest(5000) if byte not in {10, 13})
    assert all(piece in content for piece in pieces(content))
    assert pieces(content)


def test_a_document_too_plain_has_none() -> None:
    """What could be found by chance proves nothing."""
    assert pieces(b"") == []
    assert pieces(b"a" * 1000) == []


def test_the_project_s_own_documents_say_more_than_its_records() -> None:
    """What is looked for in documents about Keyfold's formats is in no record of every type: words of these are not."""
    examples = runpy.run_path(str(ROOT / "tests" / "vectors" / "examples.py"))
    policies = json.dumps({**initial_policies(), **ready_policies()})
    records = b"\n".join([*(event.to_value() for event in examples["events"]()), policies.encode()])
    public = vocabulary()
    for document in choose([ROOT / "README.md", ROOT / "docs"]):
        for piece in pieces(document.path.read_bytes(), but_not_in=public, limit=10_000):
            assert piece not in records, f"{document.name}: {piece!r}"
