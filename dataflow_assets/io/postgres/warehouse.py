"""Publishing to Postgres: a partition's old rows out, its new rows in, at once.

What belongs here: the transactions. What does not: how tables come to be (`tables`), and what
columns are made of (`types`).
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import polars as pl
import psycopg
import pyarrow.parquet as pq
from psycopg import errors, sql

from dataflow_assets.errors import ConservationError, WarehouseSchemaError
from dataflow_assets.io.postgres.connections import Connections
from dataflow_assets.io.postgres.frames import prepare, to_frame
from dataflow_assets.io.postgres.tables import (
    column_types,
    ledger_is_there,
    lock,
    migrate,
    missing,
    outdated_comments,
)
from dataflow_assets.io.postgres.types import Wire, postgres_type
from dataflow_assets.io.warehouse import ADDED, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import SecretStr

    from dataflow_assets.io.ledger import LedgerFile, LedgerRow
    from dataflow_assets.io.postgres.connections import Connection
    from dataflow_assets.io.warehouse import EntityTable, Publication

BATCH_ROWS = 8192
LEDGER_COLUMNS = (
    "asset", "source", "partition", "layer", "received", "loaded", "quarantined", "duplicate",
    "filtered", "data_version", "declaration", "run_id", "published_at", "duration_s",
)  # fmt: skip
FILE_COLUMNS = (
    "source", "partition", "version", "name", "size", "mtime", "rows", "rejected", "archived",
)  # fmt: skip
log = logging.getLogger(__name__)


class PostgresWarehouse:
    """A Postgres database with the schemas ``normalized`` and ``dataflow``.

    Args:
        url: Where it is, with user and password.
        place: The same as it may be shown.
        lock_timeout_s: Seconds to wait for others who publish the same partition.
        connections: How many connections this process may have at once.
    """

    def __init__(
        self, url: SecretStr, place: str, *, lock_timeout_s: float, connections: int
    ) -> None:
        self._connections = Connections(url, connections, place)
        self._lock_timeout_s = lock_timeout_s

    def publish(self, table: EntityTable, publications: Sequence[Publication]) -> None:
        """Publish partitions, each in one transaction with its ledger row.

        Raises:
            ConservationError: Fewer or more rows were inserted than staged.
            StorageError: The server's disk is full.
            WarehouseLockedError: Others keep the partition or the table.
            WarehouseRefusedError: A right is missing.
            WarehouseSchemaError: The table cannot take the declared columns without losing data.
            WarehouseUnreachableError: The server is not there, and did not come back in time.
            WarehouseValueError: A value has no exact form in Postgres.
        """
        if publications:
            self._connections.run(partial(self._prepare, table=table))
        for one in publications:
            self._publish_one(table, one)

    def record(self, rows: Sequence[LedgerRow], files: Sequence[LedgerFile]) -> None:
        """Write what was published to the lake to the ledger, in one transaction.

        Args:
            rows: What each publish did.
            files: The files of the raw partitions among them; they replace those known before.

        Raises:
            WarehouseUnreachableError: The server is not there, and did not come back in time.
        """
        if rows:
            self._connections.run(self._prepare_ledger)
            record = partial(_record, rows=rows, files=files)
            self._connections.write(record, self._lock_timeout_s)

    def read(self, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
        """Return the rows of a query that cannot write, for results that fit into memory.

        Args:
            sql: The query; `$1`, `$2` stand for its parameters.
            parameters: Their values, in this order.

        Returns:
            Timestamps with a zone come as UTC, jsonb as text.
        """
        return self._connections.run(partial(_read, query=sql, parameters=parameters))

    def _prepare(self, connection: Connection, *, table: EntityTable) -> None:
        """Make or change the table as declared; only a right to comment on it may be missing."""
        if not ledger_is_there(connection) or missing(connection, table):
            migrate(connection, table, self._lock_timeout_s)
        elif outdated_comments(connection, table):
            try:
                migrate(connection, table, self._lock_timeout_s)
            except errors.InsufficientPrivilege:
                log.warning("%s: descriptions changed; its owner can write them", table.qualified)

    def _publish_one(self, table: EntityTable, one: Publication) -> None:
        publish = partial(_published, table=table, one=one)
        while not self._connections.write(publish, self._lock_timeout_s):
            self._connections.run(partial(self._prepare, table=table))

    def _prepare_ledger(self, connection: Connection) -> None:
        if not ledger_is_there(connection):
            migrate(connection, None, self._lock_timeout_s)


def _published(connection: Connection, *, table: EntityTable, one: Publication) -> bool:
    """Replace one partition, unless the table is no longer as declared."""
    lock(connection, table.qualified, shared=True)
    lock(connection, table.qualified, one.partition)
    if missing(connection, table):
        return False
    _replace(connection, table, one)
    write_ledger(connection, [one.ledger])
    return True


def _record(
    connection: Connection, *, rows: Sequence[LedgerRow], files: Sequence[LedgerFile]
) -> None:
    write_ledger(connection, rows)
    raw = [(row.source, row.partition) for row in rows if row.layer == "raw"]
    connection.execute(
        "delete from dataflow.files f using unnest(%s::text[], %s::text[]) r(s, p) "
        'where f.source = r.s and f."partition" = r.p',
        [[source for source, _ in raw], [partition for _, partition in raw]],
    )
    values = [tuple(getattr(file, name) for name in FILE_COLUMNS) for file in files]
    _append(connection, "files", FILE_COLUMNS, values)


def _replace(connection: Connection, table: EntityTable, one: Publication) -> None:
    """Put a partition's rows in the place of those that are there."""
    connection.execute(
        sql.SQL(f"delete from {table.qualified} where _partition = %s"), [one.partition]
    )
    copied = copy_staged(connection, table, one, table.qualified)
    if copied != one.ledger.counts.loaded:
        raise ConservationError(
            f"{copied:,} rows were copied where {one.ledger.counts.loaded:,} were staged.",
            mend="This is a bug in dataflow_assets; nothing was published. Please report it.",
            partition=one.partition,
            culprit=table.name,
        )


