"""The embedded warehouse: a DuckDB file that many parallel runs publish to.

What belongs here: tables of entities and the ledger in DuckDB, published partition by partition.
What does not: computing rows; they come as Parquet files, ready to insert.

DuckDB lets one process at a time open its file. So a lock file lets one in after another, each
connection is short, and nothing is computed while it is open.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from dataflow_assets.declaration.entity import HISTORY_COLUMNS
from dataflow_assets.errors import (
    PartitionMissingError,
    StorageError,
    WarehouseLockedError,
    WarehouseSchemaError,
)
from dataflow_assets.io.ledger import DDL, LEDGER_TABLES, prune_profiles
from dataflow_assets.io.locks import exclusive, shared
from dataflow_assets.io.warehouse import ADDED, literal, quoted
from dataflow_assets.io.write_modes import CLOSED_BY, Part, WriteMode, accounted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.io.ledger import Counts, LedgerDrift, LedgerFile, LedgerRow, ProfileRow
    from dataflow_assets.io.warehouse import EntityTable, Publication

MOMENT = "TIMESTAMP WITH TIME ZONE"
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
STORAGE_ERRORS = (duckdb.IOException, duckdb.FatalException, duckdb.TransactionException, OSError)
"""How DuckDB says that it cannot write: at once, or when a transaction is to end."""
LOCK_MESSAGE = re.compile(r"Could not set lock on file|different configuration than existing")
"""What DuckDB says when another process, or another part of this one, has the file open."""
HOLDER = re.compile(r"PID (\d+)")
SHORTEST_WAIT_S = 0.01
LONGEST_WAIT_S = 1.0
SMALL_BYTES = 4 << 20
"""Size of a staged file up to which waking other threads takes longer than inserting it."""
HOLD_S = 2.0
"""Seconds after which the lock is left and taken anew, so that others get their turn."""


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

    def publish(self, table: EntityTable, publications: Sequence[Publication]) -> dict[str, Counts]:
        """Publish partitions, each in one transaction with its ledger row.

        A history that goes back is an exception: then all of them are one transaction.

        Returns:
            By partition, its counts with what became of the staged rows.

        Raises:
            ConservationError: Fewer or more rows are accounted for than were staged.
            HistoryOrderError: The history goes on after a partition, with others than these.
            StorageError: The file cannot be written.
            WarehouseLockedError: Another program does not leave the file.
            WarehouseSchemaError: The table cannot take the declared columns without losing data.
        """
        waiting = WriteMode.of(table).ordered(publications)
        small = all(one.staged.stat().st_size <= SMALL_BYTES for one in waiting)
        counts: dict[str, Counts] = {}
        while waiting:
            with self._connection(single_thread=small) as connection:
                began = time.monotonic()
                _prepare_ledger(connection)
                prepare_table(connection, table)
                _check_keys(connection, table, waiting[0].ledger)
                while waiting and time.monotonic() - began < HOLD_S:
                    published = _publish_next(connection, table, waiting)
                    counts |= {row.partition: row.counts for row in published}
                    del waiting[: len(published)]
        return counts

    def record(
        self,
        rows: Sequence[LedgerRow],
        files: Sequence[LedgerFile],
        drift: Sequence[LedgerDrift] = (),
        profiles: Sequence[ProfileRow] = (),
    ) -> None:
        """Write what was published to the lake to the ledger, in one transaction.

        Args:
            rows: What each publish did.
            files: The files of the raw partitions among them; they replace those known before.
            drift: How columns changed; it replaces what the same raw partition showed before.
            profiles: Figures of partitions; those of the same version are replaced.
        """
        if not rows and not drift and not profiles:
            return
        with self._connection(single_thread=True) as connection:
            _prepare_ledger(connection)
            connection.begin()
            if rows:
                write_ledger(connection, rows)
            _write_profiles(connection, profiles)
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
            _write_drift(connection, drift)
            connection.commit()

    def read(self, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
        """Return the rows of a query, over a short connection that cannot write.

        Timestamps with a zone come as UTC.

        Raises:
            PartitionMissingError: Nothing has been published yet, so there is no file.
            WarehouseLockedError: Another program does not leave the file.
        """
        self._check_there()
        with self._connection(read_only=True) as connection:
            return connection.execute(sql, list(parameters)).pl()

    def export(self, sql: str, path: Path) -> None:
        """Write the rows of a query to a Parquet file, over a short connection that cannot write.

        Raises:
            PartitionMissingError: Nothing has been published yet, so there is no file.
            StorageError: The file cannot be written.
            WarehouseLockedError: Another program does not leave the warehouse.
        """
        self._check_there()
        with self._connection(read_only=True) as connection:
            connection.execute(f"copy ({sql}) to {literal(path)} (format parquet)")

    def _check_there(self) -> None:
        if not self._path.exists():
            raise PartitionMissingError(
                "there is no warehouse yet.",
                mend="Materialize an asset first, or set DUCKDB_PATH to where the file is.",
                culprit=str(self._path),
            )

    @contextmanager
    def _connection(
        self, *, read_only: bool = False, single_thread: bool = False
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, when no other run has it, and close it again; readers share it."""
        lock = self._path.with_name(self._path.name + ".lock")
        holding = shared if read_only else exclusive
        with (
            _storage_errors(self._path),
            holding(lock, timeout_s=self._lock_timeout_s, busy=self._locked),
            self._open(read_only=read_only, single_thread=single_thread) as connection,
        ):
            yield connection

    def _open(self, *, read_only: bool, single_thread: bool) -> duckdb.DuckDBPyConnection:
        """Open the file; wait for programs that know nothing of the lock file."""
        until = time.monotonic() + self._lock_timeout_s
        wait = SHORTEST_WAIT_S
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{self._memory_limit_mb}MB",
            "preserve_insertion_order": "false",
        }
        if single_thread:
            config["threads"] = 1
        while True:
            try:
                connection = duckdb.connect(str(self._path), read_only=read_only, config=config)
            except (duckdb.IOException, duckdb.ConnectionException) as error:
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


