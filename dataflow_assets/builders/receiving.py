"""The raw layer: archive the files of one partition and publish their rows as received.

What belongs here: the order of the work for one partition, and what happens when nothing arrives.
What does not: how bytes become rows (``extract``), how a partition is stored (``io``), and Dagster.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from dataflow_assets.builders import metadata
from dataflow_assets.builders.breakers import breaker_metadata
from dataflow_assets.builders.headers import headers_of
from dataflow_assets.builders.steps import Shown
from dataflow_assets.builders.stores import Workplace, digest, digest_of
from dataflow_assets.errors import NothingReceivedError
from dataflow_assets.extract.extractor import Request, raw_schema, rows_of_all, union_of
from dataflow_assets.extract.files import FoundFile, Snapshot, fingerprint, member_version
from dataflow_assets.extract.kinds import open_extractor
from dataflow_assets.extract.rest import total_of
from dataflow_assets.io.lake import Manifest, RawWriter, ReceivedFile
from dataflow_assets.io.ledger import Counts, LedgerFile, LedgerRow
from dataflow_assets.plugins import EXTRACTORS, plugin_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.extract.extractor import Reader
    from dataflow_assets.io.lake import Archive, Layer

RAW_CODE = "1"
"""Raised when the same bytes would give other raw rows than before."""


@dataclass(frozen=True)
class Received:
    """What came of receiving one partition.

    Attributes:
        partition: Which one.
        manifest: What the raw partition holds now.
        failure: Always none: what fails here is raised.
        gone: Files that the partition was made of before, and that are not there any more.
        unchanged: Whether the same files had been received before, so that nothing was done.
    """

    partition: str
    manifest: Manifest
    unchanged: bool
    gone: tuple[str, ...] = ()
    failure: None = None


def raw_declaration(source: SourceDeclaration) -> str:
    """Return a digest of all that decides which raw rows the same bytes give."""
    contract = source.contract
    names = [contract.names_of(name)[0] for name in contract.columns]
    aliases = [
        [name, *column.aliases] for name, column in contract.columns.items() if column.aliases
    ]
    required = [name for name in source.contract.columns if source.contract.is_required(name)]
    plugin = source.extract.plugin
    stamp = [] if plugin is None else [plugin_stamp(EXTRACTORS, plugin[0])]
    return digest(RAW_CODE, digest_of(source.extract), names, required, *aliases, *stamp)


def asked_declaration(source: SourceDeclaration) -> str:
    """Return a digest of all that decides which bytes are received."""
    return digest(source.extract.asked)


def version_of(declaration: str, snapshots: Iterable[Snapshot]) -> str:
    """Return the data version of the raw rows that a declaration makes of bytes."""
    return digest(declaration, [(shot.file.name, shot.version) for shot in snapshots])


class RawLayer(Workplace):
    """Publishes raw partitions of one source, wherever their bytes are taken from."""

    def __init__(self, source: SourceDeclaration, stores: Stores) -> None:
        super().__init__(source.name, stores)
        self._source = source
        self._declaration = raw_declaration(source)

    def receive(self, partition: str) -> Received:
        """Publish the rows of one partition.

        Raises:
            NothingReceivedError: There is nothing where there was something before.
            UnreadableFileError: A file cannot be read; the partition stays as it was.
            HeaderError: A header cannot be found.
        """
        raise NotImplementedError

    def _write(
        self,
        reader: Reader,
        staged: Path,
        stamp: Manifest,
        snapshots: Sequence[Snapshot],
        archive: Archive,
        started: float,
    ) -> Manifest:
        headers = headers_of(map(reader.schema, snapshots))
        columns = self._columns(headers.schemas)
        with RawWriter(staged, raw_schema(columns)) as writer:
            files = _write_rows(reader, snapshots, columns, writer, archive, headers.numbers)
            rows = sum(file.rows for file in files)
            manifest = stamp.model_copy(
                update={
                    "counts": Counts(received=rows, loaded=rows),
                    "files": files,
                    "headers": headers.headers,
                    "rows": rows,
                    "told": self._told(snapshots),
                    "published_at": dt.datetime.now(dt.UTC),
                    "duration_s": time.monotonic() - started,
                }
            )
            writer.finish(manifest)
        return manifest

    def _told(self, snapshots: Sequence[Snapshot]) -> int | None:
        """Return how many rows there are, as an API says, where the declaration asks for that."""
        rest = self._source.extract.rest
        return None if rest is None else total_of(rest, snapshots)

    def _columns(self, schemas: Sequence[pa.Schema]) -> pa.Schema:
        """Return every column that was received.

        Where nothing says which there are, nothing speaks against the contract.
        """
        columns = union_of(schemas)
        contract = self._source.contract
        names = [contract.names_of(name)[0] for name in contract.columns]
        return columns if len(columns) else pa.schema([(name, pa.string()) for name in names])

    def record(self, done: Sequence[Received]) -> None:
        """Write what was received to the ledger."""
        self._stores.warehouse.record(
            [LedgerRow.of("raw", self._source.name, one.partition, one.manifest) for one in done],
            [
                LedgerFile.of(self._source.name, one.partition, file)
                for one in done
                for file in one.manifest.files
            ],
        )

    def show(self, received: Received, *, preview: bool) -> Shown:
        """Return what the Dagster UI is to show of one partition."""
        manifest, lake = received.manifest, self._stores.lake
        place: tuple[Layer, str, str] = ("raw", self._source.name, received.partition)
        shown = {
            **metadata.partition_metadata(
                manifest, lake.uri(*place), lake.size(*place), manifest.rows
            ),
            "received": manifest.rows,
            **metadata.files_metadata(manifest),
            "unchanged": received.unchanged,
            **breaker_metadata(self._source, self._stores),
        }
        if preview:
            rows = lake.head(*place, metadata.PREVIEW_ROWS)
            shown["preview"] = metadata.preview(rows)
            shown["dagster/column_schema"] = metadata.received_schema(rows)
        return Shown(manifest.data_version, shown)


class Receiver(RawLayer):
    """Receives partitions of one source."""

    def __init__(
        self, source: SourceDeclaration, stores: Stores, partitions: Sequence[str]
    ) -> None:
        super().__init__(source, stores)
        self._extractor = open_extractor(source, stores.surroundings, partitions)

    def receive(self, partition: str) -> Received:
        """Archive one partition's files and publish their rows.

        Raises:
            NothingReceivedError: There is nothing where there was something before.
            UnreadableFileError: A file cannot be read; the partition stays as it was.
            FileChangedError: A file changed while it was read.
            HeaderError: A header cannot be found.
        """
        started = time.monotonic()
        name, lake = self._source.name, self._stores.lake
        with lake.partition_lock(f"raw/{name}", partition):
            before = lake.manifest("raw", name, partition)
            archive = lake.archive(name, self._work)
            request = self._request(partition, archive, before)
            snapshots = self._extractor.fetch(request)
            stamp = Manifest(
                data_version=version_of(self._declaration, snapshots),
                declaration=self._declaration,
                asked=asked_declaration(self._source),
                run_id=self._stores.run_id,
                fingerprint=fingerprint(shot.file for shot in snapshots),
            )
            if before is not None and self._is_same(before, stamp):
                return Received(partition, before, unchanged=True)
            staged = self._work / "raw.parquet"
            received = self._write(
                self._extractor.reader, staged, stamp, snapshots, archive, started
            )
            refuse_vanished(self._source, partition, before, received)
            archive.keep(shot.path for shot in snapshots)
            lake.publish(staged, "raw", name, partition, rows=received.rows)
        gone = _gone(before, received) if self._source.extract.files else ()
        return Received(partition, received, unchanged=False, gone=gone)

    def _is_same(self, before: Manifest, now: Manifest) -> bool:
        """Whether the same was received before, and read in the same way.

        What is asked for anew each time has another time each time, which means nothing.
        """
        if before.data_version != now.data_version:
            return False
        return self._source.extract.files is None or before.fingerprint == now.fingerprint

    def _request(self, partition: str, archive: Archive, before: Manifest | None) -> Request:
        begin, end = self._source.partitions.window_of(partition) or (None, None)
        return Request(
            partition=partition,
            begin=begin,
            end=end,
            archive=archive.folder,
            stays=archive.stays,
            before=lambda: [_snapshot(file, archive) for file in (before.files if before else ())],
        )


def _snapshot(file: ReceivedFile, archive: Archive) -> Snapshot:
    """Return what was received before, with its bytes at hand."""
    path = archive.bring(file.archived)
    return Snapshot(FoundFile(path, file.name, file.size, file.mtime_ns), file.version, path)


def _gone(before: Manifest | None, now: Manifest) -> tuple[str, ...]:
    """Return the files whose rows the partition has lost."""
    there = {file.name for file in now.files}
    names = dict.fromkeys(file.name for file in (before.files if before else ()))
    return tuple(name for name in names if name not in there)


def _write_rows(
    reader: Reader,
    snapshots: Sequence[Snapshot],
    columns: pa.Schema,
    writer: RawWriter,
    archive: Archive,
    headers: Sequence[int | None],
) -> tuple[ReceivedFile, ...]:
    """Write the rows of files, and return what was received: the files, or archives' members."""
    members: list[dict[str, ReceivedFile]] = [{} for _ in snapshots]
    for places, table in rows_of_all(reader, snapshots, columns):
        writer.write(table)
        owners = {snapshots[place].file.name: place for place in places}
        for name, rows, rejected in _count_rows(table):
            place = owners[name] if len(places) > 1 else places[0]
            known = members[place].get(name) or _received(snapshots[place], name, archive)
            members[place][name] = known.model_copy(
                update={"rows": known.rows + rows, "rejected": known.rejected + rejected}
            )
    received: list[ReceivedFile] = []
    for shot, files, header in zip(snapshots, members, headers, strict=True):
        each = files.values() or [_received(shot, shot.file.name, archive)]
        received += (file.model_copy(update={"header": header}) for file in each)
    return tuple(received)


