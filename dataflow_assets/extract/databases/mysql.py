"""MySQL and MariaDB, through PyMySQL's connection.

What belongs here: which MySQL types have an exact Arrow type, and what the server says. What does
not: how rows come over the wire (`mysql_rows`), windows and the archive.

The server sends each value as text. A value that its column's type cannot hold (zero dates, times
of more than a day) makes its row one that is told apart.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pymysql
from pymysql.constants import ER, FIELD_TYPE, FLAG

from dataflow_assets.errors import SettingsError
from dataflow_assets.extract.databases.fitting import batch_of, fit_texts
from dataflow_assets.extract.databases.mysql_rows import fields_of, rows_of
from dataflow_assets.extract.databases.session import (
    CONNECT_TIMEOUT_S,
    Column,
    SqlSession,
    selection,
    speaking,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.extract.databases.mysql_rows import Field
    from dataflow_assets.extract.databases.session import DatabaseUrl, Moment
    from dataflow_assets.s3 import Address as S3Address

PORT = 3306
WHOLE = {
    FIELD_TYPE.TINY: (pa.int8(), pa.uint8()),
    FIELD_TYPE.SHORT: (pa.int16(), pa.uint16()),
    FIELD_TYPE.INT24: (pa.int32(), pa.uint32()),
    FIELD_TYPE.LONG: (pa.int32(), pa.uint32()),
    FIELD_TYPE.LONGLONG: (pa.int64(), pa.uint64()),
    FIELD_TYPE.YEAR: (pa.int16(), pa.int16()),
}
"""Whole numbers, with and without a sign."""
OTHERS: dict[int, tuple[str, pa.DataType, Moment]] = {
    FIELD_TYPE.FLOAT: ("float", pa.float32(), "number"),
    FIELD_TYPE.DOUBLE: ("double", pa.float64(), "number"),
    FIELD_TYPE.BIT: ("bit", pa.uint64(), "other"),
    FIELD_TYPE.GEOMETRY: ("geometry", pa.binary(), "other"),
    FIELD_TYPE.DATE: ("date", pa.date32(), "date"),
    FIELD_TYPE.NEWDATE: ("date", pa.date32(), "date"),
    FIELD_TYPE.DATETIME: ("datetime", pa.timestamp("us"), "timestamp"),
    FIELD_TYPE.TIMESTAMP: ("timestamp", pa.timestamp("us", "UTC"), "instant"),
    FIELD_TYPE.TIME: ("time", pa.time64("us"), "other"),
}
TEXTS = {
    FIELD_TYPE.VARCHAR,
    FIELD_TYPE.VAR_STRING,
    FIELD_TYPE.STRING,
    FIELD_TYPE.BLOB,
    FIELD_TYPE.TINY_BLOB,
    FIELD_TYPE.MEDIUM_BLOB,
    FIELD_TYPE.LONG_BLOB,
}
NO_CHARSET = 63
MOST_DIGITS = 38
TLS = {"ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_cert", "ssl_verify_identity"}
PASSING = {
    ER.CON_COUNT_ERROR,
    ER.SERVER_SHUTDOWN,
    ER.LOCK_WAIT_TIMEOUT,
    ER.LOCK_DEADLOCK,
    ER.QUERY_INTERRUPTED,
    ER.TOO_MANY_USER_CONNECTIONS,
    ER.USER_LIMIT_REACHED,
    ER.STATEMENT_TIMEOUT,
    ER.QUERY_TIMEOUT,
    1927,  # the connection was killed
    1053,  # shutdown in progress
    2002,
    2003,  # no connection
    2006,
    2013,  # lost
}
ERRORS = (pymysql.Error, OSError)


@contextmanager
def open_session(
    url: DatabaseUrl,
    timeout: dt.timedelta,
    files: Path | S3Address,  # noqa: ARG001 - a server has no files here
) -> Iterator[MysqlSession]:
    """Connect, and begin a transaction that reads one state of the database."""
    spoken = partial(speaking, url, ERRORS, _is_passing)
    with spoken():
        connection = pymysql.connect(
            host=url.parts.hostname or "127.0.0.1",
            port=url.parts.port or PORT,
            user=url.user or None,
            password=url.password,
            database=url.parts.path.removeprefix("/") or None,
            charset="utf8mb4",
            connect_timeout=CONNECT_TIMEOUT_S,
            # The server ends a read that takes too long, and says so; this is for when it cannot.
            read_timeout=timeout.total_seconds() + CONNECT_TIMEOUT_S,
            **_tls(url),
        )
    with closing(connection):
        with spoken():
            for statement in _settings(connection, timeout):
                connection.query(statement)
        yield MysqlSession(connection, url)


def _tls(url: DatabaseUrl) -> dict[str, Any]:
    """Return how to encrypt, as what stands behind the URL's question mark says."""
    unknown = url.options.keys() - TLS
    if unknown:
        raise SettingsError(
            f"{url.variable} has options that mysql does not know: {', '.join(sorted(unknown))}.",
            mend=f"Options are {', '.join(sorted(TLS))}.",
            culprit=url.variable,
        )
    return {
        name: value not in ("", "0", "false") if name.startswith("ssl_verify") else value
        for name, value in url.options.items()
    }


