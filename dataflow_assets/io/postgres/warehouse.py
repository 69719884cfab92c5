"""Publishing to Postgres: a partition's old rows out, its new rows in, at once.

What belongs here: the transactions. What does not: how tables come to be (`tables`), and what
columns are made of (`types`).
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import polars as pl
import psycopg
import pyarrow.parquet as pq
from psycopg import errors, sql

from dataflow_assets.errors import WarehouseSchemaError
from dataflow_assets.io.ledger import PROFILE_COLUMNS, prune_profiles
from dataflow_assets.io.postgres.connections import Connections
from dataflow_assets.io.postgres.frames import prepare, to_frame, to_frames
from dataflow_assets.io.postgres.tables import (
    column_types,
    is_there,
    ledger_is_there,
    lock,
    migrate,
    missing,
    new_table,
    outdated_comments,
)
from dataflow_assets.io.postgres.types import Wire, postgres_type
from dataflow_assets.io.warehouse import ADDED, quoted
from dataflow_assets.io.write_modes import Part, WriteMode, accounted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pydantic import SecretStr

    from dataflow_assets.io.ledger import Counts, LedgerDrift, LedgerFile, LedgerRow, ProfileRow
    from dataflow_assets.io.postgres.connections import Connection
    from dataflow_assets.io.warehouse import EntityTable, Publication

BATCH_ROWS = 8192
EXPORTED_ROWS = 50_000
FILLING_ROWS = range(100_000, 20_000_000)
"""Rows of a first partition that make it worth while to index the new table behind them.

Others who publish to it wait meanwhile; for more rows than these they would wait too long.
"""
LEDGER_COLUMNS = (
    "asset", "source", "partition", "layer", "received", "loaded", "quarantined", "duplicate",
    "filtered", "data_version", "declaration", "run_id", "published_at", "duration_s",
)  # fmt: skip
DRIFT_COLUMNS = (
    *("source", "partition", "before", "kind", "column", "old", "new", "file", "files", "rows"),
    *("published", "data_version", "run_id", "found_at"),
)
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

    def publish(self, table: EntityTable, publications: Sequence[Publication]) -> dict[str, Counts]:
        """Publish partitions, each in one transaction with its ledger row.

        A history that goes back is an exception: then all of them are one transaction.

        Returns:
            By partition, its counts with what became of the staged rows.

        Raises:
            ConservationError: Fewer or more rows are accounted for than were staged.
            HistoryOrderError: The history goes on after a partition, with others than these.
            StorageError: The server's disk is full.
            WarehouseLockedError: Others keep the partition or the table.
            WarehouseRefusedError: A right is missing.
            WarehouseSchemaError: The table cannot take the declared columns without losing data.
            WarehouseUnreachableError: The server is not there, and did not come back in time.
            WarehouseValueError: A value has no exact form in Postgres.
        """
        waiting = WriteMode.of(table).ordered(publications)
        counts: dict[str, Counts] = {}
        if waiting and self._fills(table, waiting[0]):
            fill = partial(_fill, table=table, one=waiting[0])
            for row in self._connections.write(fill, self._lock_timeout_s):
                counts[row.partition] = row.counts
                del waiting[0]
        if waiting:
            self._connections.run(partial(self._prepare, table=table))
        while waiting:
            published = self._connections.write(
                partial(_publish_next, table=table, waiting=waiting), self._lock_timeout_s
            )
            if not published:  # somebody has changed the table meanwhile
                self._connections.run(partial(self._prepare, table=table))
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

        Raises:
            WarehouseUnreachableError: The server is not there, and did not come back in time.
        """
        if rows or drift or profiles:
            self._connections.run(self._prepare_ledger)
            record = partial(_record, rows=rows, files=files, drift=drift, profiles=profiles)
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

    def export(self, sql: str, path: Path) -> None:
        """Write the rows of a query that cannot write to a Parquet file, however many they are.

        Raises:
            WarehouseUnreachableError: The server is not there, and did not come back in time.
        """
        self._connections.run(partial(_export, query=sql, path=path))

    def _fills(self, table: EntityTable, first: Publication) -> bool:
        """Whether a publication is the first of a table that is yet to be made, and big."""
        if first.ledger.counts.loaded not in FILLING_ROWS or not WriteMode.of(table).per_partition:
            return False
        self._connections.run(self._prepare_ledger)
        return not self._connections.run(partial(is_there, table=table))

    def _prepare(self, connection: Connection, *, table: EntityTable) -> None:
        """Make or change the table as declared; only a right to comment on it may be missing."""
        if not ledger_is_there(connection) or missing(connection, table):
            migrate(connection, table, self._lock_timeout_s)
        elif outdated_comments(connection, table):
            try:
                migrate(connection, table, self._lock_timeout_s)
            except errors.InsufficientPrivilege:
                log.warning("%s: descriptions changed; its owner can write them", table.qualified)

    def _prepare_ledger(self, connection: Connection) -> None:
        if not ledger_is_there(connection):
            migrate(connection, None, self._lock_timeout_s)


