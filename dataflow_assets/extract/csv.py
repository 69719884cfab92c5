"""Snapshots of CSV files as tables of raw rows.

What belongs here: headers, names of columns, and splitting blocks of records into rows, good and
rejected, none of them lost. What does not: where records begin and end (`framing`), encodings
(`text`), types and rules.

Each row carries where it came from. A row that cannot be split stays, as its text and the reason.
Not rows are: blank lines, comments, the preamble, the header, and NUL bytes alone after the last
line end of a file (the padding of a file whose room was reserved beforehand).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from dataflow_assets.errors import ConservationError, HeaderError, UnreadableFileError
from dataflow_assets.extract.compression import members
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets.extract.files import member_version
from dataflow_assets.extract.framing import (
    LINE_END,
    MOST_RECORD_BYTES,
    Frame,
    Grammar,
    double_escapes,
    find_frame,
    grammar_of,
)
from dataflow_assets.extract.names import unique_names
from dataflow_assets.extract.overlap import overlap
from dataflow_assets.extract.text import BOM, Utf8Reader, is_decodable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.extract import CsvDialect, Files
    from dataflow_assets.extract.compression import Member
    from dataflow_assets.extract.files import Snapshot
    from dataflow_assets.extract.framing import Indexes, Positions

BLOCK_BYTES = 4 << 20
HEAD_BYTES = 1 << 14
LINES_TO_SEARCH = 100
MOST_TEXT_BYTES = 64 << 10
CUT_MARK = "…"
FINAL_LINE_END = re.compile(rb"(?:\r\n|\n|\r)\Z")
COMMON_DELIMITERS = (",", ";", "\t", "|")
SPARE_BYTES = bytes([0x1F, 0x1E, 0x1D, 0x1C, *range(1, 9), *range(14, 28), *range(32, 128)])


def guess_delimiter(line: str) -> str | None:
    """Return the delimiter that a line seems to be written with; None if it has none."""
    counts = {mark: line.count(mark) for mark in COMMON_DELIMITERS}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else None


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

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """Return a file's columns, over all its members, in order of appearance: all text.

        An empty file has none.

        Raises:
            HeaderError: The header cannot be found, split or decoded.
            UnreadableFileError: The file is truncated, corrupt or encrypted.
        """
        names: dict[str, None] = {}
        for member in members(snapshot, self._files.compression):
            with member.open() as stream:
                reader = Utf8Reader(stream, self._files.dialect.encoding)
                names.update(dict.fromkeys(self._find_body(reader, member).names))
        return pa.schema([pa.field(name, pa.string()) for name in names])

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
                splitter = _Splitter(reader, dialect, body, schema.names, origin)
                yield from overlap(blocks.frames(), splitter.split)

    def _find_body(self, reader: Utf8Reader, member: Member) -> _Body:
        return _Head(reader, member.name, self._files.dialect, self._contract).find_body()


@dataclass(frozen=True, slots=True)
class _Body:
    """What was learned from the head of a file.

    Attributes:
        names: The columns' names; none if the file holds no record.
        header: The header's fields as they are written, empty if there is no header.
        first_line: The physical line with which the rows begin.
    """

    names: tuple[str, ...]
    header: tuple[str, ...]
    first_line: int


class _Marks:
    """A dialect's marks as bytes, with a stand-in for a delimiter that is not one ASCII byte."""

    def __init__(self, dialect: CsvDialect) -> None:
        self._delimiter = dialect.delimiter.encode()
        self._quote = (dialect.quote or "").encode()
        self._escape = (dialect.escape or "").encode()
        self._comment = (dialect.comment or "").encode()
        self._is_plain = len(self._delimiter) == 1

    def prepare(self, content: bytes, name: str) -> tuple[bytes, Grammar]:
        """Return the content with a delimiter of one byte, and the grammar for it."""
        if self._is_plain:
            return content, self._grammar(self._delimiter)
        taken = self._quote + self._escape
        for code in SPARE_BYTES:
            spare = bytes([code])
            if spare not in taken and spare not in content:
                return content.replace(self._delimiter, spare), self._grammar(spare)
        raise UnreadableFileError(
            f"{name} holds every ASCII character, so that none can stand for its delimiter.",
            mend="Look at the file: it seems to be no text. If it is, use a delimiter of one byte.",
            culprit=name,
        )

    def _grammar(self, delimiter: bytes) -> Grammar:
        comment = self._comment.replace(self._delimiter, delimiter)
        return grammar_of(delimiter, self._quote, self._escape, comment)

    def half_delimiter(self, content: bytes, grammar: Grammar) -> bytes:
        """Return the end of prepared content, if that may be the beginning of a delimiter."""
        end = content[1 - len(self._delimiter) :] if not self._is_plain else b""
        end = end[end.rfind(grammar.delimiter) + 1 :]
        parts = (end[begin:] for begin in range(len(end)))
        return next((part for part in parts if self._delimiter.startswith(part)), b"")

    def restore(self, content: bytes, grammar: Grammar) -> bytes:
        """Return content as it was received."""
        return content if self._is_plain else content.replace(grammar.delimiter, self._delimiter)

    def restore_columns(self, table: pa.Table, grammar: Grammar) -> pa.Table:
        """Return fields as they were received; within quotes, delimiters are text."""
        if self._is_plain or not self._quote:
            return table
        spare, delimiter = grammar.delimiter.decode(), self._delimiter.decode()
        arrays = [pc.replace_substring(column, spare, delimiter) for column in table.columns]
        return pa.table(arrays, names=table.column_names)


