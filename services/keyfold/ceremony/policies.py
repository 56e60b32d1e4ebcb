"""The Cedar policies that a deployment begins with, as they are published: administrators and the scheduler.

Nobody may use a key until an administrator puts a policy that says so.
"""

from importlib.resources import files
from typing import Final

NAMES: Final = ("administrators", "services")


def initial_policies() -> dict[str, str]:
    """Return Cedar text by policy name."""
    folder = files(__package__).joinpath("policies")
    return {name: folder.joinpath(f"{name}.cedar").read_text("utf-8") for name in NAMES}