def _settings(connection: pymysql.Connection, timeout: dt.timedelta) -> Iterator[str]:
    seconds = timeout.total_seconds()
    server = str(connection.get_server_info())  # type: ignore[no-untyped-call]
    if "MariaDB" in server:
        yield f"set session max_statement_time = {seconds}"
    else:
        yield f"set session max_execution_time = {int(seconds * 1000)}"
    yield "set session time_zone = '+00:00'"
    yield "set session net_write_timeout = 3600"  # we may be slower than the server
    yield "set session transaction isolation level repeatable read"
    yield "start transaction with consistent snapshot, read only"


class MysqlSession(SqlSession):
    """One transaction.

    Args:
        connection: The connection.
        url: The database.
    """

    def __init__(self, connection: pymysql.Connection, url: DatabaseUrl) -> None:
        self._connection = connection
        self._speaking = partial(speaking, url, ERRORS, _is_passing)

    def quoted(self, name: str) -> str:
        """Return a name as an identifier."""
        return "`{}`".format(name.replace("`", "``"))

    def columns(self, asked: str) -> Sequence[Column]:
        """Return the columns of a query; nothing is read."""
        with self._speaking():
            fields = fields_of(self._connection, f"select * from ({asked}) as q limit 0")
        return [_column(found, self.quoted(found.name)) for found in fields]

    def timeless(
        self,
        column: Column,
        *,
        counted: bool,  # noqa: ARG002 - a column's type says what its values are
    ) -> str:
        """Return the SQL condition under which a value is no time, or no count of it."""
        name = self.quoted(column.name)
        if column.moment in ("date", "timestamp", "instant"):  # zero dates come before all others
            return f"({name} is null or {name} < '0001-01-01')"
        return f"{name} is null"

    def any(self, asked: str, condition: str) -> bool:
        """Return whether a query has a row that fulfils a condition."""
        with self._speaking(), self._connection.cursor() as cursor:
            cursor.execute(f"select exists (select 1 from ({asked}) as q where {condition})")
            (found,) = cursor.fetchone() or (0,)
        return bool(found)

    def read(
        self, asked: str, columns: Sequence[Column], condition: str | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query, as the server sends them."""
        query = selection(self, asked, columns, condition)
        with self._speaking():
            for texts in rows_of(self._connection, query):
                yield batch_of(columns, texts, fit_texts)


def _column(found: Field, name: str) -> Column:
    """Say how to read a column, by what the server tells of it."""
    native, kind, moment = _kind(found)
    select = name
    if found.code == FIELD_TYPE.FLOAT:  # as it is written it has 6 digits only
        select = f"{name} + 0e0"
    elif found.code == FIELD_TYPE.BIT:
        select = f"{name} + 0"
    return Column(found.name, native, kind, moment, select)


def _kind(found: Field) -> tuple[str, pa.DataType, Moment]:
    """Return what a column's type is called, what holds its values, and what they say of time."""
    if found.code in WHOLE:
        return "integer", WHOLE[found.code][bool(found.flags & FLAG.UNSIGNED)], "number"
    if found.code == FIELD_TYPE.NEWDECIMAL:
        return "decimal", _decimal(found), "number"
    if found.code in OTHERS:
        return OTHERS[found.code]
    is_text = found.code not in TEXTS or found.charset != NO_CHARSET
    return ("text", pa.string(), "text") if is_text else ("binary", pa.binary(), "other")


def _decimal(found: Field) -> pa.DataType:
    """Return the decimal type of a column, or text where it has more digits than decimals have.

    The server tells how many characters a value has at most: point and sign among them.
    """
    signed = not found.flags & FLAG.UNSIGNED
    precision = found.length - (found.scale > 0) - signed
    return pa.decimal128(precision, found.scale) if precision <= MOST_DIGITS else pa.string()


def _is_passing(error: Exception) -> bool:
    if isinstance(error, OSError):
        return True
    code = error.args[0] if error.args else None
    return code in PASSING
