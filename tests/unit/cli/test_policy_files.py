"""A directory of policies: what is read, and what is refused with the file's name."""

from pathlib import Path

import pytest

from keyfold.cli.exits import UsageError
from keyfold.cli.policy_files import read_policies
from keyfold.events.errors import InvalidPolicy

GOOD = "permit (principal, action, resource);"


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def test_policies_of_the_registry_and_of_keys(tmp_path: Path) -> None:
    """A key's directory is its id or its alias, slashes and all; what is no policy is left alone."""
    key = "01890000-0000-7000-8000-000000000001"
    files = {
        "one.cedar": GOOD,
        f"keys/{key}/own.cedar": GOOD + "\n",
        "keys/alias/orders/eu/own.cedar": GOOD,
        "README.md": "not a policy",
    }
    found = read_policies(write(tmp_path, **files))
    assert found.registry == {"one": GOOD}
    assert found.keys == {key: {"own": GOOD + "\n"}, "alias/orders/eu": {"own": GOOD}}


@pytest.mark.parametrize(
    ("files", "kind", "why"),
    [
        ({"a.cedar": "permit (principal"}, InvalidPolicy, r"a\.cedar: statement 0"),
        ({"a.cedar": GOOD, "keys/alias/x/b.cedar": "permit (x);"}, InvalidPolicy, r"keys/alias/x/b\.cedar: "),
        ({"A b.cedar": GOOD}, UsageError, r"A b\.cedar: a policy's name"),
        ({"keys/a.cedar": GOOD}, UsageError, r"keys/a\.cedar: policies stand in"),
        ({"drafts/a.cedar": GOOD}, UsageError, r"drafts/a\.cedar: policies stand in"),
        ({"a.txt": GOOD}, UsageError, "holds no policies"),
    ],
)
def test_what_cannot_be_put_is_refused(tmp_path: Path, files: dict[str, str], kind: type[Exception], why: str) -> None:
    """Before anything is read from the log; the message names the file and what is wrong."""
    with pytest.raises(kind, match=why):
        read_policies(write(tmp_path, **files))


def test_a_file_that_is_no_text_and_a_directory_that_is_none(tmp_path: Path) -> None:
    """Both are told by name."""
    with pytest.raises(UsageError, match="nowhere is no directory"):
        read_policies(tmp_path / "nowhere")
    (tmp_path / "a.cedar").write_bytes(b"\xff")
    with pytest.raises(InvalidPolicy, match=r"a\.cedar: it is not UTF-8"):
        read_policies(tmp_path)