def _count_rows(table: pa.Table) -> Iterator[tuple[str, int, int]]:
    """Yield for each file in a table its name, its rows, and how many of them were rejected."""
    names = table.column("_file")
    rejected = names.filter(pc.is_valid(table.column("_reject")))
    rejects = {one["values"]: one["counts"] for one in rejected.value_counts().to_pylist()}
    for one in names.value_counts().to_pylist():
        yield one["values"], one["counts"], rejects.get(one["values"], 0)


def _received(snapshot: Snapshot, name: str, archive: Archive) -> ReceivedFile:
    """Return a file, or a member of it, of which no row has been counted yet."""
    return ReceivedFile(
        name=name,
        version=member_version(snapshot, name),
        size=snapshot.file.size,
        mtime_ns=snapshot.file.mtime_ns,
        archived=archive.name_of(snapshot.path),
    )


def refuse_vanished(
    source: SourceDeclaration, partition: str, before: Manifest | None, now: Manifest
) -> None:
    """Refuse a partition without rows where there were some, unless that is declared to be right.

    Raises:
        NothingReceivedError: It is not.
    """
    if now.rows or before is None or not before.rows or source.checks.rows.allow_empty:
        return
    raise NothingReceivedError(
        f"nothing was received where {before.rows:,} rows had been; they stay as they were.",
        mend="See what the source delivers, or declare checks: {rows: {allow_empty: true}} "
        "if an empty partition is right.",
        source=source.name,
        partition=partition,
        culprit=source.extract.place,
    )