class _Head:
    """The beginning of a file, up to its header."""

    def __init__(
        self, reader: Utf8Reader, name: str, dialect: CsvDialect, contract: Contract
    ) -> None:
        self._reader = reader
        self._name = name
        self._dialect = dialect
        self._contract = contract
        self._marks = _Marks(dialect)
        self._held = b""

    def find_body(self) -> _Body:
        """Read up to the first row; what follows is still to be read from the reader."""
        text = b""
        wanted = HEAD_BYTES
        while True:
            text += self._reader.read(wanted - len(text))
            last = self._reader.ended
            body = self._search(text, last=last)
            if body is not None:
                return body
            if last:
                return _Body((), (), 1)
            if wanted > 2 * MOST_RECORD_BYTES:
                raise self._no_header("its first record has no end")
            wanted *= 4

    def _search(self, text: bytes, *, last: bool) -> _Body | None:
        """Look for the first row in what has been read; None if that holds no record yet."""
        skip = self._dialect.skip_lines
        ends = [match.end() for match in islice(LINE_END.finditer(text), skip)]
        if len(ends) < skip:
            return None
        text = text[ends[-1] :] if ends else text
        content, grammar = self._marks.prepare(text, self._name)
        content = _without_padding(content) if last else content
        self._held = b"" if last else self._marks.half_delimiter(content, grammar)
        content = content.removesuffix(self._held)
        if not content:
            return None
        if self._dialect.header == "find":
            return self._find(content, grammar, last=last)
        frame = find_frame(content, grammar, 0, first_line=skip + 1, last=last)
        if self._dialect.header is False:
            return self._headerless(frame, grammar)
        return self._headed(frame, grammar)

    def _headed(self, frame: Frame, grammar: Grammar) -> _Body | None:
        """Take the first record as the header."""
        begins = frame.records()
        begin = int(begins[0]) if len(begins) else len(frame.content)
        if frame.rejects and frame.rejects[0].begin < begin:
            kind = frame.rejects[0].kind
            if kind == "encoding":
                raise self._undecodable()
            raise self._no_header(f"its first record is broken ({kind})")
        if not len(begins):
            return None
        return self._body_after(frame, grammar, begin)

    def _find(self, content: bytes, grammar: Grammar, *, last: bool) -> _Body | None:
        """Take the first line that names all required columns as the header."""
        wanted = {
            column.source_name or name: self._contract.is_required(name)
            for name, column in self._contract.columns.items()
        }
        required = {name for name in wanted if wanted[name]}
        frame = Frame(content, self._dialect.skip_lines + 1)
        ends = [match.end() for match in islice(LINE_END.finditer(content), LINES_TO_SEARCH)]
        frame.line_ends = np.array(ends, np.int32)
        for begin in [0, *ends][:LINES_TO_SEARCH]:
            fields = self._fields(content, grammar, begin)
            names = {field.strip() for field in fields} | set(unique_names(fields))
            if required <= names and not names.isdisjoint(wanted):
                return self._body_after(frame, grammar, begin)
        if not content.strip() or (len(ends) < LINES_TO_SEARCH and not last):
            return None
        listed = ", ".join(sorted(required or wanted))
        raise self._no_header(f"none of its first {LINES_TO_SEARCH} lines names {listed}")

    def _body_after(self, frame: Frame, grammar: Grammar, begin: int) -> _Body:
        match = grammar.record.match(frame.content, begin)
        end = match.end() if match else begin
        if not is_decodable(frame.content[begin:end]):
            raise self._undecodable()
        header = self._fields(frame.content, grammar, begin)
        self._push_back(frame.content[end:], grammar)
        line = int(frame.line_of(np.array([end], np.int32))[0])
        return _Body(tuple(unique_names(header)), tuple(header), line)

    def _headerless(self, frame: Frame, grammar: Grammar) -> _Body | None:
        """Take as many of the contract's columns as the rows have fields."""
        begins = frame.records()[:LINES_TO_SEARCH].tolist()
        if not begins and not frame.rejects:
            return None
        widths = Counter(len(grammar.fields(frame.content, begin)) for begin in begins)
        names = list(self._contract.columns)
        width = len(names)
        if widths and width not in widths:
            width = max(widths, key=lambda width: (widths[width], width))
        names += [f"column_{position}" for position in range(len(names) + 1, width + 1)]
        self._push_back(frame.content, grammar)
        return _Body(tuple(names[:width]), (), frame.first_line)

    def _push_back(self, content: bytes, grammar: Grammar) -> None:
        self._reader.push_back(self._marks.restore(content, grammar) + self._held)

    def _fields(self, content: bytes, grammar: Grammar, begin: int) -> list[str]:
        if grammar.record.match(content, begin) is None:
            return []
        values = (grammar.value(content[slice(*span)]) for span in grammar.fields(content, begin))
        return [self._reader.decode(self._marks.restore(value, grammar)) for value in values]

    def _undecodable(self) -> HeaderError:
        return HeaderError(
            f"The header of {self._name} holds bytes that its encoding does not know.",
            mend="Set csv.encoding in the declaration, such as cp1252, "
            "or have the file sent again if it is no text.",
            culprit=self._name,
        )

    def _no_header(self, why: str) -> HeaderError:
        return HeaderError(
            f"{self._name} has no header: {why}.",
            mend="Correct csv in the declaration (header, skip_lines, delimiter, quote), "
            "or have the file sent again.",
            culprit=self._name,
        )


