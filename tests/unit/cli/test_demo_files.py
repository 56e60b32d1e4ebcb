"""Which files the demonstration protects, and how it notices that one came back different."""

from pathlib import Path

import pytest

from keyfold.cli.demo import evidence
from keyfold.cli.demo.files import Places, choose, differing
from keyfold.cli.exits import Differs, UsageError

LINE = "a distinctive line of this very document, nowhere else\n"
KNOWN = b"01890000-0000-7000-8000-000000000001"


def test_directories_are_taken_with_all_that_is_in_them(tmp_path: Path) -> None:
    """Names keep the place below what was given; hidden files stay out; nothing is taken twice."""
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    for name in ("a.txt", "docs/b.txt", "docs/deep/c.txt", "docs/.hidden"):
        (tmp_path / name).write_text(name)
    found = choose([tmp_path / "a.txt", tmp_path / "docs", tmp_path / "docs" / "b.txt"])
    assert [document.name for document in found] == ["a.txt", "docs/b.txt", "docs/deep/c.txt"]


def test_equal_names_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Two files called alike get two envelopes."""
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.txt").write_text(folder)
    found = choose([tmp_path / "x" / "same.txt", tmp_path / "y" / "same.txt"])
    assert [document.name for document in found] == ["same.txt", "2-same.txt"]


def test_by_default_it_takes_the_projects_own_documents() -> None:
    """README.md and docs."""
    names = {document.name for document in choose([])}
    assert "README.md" in names
    assert any(name.startswith("docs/") for name in names)


def test_nothing_to_protect_is_a_usage_error(tmp_path: Path) -> None:
    """A missing path, or an empty directory."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError):
            choose([path])


@pytest.mark.parametrize("change", [b"", b"x", LINE.encode() + b"\0", LINE.encode()[:-1], LINE.encode().swapcase()])
def test_a_file_that_came_back_different_is_named(tmp_path: Path, change: bytes) -> None:
    """Longer, shorter or changed."""
    (tmp_path / "a.txt").write_text(LINE)
    document = choose([tmp_path / "a.txt"])[0]
    places = Places(tmp_path / "run")
    target = places.decryption(document).destination
    target.write_bytes(LINE.encode())
    assert differing([document], places) == []
    target.write_bytes(change)
    assert differing([document], places) == ["a.txt"]


def prove(tmp_path: Path, logged: bytes, known: bytes = KNOWN) -> evidence.Proof:
    (tmp_path / "a.txt").write_text(LINE * 3)
    partition = tmp_path / "logs" / "keyfold.events-1"
    partition.mkdir(parents=True)
    (partition / "00.log").write_bytes(logged)
    return evidence.no_plaintext(
        tmp_path / "logs",
        choose([tmp_path / "a.txt"]),
        public=b"",
        known=known,
        must_have=("keyfold.events",),
        since_s=0,
    )


def test_the_proof_says_what_it_saw(tmp_path: Path) -> None:
    """How many pieces of how many files, and where the control was found."""
    proof = prove(tmp_path, b"x" * 100 + KNOWN + b"y" * 100)
    assert (proof.documents, proof.pieces, proof.files, proof.controls) == (1, 1, 1, ("keyfold.events",))


@pytest.mark.parametrize("spelling", range(5))
def test_plaintext_in_a_log_file_is_found(tmp_path: Path, spelling: int) -> None:
    """As it is, in hexadecimal, in base64: the proof fails, and names file and document, not the content."""
    leaked = evidence.spellings(LINE.strip().encode()[:48])[spelling]
    with pytest.raises(Differs, match=r"PLAINTEXT in .*00\.log: a piece of a\.txt") as caught:
        prove(tmp_path, KNOWN + leaked)
    assert "distinctive" not in str(caught.value)


def test_a_search_that_finds_nothing_known_proves_nothing(tmp_path: Path) -> None:
    """Compressed or moved log files would make every search succeed; the control notices."""
    with pytest.raises(Differs, match="blind"):
        prove(tmp_path, b"compressed beyond recognition")
