"""Apache Kafka's jars: fetched once by Maven from the committed `pom.xml`, and believed only by their SHA-256.

They are kept in a cache outside any data directory (`KEYFOLD_CACHE`, else the user's cache directory) and shared by all
data directories of the user. Nothing else is downloaded, and a jar that is not on the committed list is never loaded.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from keyfold.embedded.errors import DownloadFailed, MissingProgram
from keyfold.embedded.parts import Report

_HERE: Final = Path(__file__).parent
_SUMS_FILE: Final = _HERE / "kafka-jars.sha256"
_FETCH_TIMEOUT_S: Final = 900


def kafka_jars(report: Report) -> Path:
    """Return the directory with exactly the pinned jars, fetching them when they are not there yet."""
    wanted = _wanted()
    directory = _cache() / f"kafka-{hashlib.sha256(_SUMS_FILE.read_bytes()).hexdigest()[:12]}"
    if _first_difference(directory, wanted) is None:
        return directory
    directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one download, however many commands want it
        if _first_difference(directory, wanted) is not None:
            report("fetching Apache Kafka (about 44 MB) with Maven; the first time this takes a minute")
            _fetch(directory, wanted)
    return directory


def java() -> str:
    """Return the Java launcher, version 17 or newer."""
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if program is None:
        raise MissingProgram(
            "there is no Java; install a runtime, version 17 or newer: apt-get install openjdk-17-jre-headless"
        )
    answer = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False)
    version = next((word.strip('"') for word in answer.stderr.split() if word.startswith('"')), "0")
    if not version.split(".")[0].isdecimal() or int(version.split(".")[0]) < 17:
        raise MissingProgram(
            f"{program} is version {version}; Kafka needs 17 or newer: apt-get install openjdk-17-jre-headless"
        )
    return program


def _wanted() -> dict[str, str]:
    lines = (line.split() for line in _SUMS_FILE.read_text().splitlines())
    return {name: digest for digest, name in lines}


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("KEYFOLD_CACHE") or Path(base) / "keyfold")


def _first_difference(directory: Path, wanted: dict[str, str]) -> str | None:
    """Name the first jar that is missing, surplus or changed."""
    present = {jar.name for jar in directory.glob("*.jar")}
    for name in sorted(present ^ set(wanted)):
        return name
    for name, digest in wanted.items():
        with (directory / name).open("rb") as jar:
            if hashlib.file_digest(jar, "sha256").hexdigest() != digest:
                return name
    return None


def _fetch(directory: Path, wanted: dict[str, str]) -> None:
    """Copy the jars into a fresh directory, check them, then rename: a half-filled cache is never believed."""
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".kafka-") as temporary:
        _run_maven(Path(temporary))
        if (name := _first_difference(Path(temporary), wanted)) is not None:
            raise DownloadFailed(f"{name} is not the jar that is pinned in {_SUMS_FILE.name}; nothing was installed")
        if directory.exists():
            shutil.rmtree(directory)
        shutil.copytree(temporary, directory.with_suffix(".new"), dirs_exist_ok=True)
        directory.with_suffix(".new").replace(directory)


def _run_maven(target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingProgram("there is no Maven to fetch Apache Kafka with; install it: apt-get install maven")
    pom = _HERE.parents[2] / "pom.xml"
    if not pom.is_file():
        raise MissingProgram(f"there is no {pom}; run Keyfold's embedded stack from a checkout of the project")
    command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    try:
        answer = subprocess.run(
            [*command, f"-DoutputDirectory={target}"],
            capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DownloadFailed(f"Maven did not fetch Kafka within {_FETCH_TIMEOUT_S} s; try again") from None
    if answer.returncode != 0:
        errors = [line for line in answer.stdout.splitlines() if "ERROR" in line] or ["it said nothing"]
        raise DownloadFailed(f"Maven could not fetch Kafka: {errors[0][:300]}")
