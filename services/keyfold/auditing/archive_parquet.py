"""Segments as Parquet, for DuckDB and its like: the only module that meets pyarrow, which the extra `archive` installs.

Rows are written in groups that end at 1,000 rows or 8 MiB, and read group by group: memory does not grow with a file.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from keyfold.auditing.archive_errors import ArchiveDamaged, ArchiveUnusable
from keyfold.auditing.archive_rows import EVENT_COLUMNS, HEADER_COLUMNS, Row

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    pa = None

_GROUP_ROWS: Final = 1000
_GROUP_BYTES: Final = 8 * 1024 * 1024


def parquet_available() -> bool:
    """Tell whether Parquet can be read and written here."""
    return pa is not None


def require_parquet() -> None:
    """Raise `ArchiveUnusable` where pyarrow is not installed."""
    if not parquet_available():
        raise ArchiveUnusable("Parquet needs pyarrow: install keyfold[archive], or export with --format jsonl")


class ParquetWriter:
    """Writes rows to a file that it does not close. `close` ends the Parquet file."""

    def __init__(self, file: BinaryIO) -> None:
        require_parquet()
        self._schema = _schema()
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: Row) -> None:
        """Take a row; whole groups are written."""
        self._rows.append(_document(row))
        self._bytes += len(row.value or b"") + sum(len(value or b"") for _, value in row.headers)
        if len(self._rows) == _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._write()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._bytes = [], 0


def read_parquet(file: BinaryIO, name: str) -> Iterator[Row]:
    """Yield the rows of a file. Raises `ArchiveDamaged`."""
    require_parquet()
    try:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            yield from map(_row, parquet.read_row_group(group).to_pylist())
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        raise ArchiveDamaged(f"{name} is no Parquet file of an archive; get the file anew") from None


def _schema() -> Any:
    kinds = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
    header = pa.struct([pa.field("name", pa.string(), nullable=False), pa.field("value", pa.binary())])
    return pa.schema(
        [
            pa.field("partition", pa.int32(), nullable=False),
            *(pa.field(name, pa.int64(), nullable=False) for name in ("leaf", "offset", "timestamp_ms")),
            *(pa.field(name, kinds[kind]) for name, kind in EVENT_COLUMNS.items()),
            *(pa.field(name, pa.binary()) for name in ("key", "value", *HEADER_COLUMNS.values())),
            pa.field("headers", pa.list_(header), nullable=False),
        ]
    )


def _document(row: Row) -> dict[str, Any]:
    return {
        "partition": row.partition,
        "leaf": row.leaf,
        "offset": row.offset,
        "timestamp_ms": row.timestamp_ms,
        **row.event,
        "key": row.key,
        "value": row.value,
        **row.columns,
        "headers": [{"name": name, "value": value} for name, value in row.headers],
    }


def _row(found: dict[str, Any]) -> Row:
    columns = {name: found[name] for name in HEADER_COLUMNS.values()}
    headers = tuple((header["name"], header["value"]) for header in found["headers"])
    place = (found["partition"], found["leaf"], found["offset"], found["timestamp_ms"])
    return Row(*place, found["key"], found["value"], columns, headers, {name: found[name] for name in EVENT_COLUMNS})
