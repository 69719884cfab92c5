"""Workbooks of every format, with cells of every kind."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any

import openpyxl
import pyarrow as pa
import pytest
import xlwt
from odf import opendocument, table, text

from dataflow_assets.errors import HeaderError, UnreadableFileError
from dataflow_assets_tests.unit.extract.samples import contract, good, read, snapshot

if TYPE_CHECKING:
    from pathlib import Path

DAY = dt.datetime(2024, 5, 6)  # noqa: DTZ001 - workbooks know no zone
NOON = dt.datetime(2024, 5, 6, 12, 30, 1)  # noqa: DTZ001 - workbooks know no zone
HEAD = ("id", "share", "day", "at", "on", "name", "mixed", None, "id")
ROWS: list[tuple[Any, ...]] = [
    (1, 0.1, DAY, NOON, True, "x", 1, None, 1.5),
    (2, 2.0, None, DAY, False, "007", 2.5, None, 2),
    (None, None, None, None, None, None, None, None, None),
    (3, -1e300, DAY, NOON, None, "\u20ac\n", "#N/A", None, 3),
]


def xlsx(rows: list[tuple[Any, ...]], title: str = "first", offset: int = 0) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = title
    for number, row in enumerate(rows, start=1 + offset):
        for column, value in enumerate(row, start=1 + offset):
            cell = sheet.cell(number, column, value)
            if isinstance(value, str) and value.startswith("#"):
                cell.data_type = "e"
    book.create_sheet("second").append(["other"])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def xls(rows: list[tuple[Any, ...]]) -> bytes:
    book = xlwt.Workbook()
    sheet = book.add_sheet("first")
    style = xlwt.easyxf(num_format_str="YYYY-MM-DD HH:MM:SS")
    for number, row in enumerate(rows):
        for column, value in enumerate(row):
            if isinstance(value, dt.datetime):
                sheet.write(number, column, value, style)
            elif value is not None:
                sheet.write(number, column, value)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def ods(rows: list[tuple[Any, ...]]) -> bytes:
    book = opendocument.OpenDocumentSpreadsheet()
    sheet = table.Table(name="first")
    for row in rows:
        line = table.TableRow()
        for value in row:
            if isinstance(value, float | int):
                cell = table.TableCell(valuetype="float", value=str(value))
            else:
                cell = table.TableCell(valuetype="string")
                cell.addElement(text.P(text=value or ""))
            line.addElement(cell)
        sheet.addElement(line)
    book.spreadsheet.addElement(sheet)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def test_a_column_has_the_type_of_its_cells(tmp_path: Path) -> None:
    rows = read(snapshot(tmp_path, xlsx([HEAD, *ROWS])), format="excel")
    types = {field.name: field.type for field in rows.schema if not field.name.startswith("_")}
    assert types == {
        "id": pa.int64(),
        "share": pa.float64(),
        "day": pa.date32(),
        "at": pa.timestamp("us"),
        "on": pa.bool_(),
        "name": pa.string(),
        "mixed": pa.string(),
        "column_8": pa.string(),
        "id_2": pa.float64(),
    }
    assert good(rows) == [
        (1, 0.1, DAY.date(), NOON, True, "x", "1", None, 1.5),
        (2, 2.0, None, DAY, False, "007", "2.5", None, 2.0),
        (3, -1e300, DAY.date(), NOON, None, "\u20ac\n", "#N/A", None, 3.0),
    ]
    assert rows["_line"].to_pylist() == [2, 3, 5]


def test_old_workbooks_and_open_ones_are_read_alike(tmp_path: Path) -> None:
    plain = [("id", "share", "name"), (1, 0.5, "x"), (2, 1.0, "y")]
    for content in (xls(plain), ods(plain), xlsx(plain)):
        rows = read(snapshot(tmp_path, content), format="excel")
        assert good(rows) == [(1, 0.5, "x"), (2, 1.0, "y")]
    moments = read(snapshot(tmp_path, xls([("at",), (NOON,)])), format="excel")
    assert good(moments) == [(NOON,)]


@pytest.mark.parametrize(
    "error", ["#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"]
)
@pytest.mark.parametrize("offset", [0, 3])
def test_errors_are_not_lost(tmp_path: Path, error: str, offset: int) -> None:
    content = xlsx([("a", "b"), (1, 2), (3, error), (error, 4)], offset=offset)
    rows = read(snapshot(tmp_path, content), format="excel")
    assert [row[-2:] for row in good(rows)] == [("1", "2"), ("3", error), (error, "4")]


def test_a_sheet_is_chosen_by_name_or_number(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, xlsx([("a",), (1,)], title="m\u00eas"))
    for sheet in (1, "m\u00eas"):
        assert good(read(taken, format="excel", excel={"sheet": sheet})) == [(1,)]
    assert read(taken, format="excel", excel={"sheet": "second"}).column_names[0] == "other"
    with pytest.raises(HeaderError, match="'m\u00eas', 'second'"):
        read(taken, format="excel", excel={"sheet": 3})


def test_preamble_and_header_are_declared(tmp_path: Path) -> None:
    content = xlsx([("Report",), (None,), ("a", "b"), (1, 2), (3, None)])
    rows = read(snapshot(tmp_path, content), format="excel", excel={"skip_lines": 1})
    assert rows.column_names[:2] == ["a", "b"]
    assert good(rows) == [(1, 2), (3, None)]
    assert rows["_line"].to_pylist() == [4, 5]
    words = {"skip_lines": 3, "header": False}
    rows = read(snapshot(tmp_path, content), contract("x"), format="excel", excel=words)
    assert rows.column_names[:2] == ["x", "column_2"]
    assert good(rows) == [(1, 2), (3, None)]


def test_an_empty_sheet_has_no_rows(tmp_path: Path) -> None:
    for rows in ([], [("a", "b")]):
        assert read(snapshot(tmp_path, xlsx(rows)), format="excel").num_rows == 0


@pytest.mark.parametrize("content", [b"", b"no workbook", xlsx([("a",), (1,)])[:-400]])
def test_what_is_no_workbook_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableFileError, match=r"sample\.csv"):
        read(snapshot(tmp_path, content), format="excel")
