"""Reads the `.sql` files that lie beside this module: whole scripts, and statements by name.

It runs nothing. A named statement begins with `-- name: NAME`; placeholders written `:name` stand for identifiers and
are filled by `with_names`, which takes nothing but plain words.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

_FOLDER: Final = Path(__file__).resolve().parent / "sql"
_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_WORD: Final = re.compile(r"[0-9A-Za-z_ :+-]{1,40}")


@cache
def script(name: str) -> str:
    """Return a whole script."""
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


@cache
def scripts(folder: str) -> tuple[tuple[str, str], ...]:
    """Return all scripts of a folder with their names, in order."""
    return tuple((path.stem, path.read_text(encoding="utf-8")) for path in sorted((_FOLDER / folder).glob("*.sql")))


@cache
def statements(name: str) -> Mapping[str, str]:
    """Return the named statements of a file."""
    parts = _NAME.split(script(name))
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return MappingProxyType({key: text.strip().removesuffix(";") for key, text in pairs})


def with_names(text: str, **names: str) -> str:
    """Fill `:name` placeholders. Raises ValueError for a value that is not plain words and digits."""
    for name, value in names.items():
        if _WORD.fullmatch(value) is None:
            raise ValueError(f"{value!r} cannot stand in a statement")
        text = re.sub(rf"(?<!:):{name}\b", value, text)
    return text
