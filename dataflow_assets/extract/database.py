"""Tables and queries of databases: one partition's rows into the archive, and back as raw rows.

What belongs here: which rows a partition is made of, and the archived Arrow file. What does not:
any one database; those are in `databases`.

Rows are archived as they came, in types that hold them exactly, with the text of each row that has
a value without a place in its column's type. The version of what was read is made of its rows
whatever their order, since a database promises none: the same rows are the same version.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from dataflow_assets.errors import SourceRefusedError
from dataflow_assets.extract.databases.session import MISFIT, DatabaseUrl, refused
from dataflow_assets.extract.databases.windows import condition
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets.extract.files import VERSION_DIGITS, Draft, FoundFile, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.declaration.database import Database, DatabaseWindow
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.extract.databases.session import Column, Session
    from dataflow_assets.extract.extractor import Request
    from dataflow_assets.s3 import Address

MISFIT_WORD = "misfit"
"""Why a row is rejected that has a value without a place in its column's type."""
GROUP_ROWS = 20_000
GROUP_BYTES = 8 << 20
SEEDS = (0x5EED, 0xFEED)
SUFFIX = ".arrow"


class DatabaseExtractor:
    """A table or query of a database.

    Args:
        source: The declaration.
        database: The database that it names.
        files: The folder below which relative paths of databases lie.
        most: The most rows that are read; none: all.
    """

    def __init__(
        self,
        source: SourceDeclaration,
        database: Database,
        files: Path | Address,
        *,
        most: int | None = None,
    ) -> None:
        self.reader = ArchivedRows()
        self._database = database
        self._zone = source.partitions.timezone
        self._files = files
        self._most = most

    def fetch(self, request: Request) -> Sequence[Snapshot]:
        """Archive the rows of a partition, as one statement finds them.

        Raises:
            SettingsError: The URL is not set, or wrong.
            SourceUnavailableError: The database does not answer, for now.
            SourceRefusedError: It refuses, or has rows that belong to no window.
        """
        database = self._database
        url = DatabaseUrl.of(database)
        system = import_module(f"dataflow_assets.extract.databases.{database.system}")
        with system.open_session(url, database.timeout, self._files) as session:
            asked = _asked(database, session, self._most)
            columns = session.columns(asked)
            _check_names(columns, url)
            where = self._condition(session, asked, columns, request)
            batches = session.read(asked, columns, where)
            schema = pa.schema([*(pa.field(one.name, one.type) for one in columns), MISFIT])
            name = f"{database.name}/{request.partition}"
            return [archive_rows(batches, schema, name, request.archive, stays=request.stays)]

    def _condition(
        self, session: Session, asked: str, columns: Sequence[Column], request: Request
    ) -> str | None:
        """Return which rows belong to a partition: all, unless a window is declared."""
        window = self._database.window
        if window is None or request.begin is None or request.end is None:
            return None
        column = _named(window.column, columns)
        zone = window.timezone or self._zone
        found = condition(session, window, column, (request.begin, request.end), zone)
        if window.nulls == "refuse":
            _check_times(session, asked, column, window)
        return found


def _asked(database: Database, session: Session, most: int | None) -> str:
    asked = (database.query or "").strip().rstrip(";")
    if database.table is not None:
        asked = f"select * from {'.'.join(map(session.quoted, database.table.split('.')))}"
    return asked if most is None else f"select * from ({asked}) as sampled limit {most}"


def _check_names(columns: Sequence[Column], url: DatabaseUrl) -> None:
    """Refuse columns that raw rows cannot have.

    Raises:
        SourceRefusedError: A name is empty, reserved, or stands twice.
    """
    names = [column.name for column in columns]
    for name in names:
        if not name or name.startswith("_") or names.count(name) > 1:
            raise refused(
                url,
                f"a column is called {name!r}, which is reserved, empty, or there twice",
                mend="Read it with a query that gives it another name.",
            )


def _named(name: str, columns: Sequence[Column]) -> Column:
    for column in columns:
        if column.name == name:
            return column
    raise SourceRefusedError(
        f"there is no column {name!r} to cut windows by; "
        f"columns are {', '.join(column.name for column in columns)}.",
        mend="Correct window: {column} in the declaration.",
        culprit=name,
    )


