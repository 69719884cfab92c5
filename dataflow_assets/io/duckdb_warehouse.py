"""The embedded warehouse: a DuckDB file that many parallel runs publish to.

What belongs here: tables of entities and the ledger in DuckDB, published partition by partition.
What does not: computing rows; they come as Parquet files, ready to insert.

DuckDB lets one process at a time open its file. So a lock file lets one in after another, each
connection is short, and nothing is computed while it is open.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from dataflow_assets.errors import (
    ConservationError,
    StorageError,
    WarehouseLockedError,
    WarehouseSchemaError,
)
from dataflow_assets.io.ledger import DDL
from dataflow_assets.io.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from dataflow_assets.io.ledger import LedgerFile, LedgerRow

TECHNICAL = {
    "_partition": "VARCHAR",
    "_source": "VARCHAR",
    "_raw_ref": "VARCHAR",
    "_run_id": "VARCHAR",
}
TYPES: dict[type[pl.DataType], str] = {
    pl.String: "VARCHAR",
    pl.Boolean: "BOOLEAN",
    pl.Int8: "TINYINT",
    pl.Int16: "SMALLINT",
    pl.Int32: "INTEGER",
    pl.Int64: "BIGINT",
    pl.UInt8: "UTINYINT",
    pl.UInt16: "USMALLINT",
    pl.UInt32: "UINTEGER",
    pl.UInt64: "UBIGINT",
    pl.Float32: "FLOAT",
    pl.Float64: "DOUBLE",
    pl.Date: "DATE",
    pl.Time: "TIME",
}
WIDER: dict[str, tuple[str, ...]] = {
    "TINYINT": ("SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE"),
    "SMALLINT": ("INTEGER", "BIGINT", "FLOAT", "DOUBLE"),
    "INTEGER": ("BIGINT", "DOUBLE"),
    "UTINYINT": ("USMALLINT", "UINTEGER", "UBIGINT", "SMALLINT", "INTEGER", "BIGINT", "DOUBLE"),
    "USMALLINT": ("UINTEGER", "UBIGINT", "INTEGER", "BIGINT", "DOUBLE"),
    "UINTEGER": ("UBIGINT", "BIGINT", "DOUBLE"),
    "FLOAT": ("DOUBLE",),
}
"""Types that hold every value of another exactly."""
DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
LOCK_MESSAGE = re.compile(r"lock|being used by another process", re.IGNORECASE)
HOLDER = re.compile(r"PID (\d+)")
LONGEST_WAIT_S = 1.0
HOLD_S = 2.0
"""Seconds after which the lock is left and taken anew, so that others get their turn."""


@dataclass(frozen=True)
class EntityTable:
    """The table of an entity.

    Attributes:
        name: The table is ``normalized.<name>``.
        columns: Polars type of each declared column, in order.
        comments: What columns mean.
        key: The columns that identify a row within a partition.
        description: What the table holds.
    """

    name: str
    columns: Mapping[str, pl.DataType]
    comments: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    description: str = ""

    @property
    def qualified(self) -> str:
        """The table's name with its schema, quoted."""
        return f"normalized.{quoted(self.name)}"

    def types(self) -> dict[str, str]:
        """Return the DuckDB type of each column, technical ones last."""
        return {name: duckdb_type(dtype) for name, dtype in self.columns.items()} | TECHNICAL


@dataclass(frozen=True)
class Publication:
    """One partition that is ready to publish.

    Attributes:
        partition: Which one.
        staged: Parquet file of the declared columns, `_source` and `_raw_ref`.
        ledger: What the publish does; its counts say how many rows the file has.
    """

    partition: str
    staged: Path
    ledger: LedgerRow


