"""Build the wheel once, as the image does, and run tests on it: in a new environment, not on the checkout's packages.

What builds is installed by hash from requirements/build.txt, and building asks nobody. What tests need is installed by
hash from requirements/dev.txt (`lock`), or is taken from the environment that runs this (`installed`, which is fast).
Keyfold itself comes from the wheel either way, which `installed_only` checks.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from supply_chain.locks import PROJECT, ROOT, lock_file

_INSTALL: Final = ("install", "--quiet", "--disable-pip-version-check")
_BY_HASH: Final = (*_INSTALL, "--require-hashes", "--only-binary", ":all:", "--requirement")


def build(work: Path, out: Path) -> Path:
    """Return the wheel, which lies in `out`. Raises `CalledProcessError` where a step fails."""
    pip = _environment(work / "tools")
    _run(pip, *_BY_HASH, lock_file("build"))
    out.mkdir(parents=True, exist_ok=True)
    fresh = work / "wheel"
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", fresh)
    _run(pip, "--disable-pip-version-check", "wheel", *options, ROOT)
    (wheel,) = fresh.glob(f"{PROJECT}-*.whl")
    return Path(shutil.move(wheel, out / wheel.name))


def digest(wheel: Path) -> str:
    """The SHA-256 of a file, in hex."""
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def test(work: Path, wheel: Path, packages: str, paths: list[str]) -> int:
    """Run these tests on the wheel; return pytest's exit code. Raises `CalledProcessError`."""
    home = work / "tests"
    pip = _environment(home)
    if packages == "lock":
        _run(pip, *_BY_HASH, lock_file("dev"))
    else:
        _lend(home)
    _run(pip, *_INSTALL, "--no-deps", "--no-index", "--force-reinstall", wheel)
    command = [home / "bin" / "python", "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-o", "pythonpath=", "-p", "supply_chain.installed_only", *paths]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def _environment(home: Path) -> Path:
    """A new virtual environment; its pip."""
    _run(sys.executable, "-m", "venv", home)
    return home / "bin" / "pip"


def _lend(home: Path) -> None:
    """Let an environment find the packages of this one. `.pth` files there are not read, so neither is the checkout."""
    (own,) = home.glob("lib/python*/site-packages")
    (own / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)