def _without_padding(content: bytes) -> bytes:
    """Drop NUL bytes that stand alone after the last line end."""
    rest = content.rstrip(b"\0")
    return rest if not rest or rest.endswith((b"\n", b"\r")) else content


@dataclass(frozen=True, slots=True)
class _Sizes:
    """How much is held at once, in bytes: of text for a table, and of one record."""

    block: int
    record: int


class _Blocks:
    """Cuts what follows the header into frames of whole records."""

    def __init__(
        self, reader: Utf8Reader, dialect: CsvDialect, body: _Body, name: str, sizes: _Sizes
    ) -> None:
        self._reader = reader
        self._marks = _Marks(dialect)
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
            content = _without_padding(content) if last else content
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


class _Splitter:
    """Makes tables of frames; safe to be called from several threads."""

    def __init__(
        self,
        reader: Utf8Reader,
        dialect: CsvDialect,
        body: _Body,
        columns: Sequence[str],
        origin: tuple[str, str],
    ) -> None:
        self._decode = reader.decode
        self._quote = dialect.quote or ""
        self._marks = _Marks(dialect)
        self._fills = dialect.ragged == "fill"
        self._body = body
        self._origin = origin
        self._schema = raw_schema(columns)
        places = {name: index for index, name in enumerate(body.names)}
        self._places = [places.get(name) for name in columns]
        if missing := [name for name in body.names if name not in columns]:
            raise ConservationError(
                f"{origin[0]} has columns that the raw rows do not: {', '.join(missing)}.",
                mend="Report this as a bug.",
                culprit=origin[0],
            )

    def split(self, block: tuple[Frame, Grammar]) -> pa.Table:
        """Return the rows of a frame, in the order of their lines."""
        frame, grammar = block
        content = b"".join([frame.content[run.begin : run.end] for run in frame.runs])
        table, ragged = self._parse(content, grammar, len(self._body.names))
        records = _Records(frame, grammar, table.num_rows + len(ragged), self._origin[0])
        good = np.delete(np.arange(records.count), [index for index, _ in ragged])
        rejects: list[tuple[str, int, int]] = [*frame.rejects]
        parts: list[tuple[pa.Table, Indexes]] = [(table, good)]
        if len(self._body.header) > 1 and table.num_rows:  # one column's name may be a value
            parts, repeated = self._without_headers(table, good)
            rejects += [("repeated_header", *records.span(index)) for index in repeated]
        if ragged:
            filled, lost = self._fill(records, ragged) if self._fills else ([], ragged)
            parts += filled
            rejects += [("ragged", *records.span(index)) for index, _ in lost]
        return self._assemble(parts, rejects, records)

    def _parse(
        self, content: bytes, grammar: Grammar, width: int
    ) -> tuple[pa.Table, list[tuple[int, int]]]:
        """Split well-formed records; return those that fit, and the others' indexes and widths."""
        ragged: list[tuple[int, int]] = []

        def note(row: arrow_csv.InvalidRow) -> str:
            ragged.append((row.number - 1, row.actual_columns))
            return "skip"

        names = [str(index) for index in range(width)]
        if not content:
            return pa.table({name: pa.array([], pa.string()) for name in names}), ragged
        if content.startswith(BOM):
            content = b"\n" + content  # pyarrow would drop it, but here it belongs to a value
        content = double_escapes(content, grammar)
        table = arrow_csv.read_csv(
            pa.py_buffer(content),
            arrow_csv.ReadOptions(
                column_names=names, use_threads=False, block_size=len(content) + 1
            ),
            arrow_csv.ParseOptions(
                delimiter=grammar.delimiter.decode(),
                quote_char=grammar.quote.decode() or False,
                newlines_in_values=True,
                invalid_row_handler=note,
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), check_utf8=False
            ),
        )
        return self._marks.restore_columns(table, grammar), ragged

    def _without_headers(
        self, table: pa.Table, indexes: Indexes
    ) -> tuple[list[tuple[pa.Table, Indexes]], list[int]]:
        """Tell rows that repeat the header, as in files put one after the other, from the rest."""
        first, *others = self._body.header
        mark, quote = BOM.decode(), self._quote
        firsts = pa.array([first, f"{mark}{first}", f"{mark}{quote}{first}{quote}"])
        mask = pc.is_in(table.column(0), firsts)
        if not pc.any(mask).as_py():
            return [(table, indexes)], []
        for column, name in zip(table.columns[1:], others, strict=True):
            mask = pc.and_(mask, pc.equal(column, name))
        repeated = np.asarray(mask.to_numpy(), bool)
        return [(table.filter(pc.invert(mask)), indexes[~repeated])], indexes[repeated].tolist()

    def _fill(
        self, records: _Records, ragged: list[tuple[int, int]]
    ) -> tuple[list[tuple[pa.Table, Indexes]], list[tuple[int, int]]]:
        """Give short rows nulls, and drop empty fields too many; return also what stays ragged."""
        wanted = len(self._body.names)
        parts, lost = [], []
        for width in sorted({width for _, width in ragged}):
            indexes = np.array([index for index, found in ragged if found == width])
            lines = [records.text(index) for index in indexes.tolist()]
            table, _ = self._parse(b"\n".join(lines), records.grammar, width)
            surplus = table.columns[wanted:]
            fits = np.ones(len(indexes), bool)
            for column in surplus:
                fits &= pc.equal(column, "").to_numpy()
            lost += [(index, width) for index in indexes[~fits].tolist()]
            parts.append((table.filter(pa.array(fits)), indexes[fits]))
        return parts, lost

    def _assemble(
        self,
        parts: list[tuple[pa.Table, Indexes]],
        rejects: list[tuple[str, int, int]],
        records: _Records,
    ) -> pa.Table:
        tables = [self._rows(table, records.lines[indexes]) for table, indexes in parts]
        if len(parts) == 1 and not rejects:
            return tables[0]
        if rejects:
            tables.append(self._rejected(rejects, records))
        table = pa.concat_tables(tables).combine_chunks()
        return table.take(np.argsort(table.column("_line").to_numpy(), kind="stable"))

    def _rows(self, table: pa.Table, lines: Indexes) -> pa.Table:
        """Bring the split fields of good rows into the order of the columns wanted."""
        nothing = pa.nulls(len(lines), pa.string())
        fields = table.columns
        columns = [
            nothing if place is None or place >= len(fields) else fields[place]
            for place in self._places
        ]
        return self._table(columns, lines, nothing, nothing)

    def _rejected(self, rejects: list[tuple[str, int, int]], records: _Records) -> pa.Table:
        kinds = pa.array([kind for kind, _, _ in rejects], pa.string())
        texts = pa.array([self._text(records.frame, records.grammar, *r) for r in rejects])
        begins = np.array([begin for _, begin, _ in rejects], np.int32)
        nothing = pa.nulls(len(rejects), pa.string())
        columns = [nothing] * len(self._places)
        return self._table(columns, records.frame.line_of(begins), kinds, texts)

    def _table(
        self, columns: list[pa.Array], lines: Indexes, kinds: pa.Array, texts: pa.Array
    ) -> pa.Table:
        name, version = (pa.repeat(text, len(lines)) for text in self._origin)
        arrays = [*columns, name, version, pa.array(lines, pa.int64()), kinds, texts]
        return pa.table(arrays, schema=self._schema)

    def _text(self, frame: Frame, grammar: Grammar, kind: str, begin: int, end: int) -> str:
        """Return the text of a rejected record, without its line end."""
        too_long = kind == "too_long"
        cut = too_long and (end - begin > MOST_TEXT_BYTES or (frame.skipping and end == frame.end))
        content = frame.content[begin : min(end, begin + MOST_TEXT_BYTES) if too_long else end]
        content = self._marks.restore(content, grammar)
        if cut:
            return self._decode(content, cut=True) + CUT_MARK
        return self._decode(FINAL_LINE_END.sub(b"", content))


class _Records:
    """The good records of a frame, by their index.

    Raises:
        ConservationError: The parser split another number of records than were found.
    """

    def __init__(self, frame: Frame, grammar: Grammar, count: int, name: str) -> None:
        self.frame, self.grammar, self.count = frame, grammar, count
        if frame.lines == count:  # then each line is a record, and nothing else is there
            self.lines = np.arange(frame.first_line, frame.first_line + count)
            return
        if len(self._begins) != count:
            raise ConservationError(
                f"Of {len(self._begins)} records of {name} from line {frame.first_line} on, "
                f"{count} were split.",
                mend="Report this as a bug, with the file.",
                culprit=name,
            )
        self.lines = frame.line_of(self._begins)

    @cached_property
    def _begins(self) -> Positions:
        return self.frame.records()

    def span(self, index: int) -> tuple[int, int]:
        """Return where a record begins and ends."""
        begin = int(self._begins[index])
        match = self.grammar.record.match(self.frame.content, begin)
        return begin, match.end() if match else begin

    def text(self, index: int) -> bytes:
        """Return a record without its line end."""
        return self.frame.content[slice(*self.span(index))].rstrip(b"\r\n")