def _check_times(session: Session, asked: str, column: Column, window: DatabaseWindow) -> None:
    """Refuse a table with rows that no window would ever hold.

    Raises:
        SourceRefusedError: There are such rows.
    """
    counted = (window.stored_as or "").startswith("epoch")
    if session.any(asked, session.timeless(column, counted=counted)):
        raise SourceRefusedError(
            f"there are rows whose {column.name} says no time: no window would ever hold them.",
            mend="Read them with a query that fills the column (coalesce), or declare "
            "window: {nulls: ignore} to leave them out.",
            culprit=column.name,
        )


def archive_rows(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    name: str,
    archive: Path,
    *,
    stays: bool,
) -> Snapshot:
    """Write rows to an Arrow file in the archive, under the digest of the rows.

    Where the archive has the same rows already, that file stays, whatever the order in which they
    came this time.

    Args:
        batches: The rows, in batches of any size.
        schema: Their schema.
        name: What they are.
        archive: The source's folder in the archive; made if it is not there.
        stays: Whether that folder is the archive itself.

    Raises:
        StorageError: The archive cannot be written.
    """
    digest = RowDigest(schema)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with Draft(archive) as draft:
        with (
            pa.OSFile(str(draft.path), "wb") as sink,
            pa.ipc.new_file(sink, schema, options=options) as writer,
        ):
            for table in _gathered(batches):
                digest.add(table)
                writer.write_table(table)
        version = digest.version()
        path = archive / version[:2] / f"{version}{SUFFIX}"
        if not path.exists():
            draft.publish(path, synced=stays)
    return Snapshot(FoundFile(path, name, path.stat().st_size, 0, version), version, path)


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield batches as tables of a good size."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pa.Table.from_batches(waiting).combine_chunks()
            waiting, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(waiting).combine_chunks()


class RowDigest:
    """A digest of rows whatever their order: sums of two hashes of each row.

    Args:
        schema: Their schema.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows = 0
        self._sums = [np.uint64(0) for _ in SEEDS]

    def add(self, table: pa.Table) -> None:
        """Add rows."""
        self._rows += table.num_rows
        frame = pl.DataFrame(table)
        with np.errstate(over="ignore"):
            for number, seed in enumerate(SEEDS):
                hashes = frame.hash_rows(seed).to_numpy()
                self._sums[number] += hashes.sum(dtype=np.uint64)

    def version(self) -> str:
        """Return the first 16 hex digits of it."""
        told = f"{self._schema}\0{self._rows}\0{self._sums}"
        return hashlib.sha256(told.encode()).hexdigest()[:VERSION_DIGITS]


class ArchivedRows:
    """Reads archived rows of databases."""

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """Return the columns that were read, with their types."""
        with pa.OSFile(str(snapshot.path)) as file:
            found = pa.ipc.open_file(file).schema
        return found.remove(found.get_field_index(MISFIT.name))

    def rows(self, snapshot: Snapshot, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the rows, in the order in which they were archived."""
        whole = raw_schema(schema)
        line = 1
        with pa.OSFile(str(snapshot.path)) as file:
            stream = pa.ipc.open_file(file)
            for number in range(stream.num_record_batches):
                batch = stream.get_batch(number)
                yield _raw_rows(batch, whole, snapshot, line)
                line += batch.num_rows


def _raw_rows(batch: pa.RecordBatch, whole: pa.Schema, snapshot: Snapshot, line: int) -> pa.Table:
    rows = batch.num_rows
    text = batch.column(MISFIT.name)
    word = pa.scalar(MISFIT_WORD, pa.string())
    made = {
        "_file": pa.repeat(snapshot.file.name, rows),
        "_version": pa.repeat(snapshot.version, rows),
        "_line": pa.array(np.arange(line, line + rows)),
        "_reject": pa.compute.if_else(text.is_valid(), word, pa.scalar(None, pa.string())),
        "_text": text,
    }
    there = {**dict(zip(batch.schema.names, batch.columns, strict=True)), **made}
    arrays = [
        there[field.name].cast(field.type) if field.name in there else pa.nulls(rows, field.type)
        for field in whole
    ]
    return pa.Table.from_arrays(arrays, schema=whole)
