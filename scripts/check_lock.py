"""Check, without a network, that the lock files fit `pyproject.toml`, are hashed, and name no address.

Whether newer versions exist is not asked: `scripts/lock --upgrade` is a decision, not a check.
"""

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("runtime", "dev", "image", "analytics", "build")
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+) \\$")


def pins(path: Path) -> dict[str, str]:
    """Return name → version of a lock file; raises ValueError for a line without a hash or with an address."""
    found: dict[str, str] = {}
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if "://" in line or line.startswith(("-i ", "--")):
            raise ValueError(f"{path.name}:{number} names an address or an option")
        if line and not line.startswith((" ", "#")):
            match = PIN.match(line)
            if match is None or not lines[number].startswith("    --hash=sha256:"):
                raise ValueError(f"{path.name}:{number} is not pinned with a hash")
            found[canonicalize_name(match[1])] = match[2]
    return found


def unmet(requirements: list[str], locked: dict[str, str]) -> list[str]:
    """Return the requirements that the locked versions do not meet."""
    wanted = [Requirement(text) for text in requirements]
    return [
        str(need)
        for need in wanted
        if (need.marker is None or need.marker.evaluate())
        and not need.specifier.contains(locked.get(canonicalize_name(need.name), "0"))
    ]


def main() -> int:
    """Print each problem on a line; exit code 1 when there is one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    dependencies: list[str] = project["project"]["dependencies"]
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    optional = [need for name in ("analytics", "archive", "embedded", "otel", "dev") for need in extras[name]]
    everything = dependencies + optional + project["build-system"]["requires"]
    try:
        runtime, dev, image, analytics, build = (pins(ROOT / "requirements" / f"{name}.txt") for name in LOCKS)
    except (OSError, ValueError) as error:
        print(f"{error}; run scripts/lock")
        return 1
    problems = [f"runtime.txt does not meet {need}" for need in unmet(dependencies, runtime)]
    problems += [f"dev.txt does not meet {need}" for need in unmet(everything, dev)]
    in_image = dependencies + extras["otel"]
    problems += [f"image.txt does not meet {need}" for need in unmet(in_image, image)]
    problems += [f"analytics.txt does not meet {need}" for need in unmet(in_image + extras["analytics"], analytics)]
    problems += [f"build.txt does not meet {need}" for need in unmet(project["build-system"]["requires"], build)]
    for file, locked in (("runtime", runtime), ("image", image), ("analytics", analytics), ("build", build)):
        problems += [f"dev.txt and {file}.txt differ in {name}" for name in locked if dev.get(name) != locked[name]]
    for problem in problems:
        print(f"{problem}; run scripts/lock")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
