"""What every kind of source does: bring bytes into the archive, and read raw rows from there.

What belongs here: the two protocols, and the shape of raw rows. What does not: any one kind; each
has a module of its own, and `kinds` knows them all.

What was fetched is archived before it is read, so that rows can be made of the same bytes again
without asking the source again, and each row leads back to the bytes that it was made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pyarrow as pa

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.extract.files import Snapshot
    from dataflow_assets.extract.hosts import SharedState
    from dataflow_assets.s3 import Address

TECHNICAL = (
    pa.field("_file", pa.string()),
    pa.field("_version", pa.string()),
    pa.field("_line", pa.int64()),
    pa.field("_reject", pa.string()),
    pa.field("_text", pa.string()),
)
EXACT_TOGETHER: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_signed_integer,
    pa.types.is_unsigned_integer,
    pa.types.is_floating,
    lambda kind: kind in (pa.int8(), pa.int16(), pa.int32(), pa.float64()),
)
"""Groups of types of which one always holds the values of another exactly."""


@dataclass(frozen=True)
class Request:
    """What is asked of an extractor: the bytes of one partition.

    Attributes:
        partition: The partition's key.
        begin: When its window begins, in UTC; none for an item of a list.
        end: When its window ends, in UTC, which is when the next one begins.
        archive: The local folder in which archived bytes begin their life; see `take_snapshot`.
        stays: Whether that folder is the archive itself, so that bytes must be on disk before they
            get their name; else they go on from there.
        before: Gives what the partition was made of when it was last published, oldest first, with
            the bytes at hand; kinds that add to it ask for it.
    """

    partition: str
    begin: dt.datetime | None
    end: dt.datetime | None
    archive: Path
    stays: bool
    before: Callable[[], Sequence[Snapshot]]


@dataclass(frozen=True)
class Surroundings:
    """What an extractor finds around it.

    Attributes:
        files: The folder, or the place on S3, below which relative paths of files lie.
        scratch: A folder of this machine that outlives runs; nothing in it is missed if it is gone.
        shared: Small files that all runs see, on whatever machine.
    """

    files: Path | Address
    scratch: Path
    shared: SharedState


class Reader(Protocol):
    """Reads the rows of archived bytes of one format."""

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """Return the user columns of a file, in their order: text, or of the file's own types.

        Raises:
            HeaderError: They cannot be found.
            UnreadableFileError: The file is truncated, corrupt or encrypted.
        """

    def rows(self, snapshot: Snapshot, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield a file's rows, good and rejected, in the order of the file.

        Args:
            snapshot: The archived bytes.
            schema: The user columns of the tables; those that the file lacks are null.

        Yields:
            Tables with the schema `raw_schema(schema)`, none of them empty; `_file` of one table is
            one name.

        Raises:
            UnreadableFileError: The file is truncated, corrupt or encrypted.
            ConservationError: Rows got lost: a bug of ours.
        """


@runtime_checkable
class JoiningReader(Reader, Protocol):
    """Reads small files together, which is faster than one by one."""

    def rows_together(
        self, snapshots: Sequence[Snapshot], schema: pa.Schema
    ) -> Iterator[tuple[range, pa.Table]]:
        """Yield the rows of files, as `rows` does for each of them, in the same order.

        Yields:
            The places among the snapshots of one or several files, and rows of them. Where there
            are several, each is the only one of its name, which is that in `_file`.
        """


class Extractor(Protocol):
    """One kind of source."""

    @property
    def reader(self) -> Reader:
        """Reads what was fetched."""

    def fetch(self, request: Request) -> Sequence[Snapshot]:
        """Bring the bytes of one partition into the archive; none if there is nothing.

        Raises:
            SourceUnavailableError: The source does not answer, for now.
            StorageError: The archive cannot be written.
        """


def raw_schema(columns: pa.Schema | Sequence[str]) -> pa.Schema:
    """Return the schema of raw rows: user columns, then the technical ones.

    `_file` (string), `_version` (string), `_line` (int64: line or number of the row in its file,
    from 1), `_reject` (string, null for a good row) and `_text` (string, the text of a rejected
    row).

    Args:
        columns: The user columns, or the names of columns of text.
    """
    if not isinstance(columns, pa.Schema):
        columns = pa.schema([pa.field(name, pa.string()) for name in columns])
    return pa.schema([*columns, *TECHNICAL])


def rows_of_all(
    reader: Reader, snapshots: Sequence[Snapshot], schema: pa.Schema
) -> Iterator[tuple[range, pa.Table]]:
    """Yield the rows of files in their order, together where the reader can: see `JoiningReader`.

    Args:
        reader: Reads the files.
        snapshots: The archived bytes.
        schema: The user columns of the tables.
    """
    if isinstance(reader, JoiningReader):
        yield from reader.rows_together(snapshots, schema)
        return
    for place, snapshot in enumerate(snapshots):
        for table in reader.rows(snapshot, schema):
            yield range(place, place + 1), table


def union_of(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return every column that one of the schemas has, in the order of first appearance.

    A column of several types gets one that holds the values of all of them; where there is none, it
    is text.
    """
    fields: dict[str, pa.Field] = {}
    for schema in schemas:
        for field in schema:
            known = fields.get(field.name)
            fields[field.name] = field if known is None else _wider(known, field)
    return pa.schema(list(fields.values()))


def _wider(one: pa.Field, other: pa.Field) -> pa.Field:
    kinds = (one.type, other.type)
    if kinds[0] == kinds[1] or pa.types.is_null(kinds[1]):
        return one
    if pa.types.is_null(kinds[0]):
        return other
    if not any(all(map(alike, kinds)) for alike in EXACT_TOGETHER):
        return pa.field(one.name, pa.string())
    schemas = [pa.schema([one]), pa.schema([other])]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0)
