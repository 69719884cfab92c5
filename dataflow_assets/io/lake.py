"""The lake: one Parquet file for each partition of a layer, and the archived bytes.

What belongs here: paths, publishing at once, manifests, loading. What does not: what the rows mean.

A partition's manifest stands in its Parquet file's own metadata, so that rows and manifest are
always of one publish.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote, unquote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataflow_assets.errors import (
    ConservationError,
    PartitionBusyError,
    PartitionMissingError,
    StorageError,
    UnreadableFileError,
)
from dataflow_assets.io.ledger import Counts
from dataflow_assets.io.locks import try_hold
from dataflow_assets.io.places import FolderPlace, LaidOverPlace
from dataflow_assets.io.places import storage_errors as _storage_errors
from dataflow_assets.transform.shape import Header, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from types import TracebackType

    from dataflow_assets.io.places import Place

# Polars reads ahead two row groups instead of more: as fast here, with half of the memory. With one
# it would decode them one after the other, in a single thread.
os.environ.setdefault("POLARS_ROW_GROUP_PREFETCH_SIZE", "2")
Layer = Literal["raw", "cleaned", "quarantine", "decisions", "closed"]
KEY = "dataflow"
"""Under which the manifest stands in a Parquet file's metadata."""
GROUP_ROWS = 50_000
"""Rows of a row group: Polars streams with memory in proportion to it."""
FINDING_ROWS = 2_000
"""Rows of a row group of findings, which come few at a time from many places."""
GROUP_BYTES = 16 << 20
REPEATING = ["_file", "_version", "_reject"]
"""Raw columns with few values, which are worth a dictionary."""
STAGED_OPTIONS: dict[str, Any] = {"compression": "lz4", "row_group_size": 122_880, "mkdir": True}
"""How Polars writes what is read once and thrown away: in row groups of DuckDB's size."""
TABLES_AT_ONCE = 256
"""Small tables that wait side by side; each takes some kilobytes, however few rows it has."""


