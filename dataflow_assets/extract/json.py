"""Snapshots of JSON files as tables of raw rows: one document, or one object per line.

What belongs here: the columns of a file, and tables of its records. What does not: where records
begin and end (`json_frames`), where their members lie (`json_members`), types and rules.

Each member of a record is a column of text: strings as what they mean, numbers, truth values and
nested values exactly as they were written, null and what is not there as null. A nested object of
which the contract names members, as ``address.city``, is flattened. A record with a name twice is
rejected, as no column could hold both values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa

from dataflow_assets.errors import ConservationError, HeaderError
from dataflow_assets.extract.compression import members
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets.extract.files import member_version
from dataflow_assets.extract.json_frames import Document, Reject, Sizes, line_frames
from dataflow_assets.extract.json_members import Members
from dataflow_assets.extract.names import parents_of
from dataflow_assets.extract.overlap import overlap
from dataflow_assets.extract.text import Utf8Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.extract import Files
    from dataflow_assets.extract.compression import Member
    from dataflow_assets.extract.files import Snapshot
    from dataflow_assets.extract.json_frames import Block, Frame
    from dataflow_assets.extract.json_members import Indexes

BLOCK_BYTES = 4 << 20
MOST_RECORD_BYTES = 16 << 20
MOST_COLUMNS = 5_000
"""More names than that are values that stand where names should."""
UNUSUAL = re.compile(r'["\\\0-\x1f]')
"""What no name may hold that the parser is told to know."""


class JsonReader:
    """Reads JSON documents, or files with one JSON object per line.

    Args:
        files: How they are written.
        contract: Names the columns; what it names with a dot is flattened.
        block_bytes: About how many bytes of text make one table.
        most_record_bytes: The longest record that is accepted.
    """

    def __init__(
        self,
        files: Files,
        contract: Contract,
        *,
        block_bytes: int = BLOCK_BYTES,
        most_record_bytes: int = MOST_RECORD_BYTES,
    ) -> None:
        self._files = files
        self._sizes = Sizes(block_bytes, most_record_bytes)
        self._kept = {column.source_name or name for name, column in contract.columns.items()}
        self._flattened = parents_of(self._kept)

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """Return a file's columns, over all its records, in order of appearance: all text.

        Raises:
            HeaderError: There is nothing where `records` leads to, or names are values.
            UnreadableFileError: The file is truncated, corrupt or encrypted.
        """
        names = _Names(self._members, snapshot.file.name, flattens=bool(self._flattened))
        for member in members(snapshot, self._files.compression):
            with member.open() as stream:
                for frame in self._frames(self._text(stream), member):
                    names.learn(frame)
        return pa.schema([pa.field(name, pa.string()) for name in names.known])

    def rows(self, snapshot: Snapshot, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield a file's rows, good and rejected, in the order of the file.

        Args:
            snapshot: The archived bytes.
            schema: The columns of the tables, all text; those that the file lacks are null.

        Yields:
            Tables with the schema `raw_schema(schema)`, none of them empty. `_line` is the line;
            in a document the number of the record, from 1.

        Raises:
            HeaderError: There is nothing where `records` leads to.
            UnreadableFileError: The file is truncated, corrupt or encrypted.
            ConservationError: Rows got lost: a bug of ours.
        """
        for member in members(snapshot, self._files.compression):
            with member.open() as stream:
                text = self._text(stream)
                origin = (member.name, member_version(snapshot, member.name))
                tables = _Tables(self._members, text, schema, origin)
                made = overlap(self._frames(text, member), tables.make)
                yield from (table for table in made if table.num_rows)

    def _text(self, stream: BinaryIO) -> Utf8Reader:
        return Utf8Reader(stream, self._files.document.encoding)

    def _frames(self, text: Utf8Reader, member: Member) -> Iterator[Frame]:
        if self._files.format == "jsonl":
            return line_frames(text, self._sizes)
        path = self._files.document.path
        return Document(text, self._sizes, path, member.name).frames()

    def _members(self, content: bytes) -> Members:
        return Members(content, self._flattened, self._kept)


