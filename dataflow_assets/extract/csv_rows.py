"""Rows of frames of CSV text, good and rejected, as tables of raw rows.

What belongs here: splitting the records of a frame into fields, and telling which cannot be split.
What does not: where records begin and end (`framing`), and reading files (`csv`).
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from dataflow_assets.errors import ConservationError
from dataflow_assets.extract.csv_head import Body, Marks
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets.extract.framing import double_escapes
from dataflow_assets.extract.text import BOM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dataflow_assets.declaration.extract import CsvDialect
    from dataflow_assets.extract.framing import Frame, Grammar, Indexes, Positions

MOST_TEXT_BYTES = 64 << 10
CUT_MARK = "…"
FINAL_LINE_END = re.compile(rb"(?:\r\n|\n|\r)\Z")


class Splitter:
    """Makes tables of frames; safe to be called from several threads."""

    def __init__(
        self,
        decode: Callable[..., str],
        dialect: CsvDialect,
        body: Body,
        columns: Sequence[str],
        origin: tuple[str, str],
    ) -> None:
        self._decode = decode
        self._quote = dialect.quote or ""
        self._marks = Marks(dialect)
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
        records = Records(frame, grammar, table.num_rows + len(ragged), self._origin[0])
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
        self, records: Records, ragged: list[tuple[int, int]]
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
        records: Records,
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

    def _rejected(self, rejects: list[tuple[str, int, int]], records: Records) -> pa.Table:
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


class Records:
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