class ReceivedFile(BaseModel):
    """A file of which a raw partition was made.

    Attributes:
        name: Its path relative to the files folder.
        version: First 16 hex digits of its SHA-256.
        size: Bytes.
        mtime_ns: When it was last written, in nanoseconds since 1970.
        archived: Where its bytes are, below the lake.
        rows: Rows that it holds.
        rejected: Rows among them that could not be split.
        header: Which of the manifest's headers is its own; none if that is not known.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    size: int
    mtime_ns: int
    archived: str
    rows: int = 0
    rejected: int = 0
    header: int | None = None


class Manifest(BaseModel):
    """What a partition in the lake was made of.

    Attributes:
        data_version: Made of the content: the files' bytes and what was declared.
        declaration: Digest of what was declared.
        asked: Of a raw partition, digest of what was declared of where its bytes come from; empty
            if an older release published it.
        run_id: The run that published it.
        fingerprint: Of the names, sizes and times of the files.
        references: By rule, the version of the table that it referred to.
        counts: What became of the rows; none where that is known only once the file is written.
        files: The files of a raw partition.
        headers: Their columns, each set of them once.
        shape: Of a cleaned partition, what its source looked like.
        rows: Rows in the file, as its footer says.
        told: Of a raw partition, how many rows its source said there are, where that is asked for.
        published_at: When the file was written.
        duration_s: Seconds that the work took, as far as known when the file was written.
        decisions: Digest of what people decided about quarantined rows; empty if nothing.
    """

    model_config = ConfigDict(frozen=True)

    data_version: str
    declaration: str
    run_id: str
    fingerprint: str
    references: dict[str, str] = Field(default_factory=dict)
    counts: Counts | None = None
    files: tuple[ReceivedFile, ...] = ()
    headers: tuple[Header, ...] = ()
    shape: Shape | None = None
    rows: int = 0
    told: int | None = None
    published_at: dt.datetime = Field(default_factory=lambda: dt.datetime.now(dt.UTC))
    duration_s: float = 0.0
    decisions: str = ""
    asked: str = ""


class Lake:
    """Parquet files and archived bytes, in a folder or on S3.

    Args:
        root: The folder; for a lake on S3 it holds what is on its way only.
        lock_timeout_s: Seconds to wait for another run that publishes the same partition.
        place: Where the lake is, if not in the folder.
    """

    def __init__(self, root: Path, lock_timeout_s: float, place: Place | None = None) -> None:
        self._root = root
        self._lock_timeout_s = lock_timeout_s
        self._place: Place = place or FolderPlace(root)

    def uri(self, layer: Layer, source: str, partition: str) -> str:
        """Return the address of a partition's Parquet file."""
        return self._place.uri(_name(layer, source, partition))

    def size(self, layer: Layer, source: str, partition: str) -> int:
        """Return the bytes of a published partition's Parquet file."""
        return self._place.size(_name(layer, source, partition))

    def elsewhere(self, root: Path) -> Lake:
        """Return the same lake with what is on its way in another folder.

        Args:
            root: The folder; nothing is written to the lake's own then, unless it is published.
        """
        return Lake(root, self._lock_timeout_s, self._place)

    def under(self, root: Path) -> Lake:
        """Return the same lake below a folder, which takes what is published and hides what it has.

        Args:
            root: The folder.
        """
        return Lake(self._root, self._lock_timeout_s, LaidOverPlace(root, self._place))

    def archive(self, source: str, work: Path) -> Archive:
        """Return where a source's bytes are archived.

        Args:
            source: The source.
            work: The work folder for what is on its way.
        """
        return Archive(self._place, f"archive/{source}", work)

    @property
    def local(self) -> Path:
        """The folder of this machine, wherever the lake itself is."""
        return self._root

    def shared(self, folder: str) -> SharedFiles:
        """Return a folder of small files that all runs read and change.

        Args:
            folder: Its name in the lake.
        """
        return SharedFiles(self._place, folder, self.work_dir, self._lock_timeout_s)

    @contextmanager
    def partition_lock(self, asset: str, partition: str) -> Iterator[None]:
        """Be the only one to publish a partition of an asset.

        Raises:
            PartitionBusyError: Another run does not come to an end.
        """

        def busy() -> PartitionBusyError:
            return PartitionBusyError(
                f"another run is publishing the same partition and has not finished within "
                f"{self._lock_timeout_s:g} s.",
                mend="Wait for that run or cancel it, then run again; LOCK_TIMEOUT_S says how "
                "long to wait.",
                source=asset,
                partition=partition,
            )

        name = f".locks/{asset}/{_escaped(partition)}"
        with self._place.lock(name, timeout_s=self._lock_timeout_s, busy=busy):
            yield

    @contextmanager
    def work_dir(self, name: str) -> Iterator[Path]:
        """Give a folder for files on their way into the lake; it is removed in the end.

        Folders that killed processes left behind are removed on the way.
        """
        parent = self._root / ".work"
        with _storage_errors(parent):
            parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(parent)
            work, held = _make_held(parent, name)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            os.close(held)

    def publish(
        self, staged: Path, layer: Layer, source: str, partition: str, *, rows: int
    ) -> None:
        """Put a staged file in the place of the partition's file, at once.

        Args:
            staged: The file, in a work folder.
            layer: raw, cleaned, quarantine, decisions or closed.
            source: The source.
            partition: The partition key.
            rows: How many rows the file must have.

        Raises:
            ConservationError: It has another number of rows.
            PartitionBusyError: The partition's lock was lost.
            StorageError: The lake cannot be written.
        """
        try:
            found = count_rows(staged)
        except pa.ArrowInvalid as error:
            raise StorageError(
                f"the staged file cannot be read back: {error}.",
                mend="Look at the disk's health, then run again; nothing was published.",
                source=source,
                partition=partition,
                culprit=str(staged),
            ) from error
        if found != rows:
            raise ConservationError(
                f"the staged file holds {found:,} rows where {rows:,} were written.",
                mend="This is a bug in dataflow_assets; nothing was published. Please report it.",
                source=source,
                partition=partition,
                culprit=str(staged),
            )
        self._place.check_locks()
        self._place.put(staged, _name(layer, source, partition))

    def manifest(self, layer: Layer, source: str, partition: str) -> Manifest | None:
        """Return a partition's manifest, or none if it has never been published.

        Raises:
            UnreadableFileError: Its file is no Parquet file of ours.
        """
        footer = self._footer(layer, source, partition)
        if footer is None:
            return None
        text = (footer.metadata or {}).get(KEY.encode(), b"")
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            uri = self.uri(layer, source, partition)
            raise _unreadable(uri, "it has no manifest of this kind") from error
        return manifest.model_copy(update={"rows": footer.num_rows})

    def manifests(
        self, layer: Layer, source: str, partitions: Sequence[str]
    ) -> dict[str, Manifest]:
        """Return the manifests of those partitions that were published; see `manifest`."""
        found = self._place.each(lambda one: self.manifest(layer, source, one), partitions)
        pairs = zip(partitions, found, strict=True)
        return {partition: manifest for partition, manifest in pairs if manifest is not None}

    def raw_schema(self, source: str, partition: str) -> pl.Schema:
        """Return the user columns of a raw partition, with their types."""
        footer = self._footer("raw", source, partition)
        if footer is None:
            raise self._missing("raw", source, partition)
        nothing = pl.DataFrame(footer.schema.to_arrow_schema().empty_table())
        columns = nothing.schema.items()
        return pl.Schema({name: dtype for name, dtype in columns if not name.startswith("_")})

    def empty_columns(self, layer: Layer, source: str, partition: str) -> frozenset[str]:
        """Return the columns of a published partition that hold no value, as its footer says."""
        footer = self._footer(layer, source, partition)
        return frozenset() if footer is None else columns_without_values(footer)

    def partitions(self, layer: Layer, source: str) -> list[str]:
        """Return the keys of all published partitions, sorted."""
        names = self._place.names(f"{layer}/{source}")
        return sorted(
            unquote(name.removesuffix(".parquet")) for name in names if name.endswith(".parquet")
        )

    def scan(
        self,
        layer: Layer,
        source: str,
        partition: str,
        work: Path,
        *,
        row_index: str | None = None,
    ) -> pl.LazyFrame:
        """Return the rows of a partition.

        Of a lake on S3 they are copied to the work folder first, which is one request for most
        partitions, whatever number of times they are read then, and tells whether they are what
        was written. The copy is overwritten by the next partition's.

        Args:
            layer: raw, cleaned or quarantine.
            source: The source.
            partition: The partition key.
            work: The work folder.
            row_index: Name of a column that numbers the rows from 0, if wanted.

        Raises:
            PartitionMissingError: It has never been published.
            UnreadableFileError: It is not what was published.
        """
        path = self.find(layer, source, partition, work)
        if path is None:
            raise self._missing(layer, source, partition)
        return pl.scan_parquet(path, glob=False, hive_partitioning=False, row_index_name=row_index)

    def find(self, layer: Layer, source: str, partition: str, work: Path) -> Path | None:
        """Return a local file with a partition's rows, or none if it was never published.

        Args:
            layer: Which table.
            source: The source.
            partition: The partition key.
            work: The work folder; see `scan`.
        """
        return self._place.get(_name(layer, source, partition), work)

    def head(self, layer: Layer, source: str, partition: str, rows: int) -> pl.DataFrame:
        """Return the first rows of a published partition, without reading the others."""
        with self._place.open(_name(layer, source, partition)) as file:
            parquet = pq.ParquetFile(file)
            nothing = parquet.schema_arrow.empty_table()
            batch = next(parquet.iter_batches(batch_size=rows), None)
        return pl.DataFrame(nothing if batch is None else batch)

    def sink_options(self, manifest: Manifest, rows: int = GROUP_ROWS) -> dict[str, Any]:
        """Return how Polars writes a partition of the lake, its manifest included.

        Args:
            manifest: What the partition is made of.
            rows: Rows of a row group.
        """
        return {
            "compression": "zstd",
            "compression_level": 1,
            "row_group_size": rows,
            "metadata": {KEY: manifest.model_dump_json()},
        }

    def _footer(self, layer: Layer, source: str, partition: str) -> pq.FileMetaData | None:
        try:
            return self._place.footer(_name(layer, source, partition))
        except (OSError, pa.ArrowInvalid) as error:
            raise _unreadable(self.uri(layer, source, partition), str(error)) from error

    def _missing(self, layer: Layer, source: str, partition: str) -> PartitionMissingError:
        uri = self.uri(layer, source, partition)
        return PartitionMissingError(
            f"there is no file {uri}.",
            mend=f"Materialize {layer}/{source} for this partition first.",
            source=source,
            partition=partition,
            culprit=uri,
        )


