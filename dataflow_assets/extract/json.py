"""Snapshots of JSON files as tables of raw rows: one document, or one object per line.

What belongs here: the columns of a file, and tables of its records. What does not: where records
begin and end (`json_frames`), where their members lie (`json_members`), types and rules.

Each member of a record is a column of text: strings as what they mean, numbers, truth values and
nested values exactly as they were written, null and what is not there as null. A nested object of
which the contract names members, as ``address.city``, is flattened. A record with a name twice is
rejected, as no column could hold both values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dataflow_assets.errors import ConservationError, HeaderError
from dataflow_assets.extract.compression import members
from dataflow_assets.extract.extractor import TECHNICAL, raw_schema
from dataflow_assets.extract.files import member_version
from dataflow_assets.extract.json_frames import Document, Reject, Sizes, line_frames
from dataflow_assets.extract.json_members import Members
from dataflow_assets.extract.names import parents_of
from dataflow_assets.extract.overlap import overlap
from dataflow_assets.extract.spool import Spool
from dataflow_assets.extract.text import Utf8Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.extract import Files
    from dataflow_assets.extract.compression import Member
    from dataflow_assets.extract.files import Snapshot
    from dataflow_assets.extract.json_frames import Block, Frame
    from dataflow_assets.extract.spool import Place

    Origin = tuple[str, str]
    """The name and the version of the file, or of the member of an archive."""

BLOCK_BYTES = 4 << 20
MOST_RECORD_BYTES = 16 << 20
TECHNICAL_NAMES = {field.name for field in TECHNICAL}
MOST_COLUMNS = 5_000
"""More names than that are values that stand where names should."""


class JsonReader:
    """Reads JSON documents, or files with one JSON object per line.

    Args:
        files: How they are written.
        contract: Names the columns; what it names with a dot is flattened.
        scratch: Where rows are kept between `schema` and `rows`, if they are many; none: where the
            system keeps temporary files.
        block_bytes: About how many bytes of text make one table.
        most_record_bytes: The longest record that is accepted.
    """

    def __init__(
        self,
        files: Files,
        contract: Contract,
        *,
        scratch: Path | None = None,
        block_bytes: int = BLOCK_BYTES,
        most_record_bytes: int = MOST_RECORD_BYTES,
    ) -> None:
        self._files = files
        self._sizes = Sizes(block_bytes, most_record_bytes)
        self._kept = set(contract.received_names)
        self._flattened = parents_of(self._kept)
        self._spool = Spool(scratch)
        self._known: dict[Snapshot, _Known] = {}

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """Return a file's columns, over all its records, in order of appearance: all text.

        The rows are made at the same time, and kept until `rows` is called.

        Raises:
            HeaderError: There is nothing where `records` leads to, or names are values.
            UnreadableFileError: The file is truncated, corrupt or encrypted.
            StorageError: There is no room to keep the rows.
        """
        if snapshot not in self._known:
            known = _Known()
            for origin, table in self._tables(snapshot):
                known.names.update(dict.fromkeys(_user_columns(table)))
                if len(known.names) > MOST_COLUMNS:
                    raise _too_many_names(snapshot.file.name)
                known.places.append((origin, self._spool.keep(table)))
            self._known[snapshot] = known
        return pa.schema([pa.field(name, pa.string()) for name in self._known[snapshot].names])

    def rows(self, snapshot: Snapshot, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield a file's rows, good and rejected, in the order of the file.

        Args:
            snapshot: The archived bytes.
            schema: The columns of the tables, all text; those that the file lacks are null.

        Yields:
            Tables with the schema `raw_schema(schema)`, none of them empty. `_line` is the line;
            in a document the number of the record, from 1.

        Raises:
            HeaderError: There is nothing where `records` leads to, or names are values.
            UnreadableFileError: The file is truncated, corrupt or encrypted.
            ConservationError: Rows got lost: a bug of ours.
        """
        known = self._known.pop(snapshot, None)
        made = self._tables(snapshot) if known is None else self._spooled(known)
        wanted = raw_schema(schema)
        for origin, table in made:
            yield _completed(table, origin, wanted)

    def _spooled(self, known: _Known) -> Iterator[tuple[Origin, pa.Table]]:
        for origin, place in known.places:
            yield origin, self._spool.table(place)
        if not self._known:
            self._spool.clear()

    def _tables(self, snapshot: Snapshot) -> Iterator[tuple[Origin, pa.Table]]:
        """Yield the rows as they are made, with the columns that they have themselves."""
        for member in members(snapshot, self._files.compression):
            origin = (member.name, member_version(snapshot, member.name))
            with member.open() as stream:
                text = Utf8Reader(stream, self._files.document.encoding)
                tables = _Tables(self._members, text, member.name)
                for table in overlap(self._frames(text, member), tables.make):
                    if table.num_rows:
                        yield origin, table

    def _frames(self, text: Utf8Reader, member: Member) -> Iterator[Frame]:
        if self._files.format == "jsonl":
            return line_frames(text, self._sizes)
        path = self._files.document.path
        return Document(text, self._sizes, path, member.name).frames()

    def _members(self, content: bytes) -> Members:
        return Members(content, self._flattened, self._kept)