def _write_profiles(connection: duckdb.DuckDBPyConnection, profiles: Sequence[ProfileRow]) -> None:
    if not profiles:
        return
    connection.register("new_profiles", pl.DataFrame(profiles).to_arrow())
    connection.execute(
        "insert or replace into dataflow.profiles by name select * from new_profiles"
    )
    places = ", ".join(f"({literal(one.asset)}, {literal(one.partition)})" for one in profiles)
    connection.execute(prune_profiles(places))


def column_types(table: EntityTable) -> dict[str, str]:
    """Return the DuckDB type of each column, technical ones last."""
    declared = {name: duckdb_type(dtype) for name, dtype in table.columns.items()}
    technical = dict.fromkeys(WriteMode.of(table).technical, "VARCHAR")
    moments = dict.fromkeys(technical.keys() & set(HISTORY_COLUMNS), MOMENT)
    return declared | technical | moments


def duckdb_type(dtype: pl.DataType) -> str:
    """Return the DuckDB type that holds every value of a Polars type."""
    if isinstance(dtype, pl.Decimal):
        return f"DECIMAL({dtype.precision},{dtype.scale})"
    if isinstance(dtype, pl.Datetime) and dtype.time_unit != "ns":
        return MOMENT if dtype.time_zone else "TIMESTAMP"
    if type(dtype) not in TYPES:
        raise WarehouseSchemaError(
            f"no type of the warehouse holds every value of {dtype}.",
            mend="Cast the column to a type that a declaration can name.",
        )
    return TYPES[type(dtype)]


def _publish_next(
    connection: duckdb.DuckDBPyConnection, table: EntityTable, waiting: Sequence[Publication]
) -> list[LedgerRow]:
    """Publish the first that waits, in a transaction of its own, or with all others.

    On an error, closing the connection rolls back.

    Returns:
        The row of the ledger of each that was published.
    """
    connection.begin()
    first, mode = waiting[0], WriteMode.of(table)
    batch = waiting[:1]
    if mode.keeps_history:
        query = mode.applied_from(first.ledger.asset, first.partition)
        applied = [partition for (partition,) in connection.execute(query).fetchall()]
        batch = waiting[: mode.together([one.partition for one in waiting], applied)]
        for step in mode.rewind_steps(first.partition) if applied else ():
            connection.execute(step.sql)
    published = [_publish_one(connection, table, one) for one in batch]
    connection.commit()
    return published


def _publish_one(
    connection: duckdb.DuckDBPyConnection, table: EntityTable, one: Publication
) -> LedgerRow:
    """Let one partition's rows in, and write its row of the ledger, in the open transaction."""
    _check_types(table, one)
    relation = (
        f"(select *, {literal(one.partition)} as _partition, "
        f"{literal(one.ledger.run_id)} as _run_id from read_parquet({literal(one.staged)}))"
    )
    rows = {"loaded": 0, "duplicate": 0}
    for step in WriteMode.of(table).write_steps(
        Part(relation, one.partition, one.sources, one.moment)
    ):
        (number,) = connection.execute(step.sql).fetchone() or (0,)
        if step.counts is not None:
            rows[step.counts] += number
    published = accounted(one.ledger, **rows)
    write_ledger(connection, [published])
    return published


def _check_keys(
    connection: duckdb.DuckDBPyConnection, table: EntityTable, first: LedgerRow
) -> None:
    """Refuse a table in which another declaration let keys in more than once.

    Looked for only when the declaration has changed: it takes a look at every row.
    """
    mode = WriteMode.of(table)
    if mode.per_partition:
        return
    known = connection.execute(mode.latest_declaration(first.asset)).fetchone()
    if known == (first.declaration,):
        return
    (repeated,) = connection.execute(mode.repeated_keys()).fetchone() or (0,)
    if repeated:
        raise mode.refuse_repeated_keys(repeated)


