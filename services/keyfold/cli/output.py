"""What the commands print: tables for people, JSON for programs. Pure; printing itself is `Session.show`."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NONE = "-"


def plain(value: Any) -> Any:
    """Turn models, dataclasses, paths and sets into what JSON knows."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    from pydantic import BaseModel  # who has a model has it loaded; tables need none

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, Iterable) else str(value)


def to_json(value: Any, *, lines: bool = False) -> str:
    """Return JSON: indented, or one line for streams."""
    return json.dumps(plain(value), ensure_ascii=False, indent=None if lines else 2)


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "(none)") -> str:
    """Return aligned columns; the last one is not padded. No rows give `empty`."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        return empty
    everything = [list(headers), *cells]
    widths = [max(len(row[at]) for row in everything) for at in range(len(headers))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in everything
    )


def pairs(rows: Iterable[tuple[str, Any]]) -> str:
    """Return one `name  value` per line, aligned."""
    known = [(name, _cell(value)) for name, value in rows]
    width = max((len(name) for name, _ in known), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in known)


def size(count: int) -> str:
    """Return a number of bytes for people."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1024 * 1024 else f"{count / 1024 / 1024:.1f} MiB"


def _cell(value: Any) -> str:
    match value:
        case None | "":
            return NONE
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ", ".join(f"{name}={item}" for name, item in value.items()) or NONE
        case list() | tuple() | frozenset() | set():
            return ", ".join(str(item) for item in value) or NONE
        case _:
            return str(value)
