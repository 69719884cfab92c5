"""Snapshots of workbooks (xlsx, xls, ods) as tables of raw rows, with the types of their cells.

What belongs here: finding the sheet and its header, and the type of each column. What does not:
types of a contract; that is for cleaning.

A column whose cells are all of one kind has its type: whole numbers, numbers, dates, moments,
times, truth values, text. Another one is text, each cell as Excel would show it without a format.
Empty cells are null. Rows without any cell are no rows. Error values such as ``#DIV/0!`` are text.
"""

from __future__ import annotations

import datetime as dt
import io
import re
from typing import TYPE_CHECKING, Any

import fastexcel
import numpy as np
import pyarrow as pa
import python_calamine as calamine

from dataflow_assets.errors import HeaderError, UnreadableFileError
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets.extract.names import unique_names
from dataflow_assets.extract.tables import fitted, origin_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.extract import Files
    from dataflow_assets.extract.files import Snapshot

    _Sheet = tuple[pa.Table, np.ndarray[Any, np.dtype[np.int64]]]

ROWS = 20_000
"""Rows of a table."""
ERROR = re.compile(r"Error\((\w+)\)")
ERRORS = {
    "Div0": "#DIV/0!",
    "GettingData": "#GETTING_DATA",
    "NA": "#N/A",
    "Name": "#NAME?",
    "Null": "#NULL!",
    "Num": "#NUM!",
    "Ref": "#REF!",
    "Value": "#VALUE!",
}
"""What Excel shows for each error."""
Cell = Any
"""What calamine gives: text, a number, a truth value, a date, a moment, a time, a duration."""


