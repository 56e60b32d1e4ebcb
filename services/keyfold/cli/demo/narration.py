"""How the demonstration tells its story: numbered steps with timings for people, one document for programs."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keyfold.cli.output import to_json


class Narrator:
    """Prints steps as they happen; with `as_json` it keeps them and prints one document at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._started = time.monotonic()
        self._steps: list[dict[str, Any]] = []
        self._number = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step: its title, what is told inside, and how long it took."""
        self._number += 1
        self._steps.append({"step": self._number, "title": title, "told": [], "seconds": None})
        self._print(f"\n{self._number}. {title}")
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self._steps[-1]["seconds"] = round(seconds, 3)
        self._print(f"   [{seconds:.2f} s]")

    def tell(self, text: str, **facts: Any) -> None:
        """Tell something inside a step; `facts` are for programs."""
        self._steps[-1]["told"].append({"text": text, **facts})
        self._print("\n".join(f"   {line}" for line in text.splitlines()))

    def close(self, **facts: Any) -> None:
        """Tell the end."""
        seconds = time.monotonic() - self._started
        if self._as_json:
            document = {"ok": True, "seconds": round(seconds, 3), "steps": self._steps, **facts}
            sys.stdout.write(to_json(document) + "\n")
            sys.stdout.flush()
        self._print(f"\nEverything is as it must be, in {seconds:.1f} s.")

    def _print(self, text: str) -> None:
        if not self._as_json:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