def _fill(connection: Connection, *, table: EntityTable, one: Publication) -> list[LedgerRow]:
    """Publish a partition to a table that this makes, in the open transaction.

    Returns:
        Its row of the ledger; none if somebody else has made the table meanwhile.
    """
    lock(connection, table.qualified)
    if is_there(connection, table):
        return []
    with new_table(connection, table):
        published = [accounted(one.ledger, copy_staged(connection, table, one, table.qualified), 0)]
    write_ledger(connection, published)
    return published


def _publish_next(
    connection: Connection, *, table: EntityTable, waiting: Sequence[Publication]
) -> list[LedgerRow]:
    """Publish the first that waits, or with it all others, in the open transaction.

    Returns:
        The row of the ledger of each that was published; none if the table is not as declared.
    """
    mode, first = WriteMode.of(table), waiting[0]
    lock(connection, table.qualified, shared=mode.per_partition)
    if mode.per_partition:
        lock(connection, table.qualified, first.partition)
    if missing(connection, table):
        return []
    batch = waiting[:1]
    if mode.keeps_history:
        query = mode.applied_from(first.ledger.asset, first.partition)
        applied = [str(key) for (key,) in connection.execute(query.encode())]
        batch = waiting[: mode.together([one.partition for one in waiting], applied)]
        for step in mode.rewind_steps(first.partition) if applied else ():
            connection.execute(step.sql.encode())
    published = [_let_in(connection, table, one) for one in batch]
    write_ledger(connection, published)
    return published


def _let_in(connection: Connection, table: EntityTable, one: Publication) -> LedgerRow:
    """Let one partition's rows into the table, and return its row of the ledger."""
    mode = WriteMode.of(table)
    if mode.per_partition:
        connection.execute(
            f"delete from {table.qualified} where _partition = %s".encode(), [one.partition]
        )
        return accounted(one.ledger, copy_staged(connection, table, one, table.qualified), 0)
    with _staging(connection, table) as relation:
        copy_staged(connection, table, one, relation)
        connection.execute(f"analyze {relation}".encode())
        rows = {"loaded": 0, "duplicate": 0}
        for step in mode.write_steps(Part(relation, one.partition, one.sources, one.moment)):
            cursor = connection.execute(step.sql.encode())
            selected = cursor.fetchone() if cursor.description else None
            if step.counts is not None:
                rows[step.counts] += cursor.rowcount if selected is None else int(str(selected[0]))
    return accounted(one.ledger, **rows)


@contextmanager
def _staging(connection: Connection, table: EntityTable) -> Iterator[str]:
    """Make a table of the staged columns that only this transaction sees, and drop it again."""
    relation, types = "pg_temp.staged", column_types(table)
    columns = ", ".join(f"{quoted(name)} {types[name]}" for name in WriteMode.of(table).staged)
    connection.execute(f"create temporary table staged ({columns}) on commit drop".encode())
    yield relation
    connection.execute(f"drop table {relation}".encode())