class DuckDBWarehouse:
    """A DuckDB file with the schemas ``normalized`` and ``dataflow``.

    Args:
        path: The file, made as needed.
        lock_timeout_s: Seconds to wait for others that use the file.
        memory_limit_mb: Bound for DuckDB's memory.
    """

    def __init__(self, path: Path, lock_timeout_s: float, memory_limit_mb: int) -> None:
        self._path = path
        self._lock_timeout_s = lock_timeout_s
        self._memory_limit_mb = memory_limit_mb

    def publish(self, table: EntityTable, publications: Sequence[Publication]) -> None:
        """Publish partitions, each in one transaction with its ledger row.

        Raises:
            ConservationError: Fewer or more rows were inserted than staged.
            StorageError: The file cannot be written.
            WarehouseLockedError: Another program does not leave the file.
            WarehouseSchemaError: The table cannot take the declared columns without losing data.
        """
        waiting = list(publications)
        while waiting:
            with self._connection() as connection:
                began = time.monotonic()
                connection.execute(DDL)
                prepare_table(connection, table)
                while waiting and time.monotonic() - began < HOLD_S:
                    self._publish_one(connection, table, waiting[0])
                    waiting.pop(0)

    def record(self, rows: Sequence[LedgerRow], files: Sequence[LedgerFile]) -> None:
        """Write what was published to the lake to the ledger, in one transaction.

        Args:
            rows: What each publish did.
            files: The files of the raw partitions among them; they replace those known before.
        """
        if not rows:
            return
        with self._connection() as connection:
            connection.execute(DDL)
            connection.begin()
            write_ledger(connection, rows)
            replaced = [
                f"({literal(row.source)}, {literal(row.partition)})"
                for row in rows
                if row.layer == "raw"
            ]
            if replaced:
                connection.execute(
                    f'delete from dataflow.files where (source, "partition") in '
                    f"({', '.join(replaced)})"
                )
            if files:
                connection.register("new_files", pl.DataFrame(files).to_arrow())
                connection.execute("insert into dataflow.files by name select * from new_files")
            connection.commit()

    def read(self, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
        """Return the rows of a query, over a short connection.

        Raises:
            WarehouseLockedError: Another program does not leave the file.
        """
        with self._connection() as connection:
            connection.execute(DDL)
            return connection.execute(sql, list(parameters)).pl()

    def _publish_one(
        self, connection: duckdb.DuckDBPyConnection, table: EntityTable, one: Publication
    ) -> None:
        connection.begin()
        try:
            connection.execute(
                f"delete from {table.qualified} where _partition = {literal(one.partition)}"
            )
            (inserted,) = connection.execute(
                f"insert into {table.qualified} by name "
                f"select *, {literal(one.partition)} as _partition, "
                f"{literal(one.ledger.run_id)} as _run_id from read_parquet({literal(one.staged)})"
            ).fetchone() or (0,)
            if inserted != one.ledger.counts.loaded:
                raise ConservationError(
                    f"{inserted:,} rows were inserted where {one.ledger.counts.loaded:,} were "
                    "staged.",
                    mend="This is a bug in dataflow_assets; nothing was published. Please report "
                    "it.",
                    partition=one.partition,
                    culprit=table.name,
                )
            write_ledger(connection, [one.ledger])
            connection.commit()
        except BaseException:
            connection.rollback()
            raise

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, when no other run has it, and close it again."""
        lock = self._path.with_name(self._path.name + ".lock")
        try:
            with (
                exclusive(lock, timeout_s=self._lock_timeout_s, busy=self._locked),
                self._open() as connection,
            ):
                yield connection
        except (duckdb.IOException, duckdb.OutOfMemoryException, OSError) as error:
            raise StorageError(
                f"the warehouse cannot be written: {error}.",
                mend="Free space on its disk, make it writable, or set DUCKDB_PATH.",
                culprit=str(self._path),
            ) from error

    def _open(self) -> duckdb.DuckDBPyConnection:
        until = time.monotonic() + self._lock_timeout_s
        wait = 0.01
        config = {
            "memory_limit": f"{self._memory_limit_mb}MB",
            "preserve_insertion_order": "false",
        }
        while True:
            try:
                connection = duckdb.connect(str(self._path), config=config)
            except duckdb.IOException as error:
                if not LOCK_MESSAGE.search(str(error)):
                    raise
                if time.monotonic() >= until:
                    holder = HOLDER.search(str(error))
                    raise self._locked(f"process {holder[1]}" if holder else "a program") from error
            else:
                connection.execute("set TimeZone = 'UTC'")
                return connection
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)

    def _locked(self, who: str = "another run") -> WarehouseLockedError:
        return WarehouseLockedError(
            f"{who} keeps the warehouse open, for more than {self._lock_timeout_s:g} s.",
            mend="Close that program (DuckDB lets in one at a time), then run again; "
            "LOCK_TIMEOUT_S says how long to wait.",
            culprit=str(self._path),
        )


def duckdb_type(dtype: pl.DataType) -> str:
    """Return the DuckDB type that holds every value of a Polars type."""
    if isinstance(dtype, pl.Decimal):
        return f"DECIMAL({dtype.precision},{dtype.scale})"
    if isinstance(dtype, pl.Datetime):
        return "TIMESTAMP WITH TIME ZONE" if dtype.time_zone else "TIMESTAMP"
    return TYPES[type(dtype)]


def prepare_table(connection: duckdb.DuckDBPyConnection, table: EntityTable) -> None:
    """Make the table as declared, or let it grow into what is declared.

    Raises:
        WarehouseSchemaError: That would lose data; the statement for a person is given.
    """
    wanted = table.types()
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in wanted.items())
    connection.execute(f"create table if not exists {table.qualified} ({columns})")
    there = dict(
        connection.execute(
            "select column_name, data_type from information_schema.columns "
            "where table_schema = 'normalized' and table_name = ?",
            [table.name],
        ).fetchall()
    )
    for name, kind in wanted.items():
        if name not in there:
            connection.execute(f"alter table {table.qualified} add column {quoted(name)} {kind}")
        elif there[name] != kind:
            _change_type(connection, table, name, there[name], kind)
    _comment(connection, table)


def _change_type(
    connection: duckdb.DuckDBPyConnection, table: EntityTable, name: str, there: str, wanted: str
) -> None:
    statement = f"alter table {table.qualified} alter column {quoted(name)} type {wanted}"
    if not widens(there, wanted):
        raise WarehouseSchemaError(
            f"the column {name!r} is {there} in the warehouse and {wanted} in the declaration; "
            "changing it could lose data.",
            mend=f"Declare {there}, or run yourself: {statement}; then publish all partitions "
            "again.",
            source=table.name,
            culprit=name,
        )
    connection.execute(statement)


def widens(there: str, wanted: str) -> bool:
    """Whether every value of one DuckDB type is exactly a value of another."""
    if wanted in WIDER.get(there, ()):
        return True
    old, new = DECIMAL.fullmatch(there), DECIMAL.fullmatch(wanted)
    if not old or not new:
        return False
    scales = int(new[2]) >= int(old[2])
    return scales and int(new[1]) - int(new[2]) >= int(old[1]) - int(old[2])


def _comment(connection: duckdb.DuckDBPyConnection, table: EntityTable) -> None:
    """Keep descriptions in the warehouse, where its users look; write only what changed."""
    wanted = {f"table {table.qualified}": table.description} | {
        f"column {table.qualified}.{quoted(name)}": text for name, text in table.comments.items()
    }
    known = dict(
        connection.execute(
            "select 'table normalized.\"' || table_name || '\"', comment from duckdb_tables() "
            "where schema_name = 'normalized' and table_name = ? union all "
            "select 'column normalized.\"' || table_name || '\".\"' || column_name || '\"', comment "
            "from duckdb_columns() where schema_name = 'normalized' and table_name = ?",
            [table.name, table.name],
        ).fetchall()
    )
    for what, text in wanted.items():
        if text and known.get(what) != text:
            literal = text.replace("'", "''")
            connection.execute(f"comment on {what} is '{literal}'")


def write_ledger(connection: duckdb.DuckDBPyConnection, rows: Sequence[LedgerRow]) -> None:
    """Write publishes to the ledger and its history, in the connection's transaction.

    As literals: DuckDB looks for a dozen of optional Python modules at each bound parameter, which
    takes longer than the statement.
    """
    values = ", ".join(f"({', '.join(map(literal, row.values()))})" for row in rows)
    connection.execute(f"insert or replace into dataflow.ledger values {values}")
    connection.execute(f"insert into dataflow.ledger_history values {values}")


def literal(value: object) -> str:
    """Return a value as an SQL literal."""
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dt.datetime):
        return f"timestamptz '{value.astimezone(dt.UTC).isoformat(' ')}'"
    text = str(value).replace("'", "''")
    return f"'{text}'"


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