class Archive:
    """A source's bytes as they were received, under the hash of their content.

    Args:
        place: Where the lake is.
        name: The folder in the lake.
        work: The work folder for what is on its way.

    Attributes:
        folder: Where they begin their life.
        stays: Whether that is where they stay.
    """

    def __init__(self, place: Place, name: str, work: Path) -> None:
        self._place = place
        self._name = name
        self._work = work
        self.folder = place.archive(name, work)
        self.stays = not self.folder.is_relative_to(work)
        self._brought: set[Path] = set()

    def name_of(self, path: Path) -> str:
        """Return the name in the lake of what begins its life at a path in the folder."""
        return f"{self._name}/{path.relative_to(self.folder).as_posix()}"

    def bring(self, name: str) -> Path:
        """Return where archived bytes are at hand, by the name that `name_of` gave them.

        Raises:
            UnreadableFileError: They are not in the archive any more.
        """
        path = self.folder / name.removeprefix(f"{self._name}/")
        found = path if path.exists() else self._place.get(name, self._work)
        if found is None:
            raise UnreadableFileError(
                f"the archive does not hold {name} any more.",
                mend="Bring it back from a backup of the lake, or have the source send it again.",
                culprit=name,
            )
        if found != path:
            path.parent.mkdir(parents=True, exist_ok=True)
            found.replace(path)
        self._brought.add(path)
        return path

    def keep(self, files: Iterable[Path]) -> None:
        """See to it that files in the folder are in the lake, and stay."""
        new = [path for path in files if path not in self._brought]
        self._place.keep(self.folder, self._name, new)