def _check_types(table: EntityTable, one: Publication) -> None:
    """Refuse a staged file of other types: inserting it would round or cut off values."""
    wanted = column_types(table)
    staged = set(WriteMode.of(table).staged) - ADDED
    found = {name: duckdb_type(dtype) for name, dtype in pl.read_parquet_schema(one.staged).items()}
    for name in staged | found.keys():
        if wanted.get(name) != found.get(name):
            raise WarehouseSchemaError(
                f"the staged column {name!r} is {found.get(name, 'not there')}, where "
                f"{wanted.get(name, 'no such column')} is declared; nothing was published.",
                mend="This is a bug in dataflow_assets. Please report it.",
                source=table.name,
                partition=one.partition,
                culprit=name,
            )


def _write_drift(connection: duckdb.DuckDBPyConnection, drift: Sequence[LedgerDrift]) -> None:
    """Put drift in the place of what the same raw partitions showed before."""
    if not drift:
        return
    connection.register("new_drift", pl.DataFrame(drift, infer_schema_length=None).to_arrow())
    connection.execute(
        'delete from dataflow.drift where (source, "partition", data_version) in '
        '(select source, "partition", data_version from new_drift)'
    )
    connection.execute("insert into dataflow.drift by name select * from new_drift")


def _prepare_ledger(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the ledger's tables, all at once, unless they are there."""
    tables = ", ".join(map(literal, LEDGER_TABLES))
    there = connection.execute(
        "select count(*) from duckdb_tables() "
        f"where schema_name = 'dataflow' and table_name in ({tables})"
    ).fetchone()
    if there != (len(LEDGER_TABLES),):
        connection.begin()
        connection.execute(DDL)
        connection.commit()


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """Turn what the disk or the memory limit refuses into an error of ours."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise StorageError(
            f"DuckDB needs more memory, or more room to spill to: {error}.",
            mend="Raise MEMORY_LIMIT_MB, or free space on the disk of the warehouse.",
            culprit=str(path),
        ) from error
    except STORAGE_ERRORS as error:
        raise StorageError(
            f"the warehouse cannot be read or written: {error}.",
            mend="Free space on its disk, make it writable, or set DUCKDB_PATH.",
            culprit=str(path),
        ) from error


def prepare_table(connection: duckdb.DuckDBPyConnection, table: EntityTable) -> None:
    """Make the table as declared, or let it grow into what is declared.

    Raises:
        WarehouseSchemaError: That would lose data; the statement for a person is given.
    """
    wanted = column_types(table)
    columns = ", ".join(
        f"{quoted(name)} {kind}{_compression(table, name, kind)}" for name, kind in wanted.items()
    )
    connection.execute(f"create table if not exists {table.qualified} ({columns})")
    there = dict(  # to DuckDB, upper and lower case are one
        connection.execute(
            "select lower(column_name), data_type from information_schema.columns "
            "where table_schema = 'normalized' and table_name = ?",
            [table.name],
        ).fetchall()
    )
    if (CLOSED_BY in there) != WriteMode.of(table).keeps_history:
        raise WriteMode.of(table).refuse_other_kind()
    for name, kind in wanted.items():
        known = there.get(name.lower())
        if known is None:
            connection.execute(f"alter table {table.qualified} add column {quoted(name)} {kind}")
        elif known != kind:
            _change_type(connection, table, name, known, kind)
    _comment(connection, table)


def _compression(table: EntityTable, name: str, kind: str) -> str:
    """Return how a column of texts that are all different is to be compressed.

    Left to itself DuckDB tries its ways on each block, only to find that this one is the best: a
    third of the time of an insert. Blocks that it does not fit are stored as they are.
    """
    distinct = name in table.key or name == "_raw_ref"
    return " using compression fsst" if distinct and kind == "VARCHAR" else ""


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
    known = {
        f"table {table.qualified}"
        if name is None
        else f"column {table.qualified}.{quoted(name)}": text
        for name, text in connection.execute(
            "select null, comment from duckdb_tables() "
            "where schema_name = 'normalized' and table_name = $name union all "
            "select column_name, comment from duckdb_columns() "
            "where schema_name = 'normalized' and table_name = $name",
            {"name": table.name},
        ).fetchall()
    }
    for what, text in wanted.items():
        if text and known.get(what) != text:
            connection.execute(f"comment on {what} is {literal(text)}")


def write_ledger(connection: duckdb.DuckDBPyConnection, rows: Sequence[LedgerRow]) -> None:
    """Write publishes to the ledger and its history, in the connection's transaction.

    As literals: DuckDB looks for a dozen of optional Python modules at each bound parameter, which
    takes longer than the statement. `insert or replace` takes twice as long as these two.
    """
    values = ", ".join(f"({', '.join(map(literal, row.values()))})" for row in rows)
    old = ", ".join(f"({literal(row.asset)}, {literal(row.partition)})" for row in rows)
    connection.execute(f'delete from dataflow.ledger where (asset, "partition") in ({old})')
    connection.execute(f"insert into dataflow.ledger values {values}")
    connection.execute(f"insert into dataflow.ledger_history values {values}")
