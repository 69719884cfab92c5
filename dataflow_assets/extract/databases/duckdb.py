"""DuckDB files, through DuckDB's own Arrow.

What belongs here: which DuckDB types have an exact Arrow type, and what DuckDB says. What does not:
windows and the archive. Nothing is installed or loaded from outside while reading.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from dataflow_assets.extract.databases.session import (
    BATCH_ROWS,
    MISFIT,
    Column,
    SqlSession,
    path_of,
    selection,
    speaking,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.extract.databases.session import DatabaseUrl, Moment
    from dataflow_assets.s3 import Address as S3Address

CONFIGURATION = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "512MB",
    "preserve_insertion_order": "true",
}
PLAIN = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "UTINYINT": pa.uint8(),
    "USMALLINT": pa.uint16(),
    "UINTEGER": pa.uint32(),
    "UBIGINT": pa.uint64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
}
YEARS = "{0} not between '0001-01-01' and '9999-12-31 23:59:59.999999'"
BOUNDED = {
    "DATE": (pa.date32(), "{0} not between '0001-01-01' and '9999-12-31'"),
    "TIMESTAMP": (pa.timestamp("us"), YEARS),
    "TIMESTAMP_S": (pa.timestamp("s"), YEARS),
    "TIMESTAMP_MS": (pa.timestamp("ms"), YEARS),
    "TIMESTAMP_NS": (pa.timestamp("ns"), "not isfinite({0})"),
    "TIMESTAMP WITH TIME ZONE": (pa.timestamp("us", "UTC"), YEARS),
    "TIME": (pa.time64("us"), "{0} = '24:00:00'"),
}
"""Types some of whose values have no place in Arrow or Polars, and which those are."""
DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
NESTED = ("STRUCT", "MAP", "UNION")
PASSING = ("Could not set lock", "Conflicting lock", "INTERRUPT")
ERRORS = (duckdb.Error, OSError, pa.ArrowException)


@contextmanager
def open_session(
    url: DatabaseUrl, timeout: dt.timedelta, files: Path | S3Address
) -> Iterator[DuckdbSession]:
    """Open the file, and begin a transaction that reads one state of it."""
    path = path_of(url, files)
    with speaking(url, ERRORS, _is_passing):
        connection = duckdb.connect(str(path), read_only=True, config=dict(CONFIGURATION))
    clock = threading.Timer(timeout.total_seconds(), connection.interrupt)
    clock.daemon = True
    clock.start()
    try:
        with speaking(url, ERRORS, _is_passing):
            connection.execute("set timezone = 'UTC'")
            connection.execute("begin transaction read only")
        yield DuckdbSession(connection, url)
    finally:
        clock.cancel()
        connection.close()


class DuckdbSession(SqlSession):
    """One transaction.

    Args:
        connection: The connection.
        url: The database.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, url: DatabaseUrl) -> None:
        self._connection = connection
        self._speaking = partial(speaking, url, ERRORS, _is_passing)

    def columns(self, asked: str) -> Sequence[Column]:
        """Return the columns of a query; nothing is read."""
        with self._speaking():
            found = self._connection.execute(f"describe {asked}").fetchall()
        return [_column(str(row[0]), str(row[1]), self.quoted(str(row[0]))) for row in found]

    def any(self, asked: str, condition: str) -> bool:
        """Return whether a query has a row that fulfils a condition."""
        with self._speaking():
            found = self._connection.execute(
                f"select exists (select 1 from ({asked}) as q where {condition})"
            ).fetchone()
        return bool(found and found[0])

    def read(
        self, asked: str, columns: Sequence[Column], condition: str | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query, as DuckDB finds them."""
        query = selection(self, asked, columns, condition, row="to_json(q)::varchar")
        schema = pa.schema([*(pa.field(one.name, one.type) for one in columns), MISFIT])
        with self._speaking():
            self._connection.execute(query)
            for batch in self._connection.to_arrow_reader(BATCH_ROWS):
                arrays = [
                    array.cast(field.type)
                    for array, field in zip(batch.columns, schema, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column(found: str, native: str, name: str) -> Column:
    """Say how to read a column, by its DuckDB type."""
    make = partial(Column, found, native, moment=_moment(native))
    if native in PLAIN:
        return make(type=PLAIN[native], select=name)
    if native in BOUNDED:
        kind, misfit = BOUNDED[native]
        return make(type=kind, select=name, misfit=misfit.format(name))
    decimal = DECIMAL.fullmatch(native)
    if decimal:
        return make(type=pa.decimal128(int(decimal[1]), int(decimal[2])), select=name)
    if native.endswith("[]") and native[:-2] in PLAIN:
        return make(type=pa.list_(PLAIN[native[:-2]]), select=name)
    if native.startswith(NESTED) or native.endswith("]"):
        return make(type=pa.string(), select=f"to_json({name})::varchar")
    return make(type=pa.string(), select=f"{name}::varchar")


def _moment(native: str) -> Moment:
    if native == "DATE":
        return "date"
    if native == "TIMESTAMP WITH TIME ZONE":
        return "instant"
    if native.startswith("TIMESTAMP"):
        return "timestamp"
    if native == "VARCHAR":
        return "text"
    return "number" if native.endswith("INT") or native in ("INTEGER", "DOUBLE") else "other"


def _is_passing(error: Exception) -> bool:
    return isinstance(error, duckdb.InterruptException) or any(
        part in str(error) for part in PASSING
    )