class SharedFiles:
    """Small files that all runs see, on whatever machine, and change one after another.

    Args:
        place: Where the lake is.
        folder: The folder in the lake.
        work_dir: Gives a local folder for what is on its way.
        lock_timeout_s: Seconds to wait for another run that changes the same file.
    """

    def __init__(
        self,
        place: Place,
        folder: str,
        work_dir: Callable[[str], AbstractContextManager[Path]],
        lock_timeout_s: float,
    ) -> None:
        self._place = place
        self._folder = folder
        self._work_dir = work_dir
        self._lock_timeout_s = lock_timeout_s

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or none if there is no such file."""
        return self._place.read(f"{self._folder}/{name}")

    def change(self, name: str, work: Callable[[bytes | None], bytes]) -> None:
        """Put what `work` makes of a file's content in its place, alone with it.

        Raises:
            StorageError: It cannot be written, or others do not let go of it.
        """
        whole = f"{self._folder}/{name}"

        def busy() -> StorageError:
            return StorageError(
                f"others have not let go of {whole} within {self._lock_timeout_s:g} s.",
                mend="See which run holds it, and run again.",
                culprit=self._place.uri(whole),
            )

        with self._place.lock(f".locks/{whole}", timeout_s=self._lock_timeout_s, busy=busy):
            content = work(self.read(name))
            with self._work_dir("shared") as folder:
                staged = folder / "content"
                with _storage_errors(staged):
                    staged.write_bytes(content)
                self._place.put(staged, whole)


class RawWriter:
    """Writes raw rows to a staged Parquet file, in row groups of even size.

    A row group is encoded in a thread of its own while the next one is gathered.

    Args:
        staged: The file to write.
        schema: The user columns, then the technical ones.
    """

    def __init__(self, staged: Path, schema: pa.Schema) -> None:
        self._path = staged
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._small: list[pa.Table] = []
        self._rows = self._bytes = 0
        self._pool = ThreadPoolExecutor(1, "raw-writer")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        with _storage_errors(self._path):
            self._writer = pq.ParquetWriter(
                self._path,
                self._schema,
                compression="lz4",  # read several times over, and the archive has the bytes too
                use_dictionary=REPEATING,
                write_statistics=False,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()
        with _storage_errors(self._path):
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Write some rows; small tables are gathered into one row group."""
        self._small.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if len(self._small) >= TABLES_AT_ONCE:
            self._waiting.append(pa.concat_tables(self._small).combine_chunks())
            self._small = []
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._wait()
            self._writing = self._pool.submit(self._write_group, *self._take_group())

    def finish(self, manifest: Manifest) -> None:
        """Write what waits, and the manifest."""
        self._wait()
        if self._rows:
            self._write_group(*self._take_group())
        self._writer.add_key_value_metadata({KEY: manifest.model_dump_json()})

    def _take_group(self) -> tuple[pa.Table, int]:
        """Return what has been gathered, and how many rows of it fit into a row group."""
        table = pa.concat_tables(self._waiting + self._small)
        fitting = 2 * GROUP_BYTES * self._rows // max(self._bytes, 1)
        self._waiting, self._small, self._rows, self._bytes = [], [], 0, 0
        return table, min(GROUP_ROWS, max(fitting, 1))

    def _write_group(self, table: pa.Table, rows: int) -> None:
        with _storage_errors(self._path):
            self._writer.write_table(table, row_group_size=rows)

    def _wait(self) -> None:
        """Wait for the group that is being written, and raise what kept it from being written."""
        if self._writing is not None:
            self._writing.result()


