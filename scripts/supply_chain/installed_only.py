"""A plugin of pytest: the run fails where Keyfold was not imported from this environment, or not at all."""

import sys
from pathlib import Path

import pytest


def strangers(names: dict[str, str], prefix: Path) -> list[str]:
    """Which of these modules (name → file) lie elsewhere than under `prefix`."""
    return sorted(name for name, file in names.items() if not Path(file).resolve().is_relative_to(prefix.resolve()))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    files = {
        name: file
        for name, module in sys.modules.items()
        if name.startswith("keyfold.") and (file := getattr(module, "__file__", None))
    }
    elsewhere = strangers(files, Path(sys.prefix))
    if elsewhere or not files:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        print(f"\nnot from the wheel: {', '.join(elsewhere) or 'nothing of Keyfold was imported'}")
