"""SQLite files, through Python's own driver.

What belongs here: which Arrow type a declared SQLite type stands for, and what SQLite says. What
does not: windows and the archive.

SQLite keeps whatever value it is given, whatever type its column declares. Where the declared type
says what the values should be, a row with another one is told apart; where it does not (dates,
expressions, numbers without a precision), the column is text, and holds each value's text.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dataflow_assets.extract.databases.fitting import batch_of, fit_values
from dataflow_assets.extract.databases.session import (
    BATCH_ROWS,
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

    from dataflow_assets.extract.databases.session import DatabaseUrl
    from dataflow_assets.s3 import Address as S3Address

DECIMAL = re.compile(r"(?:DECIMAL|NUMERIC)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
MOST_DIGITS = 38
WAIT_S = 30
"""How long to wait for a writer that keeps the file locked."""
STEPS = 100_000
"""Instructions of SQLite's machine between two looks at the clock."""
PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
)
NO_UTF_8 = "Could not decode to UTF-8"
ERRORS = (sqlite3.Error,)


@contextmanager
def open_session(
    url: DatabaseUrl, timeout: dt.timedelta, files: Path | S3Address
) -> Iterator[SqliteSession]:
    """Open the file, and begin a transaction that reads one state of it."""
    path = path_of(url, files)
    spoken = partial(speaking, url, ERRORS, _is_passing)
    with spoken():
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=ro", uri=True, timeout=WAIT_S, isolation_level=None
        )
    deadline = time.monotonic() + timeout.total_seconds()
    with closing(connection):
        connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
        with spoken():
            connection.execute("begin")
        yield SqliteSession(connection, url)


def _text(content: bytes) -> str | bytes:
    """Return text, or the bytes that are none."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


class SqliteSession(SqlSession):
    """One transaction.

    Args:
        connection: The connection.
        url: The database.
    """

    def __init__(self, connection: sqlite3.Connection, url: DatabaseUrl) -> None:
        self._connection = connection
        self._speaking = partial(speaking, url, ERRORS, _is_passing)

    def columns(self, asked: str) -> Sequence[Column]:
        """Return the columns of a query, with the types that its tables declare."""
        with self._speaking():
            self._connection.execute("drop view if exists temp.dataflow_asked")
            self._connection.execute(f"create temp view dataflow_asked as {asked}")
            found = self._connection.execute("pragma temp.table_xinfo(dataflow_asked)").fetchall()
        return [_column(row[1], row[2], self.quoted(row[1])) for row in found]

    def timeless(self, column: Column, *, counted: bool) -> str:
        """Return the SQL condition under which a value is no time, or no count of it."""
        kinds = "'integer', 'real'" if counted else "'text'"
        return f"typeof({self.quoted(column.name)}) not in ({kinds})"

    def any(self, asked: str, condition: str) -> bool:
        """Return whether a query has a row that fulfils a condition."""
        with self._speaking():
            (found,) = self._connection.execute(
                f"select exists (select 1 from ({asked}) as q where {condition})"
            ).fetchone()
        return bool(found)

    def read(
        self, asked: str, columns: Sequence[Column], condition: str | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query, as SQLite finds them."""
        for rows in self._fetched(selection(self, asked, columns, condition)):
            yield batch_of(columns, list(zip(*rows, strict=True)), fit_values)

    def _fetched(self, query: str) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query; text that is no UTF-8 as bytes.

        That takes three times as long, so it is done from the batch on that has such text: the same
        query of the same state gives the same rows once more, and those before are passed over.
        """
        done, number = 0, 0
        while True:
            with self._speaking():
                cursor = self._connection.execute(query)
                try:
                    while rows := cursor.fetchmany(BATCH_ROWS):
                        number += 1
                        if number > done:
                            yield rows
                            done += 1
                except sqlite3.OperationalError as error:
                    if NO_UTF_8 not in str(error) or self._connection.text_factory is _text:
                        raise
                    self._connection.text_factory, number = _text, 0
                    continue
            return


def _column(found: str, declared: str, name: str) -> Column:
    """Say which Arrow type a declared type stands for, much as SQLite's rules of affinity do."""
    native = declared.upper()
    decimal = DECIMAL.fullmatch(native)
    kind: pa.DataType = pa.string()
    if decimal and int(decimal[2] or 0) <= int(decimal[1]) <= MOST_DIGITS:
        kind = pa.decimal128(int(decimal[1]), int(decimal[2] or 0))
    elif "INT" in native:
        kind = pa.int64()
    elif native.startswith("BOOL"):
        kind = pa.bool_()
    elif any(part in native for part in ("REAL", "FLOA", "DOUB")):
        kind = pa.float64()
    elif native.startswith("BLOB"):
        kind = pa.binary()
    return Column(found, declared, kind, "any", name)


def _is_passing(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in PASSING
