"""Postgres, through ADBC: binary COPY straight into Arrow.

What belongs here: which Postgres types have an exact Arrow type, and what Postgres and its driver
say. What does not: windows and the archive.

A type without an exact Arrow type is read as the text that Postgres itself writes for it. Of the
types that have one, some hold values that it cannot hold (infinity, years outside 1 to 9999,
24:00, NaN in a numeric, arrays of arrays, arrays counted from 2): rows with such a value are told
apart by the server, which sends their text.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import adbc_driver_manager
import adbc_driver_postgresql
import adbc_driver_postgresql.dbapi as driver
import pyarrow as pa

from dataflow_assets.extract.databases.session import (
    CONNECT_TIMEOUT_S,
    KEEPALIVE_S,
    KEEPALIVES,
    MISFIT,
    Column,
    SqlSession,
    selection,
    speaking,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.extract.databases.session import DatabaseUrl, Moment
    from dataflow_assets.s3 import Address as S3Address

BATCH_BYTES = 4 << 20
PLAIN = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bpchar": pa.string(),
    "bytea": pa.binary(),
}
BOUNDED = {
    "date": (pa.date32(), "{0} not between '0001-01-01' and '9999-12-31'"),
    "timestamp": (
        pa.timestamp("us"),
        "{0} not between '0001-01-01' and '9999-12-31 23:59:59.999999'",
    ),
    "timestamptz": (
        pa.timestamp("us", "UTC"),
        "{0} not between '0001-01-01' and '9999-12-31 23:59:59.999999'",
    ),
    "time": (pa.time64("us"), "{0} = '24:00:00'"),
}
"""Types some of whose values have no place in Arrow or Polars, and which those are."""
WRITTEN = {"oid": (pa.int64(), "bigint"), "money": (pa.string(), "numeric::text")}
"""How types are read that the driver would read otherwise than they are: oids with a sign, money in
cents."""
MOMENTS: dict[str, Moment] = {
    "date": "date",
    "timestamp": "timestamp",
    "timestamptz": "instant",
    "int2": "number",
    "int4": "number",
    "int8": "number",
    "float8": "number",
    "numeric": "number",
    "text": "text",
    "varchar": "text",
    "bpchar": "text",
}
MOST_DIGITS = 38
ERRORS = (adbc_driver_manager.Error, OSError, pa.ArrowException)
"""What the driver raises; the last two while it reads on."""
STATE = re.compile(r"SQLSTATE: (\w{5})")
PASSING = ("08", "40", "53", "55P03", "57", "58")
"""Classes of SQLSTATE after which the same read may succeed later."""
FINAL = (
    "authentication",
    "does not exist",
    "no password supplied",
    "pg_hba",
    "not permitted",
    "permission denied",
    "certificate",
    "invalid port",
    "invalid URI",
    "invalid connection option",
    "does not support SSL",
    "is not supported",
)
"""What libpq says of connections that will not succeed later either; it has no code for them."""
SERVER_SAYS = "PGRES_FATAL_ERROR"
ENDED = ("canceling", "terminating")
"""How errors of the server that come amid the rows, without their code, begin if they may pass."""


@contextmanager
def open_session(
    url: DatabaseUrl,
    timeout: dt.timedelta,
    files: Path | S3Address,  # noqa: ARG001 - a server has no files here
) -> Iterator[PostgresSession]:
    """Connect, and begin a transaction that reads one state of the database."""
    spoken = partial(speaking, url, ERRORS, _is_passing)
    with spoken():
        connection = driver.connect(_uri(url))
    try:
        with connection.cursor() as cursor:
            with spoken():
                for statement in _settings(timeout):
                    cursor.execute(statement)
            yield PostgresSession(cursor, url)
    finally:
        with spoken():
            connection.close()


def _uri(url: DatabaseUrl) -> str:
    defaults = {
        "connect_timeout": str(CONNECT_TIMEOUT_S),
        "application_name": "dataflow_assets",
        "keepalives_idle": str(KEEPALIVE_S["idle"]),
        "keepalives_interval": str(KEEPALIVE_S["interval"]),
        "keepalives_count": str(KEEPALIVES),
    }
    query = urlencode({**defaults, **url.options})
    return url.parts._replace(scheme="postgresql", query=query).geturl()


def _settings(timeout: dt.timedelta) -> Iterator[str]:
    yield "set transaction isolation level repeatable read, read only"
    yield f"set local statement_timeout = {int(timeout.total_seconds() * 1000)}"
    yield "set local timezone = 'UTC'"
    yield "set local intervalstyle = 'iso_8601'"
    yield "set local datestyle = 'ISO'"
    yield "set local extra_float_digits = 1"
    yield "set local bytea_output = 'hex'"


class PostgresSession(SqlSession):
    """One transaction.

    Args:
        cursor: A cursor in it.
        url: The database.
    """

    def __init__(self, cursor: driver.Cursor, url: DatabaseUrl) -> None:
        self._cursor = cursor
        self._speaking = partial(speaking, url, ERRORS, _is_passing)

    def columns(self, asked: str) -> Sequence[Column]:
        """Return the columns of a query; the server plans it and reads nothing."""
        with self._speaking():
            schema = self._cursor.adbc_execute_schema(f"select * from ({asked}) as q")
        return [_column(found, self.quoted(found.name)) for found in schema]

    def any(self, asked: str, condition: str) -> bool:
        """Return whether a query has a row that fulfils a condition."""
        with self._speaking():
            self._cursor.execute(f"select exists (select from ({asked}) as q where {condition})")
            (found,) = self._cursor.fetchone() or (False,)
        return bool(found)

    def read(
        self, asked: str, columns: Sequence[Column], condition: str | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query, as the server sends them."""
        query = selection(self, asked, columns, condition, row="row_to_json(q)::text")
        schema = pa.schema([*(pa.field(one.name, one.type) for one in columns), MISFIT])
        option = adbc_driver_postgresql.StatementOptions.BATCH_SIZE_HINT_BYTES
        with self._speaking():
            self._cursor.adbc_statement.set_options(**{option.value: str(BATCH_BYTES)})
            self._cursor.execute(query)
            for batch in self._cursor.fetch_record_batch():
                yield pa.RecordBatch.from_arrays(
                    [
                        _plain(array).cast(field.type)
                        for array, field in zip(batch.columns, schema, strict=True)
                    ],
                    schema=schema,
                )


