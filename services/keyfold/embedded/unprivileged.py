"""How root runs a program that refuses to run as root.

First choice is a user namespace, in which root's files belong to an ordinary user. Where namespaces are not allowed
(many containers) the program runs as the account `nobody` with one capability, CAP_DAC_OVERRIDE, to reach its files
below directories that only root may enter (a checkout in /root). Neither way makes an account or changes a permission
of a directory, and neither is a wall: the program may still read what root owns. An ordinary user needs none of this.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyfold.embedded.errors import MissingProgram

_NOBODY: Final = 65534
_ONE_CAPABILITY: Final = "-all,+dac_override"
_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True)
class Unprivileged:
    """`prefix` goes before the command; `owner` is the user that its files must belong to, None for whoever we are."""

    prefix: tuple[str, ...] = ()
    owner: int | None = None

    def give(self, path: Path) -> None:
        """Make a file or a whole directory the program's own (root only; the way it runs may have changed)."""
        if self.owner is None:
            return
        os.chown(path, self.owner, self.owner, follow_symlinks=False)
        for parent, directories, files in os.walk(path):
            for name in (*directories, *files):
                os.chown(Path(parent) / name, self.owner, self.owner, follow_symlinks=False)


_WAYS: Final = (
    Unprivileged(("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}", "--"), owner=0),
    Unprivileged(
        (
            "setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups",
            # access(2), which Postgres asks about its own binaries, counts the capability only with this bit.
            "--securebits=+no_setuid_fixup", f"--inh-caps={_ONE_CAPABILITY}", f"--ambient-caps={_ONE_CAPABILITY}",
            f"--bounding-set={_ONE_CAPABILITY}", "--",
        ),
        owner=_NOBODY,
    ),
)  # fmt: skip


def unprivileged(program: Path) -> Unprivileged:
    """Choose how `program` is run here. Raises MissingProgram when root has no way to run it as somebody else."""
    if os.geteuid() != 0:
        return Unprivileged()
    for way in _WAYS:
        if _works(way, program):
            return way
    raise MissingProgram(
        f"{program} does not run as root, and neither a user namespace nor the account nobody can run it here; "
        "run this as an ordinary user, or set KEYFOLD_POSTGRES_DSN to an existing server"
    )


def _works(way: Unprivileged, program: Path) -> bool:
    if shutil.which(way.prefix[0]) is None:
        return False
    command = [*way.prefix, str(program), "--version"]
    return subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False, cwd="/").returncode == 0
