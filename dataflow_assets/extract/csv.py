"""Snapshots of CSV files as tables of raw rows.

What belongs here: reading files of any size block by block. What does not: headers (`csv_head`),
splitting blocks into rows (`csv_rows`), many small files at once (`csv_joined`), where records
begin and end (`framing`), encodings (`text`), types and rules.

Each row carries where it came from. A row that cannot be split stays, as its text and the reason.
Not rows are: blank lines, comments, the preamble, the header, and NUL bytes alone after the last
line end of a file (the padding of a file whose room was reserved beforehand).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING

import pyarrow as pa

from dataflow_assets.errors import HeaderError
from dataflow_assets.extract.compression import members
from dataflow_assets.extract.csv_head import HEAD_BYTES, Body, Head, Marks, without_padding
from dataflow_assets.extract.csv_joined import Part, SmallFiles
from dataflow_assets.extract.csv_rows import Splitter
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets.extract.files import member_version
from dataflow_assets.extract.framing import LINE_END, MOST_RECORD_BYTES, Frame, Grammar, find_frame
from dataflow_assets.extract.overlap import overlap
from dataflow_assets.extract.text import Utf8Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.extract import CsvDialect, Files
    from dataflow_assets.extract.compression import Member
    from dataflow_assets.extract.files import Snapshot

BLOCK_BYTES = 4 << 20


class CsvReader:
    """Reads CSV files.

    Args:
        files: How they are written.
        contract: Names the columns of files without a header, and what a header must name.
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
        self._contract = contract
        self._sizes = _Sizes(block_bytes, most_record_bytes)
        self._small = SmallFiles(files, block_bytes, most_record_bytes)

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """Return a file's columns, over all its members, in order of appearance: all text.

        An empty file has none.

        Raises:
            HeaderError: The header cannot be found, split or decoded.
            UnreadableFileError: The file is truncated, corrupt or encrypted.
        """
        line = self._small.first_line(_head_of(snapshot))
        known = self._small.recall(line)
        if known is not None:
            return _texts(known.names)
        names: dict[str, None] = {}
        for member in members(snapshot, self._files.compression):
            with member.open() as stream:
                reader = Utf8Reader(stream, self._files.dialect.encoding)
                body = self._find_body(reader, member)
            if line is not None and self._is_header(line, body, member):
                self._small.remember(line, body)
            names.update(dict.fromkeys(body.names))
        return _texts(names)

    def rows(self, snapshot: Snapshot, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield a file's rows, good and rejected, in the order of the file.

        Args:
            snapshot: The archived bytes.
            schema: The columns of the tables, all text; those that the file lacks are null.

        Yields:
            Tables with the schema `raw_schema(schema)`, none of them empty.

        Raises:
            HeaderError: The header cannot be found, split or decoded.
            UnreadableFileError: The file is truncated, corrupt or encrypted.
            ConservationError: Lines got lost: a bug of ours.
        """
        dialect = self._files.dialect
        for member in members(snapshot, self._files.compression):
            with member.open() as stream:
                reader = Utf8Reader(stream, dialect.encoding)
                body = self._find_body(reader, member)
                if not body.names:
                    continue
                blocks = _Blocks(reader, dialect, body, member.name, self._sizes)
                origin = (member.name, member_version(snapshot, member.name))
                splitter = Splitter(reader.decode, dialect, body, schema.names, origin)
                yield from _filled(overlap(blocks.frames(), splitter.split))

    def rows_together(
        self, snapshots: Sequence[Snapshot], schema: pa.Schema
    ) -> Iterator[tuple[range, pa.Table]]:
        """Yield the rows of files in their order, as `rows` does, those of small ones together.

        Args:
            snapshots: The archived bytes.
            schema: As in `rows`.

        Yields:
            The places of one or several of the files, and rows of them: a table with the schema
            `raw_schema(schema)`, not empty.
        """
        parts = self._small.parts(snapshots)
        for is_joined, alike in groupby(parts, key=lambda part: part.body is not None):
            if is_joined:
                yield from self._joined_rows(alike, snapshots, schema)
                continue
            for part in alike:
                for table in self.rows(snapshots[part.places[0]], schema):
                    yield part.places, table

    def _joined_rows(
        self, parts: Iterator[Part], snapshots: Sequence[Snapshot], schema: pa.Schema
    ) -> Iterator[tuple[range, pa.Table]]:
        def split(part: Part) -> tuple[range, pa.Table]:
            table = self._small.rows(part, snapshots, schema.names)
            if table is None:
                alone = (self.rows(snapshots[place], schema) for place in part.places)
                empty = raw_schema(schema).empty_table()
                table = pa.concat_tables([empty, *chain.from_iterable(alone)])
            return part.places, table

        yield from (made for made in overlap(parts, split) if made[1].num_rows)

    def _is_header(self, line: bytes, body: Body, member: Member) -> bool:
        """Whether a file's first line by itself is its header: all of it, and nothing else."""
        if not body.names or b"\r" in line.removesuffix(b"\n").removesuffix(b"\r"):
            return False
        try:
            reader = Utf8Reader(io.BytesIO(line), self._files.dialect.encoding)
            return self._find_body(reader, member) == body
        except HeaderError:
            return False

    def _find_body(self, reader: Utf8Reader, member: Member) -> Body:
        return Head(reader, member.name, self._files.dialect, self._contract).find_body()


def _head_of(snapshot: Snapshot) -> bytes:
    (member,) = members(snapshot, "none")
    with member.open() as stream:
        return stream.read(HEAD_BYTES)


def _texts(names: Iterable[str]) -> pa.Schema:
    return pa.schema([pa.field(name, pa.string()) for name in names])


def _filled(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    return (table for table in tables if table.num_rows)


@dataclass(frozen=True, slots=True)
class _Sizes:
    """How much is held at once, in bytes: of text for a table, and of one record."""

    block: int
    record: int


class _Blocks:
    """Cuts what follows the header into frames of whole records."""

    def __init__(
        self, reader: Utf8Reader, dialect: CsvDialect, body: Body, name: str, sizes: _Sizes
    ) -> None:
        self._reader = reader
        self._marks = Marks(dialect)
        self._name = name
        self._width = len(body.names)
        self._line = body.first_line
        self._sizes = sizes

    def frames(self) -> Iterator[tuple[Frame, Grammar]]:
        """Yield the frames in order, with the grammar for their content."""
        rest = b""
        while not self._reader.ended or rest:
            text = rest + self._reader.read(self._sizes.block)
            last = self._reader.ended
            content, grammar = self._marks.prepare(text, self._name)
            content = without_padding(content) if last else content
            held = b"" if last else self._marks.half_delimiter(content, grammar)
            frame = self._frame(content.removesuffix(held), grammar, last=last)
            rest = b"" if last else self._marks.restore(frame.content[frame.end :], grammar) + held
            if frame.skipping:
                rest = self._skip_line(frame, rest)
            if frame.end:
                yield frame, grammar

    def _frame(self, content: bytes, grammar: Grammar, *, last: bool) -> Frame:
        frame = find_frame(
            content,
            grammar,
            self._width,
            first_line=self._line,
            last=last,
            most_bytes=self._sizes.record,
        )
        self._line += frame.lines
        return frame

    def _skip_line(self, frame: Frame, rest: bytes) -> bytes:
        """Read past the line in which a frame ends; return what has been read of the next."""
        padding = not frame.content[frame.rejects[-1].begin :].strip(b"\0")
        while True:
            rest += self._reader.read(self._sizes.block)
            last = self._reader.ended
            match = LINE_END.search(rest)
            if match and (match.end() < len(rest) or last or rest.endswith(b"\n")):
                return rest[match.end() :]
            padding = padding and not rest.strip(b"\0")
            if last:
                break
            rest = rest[-1:] if match else b""
        if padding:
            del frame.rejects[-1]
        return b""