def count_rows(path: Path) -> int:
    """Return how many rows a Parquet file has, from its footer."""
    return int(pq.read_metadata(path).num_rows)


def columns_without_values(footer: pq.FileMetaData) -> frozenset[str]:
    """Return the columns of a Parquet file that hold no value in any row.

    Columns of which the footer does not say it count as filled.
    """
    filled = [False] * footer.num_columns
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for place in (place for place, known in enumerate(filled) if not known):
            statistics = group.column(place).statistics
            said = statistics is not None and statistics.has_null_count
            filled[place] = not said or statistics.null_count < group.num_rows
    names = [footer.schema.column(place).name for place in range(footer.num_columns)]
    return frozenset(name for name, known in zip(names, filled, strict=True) if not known)


def _escaped(partition: str) -> str:
    """Return a partition key as a file name."""
    return quote(partition, safe="-_. ")


def _name(layer: Layer, source: str, partition: str) -> str:
    return f"{layer}/{source}/{_escaped(partition)}.parquet"


def _unreadable(uri: str, why: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"the lake's file cannot be read: {why}.",
        mend="Remove it and materialize the partition again.",
        culprit=uri,
    )


def _make_held(parent: Path, name: str) -> tuple[Path, int]:
    """Make a work folder, and lock it for as long as this process lives."""
    while True:
        work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
        held = try_hold(work)
        if held is not None:
            if work.exists():
                return work, held
            os.close(held)


def _remove_abandoned(parent: Path) -> None:
    """Remove the work folders that nobody holds: their processes were killed.

    A lock says so for processes of other containers too, where a process id says nothing.
    """
    for entry in os.scandir(parent):
        held = try_hold(Path(entry.path))
        if held is not None:
            shutil.rmtree(entry.path, ignore_errors=True)
            os.close(held)
