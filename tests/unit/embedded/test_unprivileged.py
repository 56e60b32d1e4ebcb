"""How root runs what refuses to run as root: the order of the choices, and what is given to whom."""

import os
from pathlib import Path

import pytest

from keyfold.embedded import MissingProgram, unprivileged
from keyfold.embedded.unprivileged import Unprivileged


def as_root(monkeypatch: pytest.MonkeyPatch, *working: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(unprivileged, "_works", lambda way, _program: way.prefix[0] in working)


def test_an_ordinary_user_runs_it_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No prefix and no change of owner."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unprivileged.unprivileged(Path("/bin/postgres")) == Unprivileged()


def test_root_prefers_a_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files stay root's."""
    as_root(monkeypatch, "unshare", "setpriv")
    way = unprivileged.unprivileged(Path("/bin/postgres"))
    assert way.prefix[0] == "unshare"
    assert way.owner == 0


def test_root_without_namespaces_becomes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's files are given to that account."""
    as_root(monkeypatch, "setpriv")
    way = unprivileged.unprivileged(Path("/bin/postgres"))
    assert way.prefix[0] == "setpriv"
    assert way.owner == 65534
    assert [word for word in way.prefix if "caps" in word and "dac_override" not in word] == []


def test_root_with_neither_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with both ways out."""
    as_root(monkeypatch)
    with pytest.raises(MissingProgram, match=r"ordinary user.*KEYFOLD_POSTGRES_DSN"):
        unprivileged.unprivileged(Path("/bin/postgres"))