@dataclass
class _Known:
    """What is known of a file whose rows were made already.

    Attributes:
        names: Its columns, in order of appearance.
        places: Where its rows are, and where they come from.
    """

    names: dict[str, None] = field(default_factory=dict)
    places: list[tuple[Origin, Place]] = field(default_factory=list)


class _Tables:
    """Makes tables of frames; safe to be called from several threads.

    They have the columns that their records have, ``_line``, and, where there are rejected rows,
    ``_reject`` and ``_text``.
    """

    def __init__(self, find: Callable[[bytes], Members], text: Utf8Reader, file: str) -> None:
        self._find = find
        self._decode = text.decode
        self._file = file

    def make(self, frame: Frame) -> pa.Table:
        """Return the rows of a frame, in the order of their lines."""
        block = frame.judged()
        records, rejects = self._records(block)
        if not rejects:
            return records
        tables = [records, self._rejected(rejects)]
        table = pa.concat_tables(tables, promote_options="default").combine_chunks()
        return table.take(np.argsort(table.column("_line").to_numpy(), kind="stable"))

    def _records(self, block: Block) -> tuple[pa.Table, list[Reject]]:
        found = self._find(block.content)
        self._check(found.count, len(block.numbers))
        if len(found.names()) > MOST_COLUMNS:
            raise _too_many_names(self._file)
        columns = found.columns()
        values = {name: column.values for name, column in columns.items()}
        table = pa.table({**values, "_line": pa.array(block.numbers, pa.int64())})
        repeated = [column.repeated for column in columns.values() if len(column.repeated)]
        if not repeated:
            return table, list(block.rejects)
        wrong = np.unique(np.concatenate(repeated))
        rejects = [
            Reject(int(block.numbers[record]), "duplicate_key", found.text(record))
            for record in wrong.tolist()
        ]
        kept = np.delete(np.arange(found.count), wrong)
        return table.take(kept), [*block.rejects, *rejects]

    def _rejected(self, rejects: list[Reject]) -> pa.Table:
        return pa.table(
            {
                "_line": pa.array([reject.number for reject in rejects], pa.int64()),
                "_reject": pa.array([reject.kind for reject in rejects], pa.string()),
                "_text": pa.array([self._decode(one.text) for one in rejects], pa.string()),
            }
        )

    def _check(self, found: int, wanted: int) -> None:
        if found != wanted:
            raise _bug(self._file, f"has {wanted} records in a block, of which {found} were found")


def _user_columns(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name not in TECHNICAL_NAMES]


def _completed(table: pa.Table, origin: Origin, wanted: pa.Schema) -> pa.Table:
    """Return rows with all columns that are wanted, those that they lack null."""
    if missing := [name for name in table.column_names if name not in wanted.names]:
        raise _bug(origin[0], f"has columns that the raw rows do not: {', '.join(missing)}")
    nothing = pa.nulls(table.num_rows, pa.string())
    columns = dict.fromkeys(wanted.names, nothing)
    columns["_file"], columns["_version"] = (pa.repeat(one, table.num_rows) for one in origin)
    columns.update(zip(table.column_names, table.columns, strict=True))
    return pa.table(list(columns.values()), schema=wanted)


def _too_many_names(file: str) -> HeaderError:
    return HeaderError(
        f"{file} has records with more than {MOST_COLUMNS:,} different names, so that these seem "
        "to be values.",
        mend="Have it sent with the same names in each record.",
        culprit=file,
    )


def _bug(file: str, what: str) -> ConservationError:
    return ConservationError(
        f"{file} {what}.", mend="Report this as a bug, with the file.", culprit=file
    )
