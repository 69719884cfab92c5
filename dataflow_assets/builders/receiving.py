"""The raw layer: archive the files of one partition and publish their rows as received.

What belongs here: the order of the work for one partition, and what happens when nothing arrives.
What does not: how bytes become rows (``extract``), how a partition is stored (``io``), and Dagster.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataflow_assets.builders.stores import digest, digest_of
from dataflow_assets.errors import NothingReceivedError
from dataflow_assets.extract.csv import read_header, read_rows
from dataflow_assets.extract.files import fingerprint, take_snapshot
from dataflow_assets.io.lake import Manifest, RawWriter, ReceivedFile
from dataflow_assets.io.ledger import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.extract.files import FoundFile, Snapshot

RAW_CODE = "1"
"""Raised when the same bytes would give other raw rows than before."""


@dataclass(frozen=True)
class Received:
    """What came of receiving one partition.

    Attributes:
        manifest: What the raw partition holds now.
        path: The raw partition's Parquet file.
        unchanged: Whether the same files had been received before, so that nothing was done.
    """

    manifest: Manifest
    path: Path
    unchanged: bool


def raw_declaration(source: SourceDeclaration) -> str:
    """Return a digest of all that decides which raw rows the same bytes give."""
    names = [column.source_name or name for name, column in source.contract.columns.items()]
    required = [name for name in source.contract.columns if source.contract.is_required(name)]
    return digest(RAW_CODE, digest_of(source.extract), names, required)


def receive(
    source: SourceDeclaration, partition: str, files: Sequence[FoundFile], stores: Stores
) -> Received:
    """Archive one partition's files and publish their rows.

    Raises:
        NothingReceivedError: There is nothing where there was something before.
        UnreadableFileError: A file cannot be read; the partition stays as it was.
        FileChangedError: A file changed while it was read.
        HeaderError: A header cannot be found.
    """
    started = time.monotonic()
    lake = stores.lake
    with lake.partition_lock(f"raw/{source.name}", partition):
        before = lake.manifest("raw", source.name, partition)
        archive = lake.archive(source.name)
        snapshots = [take_snapshot(file, archive) for file in files]
        declaration = raw_declaration(source)
        version = digest(declaration, [(shot.file.name, shot.version) for shot in snapshots])
        path = lake.path("raw", source.name, partition)
        if before is not None and before.data_version == version and before.fingerprint == (
            fingerprint(files)
        ):
            return Received(before, path, unchanged=True)
        with lake.work_dir(source.name, partition) as work:
            staged = work / "raw.parquet"
            columns = _union_of_headers(source, snapshots)
            with RawWriter(staged, columns) as writer:
                received = [_write_rows(source, shot, columns, writer) for shot in snapshots]
                rows = sum(file.rows for file in received)
                _refuse_vanished(source, partition, before, rows)
                manifest = Manifest(
                    data_version=version,
                    declaration=declaration,
                    run_id=stores.run_id,
                    counts=Counts(received=rows, loaded=rows),
                    files=tuple(received),
                    fingerprint=fingerprint(files),
                    rows=rows,
                    published_at=dt.datetime.now(dt.UTC),
                    duration_s=time.monotonic() - started,
                )
                writer.finish(manifest)
            lake.publish(staged, "raw", source.name, partition, rows=rows)
    return Received(manifest, path, unchanged=False)


def _union_of_headers(source: SourceDeclaration, snapshots: Sequence[Snapshot]) -> list[str]:
    """Return every column that one of the files has, in the order of first appearance."""
    columns: dict[str, None] = {}
    for snapshot in snapshots:
        columns |= dict.fromkeys(read_header(snapshot, source.extract.files, source.contract))
    return list(columns)


def _write_rows(
    source: SourceDeclaration, snapshot: Snapshot, columns: Sequence[str], writer: RawWriter
) -> ReceivedFile:
    rows = rejected = 0
    table: pa.Table
    for table in read_rows(snapshot, source.extract.files, source.contract, columns):
        writer.write(table)
        rows += table.num_rows
        rejected += table.num_rows - table.column("_reject").null_count
    file = snapshot.file
    return ReceivedFile(
        name=file.name,
        version=snapshot.version,
        size=file.size,
        mtime_ns=file.mtime_ns,
        rows=rows,
        rejected=rejected,
        archived=str(snapshot.path),
    )


def _refuse_vanished(
    source: SourceDeclaration, partition: str, before: Manifest | None, rows: int
) -> None:
    if rows or before is None or not before.rows or source.checks.rows.allow_empty:
        return
    raise NothingReceivedError(
        f"nothing was received where {before.rows:,} rows had been; they stay as they were.",
        mend="Bring the files back, or declare checks: {rows: {allow_empty: true}} "
        "if an empty partition is right.",
        source=source.name,
        partition=partition,
        culprit=source.extract.files.path,
    )