def _record(
    connection: Connection,
    *,
    rows: Sequence[LedgerRow],
    files: Sequence[LedgerFile],
    drift: Sequence[LedgerDrift],
    profiles: Sequence[ProfileRow],
) -> None:
    write_ledger(connection, rows)
    _write_profiles(connection, profiles)
    raw = [(row.source, row.partition) for row in rows if row.layer == "raw"]
    connection.execute(
        "delete from dataflow.files f using unnest(%s::text[], %s::text[]) r(s, p) "
        'where f.source = r.s and f."partition" = r.p',
        [[source for source, _ in raw], [partition for _, partition in raw]],
    )
    values = [tuple(getattr(file, name) for name in FILE_COLUMNS) for file in files]
    _append(connection, "files", FILE_COLUMNS, values)
    if drift:
        _write_drift(connection, drift)


def _write_drift(connection: Connection, drift: Sequence[LedgerDrift]) -> None:
    """Put drift in the place of what the same raw partitions showed before."""
    known = [(one.source, one.partition, one.data_version) for one in drift]
    connection.execute(
        "delete from dataflow.drift d using unnest(%s::text[], %s::text[], %s::text[]) r(s, p, v) "
        'where d.source = r.s and d."partition" = r.p and d.data_version = r.v',
        list(map(list, zip(*known, strict=True))),
    )
    values = [tuple(getattr(one, name) for name in DRIFT_COLUMNS) for one in drift]
    _append(connection, "drift", DRIFT_COLUMNS, values)


def _write_profiles(connection: Connection, profiles: Sequence[ProfileRow]) -> None:
    if not profiles:
        return
    ordered = sorted(profiles, key=lambda one: (one.asset, one.partition, one.data_version))
    names = ", ".join(map(quoted, PROFILE_COLUMNS))
    kept = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in PROFILE_COLUMNS)
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.SQL(
                f"insert into dataflow.profiles ({names}) "
                f"values ({', '.join(['%s'] * len(PROFILE_COLUMNS))}) "
                f'on conflict (asset, "partition", data_version) do update set {kept}'
            ),
            [tuple(getattr(one, name) for name in PROFILE_COLUMNS) for one in ordered],
        )
    places = "select * from unnest(%s::text[], %s::text[])"
    connection.execute(
        prune_profiles(places).encode(),
        [[one.asset for one in ordered], [one.partition for one in ordered]],
    )


def copy_staged(connection: Connection, table: EntityTable, one: Publication, target: str) -> int:
    """Stream a staged file into a table of the entity's columns, and return how many rows it has.

    Raises:
        WarehouseSchemaError: The file has other columns or types than the table.
        WarehouseValueError: A value has no exact form in Postgres.
    """
    schema = pl.Schema(pl.read_parquet_schema(one.staged))
    types = _checked_types(table, one, schema)
    names = ", ".join(map(quoted, types))
    command = f"copy {target} ({names}) from stdin (format binary)".encode()
    constants = {"_partition": one.partition, "_run_id": one.ledger.run_id}
    with pq.ParquetFile(one.staged, pre_buffer=False) as file, connection.cursor() as cursor:
        wire = Wire(schema, file.schema_arrow, types, constants)
        with cursor.copy(command) as copy:
            copy.write(wire.start())
            for batch in file.iter_batches(BATCH_ROWS):
                copy.write(wire.rows(batch))
            copy.write(wire.end())
        return cursor.rowcount


def _checked_types(table: EntityTable, one: Publication, schema: pl.Schema) -> dict[str, str]:
    """Return the types of the table's columns, of which the file has all but the added ones."""
    types = column_types(table)
    wanted = {name: types[name] for name in WriteMode.of(table).staged}
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


def _export(connection: Connection, *, query: str, path: Path) -> None:
    with connection.transaction():
        connection.execute("set transaction read only")
        with connection.cursor(name="exported") as cursor:
            cursor.execute(query.encode())
            frames = to_frames(cursor, EXPORTED_ROWS)
            first = next(frames).to_arrow()
            with pq.ParquetWriter(path, first.schema) as writer:
                writer.write_table(first)
                for frame in frames:
                    writer.write_table(frame.to_arrow())


def _read(connection: Connection, *, query: str, parameters: Sequence[object]) -> pl.DataFrame:
    with connection.transaction(), psycopg.RawCursor(connection) as cursor:
        prepare(cursor)
        cursor.execute("set transaction read only")
        cursor.execute(query.encode(), parameters)
        return to_frame(cursor)