def copy_staged(connection: Connection, table: EntityTable, one: Publication, target: str) -> int:
    """Stream a staged file into a table of the entity's columns, and return how many rows it has.

    Raises:
        WarehouseSchemaError: The file has other columns or types than the table.
        WarehouseValueError: A value has no exact form in Postgres.
    """
    schema = pl.Schema(pl.read_parquet_schema(one.staged))
    types = _checked_types(table, one, schema)
    wire = Wire(schema, types, {"_partition": one.partition, "_run_id": one.ledger.run_id})
    names = ", ".join(map(quoted, types))
    command = sql.SQL(f"copy {target} ({names}) from stdin (format binary)")
    with (
        pq.ParquetFile(one.staged, pre_buffer=False) as file,
        connection.cursor() as cursor,
    ):
        with cursor.copy(command) as copy:
            copy.write(wire.start())
            for batch in file.iter_batches(BATCH_ROWS):
                copy.write(wire.rows(batch))
            copy.write(wire.end())
        return cursor.rowcount


def _checked_types(table: EntityTable, one: Publication, schema: pl.Schema) -> dict[str, str]:
    """Return the types of the table's columns, of which the file has all but the added ones."""
    wanted = column_types(table)
    found = {name: postgres_type(dtype) for name, dtype in schema.items()}
    for name in wanted.keys() - ADDED | found.keys():
        if wanted.get(name) != found.get(name):
            raise WarehouseSchemaError(
                f"the staged column {name!r} is {found.get(name, 'not there')}, where "
                f"{wanted.get(name, 'no such column')} is declared; nothing was published.",
                mend="This is a bug in dataflow_assets. Please report it.",
                source=table.name,
                partition=one.partition,
                culprit=name,
            )
    return wanted


def write_ledger(connection: Connection, rows: Sequence[LedgerRow]) -> None:
    """Write publishes to the ledger and its history, in the connection's transaction."""
    # In a fixed order, so that two runs that write the same rows do not wait for each other.
    values = [row.values() for row in sorted(rows, key=lambda row: (row.asset, row.partition))]
    names = ", ".join(map(quoted, LEDGER_COLUMNS))
    kept = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in LEDGER_COLUMNS)
    places = ", ".join(["%s"] * len(LEDGER_COLUMNS))
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.SQL(
                f"insert into dataflow.ledger ({names}) values ({places}) "
                f'on conflict (asset, "partition") do update set {kept}'
            ),
            values,
        )
    _append(connection, "ledger_history", LEDGER_COLUMNS, values)


def _append(
    connection: Connection, name: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    names = ", ".join(map(quoted, columns))
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL(f"copy dataflow.{name} ({names}) from stdin")) as copy,
    ):
        for row in rows:
            copy.write_row(row)


def _read(connection: Connection, *, query: str, parameters: Sequence[object]) -> pl.DataFrame:
    with connection.transaction(), psycopg.RawCursor(connection) as cursor:
        prepare(cursor)
        cursor.execute("set transaction read only")
        cursor.execute(query.encode(), parameters)
        return to_frame(cursor)