def _column(found: pa.Field, name: str) -> Column:
    """Say how to read a column, by what the driver tells of its type."""
    told = found.metadata or {}
    native = told.get(b"POSTGRESQL:type", b"").decode()
    make = partial(Column, found.name, native, moment=MOMENTS.get(native, "other"))
    if native in PLAIN:
        return make(type=PLAIN[native], select=name)
    if native in BOUNDED:
        kind, misfit = BOUNDED[native]
        return make(type=kind, select=name, misfit=misfit.format(name))
    if native == "numeric":
        return _numeric(make, int(told.get(b"POSTGRESQL:typmod", b"-1")), name)
    if native.startswith("_"):
        element = PLAIN.get(native[1:])
        select = f"{name}::text[]" if element is None else name
        odd = f"array_ndims({name}) > 1 or array_lower({name}, 1) not in (0, 1)"
        return make(type=pa.list_(element or pa.string()), select=select, misfit=f"({odd})")
    kind, cast = WRITTEN.get(native, (pa.string(), "text"))
    return make(type=kind, select=f"{name}::{cast}")


def _numeric(make: partial[Column], modifier: int, name: str) -> Column:
    """Say how to read a numeric: as a decimal where its precision is declared and fits, else text.

    The modifier holds precision and scale, 4 bytes above where it says that there is none.
    """
    precision, scale = (modifier - 4) >> 16, (modifier - 4) & 0x7FF
    if modifier < 0 or precision > MOST_DIGITS or scale > precision:
        return make(type=pa.string(), select=f"{name}::text")
    return make(
        type=pa.decimal128(precision, scale), select=f"{name}::text", misfit=f"{name} = 'NaN'"
    )


def _plain(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _is_passing(error: Exception) -> bool:
    state = STATE.search(str(error))
    if state is not None:
        return state[1].startswith(PASSING)
    text = str(error)
    if SERVER_SAYS in text:
        return any(part in text for part in ENDED)
    return not any(part in text for part in FINAL)