class _Names:
    """Learns the names of a file's columns.

    A parser that knows all names so far looks for others, which is far faster than finding each.
    """

    def __init__(self, find: Callable[[bytes], Members], file: str, *, flattens: bool) -> None:
        self._find = find
        self._file = file
        self._flattens = flattens
        self._spelled: dict[str, None] = {}
        self._kind: type[msgspec.Struct] | None = None
        self.known: dict[str, None] = {}

    def learn(self, frame: Frame) -> None:
        """Learn the names of a block of records."""
        if self._kind is not None:
            try:
                frame.decode(self._kind)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                return
        found = self._find(frame.judged().content)
        self.known.update(dict.fromkeys(found.names()))
        if len(self.known) > MOST_COLUMNS:
            raise HeaderError(
                f"{self._file} has records with more than {MOST_COLUMNS:,} different names, "
                "so that these seem to be values.",
                mend="Have it sent with the same names in each record.",
                culprit=self._file,
            )
        if not self._flattens:
            self._spelled.update(dict.fromkeys(found.spelled()))
            self._kind = _kind_with(self._spelled)


def _kind_with(names: Iterable[str]) -> type[msgspec.Struct]:
    fields = [
        (f"member_{number}", msgspec.Raw, msgspec.field(name=name, default=msgspec.Raw()))
        for number, name in enumerate(names)
        if not UNUSUAL.search(name)
    ]
    return msgspec.defstruct("Known", fields, gc=False, forbid_unknown_fields=True)


class _Tables:
    """Makes tables of frames; safe to be called from several threads."""

    def __init__(
        self,
        find: Callable[[bytes], Members],
        text: Utf8Reader,
        schema: pa.Schema,
        origin: tuple[str, str],
    ) -> None:
        self._find = find
        self._decode = text.decode
        self._names = schema.names
        self._schema = raw_schema(schema)
        self._origin = origin

    def make(self, frame: Frame) -> pa.Table:
        """Return the rows of a frame, in the order of their lines."""
        block = frame.judged()
        records, rejects = self._records(block)
        if not rejects:
            return records
        table = pa.concat_tables([records, self._rejected(rejects)]).combine_chunks()
        return table.take(np.argsort(table.column("_line").to_numpy(), kind="stable"))

    def _records(self, block: Block) -> tuple[pa.Table, list[Reject]]:
        found = self._find(block.content)
        self._check(found.count, len(block.numbers))
        columns = found.columns()
        if missing := [name for name in columns if name not in self._names]:
            raise self._bug(f"has columns that the raw rows do not: {', '.join(missing)}")
        nothing = pa.nulls(found.count, pa.string())
        values = [columns[name].values if name in columns else nothing for name in self._names]
        table = self._table(values, block.numbers, nothing, nothing)
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
        nothing = pa.nulls(len(rejects), pa.string())
        kinds = pa.array([reject.kind for reject in rejects], pa.string())
        texts = pa.array([self._decode(reject.text) for reject in rejects], pa.string())
        numbers = np.array([reject.number for reject in rejects], np.int64)
        return self._table([nothing] * len(self._names), numbers, kinds, texts)

    def _table(
        self, columns: list[pa.Array], numbers: Indexes, kinds: pa.Array, texts: pa.Array
    ) -> pa.Table:
        name, version = (pa.repeat(text, len(numbers)) for text in self._origin)
        arrays = [*columns, name, version, pa.array(numbers, pa.int64()), kinds, texts]
        return pa.table(arrays, schema=self._schema)

    def _check(self, found: int, wanted: int) -> None:
        if found != wanted:
            raise self._bug(f"has {wanted} records in a block, of which {found} were found")

    def _bug(self, what: str) -> ConservationError:
        return ConservationError(
            f"{self._origin[0]} {what}.",
            mend="Report this as a bug, with the file.",
            culprit=self._origin[0],
        )