class ExcelReader:
    """Reads a sheet of workbooks.

    Args:
        files: Which sheet, and where its rows begin.
        contract: Names the columns of sheets without a header.
    """

    def __init__(self, files: Files, contract: Contract) -> None:
        self._options = files.excel
        self._promised = list(contract.columns)
        self._last: tuple[str, _Sheet] | None = None

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """Return a sheet's columns with their types.

        Raises:
            HeaderError: There is no such sheet.
            UnreadableFileError: The file is truncated, corrupt, encrypted, or no workbook.
        """
        return self._read(snapshot)[0].schema

    def rows(self, snapshot: Snapshot, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield a sheet's rows, all of them good.

        Args:
            snapshot: The archived bytes.
            schema: The columns of the tables; those that the sheet lacks are null.

        Yields:
            Tables with the schema `raw_schema(schema)`; `_line` is the row's number in the sheet.

        Raises:
            HeaderError: There is no such sheet.
            UnreadableFileError: The file is truncated, corrupt, encrypted, or no workbook.
        """
        table, numbers = self._read(snapshot)
        origin = (snapshot.file.name, snapshot.version)
        for begin in range(0, table.num_rows, ROWS):
            part = origin_columns(origin, numbers[begin : begin + ROWS])
            yield fitted(table.slice(begin, ROWS), raw_schema(schema), part)

    def _read(self, snapshot: Snapshot) -> _Sheet:
        """Return a sheet's rows and their numbers; the last one is kept, as it is asked twice."""
        if self._last is None or self._last[0] != snapshot.version:
            self._last = None  # so that there are never two
            self._last = (snapshot.version, self._table(snapshot))
        return self._last[1]

    def _table(self, snapshot: Snapshot) -> _Sheet:
        rows = self._cells(snapshot)
        filled = np.array([any(cell != "" for cell in row) for row in rows], bool)
        skip = self._options.skip_lines
        filled[:skip] = False
        numbers = np.flatnonzero(filled)
        header: Sequence[Cell] = ()
        if self._options.header and len(numbers):
            header, numbers = rows[numbers[0]], numbers[1:]
        width = max((len(row) for row in rows), default=0)
        names = self._names(header, width)
        cells = list(zip(*(rows[number] for number in numbers), strict=True))
        columns = [_column(column) for column in cells] or [pa.nulls(0, pa.string())] * len(names)
        kept = [index for index, name in enumerate(names) if name]
        table = pa.table([columns[i] for i in kept], names=[names[i] for i in kept])
        return table, numbers + 1

    def _names(self, header: Sequence[Cell], width: int) -> list[str]:
        if not self._options.header:
            more = [f"column_{number}" for number in range(len(self._promised) + 1, width + 1)]
            return [*self._promised, *more][:width]
        return unique_names(_text(cell) or "" for cell in header)

    def _cells(self, snapshot: Snapshot) -> list[list[Cell]]:
        name = snapshot.file.name
        try:
            content = snapshot.path.read_bytes()
            book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
            sheet = self._sheet(book, name)
            if sheet.start is None:
                return []
            cells = sheet.to_python(skip_empty_area=False)
            for row, column, text in _errors(content, sheet.name, sheet.start[1]):
                cells[row][column] = text
        except (calamine.CalamineError, fastexcel.FastExcelError, OSError) as error:
            raise UnreadableFileError(
                f"{name} cannot be read as a workbook: {error}.",
                mend="Have it sent again; it is truncated, corrupt, encrypted or no workbook.",
                culprit=name,
            ) from error
        return cells

    def _sheet(self, book: calamine.CalamineWorkbook, name: str) -> calamine.CalamineSheet:
        wanted, there = self._options.sheet, book.sheet_names
        if isinstance(wanted, int) and 1 <= wanted <= len(there):
            return book.get_sheet_by_index(wanted - 1)
        if wanted in there:
            return book.get_sheet_by_name(str(wanted))
        raise HeaderError(
            f"{name} has no sheet {wanted!r}; sheets are {', '.join(map(repr, there))}.",
            mend="Correct excel.sheet in the declaration.",
            culprit=name,
        )


def _errors(content: bytes, sheet: str, first_column: int) -> Iterator[tuple[int, int, str]]:
    """Yield row, column and text of cells with an error, which the cells' own reader drops."""
    loaded = fastexcel.read_excel(content).load_sheet(
        sheet, header_row=None, skip_rows=0, dtypes="string"
    )
    _, found = loaded.to_arrow_with_errors()
    for error in found.errors if found else ():
        kind = ERROR.search(error.detail)
        row, column = error.position
        yield row, first_column + column, ERRORS.get(kind[1] if kind else "", "#ERROR!")


def _column(cells: Sequence[Cell]) -> pa.Array:
    """Return the cells of a column in the type that all of them have."""
    kinds = set(map(type, cells)) - {str}
    texts = any(type(cell) is str and cell for cell in cells)
    values = [None if type(cell) is str else cell for cell in cells]
    if texts or not kinds:
        return pa.array([_text(cell) for cell in cells], pa.string())
    if kinds <= {int, float}:
        return _numbers(values)
    for allowed, kind in TYPES:
        if kinds <= allowed:
            return pa.array([_moment(one) if len(allowed) > 1 else one for one in values], kind)
    return pa.array([_text(cell) for cell in cells], pa.string())


TYPES = (
    ({bool}, pa.bool_()),
    ({dt.date}, pa.date32()),
    ({dt.date, dt.datetime}, pa.timestamp("us")),
    ({dt.time}, pa.time64("us")),
    ({dt.timedelta}, pa.duration("us")),
)
"""Which kinds of cells make a column of which type."""


def _numbers(values: Sequence[float | None]) -> pa.Array:
    numbers = pa.array(values, pa.float64())
    try:
        return numbers.cast(pa.int64())
    except pa.ArrowInvalid:
        return numbers


def _moment(value: dt.date | None) -> dt.date | None:
    if value is None or isinstance(value, dt.datetime):
        return value
    return dt.datetime.combine(value, dt.time())


def _text(cell: Cell) -> str | None:
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return (cell.isoformat() if isinstance(cell, (dt.date, dt.time)) else str(cell)) or None
