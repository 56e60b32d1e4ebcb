"""Re-encryption campaigns over lists from the command line."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.campaigns import Service, write
from tests.unit.cli.conftest import CREATED, KEY, ORDERS, Terminal, a_key

from keyfold.events.entities import KeyVersion
from keyfold.events.errors import KeyDisabled


@pytest.fixture
def command(terminal: Terminal, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Terminal, Service]]:
    """The command line with a service that re-encrypts."""
    from keyfold.client import Keyfold

    service = Service()

    async def re_encrypt_batch(_: Keyfold, key: str, ciphertexts: Sequence[bytes], **options: Any) -> Any:
        return await service.re_encrypt_batch(key, ciphertexts, **options)

    monkeypatch.setattr(Keyfold, "re_encrypt_batch", re_encrypt_batch)
    old = KeyVersion(version=1, offset=3, created_at=CREATED)
    terminal.projected.keys_[KEY] = a_key(old, old.model_copy(update={"version": 2, "offset": 5}))
    return iter([(terminal, service)])


def test_a_campaign_from_the_command_line(command: Any) -> None:
    """It reports references before and after, and ends with 1 where something failed."""
    terminal, service = next(command)
    write()
    ran = terminal("--json", "rewrap", ORDERS, "in", "-o", "out", "--batch", "3")
    assert ran.code == 1
    assert {name: ran.document[name] for name in ("moved", "kept", "failed")} == {"moved": 6, "kept": 0, "failed": 1}
    assert ran.document["before"] == [{"key_id": KEY, "version": 1, "count": 6}]
    assert ran.document["after"] == [{"key_id": KEY, "version": 9, "count": 6}]
    assert (ran.document["failures"], service.calls) == ("out.failed", 3)
    assert terminal("rewrap", ORDERS, "in", "-o", "out").code == 2
    assert "BEFORE" in terminal("rewrap", ORDERS, "in", "-o", "two").out


def test_a_stopped_campaign_goes_on(command: Any) -> None:
    """The error that stopped it is told; the same line does the rest. Another line is another campaign."""
    terminal, service = next(command)
    write()
    service.troubles = [None, KeyDisabled()]
    words = ["rewrap", ORDERS, "in", "-o", "out", "--batch", "2"]
    ran = terminal("--json", *words)
    assert (ran.code, "KeyDisabled" in ran.err, Path("out").exists()) == (1, True, False)
    refused = terminal(*words, "--context", "a=b")
    assert (refused.code, "another campaign" in refused.err) == (2, True)
    assert terminal("--json", *words).document["moved"] == 6
    assert len(service.asked) == 6


@pytest.mark.parametrize(
    "words",
    [
        [], ["in"], ["in", "-o", "in"], ["--topic", "t"], ["--topic", "t", "--output-topic", "t"],
        ["in", "--topic", "t"], ["in", "-o", "out", "--retry-for", "long"], ["in", "-o", "out", "--batch", "0"],
    ],
)  # fmt: skip
def test_a_campaign_must_say_from_where_to_where(command: Any, words: list[str]) -> None:
    """A usage error; nothing is written."""
    terminal, _ = next(command)
    write()
    assert terminal("rewrap", ORDERS, *words).code == 2
    assert sorted(path.name for path in Path().iterdir() if path.is_file()) == ["in"]


def test_references_are_counted_without_asking_anybody(command: Any) -> None:
    """May version 1 be deleted? Versions that nothing names are shown, too."""
    terminal, service = next(command)
    write()
    ran = terminal.done("--json", "rewrap", ORDERS, "in", "--report-only")
    assert ran.document == {"key_id": KEY, "references": {"1": 6, "2": 0}, "other_keys": 0, "unreadable": 1}
    assert (ran.received, service.calls, Path("out").exists()) == ([], 0, False)
    assert "NEEDED" in terminal.done("rewrap", ORDERS, "in", "--report-only").out
